"""Where in a config a setting of its recipe comes from, so that the error of the recipe names the line."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from pydantic import ValidationError

from i3d.errors import InputError
from i3d.recipes.mmaction2.section import Section
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.settings import TAGS, first_error

SPLITS: Final = {  # parts of a recipe, and the split whose pipeline they come from
    "preprocessing": "test", "protocol": "test", "sampling": "train", "augmentation": "train", "validation": "val",
    "validation_geometry": "val", "validation_crop": "val",
}  # fmt: skip
SAMPLING: Final = ("protocol", "sampling", "validation")
STEPS: Final = {  # settings that are not of the sampling, and the steps that set them; the others are of the geometry
    **dict.fromkeys(("brightness", "contrast", "saturation", "hue"), "ColorJitter"),
    **dict.fromkeys(("rotation_degrees", "pixel_dropout"), "Imgaug"),
    "flip": "Flip", "rand_augment": "PytorchVideoWrapper", "mean": "Normalize", "std": "Normalize",
}  # fmt: skip
GEOMETRY: Final = ("Resize", "CenterCrop", "ThreeCrop", "TenCrop", "RandomCrop", "RandomResizedCrop", "MultiScaleCrop")
STEP_KEYS: Final = {
    "twice": "twice_sample", "out_of_bound": "out_of_bound_opt", "flip": "flip_ratio", "crop": "crop_size",
    **dict.fromkeys(("short_side", "resize", "size", "within"), "scale"),
}  # fmt: skip
KEYS: Final = {  # other settings, and the keys of 0.x and 1.x that set them
    **{name: (f"optimizer.{name}", f"optim_wrapper.optimizer.{name}")
       for name in ("lr", "momentum", "weight_decay", "betas", "nesterov")},
    **dict.fromkeys(("factors", "layers"), ("optimizer.paramwise_cfg", "optim_wrapper.paramwise_cfg")),
    "accumulate": ("optimizer_config.cumulative_iters", "optim_wrapper.accumulative_counts"),
    "clip_grad_norm": ("optimizer_config.grad_clip.max_norm", "optim_wrapper.clip_grad.max_norm"),
    "loss_scale": ("fp16.loss_scale", "optim_wrapper.loss_scale"),
    "epochs": ("total_epochs", "runner.max_epochs", "train_cfg.max_epochs"),
    "batch_size": ("data.videos_per_gpu", "train_dataloader.batch_size"),
    "validate_every": ("evaluation.interval", "train_cfg.val_interval"),
    "patience": ("default_hooks.early_stopping.patience", "custom_hooks"),
    "class_weights": ("model.cls_head.loss_cls.class_weight",),
    "label_smoothing": ("model.cls_head.label_smooth_eps",),
    **dict.fromkeys(("mixup", "mixup_alpha", "cutmix_alpha", "cutmix"),
                    ("model.train_cfg.blending", "train_cfg.blending", "model.data_preprocessor.blending")),
    "num_classes": ("model.cls_head.num_classes",),
    "dropout": ("model.cls_head.dropout_ratio",),
    "mean": ("model.data_preprocessor.mean", "img_norm_cfg"),
    "std": ("model.data_preprocessor.std", "img_norm_cfg"),
    "network": ("model.backbone",),
    **dict.fromkeys(("schedule", "warmup_epochs", "warmup_steps", "warmup_start", "gamma", "end"),
                    ("lr_config", "param_scheduler")),
}  # fmt: skip


def recipe_error(error: ValidationError, config: Section, datasets: Mapping[str, Section], where: str) -> InputError:
    """The error of a recipe with the line of the config; `datasets`: by the split."""
    fault = error.errors()[0]
    place, key = _place(fault["loc"], fault["msg"], config, datasets) or (where, "")
    return InputError(f"{place}: {key}{key and ': '}as a recipe, {first_error(error)}; change it, or leave it out")


def _place(
    loc: Sequence[int | str], message: str, config: Section, datasets: Mapping[str, Section]
) -> tuple[str, str] | None:
    """(`file:line`, the key) of the setting at the place of an error; None: none is known."""
    names = [str(name) for name in loc if name not in TAGS]
    split = next((SPLITS[name] for name in names if name in SPLITS), "")
    words = [*reversed(names), *re.findall(r"\w+", message)]
    step = _step(names, words, datasets[split]) if split in datasets else None
    if step is not None:
        return step
    paths = [path for word in words for path in KEYS.get(word, ())]
    if "network" in names:
        paths += [f"model.backbone.{word}" for word in words]
    places = [place for path in paths if (place := _deepest(config, path)) is not None]
    return max(places, key=lambda place: place[2])[:2] if places else None


def _step(names: Sequence[str], words: Sequence[str], dataset: Section) -> tuple[str, str] | None:
    """The place of the step of a pipeline that sets the first of the words that it can; `names`: of the setting."""
    pipeline = list(enumerate(dataset.table.get("pipeline", ())))
    if of_word := next((STEPS[word] for word in words if word in STEPS), ""):
        steps = [one for one in pipeline if _kind(one[1]) == of_word]
    elif any(name in SAMPLING for name in names):
        steps = [one for one in pipeline if _kind(one[1]).endswith("SampleFrames")]
    else:
        steps = [one for one in pipeline if _kind(one[1]) in GEOMETRY]
        if {"short_side", "resize"} & set(names):  # it precedes the last crop, which a resize to a square may be
            steps = [one for one in steps[:-1] if _kind(one[1]) == "Resize"]
        elif (number := next((int(b) for a, b in pairwise(names) if a == "steps"), None)) is not None:
            steps = steps[number : number + 1]
    if not steps:
        return None
    number, step = steps[-1]
    key = next((key for word in words if (key := STEP_KEYS.get(word, word)) in step), "type")
    path = f"{dataset.path}.pipeline[{number}]" + (f".{key}" if key != "type" else "")
    return step.places.get(key) or dataset.place("pipeline"), path


def _kind(step: Any) -> str:
    return str(step.get("type", "")).rsplit(".", 1)[-1]


def _deepest(config: Section, path: str) -> tuple[str, str, int] | None:
    """(place, path, depth) of the last key of a path that the config has; None if it has not the first."""
    table, place, keys = config.table, "", list[str]()
    for key in path.split("."):
        if not isinstance(table, Table) or key not in table:
            break
        place, table = table.places.get(key) or place, table[key]
        keys.append(key)
    return (place or config.place(""), ".".join(keys), len(keys)) if keys else None
