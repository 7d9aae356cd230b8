"""The scripts of the Ascend port, whose `train.py` is MMAction2's with defaults of its own.

python -m i3d.cli.ports.ascend train_full_1p.sh --data_path=/data/xxx/
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from i3d.cli.main import run_cli
from i3d.cli.messages import is_first_rank, log
from i3d.cli.mmaction2.arguments import read_config_arguments
from i3d.cli.mmaction2.test import run_test
from i3d.cli.mmaction2.train import train
from i3d.cli.ports.launch import (
    PortParser,
    add_many,
    choose_device,
    choose_ranks,
    place_flags,
    restart,
    tool_line,
)
from i3d.errors import InputError, printable
from i3d.evaluation.result import compute_metrics
from i3d.recipes.io import load_recipe
from i3d.recipes.named import RECIPES
from i3d.training.logger import read_log
from i3d.training.run_folder import BEST, LAST, LOG, RECIPE, TIMING
from i3d.training.setup import training_of
from i3d.utils.atomic_files import write_atomically
from i3d.utils.launcher import launched_as
from i3d.utils.outputs import check_new, resume_log

MODULE: Final = "i3d.cli.ports.ascend"
CONFIG: Final = "config/i3d_r50_video_32x2x1_100e_kinetics400_rgb.py"
PERFORMANCE: Final = "performance.json"
COLUMNS: Final = ("NAME", "Top1 acc", "FPS", "Epochs", "AMP_Type")
AMP_TYPES: Final = {"fp16": "O1", "fp32": "O0", "bf16": "bf16"}
KINDS: Final = {"cuda": "GPU", "npu": "NPU", "mps": "MPS", "cpu": "CPU"}


@dataclass(frozen=True)
class Script:
    """What the port's script of a name does."""

    num_devices: int
    folder: str  # where it writes, unless --work-dir is given
    options: tuple[str, ...] = ()  # of the config
    validates: bool = False


