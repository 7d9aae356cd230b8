"""Chapters in an mp4: a copy of the video, with a chapter for each segment. They hold no scores.

Chapters follow each other without gaps. What lies between segments is a chapter of its own, whose title is a dash.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from i3d.data.segments.segment import Segment, SegmentFile, VideoSegments, segment_in
from i3d.errors import InputError, counted, quoted
from i3d.video.writer import Chapter, copy_with_chapters, read_chapters

GAP: Final = "\N{EM DASH}"
MAX_TITLE: Final = 255  # bytes, in an mp4


def write_chapters(path: Path, video: VideoSegments) -> list[str]:
    """Copy a video into an mp4 with its segments as chapters. A note if segments overlap, which chapters cannot."""
    chapters, num_overlapping = chapters_of(video)
    for chapter in chapters:
        check_title(chapter.title)
    copy_with_chapters(path, Path(video.video), chapters)
    if not num_overlapping:
        return []
    what = f"chapters cannot overlap: {counted(num_overlapping, 'segment')} cut or left out where another scores higher"
    return [f"{what}; tables and JSON hold them all"]


def chapters_of(video: VideoSegments) -> tuple[list[Chapter], int]:
    """Chapters without overlaps and gaps up to the last segment, and the number of segments that were cut for it."""
    pieces = flatten(video.segments)
    chapters, end = [], 0.0
    for one in pieces:
        if one.start > end:
            chapters.append(Chapter(end, one.start, GAP))
        chapters.append(Chapter(one.start, one.stop, one.label))
        end = one.stop
    if video.seconds is not None and round(video.seconds, 3) > end:
        chapters.append(Chapter(end, round(video.seconds, 3), GAP))
    whole = {(one.start, one.stop, one.label) for one in pieces}
    return chapters, sum((one.start, one.stop, one.label) not in whole for one in video.segments)


def flatten(segments: Sequence[Segment]) -> list[Segment]:
    """The segment with the highest score at each time. Pieces of one segment that touch are one."""
    times = sorted({time for one in segments for time in (one.start, one.stop)})
    by_start = sorted(segments)
    active: list[Segment] = []
    pieces: list[tuple[float, float, Segment]] = []
    place = 0
    for start, stop in pairwise(times):
        while place < len(by_start) and by_start[place].start <= start:
            active.append(by_start[place])
            place += 1
        active = [one for one in active if one.stop > start]
        if not active:
            continue
        best = max(active, key=lambda one: one.score)
        if pieces and pieces[-1][1] == start and pieces[-1][2] is best:
            pieces[-1] = (pieces[-1][0], stop, best)
        else:
            pieces.append((start, stop, best))
    return [Segment(start, stop, one.label, one.score) for start, stop, one in pieces]


def decode_chapters(path: Path) -> SegmentFile:
    """The chapters of a video file, but those that stand for gaps."""
    chapters = read_chapters(path)
    if not chapters:
        raise InputError(f"{path}: a video without chapters; give a file of segments, or a video with chapters")
    segments = tuple(
        segment_in(f"{path}: chapter {number}", max(0.0, one.start), one.stop, one.title)
        for number, one in enumerate(chapters)
        if one.title != GAP
    )
    return SegmentFile((VideoSegments(path.name, segments),))


def check_title(title: str) -> None:
    """An InputError for a title that is too long."""
    if len(title.encode()) > MAX_TITLE:
        raise InputError(f"label {quoted(title)}: longer than the {MAX_TITLE} bytes of a chapter; shorten it")
