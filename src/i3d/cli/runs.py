"""`i3d runs` and `i3d plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from i3d import training
from i3d.cli import output, run
from i3d.cli.help import command
from i3d.cli.options import Json, in_file, out_file


def runs(
    folder: Annotated[Path, in_file("A folder of runs, or of one run.")],
    /,
    *,
    json: Json = False,
) -> None:
    """List the training runs below a folder.

    The table has recipe, progress and best validation of each run, and the settings in which they differ.

    Examples:
      i3d runs runs/
    """
    output.print_result(training.list_runs(folder), output.print_runs, json=json)


def plot(
    *logs: Annotated[Path, in_file("Folders of runs, or logs (MMAction2's *.log.json too).", required=True)],
    out: Annotated[Path, out_file(".png"), Parameter(help="The .png to write.")] = Path("curves.png"),
) -> None:
    """Draw the training curves of runs.

    Examples:
      i3d plot run1 run2 --out both.png
    """
    run.runs.run_plot(logs, out)


runs_app, plot_app = command(runs, "runs"), command(plot, "plot")
