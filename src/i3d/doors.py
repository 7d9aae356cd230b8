"""Doors for commands that people know from MMAction2: `tools/train.py`, in the spellings of 0.x and of 1.x.

    python tools/train.py configs/recognition/i3d/NAME.py --work-dir W --validate --seed 0 --deterministic

The config is parsed as data, or if there is no such file, is the published recipe NAME. The rest is `i3d.train.train`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from i3d import console
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.data.frame_folders import FrameNames
    from i3d.recipes.mmaction2.translate import ClipList, Config
    from i3d.recipes.recipe import Recipe

KINETICS: Final = Path("data/kinetics400")  # where MMAction2's documents put it
WEIGHTS: Final = (".pth", ".pt", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Asked:
    """A config with its options, and which version's habits go with it."""

    config: Config
    name: str
    version: int


def train(arguments: Sequence[str] | None = None) -> None:
    """`tools/train.py`: MMAction2's flags, our training."""
    from i3d.train import train as run
    from i3d.training.setup import Machine

    options = _options(arguments)
    device = _device(options)
    asked = read_asked(options.config, options.cfg_options, as_written=not options.auto_scale_lr)
    for note in asked.config.notes:
        console.say(f"note: {note}")
    recipe = _with_half(asked.config.recipe) if options.amp else asked.config.recipe
    if recipe.training is None:
        raise InputError(f"{printable(options.config)}: says nothing of training; choose a config that trains")
    work_dir = _work_dir(options, asked)
    validates = _validates(options, asked)
    clips, names = _clips(asked.config.lists, "train", recipe, options.config)
    to_validate = _clips(asked.config.lists, "val", recipe, options.config)[0] if validates else None
    with console.Training(quiet=False) as watcher:
        done = run(
            recipe,
            clips,
            to_validate,
            work_dir=work_dir,
            seed=options.seed,
            machine=Machine(device, asked.config.num_workers, options.deterministic),
            names=names,
            watcher=watcher,
        )
    for reason in done.bad:
        console.say(f"warning: {reason}")
    if os.environ.get("RANK", "0") == "0":  # torchrun's: the first process speaks for all
        console.tell_trained(done)
    if done.stopped_by:
        raise SystemExit(128 + done.stopped_by)


def read_asked(name_or_file: str, options: Sequence[str], *, as_written: bool = True) -> Asked:
    """A config file, or a published recipe by its name or by the name of its config, with `--cfg-options`.

    `as_written`: a learning rate among the options is taken as it is; any other follows the batch by the linear rule.
    """
    from i3d.recipes.mmaction2.options import sets_rate, version_asked, with_options
    from i3d.recipes.mmaction2.parse import Table, read_config
    from i3d.recipes.mmaction2.translate import Config, default_base_batch, translate, version_of
    from i3d.recipes.mmaction2.written import config_of
    from i3d.recipes.named import named_recipe

    path = Path(name_or_file)
    name = title = path.stem if path.suffix == ".py" else path.name
    if path.suffix == ".py" and path.exists():
        table, where = read_config(path), printable(str(path))
        version, placement, base_batch = version_of(table), "", default_base_batch(table)
    else:
        recipe = named_recipe(name)
        title, where = recipe.name, f"the published recipe {recipe.name}"
        version = int("8xb8" in title)
        lists = kinetics_lists(recipe)
        if not options:
            return Asked(Config(recipe, lists, 2, "", ()), name, version)
        spelled = version_asked(options)
        table = config_of(recipe, lists, version=version if spelled is None else spelled)
        placement = "end_to_end" if version else "centred"
        base_batch = recipe.training.base_batch if recipe.training else 0
    base_batch = 0 if as_written and sets_rate(options) else base_batch
    changed: Table = with_options(table, options)
    config = translate(changed, where=where, name=title, placement=placement, base_batch=base_batch)
    return Asked(config, name, version)


