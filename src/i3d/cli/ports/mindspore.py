"""The scripts of the MindSpore port, with both spellings of their arguments: files, or a project and its data.

python -m i3d.cli.ports.mindspore run_standalone_train.sh CONFIG_FILE PRETRAINED_MODEL
python -m i3d.cli.ports.mindspore run_standalone_train.sh PROJECT_PATH DATA_PATH
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from i3d.cli import output
from i3d.cli.main import run_cli
from i3d.cli.messages import is_first_rank, log
from i3d.cli.options import DatasetOptions
from i3d.cli.output_files import check_writable
from i3d.cli.ports.launch import (
    PortParser,
    check_visible,
    choose_device,
    choose_ranks,
    note_of,
    restart,
    run_i3d,
    torchrun,
)
from i3d.cli.ports.mindspore_config import DEVICES, RECIPE, PortConfig, read_port_config
from i3d.cli.run.setup import read_dataset
from i3d.data.annotations import Annotations
from i3d.data.resume import Resume, finish_log
from i3d.errors import InputError, printable
from i3d.evaluation.evaluate import evaluate_protocols
from i3d.evaluation.exports import write_results
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.evaluation.scorer import EvaluationOptions, EvaluationProtocol
from i3d.recipes.names import MINDSPORE
from i3d.recipes.protocols import with_protocol, with_test_settings
from i3d.training.logger import read_log
from i3d.training.run_folder import BEST, LAST, LOG, RUN
from i3d.utils.atomic_files import write_atomically
from i3d.utils.device import ComputeConfig
from i3d.utils.outputs import check_new, check_resumable
from i3d.weights.checkpoint import is_checkpoint
from i3d.weights.convert import as_mindspore
from i3d.weights.load import Weights, load_weights
from i3d.weights.pretrained import PRETRAINED

MODULE: Final = "i3d.cli.ports.mindspore"
JOB: Final = "job"  # the part of a training that runs in each process
CONFIG, DATA_FILE = Path("config/i3d_rgb.yaml"), Path("data/data.json")  # in a project
MARK: Final = b"$ i3d "  # begins our logs
USAGE: Final = {
    "run_standalone_train.sh": "CONFIG_FILE PRETRAINED_MODEL",
    "run_distribute_train.sh": "DEVICE_NUM VISIBLE_DEVICES CONFIG_FILE PRETRAINED_MODEL",
    "run_standalone_eval.sh": "GPU|Ascend|CPU CONFIG_FILE CHECKPOINT DATA_PATH",
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


def main(words: Sequence[str] | None = None) -> int:
    """Run a script by its name."""
    script, *rest = sys.argv[1:] if words is None else words
    if script == JOB:
        return _run_job(rest)
    request = _read(script, rest)
    note_of(str(request.config_file), request.config.unused)
    if script == "run_standalone_eval.sh":
        return _evaluate(request)
    return _train(request, in_background=script == "run_distribute_train.sh")


def _read(script: str, words: Sequence[str]) -> Request:
    is_test = script == "run_standalone_eval.sh"
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
    config = read_port_config(Path(file))
    wanted = DEVICES.get(device, config.device)
    return Request(
        config=config, config_file=Path(file), weights=weights, wanted=wanted, num_devices=number,
        data=_existing(Path(data[0])) if data else _data_of(Path(file).absolute().parent.parent, config),
        visible=check_visible(visible, number, wanted) if visible else {}, **more,
    )  # fmt: skip


def _of_project(script: str, project: Path, data: Path, more: dict[str, Any]) -> Request:
    """The spelling PROJECT_PATH DATA_PATH: the config of the project decides; outputs lie in the project."""
    data = _existing(data).absolute()
    config_file = project.absolute() / CONFIG
    config = read_port_config(config_file)
    os.chdir(project)
    log.info("note: outputs lie in %s", printable(str(project.absolute())))
    is_test = script == "run_standalone_eval.sh"
    weights = config.test_weights if is_test else config.train_weights or "none"
    if not weights:
        raise InputError(f"{config_file}: eval.pretrained_model is empty; write the checkpoint to evaluate")
    return Request(
        config=config, config_file=config_file, weights=weights, data=data, wanted=config.device,
        num_devices=8 if script == "run_distribute_train.sh" else 1, visible={}, **more,
    )  # fmt: skip


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


def _check_weights(name: str) -> None:
    """An InputError for initial weights that are not there."""
    if name != "none" and name not in PRETRAINED and not Path(name).is_file():
        todo = f"download it from the link in the port's README, or give {', '.join(PRETRAINED)} (shipped), or none"
        raise InputError(f"{name}: no such checkpoint; {todo}")


def _train(request: Request, *, in_background: bool) -> int:
    """`i3d train` by the recipe i3d_rgb with the settings of the config; then checkpoints of MindSpore."""
    _check_weights(request.weights)
    config = request.config
    folder = Path("train/ckpt") if in_background else Path(config.output)
    if (others := sorted(folder.glob("*.ckpt"))) and not (folder / RUN).exists():
        raise InputError(f"{others[0]}: is of another run; move it away, or set train.ckpt_path of the config")
    os.environ.update(request.visible)
    device = choose_device(request.wanted, request.device)
    ranks = choose_ranks(request.num_devices, device, given=request.ranks)
    words = ["train", "--recipe", RECIPE, "--data", str(request.data), "--init", request.weights]
    words += ["--work-dir", str(folder), "--epochs", str(config.epochs), "--batch-size", str(config.batch_size)]
    words += ["--workers", str(config.num_workers), "--device", device]
    words += [word for setting in config.train_settings for word in ("--set", setting)]
    job = [JOB, config.name, str(config.epochs), str(folder), *words]
    if in_background:
        return _start_in_background(torchrun(MODULE, job, ranks), words)
    restart(MODULE, job, ranks)
    return _run_job(job[1:])


def _start_in_background(command: Sequence[str], words: Sequence[str]) -> int:
    """Start a command that the end of this shell does not end; its output is appended to train/tran.log."""
    log_file = Path("train/tran.log")
    log_file.parent.mkdir(exist_ok=True)
    _check_log(log_file)
    with log_file.open("ab") as file:
        file.write(f"$ i3d {shlex.join(words)}\n".encode())
        file.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    process.returncode = 0  # nobody waits for it: it outlives this process
    log.info("training in the background, process %d: log in %s, checkpoints in train/ckpt", process.pid, log_file)
    return 0


def _check_log(path: Path, *, force: bool = False) -> None:
    """An InputError for a log that none of these scripts wrote; a new one is no error."""
    if path.exists() and not force:
        with path.open("rb") as file:
            if file.read(len(MARK)) != MARK:
                raise InputError(f"{path}: is of another program; move it away")
    check_new(str(path), path, force=True)  # a link is never replaced


def _run_job(words: Sequence[str]) -> int:
    """Train in this process, one of all ranks; the first writes the checkpoints of MindSpore."""
    name, epochs, folder, *i3d_words = words
    code = run_i3d(i3d_words)
    if code == 0 and is_first_rank():
        _write_checkpoints(Path(folder), name, int(epochs))
    return code


def _write_checkpoints(folder: Path, name: str, epochs: int) -> None:
    """Write `NAME-EPOCHS_STEPS.ckpt` of the last weights, with MindSpore's steps of an epoch, and `NAME_best.ckpt`."""
    steps = read_log(folder / LOG)[-1]["step"] // epochs
    for source, target in ((LAST, f"{name}-{epochs}_{steps}.ckpt"), (BEST, f"{name}_best.ckpt")):
        if (folder / source).is_file():
            path = folder / target
            content = as_mindspore(load_weights(folder / source), source=source)
            if path.is_file() and path.read_bytes() != content:
                raise InputError(f"{path}: exists with other weights than {source}; move it away, and run this again")
            write_atomically(path, content)
            log.info("%s: a checkpoint of MindSpore, without class names, of %s", printable(str(path)), source)


