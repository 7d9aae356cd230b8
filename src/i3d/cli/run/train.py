"""`i3d train` by a published recipe."""

from typing import Final

from i3d.cli import output
from i3d.cli.messages import if_interrupted, is_first_rank, log
from i3d.cli.run.setup import cache_in, frame_naming, read_dataset, read_named_dataset
from i3d.cli.train import TrainOptions
from i3d.data.annotations import Annotations
from i3d.data.labels import is_numbered
from i3d.errors import InputError, printable, quoted
from i3d.recipes.io import config_notes, load_recipe, with_overrides, with_training
from i3d.recipes.recipe import Recipe
from i3d.training.train import train as train_recipe
from i3d.utils.device import ComputeConfig, arithmetic_of, pick_device
from i3d.utils.distributed import local_device

SETTINGS_OF: Final = {  # of options whose setting has another name, or that decide several
    "epochs": ("training.epochs", "training.steps"),
    "lr": ("training.optimizer.lr",),
    "flow_method": ("preprocessing.flow",),
}


def run_train(options: TrainOptions) -> int:
    """Train by a recipe, print how it ended; the exit code."""
    recipe = _recipe(options)
    clips, to_validate = _clips(recipe, options)
    saved = f"states so far are saved in {printable(str(options.work_dir))}"
    with if_interrupted(saved), output.ProgressBar("starting", lines=True, quiet=options.json) as progress:
        result = train_recipe(
            recipe,
            clips,
            to_validate,
            work_dir=options.work_dir,
            seed=options.seed,
            compute=ComputeConfig(options.device, None, options.runtime, options.workers, cache_in(options.cache)),
            deterministic=options.deterministic,
            sharded=options.fsdp,
            lr=options.lr,
            max_bad=options.max_bad,
            max_steps=options.benchmark_steps,
            naming=frame_naming(options.frames, "flow" if recipe.network.in_channels == 2 else "rgb"),
            tensorboard=options.tensorboard,
            on_progress=progress,
        )
    if is_first_rank():
        for reason in result.bad_clips:
            log.warning(reason)
        output.log_notes(result.clip_notes)
        output.print_result(result, output.print_training, json=options.json)
    return 128 + result.stop_signal if result.stop_signal else 0


def flow_settings(options: TrainOptions) -> list[str]:
    """The setting of --flow-method; a recipe of RGB refuses it."""
    return [] if options.flow_method is None else [f"preprocessing.flow={options.flow_method}"]


def _recipe(options: TrainOptions) -> Recipe:
    """The recipe, then --set, then the options that have a name of their own."""
    names = ("init", "epochs", "batch_size", "accumulate", "validate_every")
    changes = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.init is not None:
        changes["init_classifier"] = True
    if options.init == "none":
        changes["init"] = ""
    if options.epochs is not None:
        changes["steps"] = None
    if options.precision is not None:
        changes["precision"] = arithmetic_of(options.precision, pick_device(local_device(options.device)))
        changes |= {} if changes["precision"] == "fp16" else {"loss_scale": 0.0}
    settings = [*(options.settings or []), *flow_settings(options)]
    _check_agreement(options)
    for note in config_notes(options.recipe):
        log.info("note: %s", note)
    recipe = with_training(with_overrides(load_recipe(options.recipe), settings), changes)
    return recipe.model_copy(update={"multi_label": True}) if options.dataset.multi_label else recipe


def _check_agreement(options: TrainOptions) -> None:
    """An InputError for a setting that an option gives too: the option would replace it."""
    for name in ("init", "epochs", "batch_size", "accumulate", "validate_every", "precision", "lr", "flow_method"):
        if (value := getattr(options, name)) is None:
            continue
        for setting in options.settings or ():
            if setting.partition("=")[0] in SETTINGS_OF.get(name, (f"training.{name}",)):
                flag = f"--{name.replace('_', '-')} {value}"
                raise InputError(f"{flag}: replaces --set {quoted(setting)}; leave one of them out")


def _clips(recipe: Recipe, options: TrainOptions) -> tuple[Annotations, Annotations | None]:
    """Clips to train on and to validate on, which number their classes alike."""
    data, dataset = options.data, options.dataset
    clips = read_named_dataset(data, dataset, dataset=recipe.dataset)
    has_train, has_val = ((clips.splits_N == number).any() for number in (0, 1))
    training = clips.select_split("train") if has_train else clips
    if not options.validate:
        return training, None
    if options.val_list is None:
        return training, clips.select_split("val") if has_val else None
    validation = read_dataset(options.val_list, dataset, root=options.val_root)
    if is_numbered(validation.classes) and not is_numbered(clips.classes):
        val_list = printable(str(options.val_list))
        log.info("%s: its numbers, which have no names, are those of %s", val_list, printable(str(data)))
    validation = validation.with_classes(clips.classes)
    return training, validation.select_split("val") if (validation.splits_N == 1).any() else validation
