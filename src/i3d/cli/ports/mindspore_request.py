"""The arguments of the MindSpore port's scripts, in both spellings: files, or a project and its data."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from i3d.cli.messages import log
from i3d.cli.ports.launch import PortParser, check_visible, note_of
from i3d.cli.ports.mindspore_config import DEVICES, PortConfig, read_port_config
from i3d.errors import InputError, printable
from i3d.weights.pretrained import PRETRAINED

CONFIG, DATA_FILE = Path("config/i3d_rgb.yaml"), Path("data/data.json")  # in a project
EVALUATION: Final = "run_standalone_eval.sh"
USAGE: Final = {
    "run_standalone_train.sh": "CONFIG_FILE PRETRAINED_MODEL",
    "run_distribute_train.sh": "DEVICE_NUM VISIBLE_DEVICES CONFIG_FILE PRETRAINED_MODEL",
    EVALUATION: "GPU|Ascend|CPU CONFIG_FILE CHECKPOINT DATA_PATH",
}


@dataclass(frozen=True)
class Request:
    """What a script was called with, in either spelling."""

    config: PortConfig
    config_file: Path
    weights: str
    data: Path
    wanted: str  # the device
    num_devices: int
    visible: dict[str, str]  # variables that hide the other devices
    device: str | None  # as given by --device
    ranks: int | None
    force: bool
    project: Path = Path()  # where outputs lie; the current folder is ""


def read_request(script: str, words: Sequence[str]) -> Request:
    is_test = script == EVALUATION
    flags = "[--device DEVICE] [--force]" if is_test else "[--device DEVICE] [--ranks NUMBER]"
    parser = PortParser(
        prog=script, usage=f"bash scripts/{script} {USAGE[script]} | PROJECT_PATH DATA_PATH {flags}", allow_abbrev=False
    )
    parser.add_argument("arguments", nargs="*")
    parser.add_place()
    if is_test:
        parser.add_argument("--force", action="store_true")
    options = parser.parse(words)
    given: list[str] = options.arguments
    more: dict[str, Any] = {"device": options.device, "ranks": options.ranks, "force": getattr(options, "force", False)}
    if len(given) == 2 and Path(given[0]).is_dir():
        return _of_project(script, Path(given[0]), Path(given[1]), more)
    if len(given) != len(USAGE[script].split()):
        parser.error(f"{len(given)} arguments")
    device, number, visible = "", 1, ""
    if script == "run_distribute_train.sh":
        number_text, visible, *given = given
        if not number_text.isdecimal() or not 1 <= (number := int(number_text)) <= 1024:
            parser.error(f"DEVICE_NUM {number_text}: must be a whole number from 1")
    elif is_test:
        device, *given = given
        if device not in DEVICES:
            parser.error(f"device {device}: must be one of {', '.join(DEVICES)}")
    file, weights, *data = given
    config = _read_config(Path(file))
    key, own = ("eval", config.test_weights) if is_test else ("train", config.train_weights * config.pre_trained)
    if own and Path(own) != Path(weights):
        log.info("note: %s.pretrained_model of the config is not read: %s is given", key, printable(weights))
    elif config.pre_trained and weights == "none":
        log.info("note: train.pre_trained of the config is not read: none is given")
    wanted = _device(config, script, DEVICES.get(device, config.device))
    return Request(
        config=config, config_file=Path(file), weights=weights, wanted=wanted, num_devices=number,
        data=_existing(Path(data[0])) if data else _data_of(Path(file).absolute().parent.parent, config),
        visible=check_visible(visible, number, wanted) if visible else {}, **more,
    )  # fmt: skip


def _of_project(script: str, project: Path, data: Path, more: dict[str, Any]) -> Request:
    """The spelling PROJECT_PATH DATA_PATH: the config of the project decides; outputs lie in the project."""
    data = _existing(data).absolute()
    config_file = project.absolute() / CONFIG
    config = _read_config(config_file)
    os.chdir(project)
    log.info("note: outputs lie in %s", printable(str(project.absolute())))
    weights = _weights_of_config(config, config_file, is_test=script == EVALUATION)
    return Request(
        config=config, config_file=config_file, data=data, wanted=_device(config, script, config.device),
        weights=str(project.absolute() / weights) if (project.absolute() / weights).is_file() else weights,
        num_devices=8 if script == "run_distribute_train.sh" else 1, visible={}, project=project.absolute(), **more,
    )  # fmt: skip


def _weights_of_config(config: PortConfig, file: Path, *, is_test: bool) -> str:
    if is_test:
        if not config.test_weights:
            raise InputError(f"{file}: eval.pretrained_model is empty; write the checkpoint to evaluate")
        return config.test_weights
    if config.pre_trained and not config.train_weights:
        todo = "write its file, or pre_trained: False"
        raise InputError(f"{file}: train.pre_trained = True needs train.pretrained_model, which is empty; {todo}")
    return config.train_weights if config.pre_trained else "none"


def _read_config(file: Path) -> PortConfig:
    """A config, with lines for the log about its keys without an effect and those that are not set."""
    config = read_port_config(file)
    note_of(str(file), config.unused)
    if config.assumed:
        log.info("note: %s: not set, so as in the published config: %s", file, ", ".join(config.assumed))
    return config


def _device(config: PortConfig, script: str, kind: str) -> str:
    """The device with the number of the config, which a training on several devices does not have."""
    if config.device_id is None or kind == "cpu":
        return kind
    if script == "run_distribute_train.sh":
        log.info("note: context.device_id has no effect here: each process has its own device")
        return kind
    return f"{kind}:{config.device_id}"


def _existing(data: Path) -> Path:
    if not data.is_dir():
        todo = "give the folder that has train/, val/ and kinetics-400_train.csv"
        raise InputError(f"{data}: no such folder of the data set; {todo}")
    return data


def _data_of(project: Path, config: PortConfig) -> Path:
    """The data set of a project: `root` of data/data.json, else `path` of the config."""
    file = project / DATA_FILE
    if not file.is_file():
        if config.data and Path(config.data).is_dir():
            log.info("note: there is no %s; the data set is the config's path, %s", DATA_FILE, printable(config.data))
            return Path(config.data)
        what = f"{file}: no such file, and `path` of the config is no folder ({config.data or 'it is empty'})"
        raise InputError(f'{what}; write {{"root": "/data/kinetic-400"}} into it')
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({str(error)[:80]})") from error
    root = content.get("root") if isinstance(content, dict) else None
    if not isinstance(root, str) or not root or len(content) > 1:
        raise InputError(f'{file}: must have one key, the folder of the data set: {{"root": "/data/kinetic-400"}}')
    if not (project / root).is_dir():
        raise InputError(f"{file}: root {root!r}: no such folder; write the one that has train/ and val/")
    if config.data and Path(config.data) != Path(root):
        log.info("note: the data set is root of %s; `path` of the config is not read", DATA_FILE)
    return project / root


def check_weights(name: str, *, may_be_random: bool) -> None:
    """An InputError for weights that are not there."""
    if (name == "none" and may_be_random) or name in PRETRAINED or Path(name).is_file():
        return
    if name == "none":
        raise InputError("none: random weights have no accuracy; name a checkpoint")
    what = "it is a folder" if Path(name).is_dir() else "no such checkpoint"
    others = f"{', '.join(PRETRAINED)}, which is in this package{', or none for random weights' * may_be_random}"
    raise InputError(f"{name}: {what}; give the path of your copy, or {others}")
