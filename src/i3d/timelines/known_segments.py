"""Videos and the annotations of what happens in them, before they are scored: each video needs its own."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from i3d.data.formats.video_times import frame_times
from i3d.data.segments.segment import VideoSegments
from i3d.errors import InputError, abridged, counted, printable, quoted
from i3d.evaluation.segment_pairs import NO_CLASS, match_videos
from i3d.video.base import Source

SLACK: Final = 1.0  # seconds by which a stated length may differ
SLACK_FRACTION: Final = 0.02
MOST: Final = 3  # names in a message
log = logging.getLogger("i3d")


def known_segments(
    sources: Sequence[Source], truth: Sequence[VideoSegments], labels: Sequence[str], *, where: str
) -> list[VideoSegments]:
    """The annotations of each video, by path or name, with its length as it is.

    `where` names the annotations in messages. An InputError for a video that they lack or that is given twice, for
    labels that the network does not have, for times that are not of the video, and if they have no segments at all. A
    VideoError for a video that cannot be read. Annotated videos that are not given are logged.
    """
    paths = [_path(source) for source in sources]
    _check_no_repeats(paths, "the videos")
    _check_no_repeats([one.video for one in truth], where)
    by_name = {one.video: one for one in truth}
    matched = match_videos(paths, [*by_name])
    if missing := [path for path in paths if path not in matched]:
        names = abridged([quoted(path) for path in missing], MOST)
        todo = (
            "add them, or leave these videos out; where nothing happens: an empty list, in a table a row of background"
        )
        raise InputError(f"{where}: has no segments of {counted(len(missing), 'given video')} ({names}); {todo}")
    chosen = [by_name[matched[path]] for path in paths]
    _check_labels(chosen, labels, where)
    _log_others([one for one in truth if one.video not in matched.values()], chosen, where)
    return [_with_length(path, one, where) for path, one in zip(paths, chosen, strict=True)]


def _path(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    raise InputError(f"a video of type {type(source).__name__}: has no name to find its segments by; give a path")


def _check_no_repeats(names: Sequence[str], where: str) -> None:
    if repeated := next((name for name, count in Counter(names).items() if count > 1), None):
        raise InputError(f"{where}: {quoted(repeated)} is named more than once; name each video once")


def _check_labels(chosen: Sequence[VideoSegments], labels: Sequence[str], where: str) -> None:
    counts = Counter(segment.label for one in chosen for segment in one.segments)
    of_classes = {label for label in counts if label.casefold() not in NO_CLASS}
    if not of_classes:
        raise InputError(f"{where}: has no segments in {counted(len(chosen), 'given video')}; annotate some")
    if unknown := sorted(of_classes - set(labels)):
        names, own = (abridged([quoted(name) for name in some], 10) for some in (unknown, labels))
        what = f"the network has no class {names}; it has {own}"
        raise InputError(f"{where}: {what}; rename or remove these segments")


def _log_others(others: Sequence[VideoSegments], chosen: Sequence[VideoSegments], where: str) -> None:
    if others:
        names = abridged([quoted(one.video) for one in others], MOST)
        log.info("%s: %s not given, and not used (%s)", printable(where), counted(len(others), "video"), names)
    for split in ("train", "test"):
        if num_videos := sum(one.split == split for one in chosen):
            why = "the network may know them" if split == "train" else "a later test on them is too good"
            log.warning("%s: %s of the split %s: %s", printable(where), counted(num_videos, "video"), split, why)


def _with_length(path: str, one: VideoSegments, where: str) -> VideoSegments:
    """The annotations with the length of the video; an InputError if they are of a video of another length."""
    if not Path(path).is_file():  # a folder of frames: its rate is given elsewhere
        return one
    seconds = frame_times(Path(path))[-1]
    slack = max(SLACK, SLACK_FRACTION * seconds)
    last = max((segment.stop for segment in one.segments), default=0.0)
    todo = "annotate this file, or name the one that was annotated"
    if one.seconds is not None and abs(one.seconds - seconds) > slack:
        what = f"{quoted(one.video)} lasts {one.seconds:.1f} s there, and {path} {seconds:.1f} s"
        raise InputError(f"{where}: {what}; {todo}")
    if last > seconds + slack:
        what = f"{quoted(one.video)} has a segment until {last:.1f} s, and {path} lasts {seconds:.1f} s"
        raise InputError(f"{where}: {what}; {todo}")
    return VideoSegments(one.video, one.segments, seconds, one.fps, one.is_variable, one.split, one.lead)
