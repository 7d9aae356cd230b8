"""What the small files of a layout are made of: the videos with features, and how their rows count.

Letters in names: R rows.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from i3d._version import __version__
from i3d.data.segments.segment import Segment
from i3d.errors import counted
from i3d.features.extractor import Row
from i3d.features.layouts.layout import first_row
from i3d.recipes.features import FeatureSettings

SUBSETS: Final = {"train": "training", "val": "validation", "test": "testing"}  # as ActivityNet names them
VERSION: Final = f"i3d {__version__}"


@dataclass(frozen=True)
class ListedVideo:
    """A video with features."""

    name: str
    file: Path  # of its array
    num_frames: int  # at the rate by which rows count
    rows: tuple[Row, ...]
    seconds: tuple[tuple[float, float], ...]  # start and end of each row
    subset: str  # training, validation or testing
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Listing:
    """All that the small files of a layout state."""

    out: Path  # absolute
    videos: tuple[ListedVideo, ...]
    settings: FeatureSettings
    shape: tuple[int, ...]  # of a row
    has_truth: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of all segments, sorted: their place is their number."""
        return tuple(sorted({one.label for video in self.videos for one in video.segments}))

    @property
    def first_row(self) -> Row:
        return first_row(self.settings)

    @property
    def tested_on(self) -> str:
        """The subset to test on: validation if it has videos."""
        return "validation" if self.of_subset("validation") else "testing"

    def of_subset(self, subset: str) -> list[ListedVideo]:
        return [video for video in self.videos if video.subset == subset]

    def path(self, name: str) -> str:
        """A path below the folder of the layout, in quotes, as YAML and Python read it."""
        return json.dumps(str(self.out / name), ensure_ascii=False)


@dataclass(frozen=True)
class SmallFiles:
    """The small files of a layout."""

    contents: dict[str, bytes]  # by their names
    rows: str  # how the code turns rows into seconds, on one line
    notes: Sequence[str]  # what the layout does not hold


Encoder = Callable[[Listing], SmallFiles]


def seconds_of(video: ListedVideo, fps: float | None) -> float:
    """The length of a video: of its frames, which without a rate are as long as those of its last row."""
    if fps is not None:
        return video.num_frames / fps
    row, (start, stop) = video.rows[-1], video.seconds[-1]
    last = min(row.stop, video.num_frames)
    return stop + (video.num_frames - last) * (stop - start) / (last - max(row.first, 0))


def json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def describe_subsets(listing: Listing) -> str:
    """How many videos are in each subset."""
    counts = [f"{name} {len(listing.of_subset(name))}" for name in SUBSETS.values()]
    return f"{counted(len(listing.videos), 'video')} ({', '.join(counts)})"
