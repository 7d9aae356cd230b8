"""`i3d runs` and `i3d plot`."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from i3d.cli import run
from i3d.cli.checks import check_dataset, check_output
from i3d.cli.help import command
from i3d.cli.messages import log
from i3d.cli.options import INPUT, OUTPUT, Json
from i3d.errors import printable


def runs(
    folder: Annotated[Path, Parameter(group=INPUT, help="A folder of runs, or of one run.")],
    /,
    *,
    json: Json = False,
) -> None:
    """List the training runs below a folder.

    The table has recipe, progress and best validation of each run, and the settings in which they differ.

    Examples:
      i3d runs runs/
    """
    check_dataset(folder)
    summaries = run.runs.find_runs(folder)
    if json:
        print(json_format.dumps([asdict(run) for run in summaries], indent=2, default=str))
    else:
        run.runs.print_runs(summaries)


def plot(
    *logs: Annotated[
        Path, Parameter(group=INPUT, required=True, help="Folders of runs, or logs (MMAction2's *.log.json too).")
    ],
    out: Annotated[Path, Parameter(group=OUTPUT, alias="-o", help="The .png to write.")] = Path("curves.png"),
) -> None:
    """Draw the training curves of runs.

    Examples:
      i3d plot run1 run2 --out both.png
    """
    for log_path in logs:
        check_dataset(log_path)
    check_output("--out", out, (".png",))
    run.runs.draw_curves_of(logs, out)
    log.info("curves: %s", printable(str(out)))


runs_app, plot_app = command(runs, "runs"), command(plot, "plot")
