"""MMAction2's `tools/train.py`, in the spellings of 0.x and of 1.x; what it does is `i3d.training.train.train`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from i3d.cli import output
from i3d.cli.mmaction2.arguments import Arguments, clips_of, device_of, read_asked
from i3d.cli.mmaction2.test import evaluate_by_config
from i3d.cli.options import is_first
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.recipes.recipe import Recipe

WEIGHTS: Final = (".pth", ".pt", ".ckpt", ".safetensors")


def train(arguments: Sequence[str] | None = None) -> None:
    """`tools/train.py`: MMAction2's flags, our training."""
    from i3d.training.run_folder import BEST, LAST
    from i3d.training.train import train as run
    from i3d.utils.device import ComputeConfig

    options = _options(arguments)
    device = device_of(options, f"dist_train.sh {options.config}")
    asked = read_asked(options.config, options.cfg_options, as_written=not options.auto_scale_lr)
    for note in asked.config.notes:
        output.say(f"note: {note}")
    recipe = _with_half(asked.config.recipe) if options.amp else asked.config.recipe
    if recipe.training is None:
        raise InputError(f"{printable(options.config)}: says nothing of training; choose a config that trains")
    work_dir = _work_dir(options, asked)
    validates = _validates(options, asked)
    if options.test_best and not validates:
        raise InputError("--test-best: the best weights are those of a validation; say --validate")
    clips, naming = clips_of(asked.config.lists, "train", recipe, options.config)
    to_validate = clips_of(asked.config.lists, "val", recipe, options.config)[0] if validates else None
    with output.Training(quiet=False) as progress:
        done = run(
            recipe,
            clips,
            to_validate,
            work_dir=work_dir,
            seed=options.seed,
            compute=ComputeConfig(device, num_workers=asked.config.num_workers),
            deterministic=options.deterministic,
            naming=naming,
            on_progress=progress,
        )
    for reason in done.bad_clips:
        output.say(f"warning: {reason}")
    if is_first():
        output.tell_trained(done)
    if done.stop_signal:
        raise SystemExit(128 + done.stop_signal)
    for is_wanted, file in ((options.test_last, LAST), (options.test_best, BEST)):
        if is_wanted:
            _say(f"test of {file}")
            evaluate_by_config(asked, work_dir / file, config=options.config, device=device)


def _say(message: str) -> None:
    if is_first():
        output.say(message)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/train.py",
        description="Train by an MMAction2 config, which is parsed and never executed, or by a recipe of i3d.",
        epilog="The same command goes on where it was ended. `i3d train --help` has more.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("config", help="an MMAction2 config, or configs/recognition/i3d/NAME.py of a published recipe, or its NAME")
    add("--work-dir", "--work_dir", metavar="DIR", help="the folder of the run (default: ./work_dirs/NAME)")
    add("--validate", action="store_true", help="validate (0.x; 1.x does so unless --no-validate)")
    add("--no-validate", action="store_true", help="do not validate (1.x)")
    add("--seed", type=int, default=0, help="another number, another draw (default: 0)")
    add("--deterministic", action="store_true", help="only repeatable operations")
    add("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change the config")
    add("--resume-from", metavar="STATE", help="go on from a state of ours: a run's folder, or a file in checkpoints/")
    add("--resume", nargs="?", const="auto", metavar="STATE", help="the same (1.x); alone: whatever is in --work-dir")
    add("--auto-resume", action="store_true", help="needless: the same command goes on by itself")
    add("--amp", action="store_true", help="mixed precision, fp16")
    add("--auto-scale-lr", action="store_true", help="the linear rule also for a rate given in --cfg-options")
    add("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="pytorch: torchrun started it")
    add("--gpus", type=int, help="1; for more use tools/dist_train.sh")
    add("--gpu-ids", type=int, nargs="+", metavar="ID", help="which GPU")
    add("--gpu-id", type=int, dest="gpu_ids", nargs=1, metavar="ID", help="the same")
    add("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # torchrun says it in the environment
    add("--diff-seed", "--diff-rank-seed", action="store_true", help="needless: every clip is drawn on its own")
    add("--test-last", action="store_true", help="then test the last weights on the list for testing")
    add("--test-best", action="store_true", help="the same with the best ones of the validations")
    return parser.parse_args(arguments)


def _validates(options: argparse.Namespace, asked: Arguments) -> bool:
    if options.validate and options.no_validate:
        raise InputError("--validate, --no-validate: choose one of them")
    if options.validate or (asked.version == 1 and not options.no_validate):
        return True
    if not options.no_validate:
        output.say("note: without --validate there is no validation, as in MMAction2 0.x")
    return False


def _work_dir(options: argparse.Namespace, asked: Arguments) -> Path:
    """The folder of the run: as asked for, that of the state to go on from, that of the config, or work_dirs/NAME."""
    default = Path(options.work_dir or asked.config.work_dir or Path("work_dirs") / asked.name)
    state = options.resume_from or (None if options.resume in (None, "auto") else options.resume)
    if state is None:
        return default
    path, where = Path(state), printable(state)
    if not path.exists():
        raise InputError(f"--resume-from {where}: there is no such file or folder; check the path")
    folder = path if path.is_dir() else path.parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    if path.is_file() and (path.suffix.lower() in WEIGHTS) and path.parent.name != "checkpoints":
        raise InputError(
            f"--resume-from {where}: holds weights, not a state that a run of i3d could go on from exactly; "
            f"start from its weights: --cfg-options load_from={where} (`i3d train --init {where}`)"
        )
    if not (folder / "run.json").is_file():
        raise InputError(f"--resume-from {where}: no run.json in {printable(str(folder))}; give the folder of a run")
    if options.work_dir and Path(options.work_dir).resolve() != folder.resolve():
        raise InputError(
            f"--resume-from {where}: a run goes on in its own folder; give --work-dir {printable(str(folder))}, or none"
        )
    return folder


def _with_half(recipe: Recipe) -> Recipe:
    from i3d.recipes.io import with_training

    return with_training(recipe, {"precision": "fp16"})
