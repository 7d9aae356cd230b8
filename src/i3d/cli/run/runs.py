"""`i3d plot`, and `plot_curve` of MMAction2."""

from collections.abc import Sequence
from pathlib import Path

from i3d.cli.messages import log
from i3d.errors import printable
from i3d.training.curves import draw_curves
from i3d.training.run_folder import LOG


def run_plot(logs: Sequence[Path], out: Path) -> None:
    """Draw the curves of runs, each named by its folder or file."""
    paths = [path / LOG if path.is_dir() else path for path in logs]
    names = [path.parent.name if path.name == LOG else path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in logs]
    draw_curves(out, dict(zip(names, paths, strict=True)))
    log.info("curves: %s", printable(str(out)))
