"""Refuses settings that change nothing in a fine-tuning, or contradict a flag: a plan holds only what has an effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from i3d.errors import InputError, quoted
from i3d.finetuning.inspect_data import Split
from i3d.finetuning.options import HeadKind, TrainLayers
from i3d.recipes.recipe import Recipe

HEAD_SETTINGS: Final = ("augmentation", "sampling", "loss", "balance", "precision")  # that affect a fitted classifier
TRAINING_NETWORK: Final = ("dropout", "frozen_stages", "norm_eval", "activation_checkpointing")  # in training alone
VALIDATION: Final = ("patience", "validate_every", "best_by", "validation", "validation_crop", "validation_geometry")
WEIGHTING: Final = ("class_weights", "focal_gamma", "logit_adjustment")
DECIDED: Final[Mapping[str, tuple[str, ...]]] = {  # by an option, the settings that it decides alone
    "precision": ("training.precision",),
    "epochs": ("training.epochs", "training.steps"),
    "batch_size": ("training.batch_size",),
    "lr": ("training.optimizer.lr",),
    "layer_decay": ("training.layer_decay",),
    "test_clips": ("protocol.num_clips",),
    "norms": ("training.freeze_norms",),
    "balance": ("training.balance", *(f"training.loss.{key}" for key in WEIGHTING)),
    "accumulate": ("training.accumulate",),
}


@dataclass(frozen=True)
class Plan:
    """What was decided about the classifier and the layers."""

    train_layers: TrainLayers
    head: HeadKind
    views: int


def check_effects(settings: Sequence[str], recipe: Recipe, plan: Plan) -> None:
    """An InputError for the first setting that changes nothing; `recipe` is the one with the settings."""
    values: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if values.setdefault(key, value) != value:
            raise InputError(f"--set {key}: is given as {values[key]} and as {value}; leave one of them out")
        if why := _why_useless(key, recipe, plan):
            raise InputError(f"--set {quoted(setting)}: {why}")


def changed_options(before: Recipe, after: Recipe) -> list[str]:
    """The options whose decision the settings replaced."""
    return [
        option for option, keys in DECIDED.items() if any(_value(before, key) != _value(after, key) for key in keys)
    ]


def check_agreement(option: str, given: Any, settings: Sequence[str]) -> None:
    """An InputError for a setting that replaced the decision of an option, which the user gave too."""
    keys = DECIDED[option]
    setting = next(text for text in settings if _decides(text.partition("=")[0], keys))
    flag = f"--{option.replace('_', '-')}"
    if option == "norms":
        raise InputError(f"--set {quoted(setting)}: {flag} decides it; use {flag} frozen or trained")
    if given is not None:
        raise InputError(f"{flag} {given}: contradicts --set {quoted(setting)}; leave one of them out")


def check_validation(settings: Sequence[str], split: Split) -> None:
    """An InputError for a setting of validation, if no clips are for validation."""
    for setting in settings:
        section, _, name = setting.partition("=")[0].partition(".")
        if section == "training" and name.split(".")[0] in VALIDATION and not split.validation:
            why = "--cv-folds trains on all clips" if split.folds_N is not None else "no clip is for validation"
            raise InputError(f"--set {quoted(setting)}: has no effect, as {why}; leave it out")


def _why_useless(key: str, recipe: Recipe, plan: Plan) -> str:
    """Why a setting changes nothing, and the next step; "" if it does."""
    section, _, name = key.partition(".")
    part, training = name.split(".")[0], recipe.training
    if key == "training.init":
        return "has no effect; --init names the initial weights"
    if recipe.multi_label and key == "training.loss.logit_adjustment":
        return "has no effect on multi-label clips; leave it out"
    if plan.train_layers != "head" or training is None:
        return ""
    if section == "network" and part in TRAINING_NETWORK:
        return "has no effect where no layers are trained; add --train-layers last or all"
    if section != "training":
        return ""
    if part not in HEAD_SETTINGS:
        return "the classifier alone is fitted to its optimum, without steps; add --train-layers last or all"
    if part in ("augmentation", "sampling") and plan.views == 1 and key != "training.augmentation.mirrored":
        return "has no effect without random views (--views 1); add --views 2 or more"
    if recipe.multi_label and key in ("training.loss.class_weights", "training.balance"):
        return "has no effect on multi-label clips; leave it out"
    if isinstance(training.loss.class_weights, tuple) and part == "loss":
        return "a fitted classifier has no weights of single classes; use balanced or none, or --train-layers last"
    if plan.head == "prototype" and part == "loss" and name != "loss.class_weights":
        return "has no effect on class means (--head prototype), which have no loss; add --head linear"
    return ""


def _decides(key: str, keys: Sequence[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for name in keys)


def _value(recipe: Any, key: str) -> Any:
    """The setting with a dotted key; None if this kind of recipe has none."""
    for name in key.split("."):
        recipe = getattr(recipe, name, None)
    return recipe
