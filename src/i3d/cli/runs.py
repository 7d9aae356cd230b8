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
from i3d.errors import printable
from i3d.utils.outputs import is_drawing

CURVES: Final = Path("curves.png")


def runs(folder: Annotated[Path, in_file("A folder of runs, or of one run.")], /, *, json: Json = False) -> int:
    """List the training runs below a folder.

    The table has progress, best validation and test of each run, and the settings in which they differ: runs by a
    recipe, fine-tuning, and its folds. Exit code 3: some run is damaged.

    Examples:
      i3d runs runs/
    """
    summaries = training.list_runs(folder)
    output.print_result(summaries, output.print_runs, json=json)
    for run in summaries:
        if run.note:
            log.error(run.note)
    return 3 if any(run.note for run in summaries) else 0


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
    from i3d.training.runs import no_log

    paths = [path / LOG if path.is_dir() else path for path in logs]
    for path in paths:
        if path.name == LOG and not path.exists():
            raise no_log(path.parent)
    names = [path.parent.name if path.name == LOG else path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in logs]
    training.draw_curves(out, dict(zip(names, paths, strict=True)), force=True)
    log.info("curves: %s", printable(str(out)))


runs_app, plot_app = command(runs, "runs"), command(plot, "plot")
