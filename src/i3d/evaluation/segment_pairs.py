"""Predicted and annotated segments side by side: which videos of the two lists are the same, and their segments.

Times become whole milliseconds, so that a comparison with a threshold is exact.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.data.formats.training_segments import BACKGROUND
from i3d.data.labels import clean_label
from i3d.data.segments.segment import VideoSegments
from i3d.errors import InputError, abridged, quoted

BEYOND: Final = 0.5  # seconds behind the end of a video that may be a rounding
NO_CLASS: Final = (BACKGROUND, "unknown")  # in any case; segments of these are as if nothing were there
Split = Literal["train", "val", "test"]


@dataclass(frozen=True, order=True)
class Span:
    """A segment in whole milliseconds."""

    start: int
    stop: int
    label: str
    score: float = 1.0


@dataclass(frozen=True)
class VideoPair:
    """The segments of one video, predicted and annotated, without those of `NO_CLASS`."""

    video: str  # as the annotations name it; of a video that they lack, as the predictions do
    predicted: tuple[Span, ...]
    true: tuple[Span, ...]
    length: int  # milliseconds: of the video, and no less than its last segment
    is_annotated: bool = True  # the annotations list it, perhaps without segments


@dataclass(frozen=True)
class Beyond:
    """An annotated segment that ends behind the end of its video."""

    video: str
    stop: float  # seconds
    seconds: float  # of the video


@dataclass(frozen=True)
class SegmentPairs:
    """The videos of both lists, and what differs between the lists."""

    pairs: tuple[VideoPair, ...]  # by name
    by_name: tuple[tuple[str, str], ...] = ()  # (predicted, annotated): matched by their names, not by their paths
    only_predicted: tuple[str, ...] = ()
    only_annotated: tuple[str, ...] = ()
    without_length: tuple[str, ...] = ()  # annotated videos whose length neither list states
    beyond: tuple[Beyond, ...] = ()  # annotated segments that end behind the video whose length the predictions state
    no_class: Mapping[str, int] | None = None  # predicted and annotated segments of `NO_CLASS`, by label

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are annotated."""
        return tuple(sorted({span.label for pair in self.pairs for span in pair.true}))

    @property
    def predicted_labels(self) -> tuple[str, ...]:
        return tuple(sorted({span.label for pair in self.pairs for span in pair.predicted}))


def pair_segments(
    predictions: Sequence[VideoSegments], truth: Sequence[VideoSegments], *, split: Split | None = None
) -> SegmentPairs:
    """Pair the videos of predictions and annotations. `split`: annotated videos of other splits are left out.

    A video that one list has twice, and names that fit several videos, are an InputError.
    """
    predicted_of, true_of = _by_video("the predictions", predictions), _by_video("the annotations", truth)
    names = match_videos([*predicted_of], [*true_of])
    if split is not None:
        others = _of_other_splits(true_of, split)
        predicted_of = {name: video for name, video in predicted_of.items() if names.get(name) not in others}
        true_of = {name: video for name, video in true_of.items() if name not in others}
        names = {predicted: true for predicted, true in names.items() if true not in others}
    predicted_name = {true: predicted for predicted, true in names.items()}
    only_predicted = [name for name in predicted_of if name not in names]
    both = [(predicted_of[predicted_name[n]] if n in predicted_name else None, video) for n, video in true_of.items()]
    pairs = [_pair(*each) for each in [*both, *((predicted_of[name], None) for name in only_predicted)]]
    counts: dict[str, int] = defaultdict(int)
    for video in (*predicted_of.values(), *true_of.values()):
        for segment in video.segments:
            counts[segment.label] += not _is_class(segment.label)
    return SegmentPairs(
        tuple(sorted(pairs, key=lambda pair: (pair.video, pair.is_annotated))),
        tuple((predicted, true) for predicted, true in names.items() if predicted != true),
        tuple(only_predicted),
        tuple(name for name in true_of if name not in predicted_name),
        tuple(true.video for predicted, true in both if not (true.seconds or (predicted and predicted.seconds))),
        tuple(_beyond(both)),
        {label: count for label, count in sorted(counts.items()) if count},
    )


def _beyond(both: Iterable[tuple[VideoSegments | None, VideoSegments]]) -> Iterator[Beyond]:
    for predicted, true in both:
        if predicted is None or predicted.seconds is None:
            continue
        for one in true.segments:
            if _is_class(one.label) and one.stop > predicted.seconds + BEYOND:
                yield Beyond(true.video, one.stop, predicted.seconds)


def _of_other_splits(videos: Mapping[str, VideoSegments], split: Split) -> set[str]:
    others = {name for name, video in videos.items() if video.split != split}
    if len(others) == len(videos):
        splits = ", ".join(sorted({video.split for video in videos.values()} - {""}))
        raise InputError(f"no annotated video is of the split {split}; the annotations have {splits or 'no splits'}")
    return others


