"""`i3d runs` and `i3d plot`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from i3d import training
from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import Force, Json, in_file, out_file
from i3d.cli.usage import command
from i3d.errors import InputError, printable
from i3d.utils.outputs import is_drawing

CURVES: Final = Path("curves.png")


def runs(folder: Annotated[Path, in_file("A folder of runs, or of one run.")], /, *, json: Json = False) -> None:
    """List the training runs below a folder.

    The table has recipe, progress and best validation of each run, and the settings in which they differ.

    Examples:
      i3d runs runs/
    """
    output.print_result(training.list_runs(folder), output.print_runs, json=json)


def plot(
    *logs: Annotated[Path, in_file("Folders of runs, or logs (MMAction2's *.log.json too).", required=True)],
    out: Annotated[Path, out_file(".png", is_own=is_drawing), Parameter(help="The .png to write.")] = CURVES,
    force: Force = False,  # noqa: ARG001 (`guarded`)
) -> None:
    """Draw the training curves of runs.

    Examples:
      i3d plot run1 run2 --out both.png
    """
    plot_runs(logs, out)


def plot_runs(logs: Sequence[Path], out: Path) -> None:
    """Draw the curves of runs, each named by its folder or file."""
    from i3d.training.run_folder import LOG

    paths = [path / LOG if path.is_dir() else path for path in logs]
    for path in paths:
        if path.name == LOG and not path.exists():
            raise InputError(f"{path.parent}: has no {LOG}; a run that only fits a classifier writes none")
    names = [path.parent.name if path.name == LOG else path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in logs]
    training.draw_curves(out, dict(zip(names, paths, strict=True)), force=True)
    log.info("curves: %s", printable(str(out)))


runs_app, plot_app = command(runs, "runs"), command(plot, "plot")
