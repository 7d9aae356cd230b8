"""What the package logs, as lines on stderr."""

import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.live import Live

from i3d.errors import InputError, counted, printable
from i3d.utils.launcher import launched_as

log: Final = logging.getLogger("i3d")


def is_first_rank() -> bool:
    """Whether this process prints for all that torchrun started."""
    try:
        return launched_as()[0] == 0
    except InputError:  # commands of several processes raise it
        return True


def num_processes() -> int:
    """How many processes a launcher such as torchrun has started; 1 for variables of no launcher."""
    try:
        return launched_as()[1]
    except InputError:
        return 1


def unreadable_code(num_bad: int, one: str) -> int:
    """The exit code of a command whose processes divide its files, `num_bad` of which could not be read.

    It is 0 under torchrun, which would end the other processes and print a traceback: the first process logs that.
    """
    is_launched = num_processes() > 1 or "TORCHELASTIC_RUN_ID" in os.environ
    if num_bad and is_launched and is_first_rank():
        what = f"{counted(num_bad, one)} could not be read"
        log.warning("%s; the exit code is 0 under torchrun, where 3 would end the other processes", what)
    return 3 if num_bad and not is_launched else 0


class StderrConsole(Console):
    """The one console of log lines and progress bars. It writes to the stderr of the moment, which tests replace."""

    bar: Live | None = None  # it is drawn, and lines are printed above it

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def print_line(self, line: str) -> None:
        if self.bar is not None:
            self.out(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def draw_bar(self, bar: Live) -> None:
        with _interrupts_deferred():
            self.bar = bar
            bar.start(refresh=True)

    def erase_bar(self) -> None:
        with _interrupts_deferred():
            if self.bar is not None:
                self.bar.stop()
                self.bar = None


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Ctrl-C takes effect after the block: half of it would leave a bar on the terminal, and no cursor."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *signal_and_frame: caught.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            handler(*caught[0])


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.console = StderrConsole()

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        self.console.print_line(f"{level}{record.getMessage()}")


def stderr_console() -> StderrConsole:
    """The console of the log lines; a new one where another program handles them."""
    return next((one.console for one in log.handlers if isinstance(one, _Handler)), None) or StderrConsole()


@contextmanager
def if_interrupted(saved: str | Callable[[], str] = "", *, resumes: bool = True) -> Iterator[None]:
    """Note on a Ctrl-C what is saved, where no note has it yet, and the command that resumes, or starts again.

    A function gives what is saved by then.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if saved and not getattr(error, "__notes__", []):
            error.add_note(saved if isinstance(saved, str) else saved())
        error.add_note(f"to {'resume' if resumes else 'start again'}: {this_command()}")
        raise


def this_command() -> str:
    """The command line of this process, quoted for a shell. Of several processes, one does not know all of it."""
    if num_processes() > 1:
        return "the same command"
    program, *words = sys.argv
    if Path(program).name == "__main__.py":  # python -m i3d
        words = ["python", "-m", "i3d", *words]
    elif program.endswith(".py"):
        words = ["python", *sys.orig_argv[1:]]
    else:
        words = [Path(program).name, *words]
    return printable(shlex.join(words))


@contextmanager
def log_to_stderr(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Print the records of the logger `i3d`: only warnings and errors if `quiet`, debug messages too if `verbose`.

    Of several processes the first prints all, the others only warnings and errors.
    """
    before = log.level, log.propagate, list(log.handlers)
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    log.setLevel(level if is_first_rank() else max(level, logging.WARNING))
    log.propagate = False
    log.handlers[:] = [handler := _Handler()]
    try:
        yield
    finally:
        handler.console.erase_bar()  # that of a block which Ctrl-C interrupted while it was entered
        log.level, log.propagate, log.handlers[:] = before
