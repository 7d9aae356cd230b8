"""`i3d runs` and `i3d plot`."""

from collections.abc import Sequence
from pathlib import Path

from i3d.cli.output import print_runs as print_runs
from i3d.training.curves import draw_curves
from i3d.training.run_folder import LOG
from i3d.training.runs import list_runs as find_runs

__all__ = ["draw_curves_of", "find_runs", "print_runs"]


def draw_curves_of(logs: Sequence[Path], out: Path) -> None:
    """Draw the curves of runs, each named by its folder or file."""
    paths = [path / LOG if path.is_dir() else path for path in logs]
    names = [path.parent.name if path.name == LOG else path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in logs]
    draw_curves(out, dict(zip(names, paths, strict=True)))
