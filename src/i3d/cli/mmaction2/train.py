"""MMAction2's `tools/train.py`, with the flags of 0.x and 1.x, on `i3d.training.train.train`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from i3d.cli import output
from i3d.cli.messages import is_first_rank, log
from i3d.cli.mmaction2.arguments import (
    ConfigArguments,
    choose_device,
    config_parser,
    config_words,
    in_config_words,
    read_clips,
    read_config_arguments,
)
from i3d.cli.mmaction2.test import check_test, evaluate_by_config
from i3d.errors import InputError, printable
from i3d.recipes.io import with_training
from i3d.recipes.recipe import Recipe
from i3d.training.run_folder import BEST, LAST
from i3d.training.train import train as run
from i3d.utils.device import ComputeConfig
from i3d.weights.addresses import checkpoints_in
from i3d.weights.hub import check_local
from i3d.weights.names import check_weights_name

WEIGHTS: Final = (".pth", ".pt", ".ckpt", ".safetensors")


def train(arguments: Sequence[str] | None = None, *, device: str | None = None) -> None:
    """`tools/train.py`: MMAction2's flags, our training. `device`: by default that of the flags."""
    options = _options(arguments)
    with checkpoints_in(options.checkpoints):
        _train(options, device)


def _train(options: argparse.Namespace, device: str | None) -> None:
    device = device or choose_device(options, f"dist_train.sh {options.config}")
    parsed = read_config_arguments(options.config, options.cfg_options, scales_lr=options.auto_scale_lr)
    for note in parsed.config.notes:
        log.info(f"note: {note}")
    recipe = parsed.config.recipe
    if recipe.training is None:
        raise InputError(f"{options.config}: has no training settings; choose a config that trains")
    if options.amp:
        recipe = with_training(recipe, {"precision": "fp16"})
    work_dir = _work_dir(options, parsed)
    validates = _validates(options, parsed)
    if options.test_best and not validates:
        todo = "add --validate" if parsed.config.validates else "add val_dataloader to the config (0.x: data.val)"
        raise InputError(f"--test-best: the best weights are those of a validation; {todo}")
    tested = parsed
    if options.test_last or options.test_best:
        tested = read_config_arguments(options.config, options.cfg_options, for_training=False)
        check_test(tested)
    _check_initial_weights(options.config, parsed.config.recipe)
    clips, naming = read_clips(parsed, "train")
    to_validate = read_clips(parsed, "val")[0] if validates else None
    with output.ProgressBar("starting", lines=True) as progress, in_config_words(parsed.version, "train"):
        result = run(
            recipe,
            clips,
            to_validate,
            work_dir=work_dir,
            seed=options.seed if options.seed is not None else parsed.config.seed or 0,
            compute=ComputeConfig(device, num_workers=parsed.config.num_workers),
            deterministic=options.deterministic or parsed.config.deterministic,
            naming=naming,
            on_progress=progress,
        )
    for reason in result.bad_clips:
        log.warning(config_words(reason, parsed.version, "train"))
    output.log_notes(result.clip_notes)
    if is_first_rank():
        output.print_training(result)
    if result.stop_signal:
        raise SystemExit(128 + result.stop_signal)
    for is_wanted, file in ((options.test_last, LAST), (options.test_best, BEST)):
        if is_wanted:
            log.info("test of %s", file)
            metrics = tested.config.test_output.metrics or None
            evaluate_by_config(tested, work_dir / file, device=device, metrics=metrics)


def _check_initial_weights(config: str, recipe: Recipe) -> None:
    """An InputError before any list is read. Nothing is fetched: a config names weights, its user does not."""
    try:
        if recipe.training is not None and (init := recipe.training.init):
            check_weights_name(init)
            check_local(init)
    except InputError as error:
        raise InputError(f"{config}: initial weights: {error}") from error


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = config_parser(
        "train.py",
        "Train by an MMAction2 config, which is parsed and never executed, or by a recipe of i3d.",
        script="dist_train.sh",
        epilog="The same command resumes an interrupted run. `i3d train --help` has more options.",
    )
    add = parser.add_argument
    add("--work-dir", "--work_dir", metavar="DIR", help="the folder of the run (default: ./work_dirs/NAME)")
    add("--validate", action="store_true", help="validate (0.x; 1.x does so unless --no-validate)")
    add("--no-validate", action="store_true", help="do not validate (1.x)")
    add("--seed", type=int, help="random seed (default: that of the config, or 0)")
    add("--deterministic", action="store_true", help="only repeatable operations")
    add("--resume-from", metavar="STATE", help="resume a run of i3d: its folder, or a file in its checkpoints/")
    add("--resume", nargs="?", const="auto", metavar="STATE", help="the same (1.x); alone: the run in --work-dir")
    add("--auto-resume", action="store_true", help="accepted: the same command always resumes")
    add("--amp", action="store_true", help="mixed precision, fp16")
    add("--auto-scale-lr", action="store_true", help="scale the learning rate to the batch in any case")
    add("--gpu-id", type=int, dest="gpu_ids", nargs=1, metavar="ID", help="the same")
    add("--diff-seed", "--diff-rank-seed", action="store_true", help="accepted: every clip has its own random numbers")
    add("--test-last", action="store_true", help="then test the last weights on the list for testing")
    add("--test-best", action="store_true", help="the same with the best ones of the validations")
    return parser.parse_args(arguments)


def _validates(options: argparse.Namespace, parsed: ConfigArguments) -> bool:
    if options.validate and options.no_validate:
        raise InputError("--validate, --no-validate: choose one of them")
    if options.validate or (parsed.version == 1 and parsed.config.validates and not options.no_validate):
        return True
    if not parsed.config.validates:
        log.info(
            "note: the config has no %s: there is no validation", "val_dataloader" if parsed.version else "data.val"
        )
    elif not options.no_validate:
        log.info("note: without --validate there is no validation, as in MMAction2 0.x")
    return False


def _work_dir(options: argparse.Namespace, parsed: ConfigArguments) -> Path:
    """The folder of the run: of --work-dir, of the state to resume, of the config, or work_dirs/NAME."""
    default = Path(options.work_dir or parsed.config.work_dir or Path("work_dirs") / parsed.name)
    state = options.resume_from or (None if options.resume in (None, "auto") else options.resume)
    if state is None:
        return default
    path, given = Path(state), printable(state)
    where = f"--resume-from {given}" if options.resume_from else f"--resume {given}"
    if not path.exists():
        raise InputError(f"{where}: there is no such file or folder; check the path")
    folder = path if path.is_dir() else path.parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    if path.is_file() and (path.suffix.lower() in WEIGHTS) and path.parent.name != "checkpoints":
        raise InputError(
            f"{where}: holds weights, not a state that i3d can resume exactly; "
            f"start from its weights: --cfg-options load_from={given} (`i3d train --init {given}`)"
        )
    if not (folder / "run.json").is_file():
        raise InputError(f"{where}: no run.json in {folder}; give the folder of a run")
    if options.work_dir and Path(options.work_dir).resolve() != folder.resolve():
        raise InputError(f"{where}: a run resumes in its own folder; give --work-dir {folder}, or none")
    return folder
