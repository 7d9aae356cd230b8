"""`i3d train` by a published recipe."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Any

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import FrameOptions, ListOptions
from i3d.cli.run.setup import cache_in, frame_naming, is_first_rank, read_dataset
from i3d.cli.train import TrainOptions
from i3d.data.annotations import Annotations
from i3d.data.labels import dataset_labels, numbered_labels
from i3d.recipes.io import load_recipe, with_overrides, with_training
from i3d.recipes.recipe import Recipe
from i3d.training.train import TrainResult
from i3d.training.train import train as train_recipe
from i3d.utils.device import Arithmetic, ComputeConfig, arithmetic_of, pick_device
from i3d.utils.distributed import local_device


def run_train(
    data: Path,
    work_dir: Path,
    dataset: ListOptions,
    frames: FrameOptions,
    options: TrainOptions,
    max_bad: float | None,
    *,
    seed: int,
    json: bool,
) -> int:
    """Train by a recipe, print how it ended; the exit code."""
    recipe = _recipe(options, multi_label=dataset.multi_label)
    clips, to_validate = _clips(recipe, data, dataset, options)
    with output.Training(quiet=json) as progress:
        result = train_recipe(
            recipe,
            clips,
            to_validate,
            work_dir=work_dir,
            seed=seed,
            compute=ComputeConfig(options.device, None, options.runtime, options.workers, cache_in(options.cache)),
            deterministic=options.deterministic,
            sharded=options.fsdp,
            lr=options.lr,
            max_bad=max_bad,
            max_steps=options.benchmark_steps,
            naming=frame_naming(frames, "flow" if recipe.network.in_channels == 2 else "rgb"),
            tensorboard=options.tensorboard,
            on_progress=progress,
        )
    _print_result(result, json=json)
    return 128 + result.stop_signal if result.stop_signal else 0


def training_precision(options: TrainOptions) -> Arithmetic | None:
    """The number format to train in; None: the recipe's."""
    if options.precision is None:
        return None
    return arithmetic_of(options.precision, pick_device(local_device(options.device)))


def flow_settings(options: TrainOptions) -> list[str]:
    """The setting of --flow-method; a recipe of RGB refuses it."""
    return [] if options.flow_method is None else [f"preprocessing.flow={options.flow_method}"]


def _recipe(options: TrainOptions, *, multi_label: bool) -> Recipe:
    """The recipe, then --set, then the options that have a name of their own."""
    precision = training_precision(options)
    changes: dict[str, Any] = {
        "init": {"none": ""}.get(options.init or "", options.init),
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "accumulate": options.accumulate,
        "precision": precision,
        "validate_every": options.validate_every,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if options.epochs is not None:
        changes["steps"] = None
    if precision not in (None, "fp16"):
        changes["loss_scale"] = 0.0
    settings = [*(options.settings or []), *flow_settings(options)]
    recipe = with_training(with_overrides(load_recipe(options.recipe), settings), changes)
    return recipe.model_copy(update={"multi_label": True}) if multi_label else recipe


def _clips(
    recipe: Recipe, data: Path, dataset: ListOptions, options: TrainOptions
) -> tuple[Annotations, Annotations | None]:
    """Clips to train on and to validate on, which number their classes alike."""
    clips = read_dataset(data, dataset)
    known = dataset_labels(recipe.dataset)
    are_numbers = dataset.classes is None and known is not None and clips.classes == numbered_labels(len(clips.classes))
    if are_numbers and known is not None and len(clips.classes) == len(known):
        clips = read_dataset(data, dataset, classes=tuple(known))
    elif are_numbers:
        log.info(
            "the list numbers its %d classes; use --classes %s if these are its numbers",
            len(clips.classes),
            recipe.dataset,
        )
    has_train, has_val = ((clips.splits_N == number).any() for number in (0, 1))
    training = clips.select_split("train") if has_train else clips
    if not options.validate:
        return training, None
    if options.val_list is None:
        return training, clips.select_split("val") if has_val else None
    validation = read_dataset(options.val_list, dataset, root=options.val_root, classes=clips.classes)
    return training, validation.select_split("val") if (validation.splits_N == 1).any() else validation


def _print_result(result: TrainResult, *, json: bool) -> None:
    if not is_first_rank():
        return
    for reason in result.bad_clips:
        log.warning(reason)
    if json:
        print(json_format.dumps(asdict(result), indent=2, default=str))
    else:
        output.print_training(result)