def kinetics_lists(recipe: Recipe, folder: Path = KINETICS) -> dict[str, ClipList]:
    """The lists of a published recipe where MMAction2's documents put them: 0.x's names, or the earlier ones."""
    from i3d.recipes.mmaction2.translate import ClipList

    frames = recipe.training is not None and recipe.training.input == "frames"
    kind = "rawframes" if frames else "videos"
    lists: dict[str, ClipList] = {}
    for split in ("train", "val"):
        places = [folder / f"kinetics400_{split}_list_{kind}.txt", folder / f"kinetics_{split}_list.txt"]
        file = next((place for place in places if place.exists()), places[0])
        prefix = str(folder / f"{kind}_{split}")
        lists[split] = ClipList(str(file), prefix, "frames" if frames else "videos", None, 1)
    return lists | {"test": lists["val"]}


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
    add("--test-last", "--test-best", action="store_true", help="not built yet")
    return parser.parse_args(arguments)


def _device(options: argparse.Namespace) -> str:
    """Where one process computes; more than one needs torchrun."""
    started = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    command = f"bash tools/dist_train.sh {options.config} GPUS"
    if options.launcher in ("slurm", "mpi"):
        raise InputError(f"--launcher {options.launcher}: processes are started by torchrun here; use {command}")
    if options.launcher == "pytorch" and not started:
        raise InputError(f"--launcher pytorch: no launcher has started this process; use {command}")
    if options.gpus is not None and options.gpus > 1 and not started:
        raise InputError(
            f"--gpus {options.gpus}: one process uses one device; use {command.replace('GPUS', str(options.gpus))}"
        )
    if options.gpu_ids and len(options.gpu_ids) > 1 and not started:
        ids = ",".join(map(str, options.gpu_ids))
        more = command.replace("GPUS", str(len(options.gpu_ids)))
        raise InputError(f"--gpu-ids: one process uses one device; use CUDA_VISIBLE_DEVICES={ids} {more}")
    if options.test_last:
        raise InputError("--test-last, --test-best: testing is not built yet; leave them out")
    if options.gpus == 0:
        return "cpu"
    return f"cuda:{options.gpu_ids[0]}" if options.gpu_ids and not started else "auto"


def _validates(options: argparse.Namespace, asked: Asked) -> bool:
    if options.validate and options.no_validate:
        raise InputError("--validate, --no-validate: choose one of them")
    if options.validate or (asked.version == 1 and not options.no_validate):
        return True
    if not options.no_validate:
        console.say("note: without --validate there is no validation, as in MMAction2 0.x")
    return False


def _work_dir(options: argparse.Namespace, asked: Asked) -> Path:
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


def _clips(
    lists: dict[str, ClipList], split: str, recipe: Recipe, config: str
) -> tuple[Annotations, FrameNames | None]:
    """The clips of a split, with the classes that the network has; and how their frames are named, if it is said."""
    from i3d.data.frame_folders import FrameNames
    from i3d.data.labels import dataset_labels, numbered_labels
    from i3d.data.read import read_annotations

    found = lists.get(split)
    if found is None:
        raise InputError(f"{printable(config)}: names no list of clips for {split}; set data.{split}.ann_file")
    key = {0: f"data.{split}.ann_file", 1: f"{split}_dataloader.dataset.ann_file"}
    if not Path(found.ann_file).is_file():
        raise InputError(
            f"{printable(found.ann_file)}: there is no such list of clips for {split}; put it there, or name another: "
            f"--cfg-options {key[0]}=LIST (1.x: {key[1]}=LIST)"
        )
    known = dataset_labels(recipe.dataset)
    num_classes = recipe.network.num_classes
    classes = known if known is not None and len(known) == num_classes else numbered_labels(num_classes)
    clips = read_annotations(
        Path(found.ann_file),
        root=Path(found.prefix or "."),
        classes=classes,
        format=found.format,
        multi_label=recipe.multi_label,
        allow_outside=not found.prefix,
    )
    for warning in clips.warnings:
        console.say(f"warning: {printable(warning)}")
    modality: Any = "flow" if recipe.network.in_channels == 2 else "rgb"
    return clips, None if found.template is None else FrameNames(found.template, found.first_index, modality)


def _with_half(recipe: Recipe) -> Recipe:
    from i3d.recipes.io import with_training

    return with_training(recipe, {"precision": "fp16"})