def match_videos(predicted: Sequence[str], annotated: Sequence[str]) -> dict[str, str]:
    """The annotated video of each predicted one that has one.

    They are matched by path, else by name without folders and video suffix, else without the "v_" of ActivityNet's
    files. Of several with one name, those match whose paths are the same from some folder on.
    """
    matched = {name: name for name in set(predicted) & set(annotated)}
    for key in (_name, _activitynet_id):
        rest = [name for name in predicted if name not in matched]
        free = sorted(set(annotated) - set(matched.values()))
        by_key = _grouped(free, key)
        for name, of_predicted in _grouped(rest, key).items():
            matched |= _match_group(of_predicted, by_key.get(name, []))
    return {name: matched[name] for name in predicted if name in matched}


def _match_group(predicted: list[str], annotated: list[str]) -> dict[str, str]:
    """The matches among videos of one name; an InputError where several are possible."""
    if len(predicted) == len(annotated) == 1:
        return {predicted[0]: annotated[0]}
    matched = {}
    for name in predicted:
        same = [other for other in annotated if _is_same_tail(name, other)]
        if len(same) == 1 and sum(_is_same_tail(other, same[0]) for other in predicted) == 1:
            matched[name] = same[0]
    rest = [name for name in predicted if name not in matched]
    free = [name for name in annotated if name not in matched.values()]
    if rest and free:
        several = f"the predicted {abridged(rest, 3)} and the annotated {abridged(free, 3)}"
        raise InputError(f"{quoted(_name(rest[0]))}: which is which of {several}; write the same paths in both")
    return matched


def _is_same_tail(first: str, second: str) -> bool:
    """Whether one path is the other one from some folder on: b/1.mp4 and /a/b/1."""
    parts, others = (([*re.split(r"[\\/]", name)[:-1], _name(name)])[::-1] for name in (first, second))
    return all(part == other for part, other in zip(parts, others, strict=False))


def _name(video: str) -> str:
    """The name without folders and video suffix."""
    name = re.split(r"[\\/]", video)[-1]
    suffix = PurePath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else name


def _activitynet_id(video: str) -> str:
    return _name(video).removeprefix("v_")


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return groups


def _by_video(where: str, videos: Sequence[VideoSegments]) -> dict[str, VideoSegments]:
    by_video: dict[str, VideoSegments] = {}
    for video in videos:
        if video.video in by_video:
            raise InputError(f"{quoted(video.video)}: {where} list this video twice; join its segments")
        by_video[video.video] = video
    return by_video


def _pair(predicted: VideoSegments | None, true: VideoSegments | None) -> VideoPair:
    videos = [video for video in (true, predicted) if video is not None]
    ends = [_milliseconds(segment.stop) for video in videos for segment in video.segments]
    lengths = [_milliseconds(video.seconds) for video in videos if video.seconds is not None][:1]
    length = max([*ends, *lengths], default=0)
    return VideoPair(videos[0].video, _spans(predicted), _spans(true), length, is_annotated=true is not None)


def _spans(video: VideoSegments | None) -> tuple[Span, ...]:
    segments = () if video is None else video.segments
    return tuple(
        Span(_milliseconds(one.start), _milliseconds(one.stop), clean_label(one.label), one.score)
        for one in segments
        if _is_class(one.label)
    )


def _is_class(label: str) -> bool:
    return label.casefold() not in NO_CLASS


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def overlaps(predicted: Sequence[Span], true: Sequence[Span]) -> npt.NDArray[np.int64]:
    """(P, G): for how many milliseconds each predicted segment overlaps each annotated one."""
    first, second = _edges(predicted), _edges(true)
    starts_PG = np.maximum(first[:, None, 0], second[None, :, 0])
    stops_PG = np.minimum(first[:, None, 1], second[None, :, 1])
    overlaps_PG: npt.NDArray[np.int64] = np.maximum(stops_PG - starts_PG, 0)
    return overlaps_PG


def temporal_iou(predicted: Sequence[Span], true: Sequence[Span]) -> npt.NDArray[np.float64]:
    """(P, G): intersection over union of the times of each predicted and each annotated segment."""
    overlaps_PG = overlaps(predicted, true)
    lengths_P, lengths_G = (np.diff(_edges(spans), axis=1)[:, 0] for spans in (predicted, true))
    return np.asarray(overlaps_PG / (lengths_P[:, None] + lengths_G[None, :] - overlaps_PG), np.float64)


def _edges(spans: Sequence[Span]) -> npt.NDArray[np.int64]:
    return np.array([(span.start, span.stop) for span in spans], np.int64).reshape(-1, 2)
