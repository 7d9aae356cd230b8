"""The MindSpore port's `config/i3d_rgb.yaml` as settings of the recipe `i3d_rgb`. It is parsed and never executed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from i3d.errors import InputError, first_line
from i3d.recipes.mmaction2.section import Section
from i3d.recipes.named import named_recipe
from i3d.recipes.yaml import read_yaml_table
from i3d.utils.text import read_text

RECIPE: Final = "i3d_rgb"
DEVICES: Final = {"GPU": "cuda", "Ascend": "npu", "CPU": "cpu"}
WARMUP_START: Final = 0.001
MAX_EPOCHS: Final = 1_000_000


@dataclass(frozen=True)
class PortConfig:
    """What a config asks for. Paths are as they stand in it."""

    name: str  # the prefix of checkpoints
    device: str  # cuda, npu or cpu
    epochs: int
    batch_size: int
    num_workers: int
    output: str  # the folder of the run
    train_weights: str  # "" for random ones
    test_weights: str
    data: str
    test_split: Literal["train", "val", "test"]
    train_settings: tuple[str, ...]  # `key=value` in which the recipe differs
    test_settings: tuple[str, ...]
    unused: tuple[str, ...]  # keys without an effect, each with the reason


def read_port_config(path: Path) -> PortConfig:
    """Read a config. A key that is unknown or means what i3d does not do is an InputError `file:line: ...`."""
    if not path.is_file():
        raise InputError(f"{path}: no such config; give config/i3d_rgb.yaml of the port, or your copy of it")
    try:
        table = read_yaml_table(read_text(path), str(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({first_line(error)})") from error
    config = Section(table, "", str(path))
    unused: list[str] = []
    train, test = config.sub("train"), config.sub("eval")
    epochs, weights = train.take("epochs", 30), train.take("pretrained_model", "")
    if not 1 <= epochs <= MAX_EPOCHS:
        raise train.wrong("epochs", f"must be from 1 to {MAX_EPOCHS:,}")
    if not re.fullmatch(r"[\w-][\w.-]*", name := config.take("model_name", RECIPE), re.ASCII):
        raise config.wrong("model_name", "begins the names of files", "write letters, digits, _ and -")
    _check_fixed(config, unused)
    loader = config.sub("data_loader")
    loader.only("group_size", 1)
    clips, test_clips = (loader.sub(part).sub("dataset") for part in ("train", "eval"))
    length = clips.take("seq", 64)
    settings = {
        **_optimizer(config, epochs, unused),
        "training.sampling.clip_len": length,
        "training.validation.clip_len": length,
        **_augmentation(loader.sub("train").sub("map")),
    }
    test_steps = _test_steps(loader.sub("eval").sub("map"))
    result = PortConfig(
        name=name,
        device=DEVICES[_device(config.sub("context"))],
        epochs=epochs,
        batch_size=clips.take("batch_size", 4),
        num_workers=clips.take("num_parallel_workers", 8),
        output=train.take("ckpt_path", "./output"),
        train_weights=weights if train.take("pre_trained", False) else "",
        test_weights=test.take("pretrained_model", ""),
        data=_data(clips, test_clips),
        test_split=cast(Literal["train", "val", "test"], test_clips.take("split", "val")),
        train_settings=tuple(_changes({**settings, "training.validation_crop": test_steps["preprocessing.crop"]})),
        test_settings=tuple(_changes({"protocol.clip_len": test_clips.take("seq", 64), **test_steps})),
        unused=tuple(unused),
    )
    config.close()
    return result


def _device(context: Section) -> str:
    context.ignore("mode", "device_id")
    device = context.take("device_target", "GPU")
    if device not in DEVICES:
        raise context.wrong("device_target", f"must be one of {', '.join(DEVICES)}")
    return device


def _data(clips: Section, test_clips: Section) -> str:
    """The folder of the data set; of both parts the same settings."""
    for part in (clips, test_clips):
        part.only("type", "Kinetic400")
        part.only("frame_interval", 1)
        part.only("num_clips", 1)
        part.only("repeat_num", 1)
        part.only("align", False)
        part.ignore("shuffle", "batch_size", "num_parallel_workers")
    clips.only("split", "train")
    clips.only("seq_mode", "part")
    if test_clips.take("split", "val") not in ("train", "val", "test"):
        raise test_clips.wrong("split", "must be one of train, val, test")
    test_clips.only("seq_mode", "discrete", why="must be 'discrete' here: frames drawn from the whole video and sorted")
    path = clips.take("path", "")
    if test_clips.take("path", path) != path:
        raise test_clips.wrong("path", "is another data set than that of training", "give the data set as an argument")
    return path


def _check_fixed(config: Section, unused: list[str]) -> None:
    """Keys that have one meaning here, and those without an effect."""
    model, loss, train = config.sub("model"), config.sub("loss"), config.sub("train")
    model.only("type", "I3D")
    model.ignore("num_classes")
    loss.only("type", "SoftmaxCrossEntropyWithLogits")
    loss.only("sparse", True)
    loss.only("reduction", "mean")
    reasons = {
        "dataset_sink_mode": "MindSpore's own",
        "infer": "no command here reads it",
        "export": "no command here reads it",
    }
    config.ignore(*reasons)
    for key, why in reasons.items():
        if config.table.get(key):
            unused.append(f"{key} ({why})")
    if "num_classes" in model:
        unused.append("model.num_classes (the data set has its classes)")
    for key in ("save_checkpoint_epochs", "save_checkpoint_steps", "keep_checkpoint_max", "run_distribute"):
        train.ignore(key)
        if train.table.get(key):
            unused.append(f"train.{key} (the script and i3d decide)")


def _optimizer(config: Section, epochs: int, unused: list[str]) -> dict[str, Any]:
    optimizer, rate = config.sub("optimizer"), config.sub("learning_rate")
    optimizer.only("type", "SGD")
    if optimizer.any("loss_scale") not in (None, 1, 1.0):
        unused.append("optimizer.loss_scale (of float16; this is float32)")
    lr = rate.take("lr", 0.0012)
    settings: dict[str, Any] = {
        "training.optimizer.lr": lr,
        "training.optimizer.momentum": optimizer.take("momentum", 0.9),
        "training.optimizer.weight_decay": optimizer.take("weight_decay", 4e-4),
        "training.warmup_epochs": (warmup := rate.take("warmup_epochs", 0.0)),
    }
    if warmup:
        settings["training.warmup_start"] = WARMUP_START
    if rate.any("max_epoch") not in (None, epochs):
        unused.append(f"learning_rate.max_epoch (the schedule spans the {epochs} epochs of train.epochs)")
    kind = rate.take("lr_scheduler", "cosine_annealing")
    end, length = rate.take("eta_min", 0.0), rate.take("t_max", float(epochs))
    steps, gamma = rate.numbers("lr_epochs"), rate.take("lr_gamma", 0.1)
    if kind == "cosine_annealing":
        schedule = {"kind": "cosine", "end": end / lr if lr else 0.0}
        settings["training.schedule"] = schedule | ({} if length == epochs else {"length": length})
    elif kind == "exponential":
        settings["training.schedule"] = {"kind": "step", "epochs": [int(step) for step in steps], "gamma": gamma}
    else:
        raise rate.wrong("lr_scheduler", "is not supported", "use cosine_annealing, or exponential, which has steps")
    return settings


def _augmentation(part: Section) -> dict[str, Any]:
    """The steps of training: a resize, a random crop, a flip."""
    names = ("VideoResize", "VideoShortEdgeResize", "VideoRandomCrop", "VideoCenterCrop", "VideoRandomHorizontalFlip")
    settings: dict[str, Any] = {"training.augmentation.flip": 0.0}
    for kind, step in _steps(part, names):
        if kind == "VideoResize":
            settings["training.augmentation.resize"] = _sides(step)
        elif kind == "VideoShortEdgeResize":
            settings["training.augmentation.resize"] = step.take("size", 256)
        elif kind == "VideoRandomHorizontalFlip":
            settings["training.augmentation.flip"] = step.take("prob", 0.5)
        else:
            settings["training.augmentation.crop"] = {"kind": "random" if kind == "VideoRandomCrop" else "center"}
            settings["training.augmentation.size"] = _square(step)
    if "training.augmentation.size" not in settings:
        raise part.wrong("operations", "has no crop", "add VideoRandomCrop")
    settings.setdefault("training.augmentation.resize", None)
    return settings


def _test_steps(part: Section) -> dict[str, Any]:
    settings: dict[str, Any] = {"preprocessing.short_side": 256, "preprocessing.crop": 224}
    for kind, step in _steps(part, ("VideoShortEdgeResize", "VideoCenterCrop")):
        if kind == "VideoCenterCrop":
            settings["preprocessing.crop"] = _square(step)
        else:
            settings["preprocessing.short_side"] = step.take("size", 256)
    return settings


def _steps(part: Section, names: tuple[str, ...]) -> Iterator[tuple[str, Section]]:
    """The steps in the one order that is supported, that of `names`; VideoToTensor is the last."""
    part.ignore("input_columns")
    last = -1
    for step in part.each("operations"):
        kind = step.choose("the step", *names, "VideoToTensor")
        place = len(names) if kind == "VideoToTensor" else names.index(kind)
        if place <= last:
            raise InputError(f"{step.place('type')}: {kind} comes too late; the order is {', '.join(names)}")
        last = place
        step.ignore("interpolation", "order")
        if kind != "VideoToTensor":
            yield kind, step


def _sides(step: Section) -> list[int]:
    height, width = step.pair("size")
    return [int(height), int(width)]


def _square(step: Section) -> int:
    height, width = _sides(step)
    if height != width:
        raise step.wrong("size", "must be a square here")
    return height


def _changes(settings: dict[str, Any]) -> Iterator[str]:
    """`key=value` of the settings that the recipe has otherwise."""
    recipe = named_recipe(RECIPE).model_dump(mode="json")
    for key, value in settings.items():
        own: Any = recipe
        for part in key.split("."):
            own = own[part]
        is_same = own == value
        if isinstance(value, dict) and isinstance(own, dict):
            is_same = all(own.get(name) == one for name, one in value.items())
        if not is_same:
            yield f"{key}={json.dumps(value)}"
