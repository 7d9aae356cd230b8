"""The arguments of an MMAction2 command: a config, which is parsed as data, the clips of its lists, a device."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from i3d.cli.checks import check_no_empty
from i3d.cli.options import FrameOptions, ListOptions
from i3d.cli.run.setup import frame_naming, read_dataset, read_named_dataset
from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.labels import numbered_labels
from i3d.errors import InputError, printable
from i3d.recipes.mmaction2.from_config import Config, from_config, version_of
from i3d.recipes.mmaction2.learning_rate import Written, lr_batch, published_batch, with_base_batch
from i3d.recipes.mmaction2.options import sets_lr, version_of_options, with_options
from i3d.recipes.mmaction2.parse import read_config
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.mmaction2.to_config import kinetics_lists, to_config, version_of_name
from i3d.recipes.named import named_recipe
from i3d.utils.launcher import launched_as

KEYS: Final = {  # options of `i3d` that errors name: the keys of a config of 0.x and of 1.x that stand for them
    "--root": ("data.{split}.data_prefix", "{split}_dataloader.dataset.data_prefix"),
    "--template": ("data.{split}.filename_tmpl", "{split}_dataloader.dataset.filename_tmpl"),
    "--multi-label": ("data.{split}.multi_class=True", "{split}_dataloader.dataset.multi_class=True"),
    "--batch-size": ("data.videos_per_gpu", "train_dataloader.batch_size"),
    "--lr": ("optimizer.lr", "optim_wrapper.optimizer.lr"),
}
WORDS: Final = {  # and what has no such key
    "pass --list-format videos": "use a config with VideoDataset, which decodes them",
    "pass --list-format frames": "use a config with RawframeDataset and RawFrameDecode",
    "pass --list-format": "use a config with another data set",
    "give another --root, or pass --allow-outside": "leave out data_prefix in the config, or correct the path",
    "omit --list-format": "give a list",
    "use bf16 or fp32 (--precision)": "leave out --amp, or fp16 (1.x: AmpOptimWrapper) in the config",
}
SYNC_NORMS: Final = "sync_norms: PyTorch synchronises"


@dataclass(frozen=True)
class ConfigArguments:
    """A config with its options, and the version of MMAction2 whose defaults it has."""

    config: Config
    given: str  # by the user: a file, or a name
    name: str
    version: int


class ScriptParser(argparse.ArgumentParser):
    """Refuses empty values, which several options would take as not given."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        check_no_empty(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)


