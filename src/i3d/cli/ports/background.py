"""Start a training that outlives the shell, and notice one that ends at once."""

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from i3d.cli.messages import log
from i3d.errors import InputError, printable
from i3d.training.run_folder import RUN
from i3d.utils.outputs import check_new

MARK: Final = re.compile(rb"\$ (\w+=[\d,]+ )?(i3d|torchrun) ")  # begins our logs
MAX_WAIT: Final = 20.0  # seconds until the run has written its record; then it counts as started
LAST_LINE: Final = 200  # characters


def check_log(path: Path, *, force: bool = False) -> None:
    """An InputError for a log that none of these scripts wrote; a new one is no error."""
    if path.exists() and not force:
        with path.open("rb") as file:
            if MARK.match(file.read(256)) is None:
                raise InputError(f"{path}: is of another program; move it away")
    check_new(str(path), path, force=True)  # a link is never replaced


def start_in_background(command: Sequence[str], line: str, *, log_file: Path, folder: Path) -> int:
    """Start a command that the end of this shell does not end, with its output appended to a log; the exit code.

    It returns when the run has written its record into `folder`, or has ended. A run that failed is an InputError.
    """
    check_log(log_file)
    log_file.parent.mkdir(exist_ok=True)
    before = _changed(folder / RUN)
    with log_file.open("ab") as file:
        start = file.tell()
        file.write(f"{line}\n".encode())
        file.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    end = time.monotonic() + MAX_WAIT
    while process.poll() is None and _changed(folder / RUN) == before and time.monotonic() < end:
        time.sleep(0.05)
    if process.returncode:
        raise InputError(
            f"{log_file}: the training has ended with code {process.returncode}: {_reason(log_file, start)}"
        )
    if process.returncode == 0:
        log.info("the training has ended: %s", _reason(log_file, start))
        return 0
    process.returncode = 0  # nobody waits for it: it outlives this process
    log.info("training in the background, process %d: log in %s, checkpoints in %s", process.pid, log_file, folder)
    return 0


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _reason(log_file: Path, start: int) -> str:
    """The error in the part of a log from `start`, or its last line."""
    lines = [line for line in log_file.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return printable([*lines, *errors][-1] if len(lines) > 1 else "it printed nothing")[-4 * LAST_LINE :]
