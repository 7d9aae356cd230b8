"""The MindSpore port's `config/i3d_rgb.yaml` as settings of the recipe `i3d_rgb`. It is parsed and never executed."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

from i3d.cli.ports.mindspore_pipeline import read_augmentation, read_geometry
from i3d.errors import InputError, first_line
from i3d.recipes.io import with_overrides
from i3d.recipes.mmaction2.section import Section
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.named import named_recipe
from i3d.recipes.recipe import Recipe
from i3d.recipes.yaml import read_yaml_table
from i3d.utils.text import read_text

T = TypeVar("T", int, float, bool, str)
RECIPE: Final = "i3d_rgb"
DEVICES: Final = {"GPU": "cuda", "Ascend": "npu", "CPU": "cpu"}
WARMUP_START: Final = 0.001
MILLION: Final = 1_000_000
UNREAD: Final = ("infer", "export")  # sections of the port's other programs
SAVING: Final = ("save_checkpoint_epochs", "save_checkpoint_steps", "keep_checkpoint_max")
OF_SCHEDULE: Final = {"cosine_annealing": ("eta_min", "t_max"), "exponential": ("lr_epochs", "lr_gamma")}


@dataclass(frozen=True)
class PortConfig:
    """What a config asks for. Paths are as they stand in it."""

    name: str  # the prefix of checkpoints
    device: str  # cuda, npu or cpu
    device_id: int | None
    epochs: int
    batch_size: int
    num_workers: int
    num_test_workers: int
    num_classes: int
    output: str  # the folder of the run
    pre_trained: bool  # whether training starts from `train_weights`
    train_weights: str
    test_weights: str
    data: str
    test_split: Literal["train", "val", "test"]
    train_settings: tuple[str, ...]  # `key=value` in which the recipe differs
    test_settings: Mapping[str, Any]  # all of the protocol and the preprocessing
    unused: tuple[str, ...]  # keys without an effect, each with the reason
    assumed: tuple[str, ...]  # keys that are not set, each with the value of the published config


@dataclass
class _Reader:
    """Reads keys, and notes those that are not set and those without an effect."""

    unused: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def take(self, part: Section, key: str, default: T, low: float = 0, high: float = MILLION) -> T:
        """The value of a key that the published config has; a number must be from `low` to `high`."""
        if key not in part.table:
            self.assumed.append(f"{part.path}.{key} {default}".lstrip("."))
        return self.may(part, key, default, low, high)

    def may(self, part: Section, key: str, default: T, low: float = 0, high: float = MILLION) -> T:
        """The same of a key that may be missing."""
        value = part.take(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
            raise part.wrong(key, f"must be from {low:,g} to {high:,g}".replace("1e+06", "1,000,000"))
        return value

    def only(self, part: Section, key: str, value: Any, why: str = "") -> None:
        """Check a key of the published config that has one meaning here."""
        if key not in part.table:
            self.assumed.append(f"{part.path}.{key} {value}")
        part.only(key, value, why=why)

    def no_effect(self, part: Section, key: str, default: T, why: str) -> None:
        """Check the type of a key whose value changes nothing here."""
        self.may(part, key, default)
        if part.table.get(key):
            self.unused.append(f"{part.path}.{key} ({why})".lstrip("."))


def read_port_config(path: Path) -> PortConfig:
    """Read a config. A key that is unknown or means what i3d does not do is an InputError `file:line: ...`."""
    config, reader = Section(_table(path), "", str(path)), _Reader()
    train, loader = config.sub("train"), config.sub("data_loader")
    epochs = reader.take(train, "epochs", 30, 1)
    if not re.fullmatch(r"[\w-][\w.-]*", name := config.take("model_name", RECIPE), re.ASCII):
        raise config.wrong("model_name", "begins the names of files", "write letters, digits, _ and -")
    if not (output := train.take("ckpt_path", "./output")).strip():
        raise train.wrong("ckpt_path", "names no folder", "write ./output/")
    _check_fixed(config, reader)
    device, device_id = _device(config.sub("context"), reader)
    loader.only("group_size", 1)
    clips, test_clips = (loader.sub(part).sub("dataset") for part in ("train", "eval"))
    data, test_split = _data(clips, test_clips, reader)
    length = reader.take(clips, "seq", 64, 1, 10_000)
    augmentation = read_augmentation(loader.sub("train").sub("map"), reader.unused)
    geometry = read_geometry(loader.sub("eval").sub("map"), reader.unused)
    preprocessing = {f"preprocessing.{key}": value for key, value in geometry.items()}
    settings = {
        **_optimizer(config, epochs, reader),
        "training.shuffle": reader.may(clips, "shuffle", True),
        "training.sampling.clip_len": length,
        "training.validation.clip_len": length,
        **{f"training.augmentation.{key}": value for key, value in augmentation.items()},
        **preprocessing,
        "training.validation_crop": geometry["crop"],
    }
    pre_trained, train_weights = train.take("pre_trained", False), train.take("pretrained_model", "")
    if train_weights and not pre_trained:
        reader.unused.append("train.pretrained_model (pre_trained is False)")
    test_settings = {"protocol.clip_len": reader.take(test_clips, "seq", 64, 1, 10_000), **preprocessing}
    result = PortConfig(
        name=name,
        device=device,
        device_id=device_id,
        epochs=epochs,
        batch_size=reader.take(clips, "batch_size", 4, 1, 65_536),
        num_workers=reader.may(clips, "num_parallel_workers", 8, 0, 1024),
        num_test_workers=reader.may(test_clips, "num_parallel_workers", 8, 0, 1024),
        num_classes=reader.take(config.sub("model"), "num_classes", 400, 1),
        output=output,
        pre_trained=pre_trained,
        train_weights=train_weights,
        test_weights=config.sub("eval").take("pretrained_model", ""),
        data=data,
        test_split=test_split,
        train_settings=changes_of(settings, named_recipe(RECIPE)),
        test_settings=test_settings,
        unused=tuple(reader.unused),
        assumed=tuple(reader.assumed),
    )
    config.close()
    _check_together(path, result.train_settings)
    return result


def changes_of(settings: Mapping[str, Any], recipe: Recipe) -> tuple[str, ...]:
    """`key=value` of the settings that the recipe has otherwise."""
    return tuple(_changes(settings, recipe.model_dump(mode="json")))


def _changes(settings: Mapping[str, Any], recipe: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        own: Any = recipe
        for part in key.split("."):
            own = own[part]
        text = json.dumps(value)
        is_same = own == json.loads(text)
        if isinstance(value, dict) and isinstance(own, dict):
            is_same = all(own.get(name) == one for name, one in value.items())
        if not is_same:
            yield f"{key}={text}"


def _table(path: Path) -> Table:
    if not path.is_file():
        raise InputError(f"{path}: no such config; give config/i3d_rgb.yaml of the port, or your copy of it")
    try:
        table = read_yaml_table(read_text(path), str(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({first_line(error)})") from error
    _refuse_empty({key: value for key, value in table.items() if key not in UNREAD}, table.places)
    return table


def _refuse_empty(table: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """An InputError for a key without a value, which would count as one that is not there."""
    for key, value in table.items():
        if value is None:
            raise InputError(f"{places[key]}: {key} has no value; write one, or remove the line")
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Table):
                _refuse_empty(part, part.places)


def _check_together(path: Path, settings: tuple[str, ...]) -> None:
    """An InputError for values that are each allowed and do not go together, such as a crop larger than the frame."""
    try:
        with_overrides(named_recipe(RECIPE), settings)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('--set: ').split('; see docs/')[0]}") from error


def _device(context: Section, reader: _Reader) -> tuple[str, int | None]:
    context.only("mode", 0, 1)
    device = reader.take(context, "device_target", "GPU")
    if device not in DEVICES:
        raise context.wrong("device_target", f"must be one of {', '.join(DEVICES)}")
    number = reader.may(context, "device_id", 0, 0, 1023)
    return DEVICES[device], number if "device_id" in context.table and device != "CPU" else None


def _data(clips: Section, test_clips: Section, reader: _Reader) -> tuple[str, Literal["train", "val", "test"]]:
    """(the folder of the data set, the split of the evaluation); of both parts the same settings."""
    for part in (clips, test_clips):
        reader.only(part, "type", "Kinetic400")
        part.only("frame_interval", 1)
        part.only("num_clips", 1)
        part.only("repeat_num", 1)
        part.only("align", False)
    reader.no_effect(test_clips, "shuffle", False, "the order of clips changes no result of an evaluation")
    reader.no_effect(test_clips, "batch_size", 1, "an evaluation scores clip by clip")
    reader.only(clips, "split", "train")
    clips.only("seq_mode", "part")
    split = reader.take(test_clips, "split", "val")
    if split not in ("train", "val", "test"):
        raise test_clips.wrong("split", "must be one of train, val, test")
    why = "must be 'discrete' here: frames drawn from the whole video and sorted"
    reader.only(test_clips, "seq_mode", "discrete", why)
    path = clips.take("path", "")
    if test_clips.take("path", path) != path:
        raise test_clips.wrong("path", "is another data set than that of training", "give the data set as an argument")
    return path, cast(Literal["train", "val", "test"], split)


def _check_fixed(config: Section, reader: _Reader) -> None:
    """Keys that have one meaning here, and those without an effect."""
    model, loss, train = config.sub("model"), config.sub("loss"), config.sub("train")
    reader.only(model, "type", "I3D")
    reader.only(loss, "type", "SoftmaxCrossEntropyWithLogits")
    reader.only(loss, "sparse", True)
    reader.only(loss, "reduction", "mean")
    reader.no_effect(config, "dataset_sink_mode", False, "MindSpore's own")
    reader.no_effect(train, "run_distribute", False, "the script decides")
    for key in SAVING:
        reader.no_effect(train, key, 1, "i3d saves the newest two states, the best and the last weights")
    config.ignore(*UNREAD)
    reader.unused.extend(f"{key} (no command here reads it)" for key in UNREAD if config.table.get(key))


def _optimizer(config: Section, epochs: int, reader: _Reader) -> dict[str, Any]:
    optimizer, rate = config.sub("optimizer"), config.sub("learning_rate")
    reader.only(optimizer, "type", "SGD")
    if reader.may(optimizer, "loss_scale", 1.0, 1, 2**40) != 1:
        reader.unused.append("optimizer.loss_scale (of float16; this is float32)")
    lr = reader.take(rate, "lr", 0.0012, 1e-12)
    settings: dict[str, Any] = {
        "training.optimizer.lr": lr,
        "training.optimizer.momentum": reader.take(optimizer, "momentum", 0.9, 0, 0.999_999),
        "training.optimizer.weight_decay": reader.take(optimizer, "weight_decay", 4e-4, 0, 1000),
        "training.warmup_epochs": (warmup := reader.may(rate, "warmup_epochs", 0.0)),
    }
    if warmup:
        settings["training.warmup_start"] = WARMUP_START
    if reader.may(rate, "max_epoch", epochs, 1) != epochs:
        reader.unused.append(f"learning_rate.max_epoch (the schedule spans the {epochs} epochs of train.epochs)")
    return settings | {"training.schedule": _schedule(rate, lr, epochs, reader)}


def _schedule(rate: Section, lr: float, epochs: int, reader: _Reader) -> dict[str, Any]:
    kind = reader.take(rate, "lr_scheduler", "cosine_annealing")
    if kind not in OF_SCHEDULE:
        raise rate.wrong("lr_scheduler", "is not supported", "use cosine_annealing, or exponential, which has steps")
    end, length = reader.may(rate, "eta_min", 0.0), reader.may(rate, "t_max", float(epochs), 1e-6)
    steps, gamma = rate.numbers("lr_epochs"), reader.may(rate, "lr_gamma", 0.1, 1e-12, 1)
    for other in OF_SCHEDULE.keys() - {kind}:
        reader.unused.extend(f"{rate.path}.{key} (of {other})" for key in OF_SCHEDULE[other] if key in rate.table)
    if kind == "cosine_annealing":
        if end >= lr:
            raise rate.wrong("eta_min", f"must be below the learning rate, {lr:g}")
        return {"kind": "cosine", "end": end / lr} | ({} if length == epochs else {"length": length})
    if not steps or not all(1 <= step <= MILLION and step == int(step) for step in steps):
        raise rate.wrong("lr_epochs", "must be whole numbers of epochs from 1", "write lr_epochs: [10, 20]")
    return {"kind": "step", "epochs": [int(step) for step in steps], "gamma": gamma}