def _evaluate(request: Request) -> int:
    """Score the split of the config as the port does; eval/eval.log has the result, eval/NAME.json the scores."""
    if not Path(request.weights).is_file() and request.weights not in PRETRAINED:
        _check_weights(request.weights)
        raise InputError(f"{request.weights}: random weights have no accuracy; name a checkpoint")
    folder = Path("eval")
    folder.mkdir(exist_ok=True)
    log_file, out = folder / "eval.log", folder / f"{Path(request.weights).stem}.json"
    _check_log(log_file, force=request.force)
    check_writable(str(out), out, (".json",))
    check_resumable(str(out), out, force=request.force)
    config, device = request.config, choose_device(request.wanted, request.device)
    if (request.ranks or 1) > 1:
        raise InputError(f"--ranks {request.ranks}: this script evaluates in one process; use torchrun -m i3d test")
    clips = read_dataset(request.data, DatasetOptions(split=config.test_split))
    weights = _with_classes_of(clips, request.weights)
    recipe = with_test_settings(with_protocol(weights.card.recipe, MINDSPORE), list(config.test_settings))
    with output.ProgressBar("test") as bar:
        (evaluation,) = evaluate_protocols(
            weights,
            clips,
            EvaluationOptions((EvaluationProtocol(MINDSPORE, recipe),)),
            compute=ComputeConfig(device, num_workers=config.num_workers),
            resume=Resume(out, request.force, "i3d"),
            model_name=request.weights,
            on_progress=bar,
        )
    for bad in evaluation.bad:
        log.error(bad.reason)
    lines = _result_lines(evaluation)
    write_results(out, [(evaluation, compute_metrics(evaluation))], out_format="i3d")
    finish_log(out, is_complete=not evaluation.bad)
    command = ["test", request.weights, "--data", str(request.data), "--split", config.test_split]
    first = f"$ i3d {shlex.join([*command, '--protocols', MINDSPORE])}"
    write_atomically(log_file, "".join(f"{line}\n" for line in (first, *lines)).encode())
    print("\n".join(lines))
    log.info("the result is in %s, all scores are in %s", log_file, printable(str(out)))
    return 3 if evaluation.bad else 0


def _with_classes_of(clips: Annotations, name: str) -> Weights:
    """The weights; a checkpoint without class names gets those of the data set in its order, as the port numbers."""
    weights = load_weights(name)
    if name in PRETRAINED or is_checkpoint(Path(name)):
        return weights
    num_classes = len(weights.card.labels)
    if num_classes == len(clips.classes):
        log.info("note: class k of %s is class k of the data set, as in the port", printable(name))
        return load_weights(name, labels=clips.classes)
    log.info("note: %s has %d classes, the data set %d: class names are assumed (%s)", printable(name), num_classes,
             len(clips.classes), weights.labels_from)  # fmt: skip
    return weights


def _result_lines(evaluation: Evaluation) -> list[str]:
    """The result as the port prints it, and how it was measured."""
    metrics = compute_metrics(evaluation)
    values = {"Top_1_Accuracy": metrics.top1, "Top_5_Accuracy": metrics.top5}
    bad = f", {metrics.num_bad} unreadable are left out" if metrics.num_bad else ""
    return [str(values), f"of {metrics.num_clips} clips{bad}", f"protocol: {evaluation.protocol}"]


if __name__ == "__main__":
    run_cli(main)
