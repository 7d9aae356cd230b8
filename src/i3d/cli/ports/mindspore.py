"""The scripts of the MindSpore port, with both spellings of their arguments: files, or a project and its data.

python -m i3d.cli.ports.mindspore run_standalone_train.sh CONFIG_FILE PRETRAINED_MODEL
python -m i3d.cli.ports.mindspore run_standalone_train.sh PROJECT_PATH DATA_PATH
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from i3d.cli.main import run_cli
from i3d.cli.messages import is_first_rank, log
from i3d.cli.options import DatasetOptions
from i3d.cli.ports.background import start_in_background
from i3d.cli.ports.launch import VISIBLE, choose_device, choose_ranks, i3d_line, restart, run_i3d, torchrun
from i3d.cli.ports.mindspore_config import RECIPE
from i3d.cli.ports.mindspore_eval import evaluate
from i3d.cli.ports.mindspore_request import EVALUATION, Request, check_weights, read_request
from i3d.cli.run.setup import list_format
from i3d.data.annotations import SPLITS
from i3d.data.formats.read import read_annotations
from i3d.errors import InputError, counted, printable
from i3d.training.logger import read_log
from i3d.training.run_folder import BEST, LAST, LOG, OWN_FILES, RUN, RunFolder
from i3d.utils.atomic_files import write_atomically
from i3d.utils.outputs import output_folder
from i3d.weights.convert import as_mindspore
from i3d.weights.load import load_weights

MODULE: Final = "i3d.cli.ports.mindspore"
JOB: Final = "job"  # the part of a training that runs in each process


def main(words: Sequence[str] | None = None) -> int:
    """Run a script by its name."""
    script, *rest = sys.argv[1:] if words is None else words
    if script == JOB:
        return _run_job(rest)
    request = read_request(script, rest)
    if script == EVALUATION:
        return evaluate(request)
    return _train(request, in_background=script == "run_distribute_train.sh")


def _train(request: Request, *, in_background: bool) -> int:
    """`i3d train` by the recipe i3d_rgb with the settings of the config; then checkpoints of MindSpore."""
    check_weights(request.weights, may_be_random=True)
    config = request.config
    folder = request.project / ("train/ckpt" if in_background else config.output)
    os.environ.update(request.visible)
    device = choose_device(request.wanted, request.device)
    ranks = choose_ranks(request.num_devices, device, given=request.ranks)
    if is_first_rank():
        _check_start(request, folder)
    words = ["train", "--recipe", RECIPE, "--data", str(request.data), "--init", request.weights]
    words += ["--work-dir", str(folder), "--epochs", str(config.epochs), "--batch-size", str(config.batch_size)]
    words += ["--workers", str(config.num_workers), "--device", device]
    words += [word for setting in config.train_settings for word in ("--set", setting)]
    job = [JOB, config.name, str(config.epochs), str(folder), *words]
    if in_background:
        visible = request.visible if device in VISIBLE else {}
        line = i3d_line(words, ranks=ranks, variables=visible)
        return start_in_background(torchrun(MODULE, job, ranks), line, log_file=Path("train/tran.log"), folder=folder)
    restart(MODULE, job, ranks)
    return _run_job(job[1:])


def _check_start(request: Request, folder: Path) -> None:
    """What would end the run as soon as it starts is an InputError: a list, files of others, another run."""
    if (others := sorted(folder.glob("*.ckpt"))) and not (folder / RUN).exists():
        raise InputError(f"{others[0]}: is of another run; move it away, or set train.ckpt_path of the config")
    clips = read_annotations(request.data, **list_format(DatasetOptions()))
    if not (clips.splits_N == SPLITS.index("train")).any():  # `i3d train` would train on all that there is
        raise InputError(f"{request.data}: has no clips to train on; it needs kinetics-400_train.csv and train/")
    if (number := len(clips.classes)) != request.config.num_classes:
        classes = counted(number, "class", "classes")
        log.info("note: model.num_classes is %d, the data set has %s: so has the network",
                 request.config.num_classes, classes)  # fmt: skip
    run_folder = RunFolder(output_folder("train.ckpt_path", folder))
    try:
        run_folder.lock()
        run_folder.check_own(RUN, OWN_FILES)
    finally:
        run_folder.release()


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


if __name__ == "__main__":
    run_cli(main)