ONE_EPOCH: Final = ("total_epochs=1", "evaluation.interval=1")
SCRIPTS: Final[Mapping[str, Script]] = {
    "train_full_1p.sh": Script(1, "result_full_1p", ONE_EPOCH, validates=True),
    "train_full_8p.sh": Script(8, "result_full_8p", ("total_epochs=40",), validates=True),
    "train_performance_1p.sh": Script(1, "result_performance_1p", ONE_EPOCH[:1]),
    "train_performance_8p.sh": Script(8, "result_performance_8p", ONE_EPOCH[:1]),
    "train_eval_8p.sh": Script(8, "result_eval_8p"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run a script by its name."""
    name, *rest = words = sys.argv[1:] if words is None else list(words)
    script, is_test = SCRIPTS[name], name == "train_eval_8p.sh"
    options = _options(name, rest, is_test=is_test)
    data = _data(options)
    device = choose_device("npu", options.device)
    ranks = launched_as()[1]
    if ranks == 1:
        ranks = choose_ranks(script.num_devices, device, given=options.ranks)
        restart(MODULE, words, ranks)
    folder = Path(options.work_dir or script.folder)
    config = _config(options.config)
    changes = [*_lists(data), *script.options, *options.cfg_options]
    recipe = read_config_arguments(config, changes).config.recipe
    if device == "cpu" and recipe.training is not None and recipe.training.precision == "fp16":
        log.info("note: AMP O1 is float16, which a CPU has not: fp32, AMP_Type O0")
        changes.append("fp16=None")
    check_new(str(folder / PERFORMANCE), folder / PERFORMANCE, force=False, is_own=_is_row, flag="another --work-dir")
    where = f"{ranks}p-{KINDS[device.split(':')[0]]}"
    flags = ["--launcher", "pytorch"] if ranks > 1 else []
    flags += ["--checkpoints", options.checkpoints] if options.checkpoints else []
    arguments = [config, *flags, *place_flags(device), "--cfg-options", *changes]
    if is_test:
        if options.seed is not None:
            log.info("note: --seed has no effect here: a test by this protocol draws nothing")
        return _test(options, folder, arguments, device, where)
    return _train(script, folder, [*arguments, "--seed", str(options.seed or 0)], device, where)


def _options(name: str, words: Sequence[str], *, is_test: bool) -> Any:
    flags = "[--config FILE] [--seed N] [--data_root FOLDER] [--cfg-options KEY=VALUE ...] [--work-dir FOLDER]"
    flags += " [--checkpoints FOLDER]"
    more = " [--checkpoint FILE] [--force]" if is_test else ""
    usage = f"bash ./test/{name} --data_path=FOLDER {flags}{more} [--device DEVICE] [--ranks NUMBER]"
    parser = PortParser(prog=name, usage=usage, allow_abbrev=False)
    for flag in ("--data_path", "--data_root", "--work-dir", "--checkpoints"):
        parser.add_argument(flag, metavar="FOLDER")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--seed", type=int)
    add_many(parser, "--cfg-options", metavar="KEY=VALUE")
    if is_test:
        parser.add_argument("--checkpoint", "--pth_path", metavar="FILE")
        parser.add_argument("--force", action="store_true")
    parser.add_place()
    options = parser.parse(words)
    if options.data_path is None and options.data_root is None:
        parser.error("--data_path is missing")
    if options.data_path and options.data_root and Path(options.data_path) != Path(options.data_root):
        parser.error("--data_path and --data_root are the same: give one of them")
    return options


def _data(options: Any) -> Path:
    """The folder kinetics400 below --data_path, with all that the README shows."""
    above = Path(options.data_path or options.data_root)
    data = above / "kinetics400"
    if not data.is_dir() and (above / "train_label").is_file():
        raise InputError(f"--data_path {above}: is the data set itself; give the folder above it, {above.parent}")
    for part in ("train", "val", "train_label", "val_label"):
        if not (data / part).exists():
            layout = "kinetics400/{train,val}/CLASS/videos, kinetics400/train_label, kinetics400/val_label"
            raise InputError(f"--data_path {above}: there is no {data / part}; it needs {layout}")
    return data


def _lists(data: Path) -> list[str]:
    """Options of the config for the lists of the data set; the port tests on val."""
    options = []
    for split, name in (("train", "train"), ("val", "val"), ("test", "val")):
        options += [f"data.{split}.ann_file={data / f'{name}_label'}", f"data.{split}.data_prefix={data / name}"]
    return options


def _config(name: str) -> str:
    """The config; one that is no file is the published recipe of its name, with the port's mixed precision."""
    o1 = f"{Path(name).stem}_o1"
    return o1 if not Path(name).is_file() and o1 in RECIPES else name


def _train(script: Script, folder: Path, words: list[str], device: str, where: str) -> int:
    words = [*words, "--work-dir", str(folder), *(["--validate"] if script.validates else [])]
    log.info("$ %s", tool_line("train.py", words))
    train(words, device=device)
    if is_first_rank():
        validations = [line["validation"]["top1"] for line in read_log(folder / LOG) if "validation" in line]
        best = max(validations, default=None)
        training = training_of(load_recipe(folder / RECIPE))
        row = _row(where, best, _clips_per_second(folder), training.epochs, training.precision)
        _report(folder, row, weights=str(folder / (BEST if (folder / BEST).is_file() else LAST)))
    return 0


def _test(options: Any, folder: Path, words: list[str], device: str, where: str) -> int:
    checkpoint = Path(options.checkpoint or Path(SCRIPTS["train_full_8p.sh"].folder) / BEST)
    if not checkpoint.is_file():
        todo = "train it with bash ./test/train_full_8p.sh, or name one: --checkpoint FILE"
        raise InputError(f"{checkpoint}: no such checkpoint; {todo}")
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "result.json"
    config, *rest = words
    words = [config, str(checkpoint), "--eval", "top_k_accuracy", "mean_class_accuracy", "--out", str(out), *rest]
    words += ["--force"] if options.force else []
    log.info("$ %s", tool_line("test.py", words))
    is_resumed, start = resume_log(out).exists(), time.perf_counter()
    evaluation = run_test(words, device=device)
    seconds = time.perf_counter() - start
    if is_first_rank():
        metrics = compute_metrics(evaluation)
        fps = None if is_resumed else metrics.num_clips / seconds
        _report(folder, _row(where, metrics.top1, fps, None, "fp32"), weights=str(checkpoint))
    return 0


def _clips_per_second(folder: Path) -> float | None:
    """Clips of all devices in a second of training, over the whole log, with the wait for data."""
    seconds = clips = 0.0
    step = 0
    for line in read_log(folder / TIMING):
        spent = (line["step"] - step) * line["step_seconds"]
        seconds, clips, step = seconds + spent, clips + spent * line["clips_per_second"], line["step"]
    return clips / seconds if seconds else None


def _row(where: str, top1: float | None, fps: float | None, epochs: int | None, precision: str) -> dict[str, Any]:
    """The row of the README's table; None is not measured."""
    percent = None if top1 is None else round(100 * top1, 2)
    rounded = None if fps is None else round(fps, 2)
    return dict(zip(COLUMNS, (where, percent, rounded, epochs, AMP_TYPES[precision]), strict=True))


def _report(folder: Path, row: Mapping[str, Any], *, weights: str) -> None:
    """Print the row, and write it to performance.json."""
    cells = ["-" if value is None else str(value) for value in row.values()]
    for line in (COLUMNS, [":-:"] * len(COLUMNS), cells):
        print(f"| {' | '.join(line)} |")
    path = folder / PERFORMANCE
    write_atomically(path, f"{json.dumps({**row, 'weights': weights}, indent=1)}\n".encode())
    log.info("weights: %s; this row: %s", printable(weights), printable(str(path)))


def _is_row(path: Path) -> bool:
    """Whether a file is one of these rows."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_bytes())
        return isinstance(content, dict) and content.keys() == {*COLUMNS, "weights"}
    return False


if __name__ == "__main__":
    run_cli(main)
