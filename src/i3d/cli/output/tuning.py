"""Chosen settings of segments, on stdout. This module does not import PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from i3d.cli.output.tables import print_table
from i3d.errors import counted, printable
from i3d.recipes.segments import SegmentSettings

if TYPE_CHECKING:
    from i3d.timelines.tune import Tuning


def print_tuning(tuning: Tuning) -> None:
    """A table of the settings, then how good they are."""
    default = SegmentSettings()
    rows = [
        (f"--{name.replace('_', '-')}", f"{getattr(default, name):g}", f"{getattr(tuning.settings, name):g}")
        for name in SegmentSettings.model_fields
    ]
    print_table(("setting", "default", "tuned"), rows)
    held_out = "unknown" if tuning.held_out is None else f"{tuning.held_out:.4f}"
    values = [
        ("default settings", f"{tuning.default:.4f}"),
        ("tuned, on the videos that chose them", f"{tuning.value:.4f}"),
        ("tuned, each video by the others", held_out),
    ]
    print_table((tuning.metric, "value"), values)
    videos, segments = counted(tuning.num_videos, "video"), counted(tuning.num_segments, "segment")
    print(f"of {videos} with {segments}; {tuning.num_settings:,} settings compared")
    if tuning.held_out is None:
        print("held out: unknown, fewer than 3 videos have segments; the tuned value is too good for other videos")
    print(f"protocol: {printable(tuning.protocol)}")