def config_parser(prog: str, description: str, *, script: str = "", epilog: str = "") -> argparse.ArgumentParser:
    """A parser with a config and its options; with the flags of a launcher if `script` starts several processes."""
    parser = ScriptParser(prog=f"tools/{prog}", description=description, epilog=epilog, allow_abbrev=False)
    add = parser.add_argument
    add("config", help="an MMAction2 config, or configs/recognition/i3d/NAME.py of a published recipe, or its NAME")
    add("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change the config")
    if script:
        add("--checkpoints", type=Path, metavar="DIR", help="folder of the weights that are named by an address")
        add("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="pytorch: torchrun")
        add("--gpus", type=int, help=f"1; for more use tools/{script}")
        add("--gpu-ids", type=int, nargs="+", metavar="ID", help="which GPU")
        add("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # torchrun sets it in the environment
    return parser


def read_config_arguments(
    name_or_file: str, options: Sequence[str], *, scales_lr: bool = False, for_training: bool = True
) -> ConfigArguments:
    """A config file, or a published recipe by its name or by the name of its config, with `--cfg-options`.

    `scales_lr`: the learning rate follows the batch by the linear rule in any case; else as `lr_batch` finds. Not
    `for_training`, nothing that only training reads is checked.
    """
    path = Path(name_or_file)
    name = title = path.stem if path.suffix == ".py" else path.name
    if path.suffix == ".py" and path.exists():
        table, where = read_config(path), printable(str(path))
        version, placement = version_of(table), ""
    else:
        try:
            recipe = named_recipe(name)
        except InputError as error:
            raise InputError(f"{name_or_file}: no such config; {error}") from error
        title, where = recipe.name, f"the published recipe {recipe.name}"
        version = version_of_name(title)
        lists = kinetics_lists(recipe)
        if not options:
            notes = (published_batch(recipe),) if recipe.training and for_training else ()
            return ConfigArguments(Config(recipe, lists, 2, "", None, False, notes), name_or_file, name, version)
        spelled = version_of_options(options)
        table = to_config(recipe, lists, version=version if spelled is None else spelled)
        placement = "end_to_end" if version else "centred"

    def read(variables: Table) -> Config:
        how: Any = {"placement": placement, "base_batch": 0, "for_training": for_training}
        return from_config(variables, where=where, name=title, **how)

    changed = with_options(table, options)
    config = read(changed)
    if config.recipe.training is not None:
        after = before = Written(changed, config.recipe)
        with suppress(InputError):  # an option may correct what is refused in the file
            before = Written(table, read(table).recipe) if options else after
        base_batch, note = lr_batch(before, after, is_forced=scales_lr, sets_lr=sets_lr(options))
        config = replace(config, recipe=with_base_batch(config.recipe, base_batch), notes=(*config.notes, note))
    return ConfigArguments(config, name_or_file, name, version)


def choose_device(options: argparse.Namespace, script: str) -> str:
    """Where one process computes; more than one needs torchrun."""
    started = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    launched_as()  # an InputError for values that are no numbers
    command = f"bash tools/{script} GPUS"
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
    if options.gpus == 0:
        return "cpu"
    return f"cuda:{options.gpu_ids[0]}" if options.gpu_ids and not started else "auto"


@contextmanager
def in_config_words(parsed: ConfigArguments, split: str) -> Iterator[None]:
    """Errors that name options of `i3d` name the keys of the config instead: these commands lack the options."""
    try:
        yield
    except InputError as error:
        message = str(error)
        if message.startswith(SYNC_NORMS) and parsed.config.sync_norms_at:
            key = f"{parsed.config.sync_norms_at}: model.backbone.norm_cfg.type = 'SyncBN'"
            message = message.replace("sync_norms", key).replace("leave it out, or set freeze_norms", "write 'BN3d'")
        raise InputError(config_words(message, parsed.version, split)) from error


def config_words(message: str, version: int, split: str) -> str:
    """A message with the keys of a config in place of options of `i3d`."""
    for words, ours in WORDS.items():
        message = message.replace(words, ours)
    for flag, keys in KEYS.items():
        key = f"--cfg-options {keys[version].format(split=split)}"
        message = re.sub(rf"{flag}(?![\w-])", key, message)
    return message


def read_clips(
    parsed: ConfigArguments, split: str, classes: tuple[str, ...] = ()
) -> tuple[Annotations, FrameNaming | None]:
    """The clips of a split, with the classes that the network has; and their frame naming.

    `classes`: their names, in the order of the numbers of the list; () for training: those that are known.
    """
    recipe, clip_list = parsed.config.recipe, parsed.config.lists.get(split)
    key = f"{split}_dataloader.dataset.ann_file" if parsed.version else f"data.{split}.ann_file"
    if clip_list is None:
        raise InputError(f"{parsed.given}: names no list of clips for {split}; set {key}")
    if not Path(clip_list.ann_file).is_file():
        raise InputError(
            f"{clip_list.ann_file}: no such list of clips for {split}; create it, or name another: "
            f"--cfg-options {key}=LIST"
        )
    num_classes, setting = recipe.network.num_classes, "--cfg-options model.cls_head.num_classes"
    options = ListOptions(
        root=Path(clip_list.prefix or "."),
        list_format=clip_list.format,
        multi_label=recipe.multi_label,
        allow_outside=not clip_list.prefix,
    )
    with in_config_words(parsed, split):
        source = Path(clip_list.ann_file)
        if split == "train" and not classes:
            how: Any = {"num_classes": num_classes, "where_number": setting}
            clips = read_named_dataset(source, options, dataset=recipe.dataset, **how)
        else:
            clips = read_dataset(source, options, classes=classes or numbered_labels(num_classes))
    frames = FrameOptions(clip_list.template, clip_list.first_index)
    return clips, frame_naming(frames, "flow" if recipe.network.in_channels == 2 else "rgb")
