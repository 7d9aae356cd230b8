"""The JSON of ActivityNet: detections, as its `eval_detection.py` reads them, and annotations.

{"version": ..., "results": {ID: [{"label", "score", "segment": [start, stop]}]}, "external_data": {...}}
{"database": {ID: {"subset": "training", "duration": 82.7, "annotations": [{"label", "segment": [start, stop]}]}}}

An ID is the name of a video without its suffix. What `external_data` holds is free: here the path, length and frame
rate of each video, and its segments that are `unknown`: `eval_detection.py` looks up each label of `results` among the
labels of its ground truth, and a label that is none of them stops it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final

from i3d.data.segments.segment import UNKNOWN, Segment, SegmentFile, VideoSegments, score_in_file, segment_in
from i3d.errors import InputError, printable, quoted

SPLITS: Final = {
    **dict.fromkeys(("training", "train"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "val"),
    **dict.fromkeys(("testing", "test"), "test"),
    "": "",
}
LENGTHS: Final = ("duration", "duration_second")  # of a video


def is_detections(content: Any) -> bool:
    """Whether parsed JSON is detections, by this package or any other."""
    return isinstance(content, dict) and isinstance(content.get("results"), dict)


def is_truth(content: Any) -> bool:
    """Whether parsed JSON is annotations: those of ActivityNet, or its `database` alone."""
    database = _database(content)
    first = next(iter(database.values()), None) if isinstance(database, dict) else None
    return isinstance(first, dict) and isinstance(first.get("annotations"), list)


def encode_activitynet(videos: Sequence[VideoSegments], *, version: str) -> bytes:
    """Detections of ActivityNet. An ID is the name of the video without its suffix, or its path if others share it."""
    results, described = {}, {}
    for key, video in zip(_ids([video.video for video in videos]), videos, strict=True):
        listed = [
            {"label": one.label, "score": score_in_file(one.score), "segment": [one.start, one.stop]}
            for one in video.segments
        ]
        results[key] = [one for one in listed if one["label"] != UNKNOWN]
        described[key] = {
            "path": video.video,
            "duration": video.seconds,
            "fps": video.fps,
            "variable_frame_rate": video.is_variable,
            UNKNOWN: [one for one in listed if one["label"] == UNKNOWN],
        }
    content = {"version": version, "results": results, "external_data": {"used": False, "videos": described}}
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def decode_activitynet(content: Any, *, where: str) -> SegmentFile:
    """The segments in parsed JSON of either kind."""
    if not is_detections(content):
        truth = [_truth(f"{where}: {printable(key)}", key, entry) for key, entry in _database(content).items()]
        return SegmentFile(tuple(truth), are_annotations=True)
    external = content.get("external_data")
    described = external.get("videos") if isinstance(external, dict) else None
    described = described if isinstance(described, dict) else {}
    return SegmentFile(
        tuple(
            _detections(f"{where}: {printable(key)}", key, listed, described.get(key))
            for key, listed in content["results"].items()
        )
    )


def _ids(paths: Sequence[str]) -> list[str]:
    stems = [PurePath(path).stem for path in paths]
    counts = Counter(stems)
    ids = [stem if counts[stem] == 1 else path for stem, path in zip(stems, paths, strict=True)]
    return ids if len(set(ids)) == len(ids) else [*paths]


def _detections(where: str, key: str, listed: Any, described: Any) -> VideoSegments:
    if not isinstance(listed, list):
        raise InputError(f"{where}: {quoted(listed)}: not a list of segments; correct it")
    described = described if isinstance(described, dict) else {}
    path, unknown = described.get("path"), described.get(UNKNOWN)
    if isinstance(unknown, list):
        listed = [*listed, *unknown]
    return VideoSegments(
        path if isinstance(path, str) and path else key,
        tuple(_segment(where, number, one) for number, one in enumerate(listed)),
        seconds=_positive(where, "duration", described.get("duration")),
        fps=_positive(where, "fps", described.get("fps")),
        is_variable=described.get("variable_frame_rate") is True,
    )


def _truth(where: str, key: str, entry: Any) -> VideoSegments:
    if not isinstance(entry, dict) or not isinstance(entry.get("annotations"), list):
        raise InputError(f"{where}: has no list of annotations; add one, empty if nothing happens in it")
    subset = entry.get("subset", "")
    if not isinstance(subset, str) or subset.lower() not in SPLITS:
        raise InputError(f"{where}: subset {quoted(subset)}: not one of training, validation, testing; correct it")
    seconds = next((entry[name] for name in LENGTHS if entry.get(name) is not None), None)
    return VideoSegments(
        key,
        tuple(_segment(where, number, one) for number, one in enumerate(entry["annotations"])),
        seconds=_positive(where, "duration", seconds),
        fps=_positive(where, "fps", entry.get("fps")),
        split=SPLITS[subset.lower()],
    )


def _segment(where: str, number: int, one: Any) -> Segment:
    where = f"{where}: segment {number}"
    times = one.get("segment") if isinstance(one, dict) else None
    if not isinstance(times, list) or len(times) != 2:
        raise InputError(f'{where}: has no "segment": [start, stop]; correct it')
    start, stop = times
    return segment_in(where, start, stop, one.get("label"), one.get("score", 1.0))


def _database(content: Any) -> Any:
    inner = content.get("database") if isinstance(content, dict) else None
    return inner if isinstance(inner, dict) else content


def _positive(where: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e7:
        raise InputError(f"{where}: {name} {quoted(value)}: not a positive number; correct it, or remove it")
    return float(value)
