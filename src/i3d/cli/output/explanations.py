"""The explanation of a video, on stdout. This module does not import PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from i3d.cli.messages import log
from i3d.cli.output.tables import print_json
from i3d.errors import printable
from i3d.evaluation.occlusion import FLAT

if TYPE_CHECKING:
    from i3d.explanations.explanation import Explanation

BAR: Final = 24  # characters of the largest fall


def print_explanation(explanation: Explanation, *, json: bool) -> None:
    """The view, the curve as bars, the map and its scores on stdout; what could be mistaken on stderr."""
    for doubt in explanation.doubts:
        log.warning("%s: %s", printable(explanation.path), doubt)
    if json:
        print_json(explanation.to_dict())
        return
    print(f"{printable(explanation.path)}: {printable(explanation.label)} {100 * explanation.score:.1f} %")
    print(explanation.view_line)
    print(f"curve: {explanation.curve_line}")
    _print_bars(explanation)
    for row, line in enumerate(explanation.map_lines):
        print(f"     {line}" if row else f"map: {line}")
    print(f"protocol: {explanation.protocol}")


def _print_bars(explanation: Explanation) -> None:
    """A line for each window: its frames, and how much the score falls without them.

    The longest bar is at least a fall from which a moment matters: `FLAT`. What is printed as 0.000 has none.
    """
    curve, seconds_T = explanation.curve, explanation.view.seconds_T
    if explanation.has_one_frame:
        return
    largest = max(FLAT * curve.score, float(curve.drops_S.max()), 1e-9)
    print("  hidden frames   score falls by")
    for (start, stop), drop in zip(curve.windows, curve.drops_S.tolist(), strict=True):
        when = "" if seconds_T is None else f"{seconds_T[start]:8.2f} s"
        bar = "#" * round(BAR * max(0.0, drop) / largest) if round(drop, 3) else ""
        print(f"  {start + 1:>5} to {stop:<5}{when} {round(drop, 3) + 0.0:+.3f} {bar}".rstrip())
