"""The command `i3d`: its sub-commands, each imported when it is named, and how errors end it.

Exit codes: 0 success, 1 failure, 2 bad usage, 3 some file or folder could not be read, 130 interrupted.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import enumerate as enumerate_threads
from threading import main_thread
from typing import Annotated, Final, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from rich.console import Console

from i3d._version import __version__
from i3d.cli.checks import check_no_empty, check_values
from i3d.cli.messages import log, log_to_stderr, num_processes
from i3d.cli.usage import FLAGS, STDIN, STDIN_WORD, usage_error
from i3d.errors import I3DError, InputError, VideoError, printable
from i3d.utils.allocator import disable_malloc_trim
from i3d.utils.atomic_files import disk_todo
from i3d.utils.prefetch import exit_now, exit_without_join
from i3d.weights.addresses import checkpoints_in

INTERRUPTED, CLOSED_PIPE = 130, 141  # exit codes
WRITE_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

USE: Final = Group("Use a model", sort_key=1)
LEARN: Final = Group("Train and test", sort_key=2)
PREPARE: Final = Group("Prepare", sort_key=3)
ABOUT: Final = Group("About", sort_key=4)
GENERAL: Final = Group("General", sort_key=99)
COMMANDS: Final = (  # name, where it is declared, section
    ("predict", "predict:app", USE),
    ("timeline", "timeline:app", USE),
    ("stream", "stream:app", USE),
    ("explain", "explain:app", USE),
    ("features", "features:app", USE),
    ("flow", "flow:app", USE),
    ("fvd", "fvd:app", USE),
    ("train", "train:app", LEARN),
    ("test", "test:app", LEARN),
    ("score", "score:score_app", LEARN),
    ("fuse", "score:fuse_app", LEARN),
    ("runs", "runs:runs_app", LEARN),
    ("plot", "runs:plot_app", LEARN),
    ("data", "data:app", PREPARE),
    ("convert", "models:convert_app", PREPARE),
    ("export", "export:app", PREPARE),
    ("publish", "publish:publish_app", PREPARE),
    ("push", "publish:push_app", PREPARE),
    ("models", "models:app", ABOUT),
    ("benchmark", "benchmark:app", ABOUT),
    ("cache", "cache:app", ABOUT),
    ("doctor", "models:doctor_app", ABOUT),
    ("completion", "completion:app", ABOUT),
    ("help", "topics:app", ABOUT),
)

# They write, or read what is live, and do not divide their work.
ONE_PROCESS: Final = (
    "stream",
    "flow",
    "fvd",
    "data",
    "score",
    "fuse",
    "convert",
    "cache",
    "explain",
    "export",
    "publish",
    "push",
)

app = App(
    name="i3d",
    help="Recognise human actions in video with Inflated 3D ConvNets (I3D).",
    version=f"i3d {__version__}",
    help_format="plaintext",
    default_parameter=FLAGS,
    exit_on_error=False,
    print_error=False,
    verbose=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for _name, _place, _section in COMMANDS:
    app.command(f"i3d.cli.{_place}", name=_name, group=_section)
app.meta.group_parameters = GENERAL
app.meta.suppress_keyboard_interrupt = False  # it is reported below
for _flag in ("--help", "--version"):
    app[_flag].group = GENERAL

GENERAL_FLAGS: Final = ("-q", "--quiet", "-v", "--verbose", "--debug")
_debug = False


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    quiet: Annotated[bool, Parameter(alias="-q", help="Print only results, warnings and errors.")] = False,
    verbose: Annotated[bool, Parameter(alias="-v", help="Print debug messages too.")] = False,
    debug: Annotated[bool, Parameter(help="Print the traceback of an error.")] = False,
    checkpoints: Annotated[
        Path | None, Parameter(help="Folder of weights that are named by an address (default: $I3D_CHECKPOINTS).")
    ] = None,
) -> object:
    """Parse the options of every command, then run the command."""
    global _debug
    _debug = debug
    check_values(tokens)
    if tokens and tokens[0] in ONE_PROCESS and num_processes() > 1:
        todo = "leave torchrun out, or unset RANK and WORLD_SIZE"
        raise InputError(f"i3d {tokens[0]}: runs in one process, not in {num_processes()}; {todo}")
    with log_to_stderr(quiet=quiet, verbose=verbose), checkpoints_in(checkpoints):
        return app([STDIN_WORD if word == STDIN else word for word in tokens], console=Console())


def start() -> None:
    """Entry point of the command `i3d`: `main`, then the end of the process.

    To free all that PyTorch holds takes Python most of a second, so the process ends without it, unless another thread
    still works, or other processes may wait for this one.
    """
    exit_request = SystemExit(0)
    try:
        main()
    except SystemExit as requested:
        exit_request = requested
    is_alone = num_processes() == 1 and all(one is main_thread() or one.daemon for one in enumerate_threads())
    if is_alone:
        with suppress(OSError):  # stdout is closed: the usual end reports it
            exit_now(exit_request)
    raise exit_request


def main() -> None:
    """The command `i3d` with the arguments of this process."""
    run_cli(lambda: _parse(sys.argv[1:]))


def _parse(tokens: list[str]) -> object:
    """Run the command of the tokens. Without any, the help is printed, and the usage is bad."""
    check_no_empty(tokens)  # `launch` gets those of the command only
    words = [token for token in tokens if token not in GENERAL_FLAGS]
    if words and words[0] not in app.help_flags:
        return app.meta(tokens, console=Console())
    app.resolved_commands()  # the help lists their summaries
    app.meta(["--help"], console=Console())
    return None if words else 2


def run_cli(command: Callable[[], object]) -> None:
    """Run a command; an error becomes one line on stderr and an exit code."""
    try:
        with log_to_stderr():
            _run(command)
    except SystemExit as exit_request:
        exit_without_join(exit_request)


def _run(command: Callable[[], object]) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    disable_malloc_trim()
    try:
        exit_code = command()
    except CycloptsError as error:
        _end(usage_error(error), error, code=2)
    except I3DError as error:
        _end(str(error), error, code=3 if isinstance(error, VideoError) else 2)
    except KeyboardInterrupt as error:
        echo = "\r" if sys.stderr.isatty() else ""  # the line replaces the ^C of the terminal
        print(echo + "; ".join(["interrupted", *getattr(error, "__notes__", [])]), file=sys.stderr)
        exec("")  # noqa: S102  `python -m` dies of SIGINT instead if the interrupt came in an exec, which this resets
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever reads our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED_PIPE)
    except OSError as error:
        where = f"{printable(str(error.filename))}: " if error.filename else ""
        code = 1 if error.errno in WRITE_ERRORS else 3
        _end(f"{where}reading or writing failed ({error.strerror or error}); {disk_todo(error)}", error, code=code)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        _end(f"{type(error).__name__}: {reason}; this is unexpected: see `i3d --debug COMMAND ...`", error, code=1)
    if isinstance(exit_code, int) and exit_code:
        sys.exit(exit_code)


def _end(message: str, error: Exception, *, code: int) -> NoReturn:
    if _debug:
        raise error
    log.error(message.replace(printable(STDIN_WORD), STDIN))
    sys.exit(code)
