"""Label Studio's tasks: predictions of TimelineLabels to be corrected, and exports of what was annotated.

[{"data": {"video": ..., "fps": 25.0}, "predictions": [{"model_version", "score", "result": [RESULT, ...]}]}]
RESULT: {"type": "timelinelabels", "value": {"ranges": [{"start": 3, "end": 5}], "timelinelabels": ["run"]}, ...}

Frames count from 1, both ends belong to the range, and frame n begins at (n - 1) / fps seconds: Label Studio divides
the time of the browser by a constant rate, `frameRate` of its Video tag. `meta` holds the times to the millisecond.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote, unquote

from i3d.data.segments.segment import Segment, SegmentFile, VideoSegments, score_in_file, segment_in
from i3d.errors import InputError, counted, printable, quoted

DEFAULT_FPS: Final = 25.0  # ticks of time where the video has no constant rate
TOLERANCE: Final = 0.0006  # seconds: times are rounded to milliseconds
LOCAL_FILES: Final = "/data/local-files/?d="
UPLOADED: Final = re.compile(r"[0-9a-f]{8}-(?=.)")  # begin of the names of uploaded files
_REMOTE: Final = re.compile(r"(?:https?|s3|gs|azure-blob)://([^?#]*)")
FROM_NAME, TO_NAME = "timelineLabels", "video"  # as in Label Studio's template for timelines
MAX_FPS: Final = 1000
RATES: Final = ("fps", "frame_rate", "frameRate", "framerate")
CONFIGURATION: Final = 'the labelling configuration needs <Video name="video" value="$video" frameRate="$fps"/>'


def is_label_studio(content: Any) -> bool:
    """Whether parsed JSON is tasks of Label Studio: of an export, or of predictions."""
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict):
        return False
    return isinstance(first.get("data"), dict) or any(True for _ in _minimal_results(first))


def encode_label_studio(videos: Sequence[VideoSegments], *, model_version: str) -> bytes:
    """A task for each video, with its segments as predictions."""
    tasks = [_task(video, model_version) for video in videos]
    return (json.dumps(tasks, indent=1, allow_nan=False) + "\n").encode()


def label_studio_notes(videos: Sequence[VideoSegments]) -> list[str]:
    """What a user of Label Studio has to know about these videos."""
    notes = []
    variable = [video for video in videos if video.is_variable]
    if variable:
        name, rate = printable(variable[0].video), frame_rate(variable[0])
        what = f"{counted(len(variable), 'video')} of variable frame rate, such as {name}"
        notes.append(f"{what}: Label Studio counts its frames as {rate:g} a second, which are not those of the file")
    unknown = [video for video in videos if video.fps is None and not video.is_variable]
    if unknown:
        what = f"{counted(len(unknown), 'video')} of unknown frame rate, such as {printable(unknown[0].video)}"
        notes.append(f"{what}: its frames are counted as {DEFAULT_FPS:g} a second")
    return notes


def frame_rate(video: VideoSegments) -> float:
    """Frames per second by which Label Studio counts."""
    return video.fps or DEFAULT_FPS


def frames_of(start: float, stop: float, fps: float) -> tuple[int, int]:
    """The first and the last frame, from 1, of a segment in seconds."""
    first = math.floor((start + TOLERANCE) * fps) + 1
    return first, max(first, math.ceil((stop - TOLERANCE) * fps))


def _task(video: VideoSegments, model_version: str) -> dict[str, Any]:
    fps = frame_rate(video)
    data = {"video": LOCAL_FILES + quote(video.video), "fps": fps, "duration": video.seconds}
    results = []
    for number, one in enumerate(video.segments):
        first, last = frames_of(one.start, one.stop, fps)
        results.append(
            {
                "id": f"segment{number}",
                "type": "timelinelabels",
                "from_name": FROM_NAME,
                "to_name": TO_NAME,
                "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [one.label]},
                "score": score_in_file(one.score),
                "meta": {"start_seconds": one.start, "stop_seconds": one.stop},
            }
        )
    scores = [one.score for one in video.segments]
    prediction = {
        "model_version": model_version,
        "score": score_in_file(sum(scores) / len(scores)) if scores else 0.0,
        "result": results,
    }
    return {"data": {key: value for key, value in data.items() if value is not None}, "predictions": [prediction]}


def decode_label_studio(content: list[Any], *, where: str, fps: float | None) -> SegmentFile:
    """The annotations in parsed JSON; where no task has any, the predictions. `fps`: of tasks without a frame rate."""
    if not all(isinstance(task, dict) for task in content):
        raise InputError(f"{where}: a task is no object; export it again")
    tasks = [(f"{where}: task {task.get('id', k)}", task) for k, task in enumerate(content)]
    has_annotations = any(_annotations(name, task) is not None for name, task in tasks)
    videos, num_unlabelled, num_others = [], 0, 0
    for name, task in tasks:
        results = _annotations(name, task) if has_annotations else _predictions(name, task)
        if results is None:
            num_unlabelled += 1
            continue
        timelines = [one for one in results if _is_timeline(one)]
        num_others += len(results) - len(timelines)
        videos.append(_video(name, task, timelines, fps))
    notes = []
    if num_unlabelled:
        kind = "annotations" if has_annotations else "predictions"
        notes.append(f"{counted(num_unlabelled, 'task')} without {kind} left out")
    if num_others:
        notes.append(f"{counted(num_others, 'result')} that are no ranges of a timeline left out")
    return SegmentFile(tuple(videos), tuple(notes), are_annotations=has_annotations, of_players=True)


def _annotations(where: str, task: dict[str, Any]) -> list[Any] | None:
    """The results of the annotation of a task; None: it has none. Of several, the ground truth."""
    if "data" not in task:
        return [*_minimal_results(task)]
    finished = [one for one in _objects(task.get("annotations")) if not one.get("was_cancelled")]
    chosen = [one for one in finished if one.get("ground_truth")] if len(finished) > 1 else finished
    if len(finished) > 1 and len(chosen) != 1:
        what = f"{len(finished)} annotations, and {'none' if not chosen else 'several'} marked as the ground truth"
        raise InputError(f"{where}: {what}; mark one in Label Studio, or remove the others")
    return _results(where, chosen[0]) if chosen else None


def _predictions(where: str, task: dict[str, Any]) -> list[Any] | None:
    listed = _objects(task.get("predictions"))
    if len(listed) > 1:
        versions = ", ".join(quoted(one.get("model_version")) for one in listed[:3])
        raise InputError(f"{where}: predictions of several models ({versions}); leave those of one")
    return _results(where, listed[0]) if listed else None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _results(where: str, holder: dict[str, Any]) -> list[Any]:
    results = holder.get("result")
    if not isinstance(results, list):
        raise InputError(f"{where}: has no list of results; export it again")
    return results


def _minimal_results(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The results of a task in the export "JSON-MIN", whose values stand beside the data."""
    for values in task.values():
        for value in values if isinstance(values, list) else []:
            if isinstance(value, dict) and "timelinelabels" in value:
                yield {"value": value}


def _is_timeline(result: Any) -> bool:
    value = result.get("value") if isinstance(result, dict) else None
    return isinstance(value, dict) and isinstance(value.get("ranges"), list) and "timelinelabels" in value


def _video(where: str, task: dict[str, Any], results: list[dict[str, Any]], given: float | None) -> VideoSegments:
    data = task.get("data", task)
    if not isinstance(data, dict):
        raise InputError(f"{where}: its data is no object; export it again")
    path = _path(where, data)
    fps = _rate(data, results) or given
    if fps is None and results:
        why = 'the frame rate is unknown, which turns its frames into seconds; add "fps" to the data of the task'
        raise InputError(f"{where}: {why}, or give it as --list-fps")
    segments = [one for result in results for one in _segments(where, result, fps or DEFAULT_FPS)]
    return VideoSegments(path, tuple(segments), seconds=_positive(data.get("duration")), fps=fps)


def _segments(where: str, result: dict[str, Any], fps: float) -> Iterator[Segment]:
    value, score = result["value"], result.get("score")
    labels = value["timelinelabels"] if isinstance(value["timelinelabels"], list) else [value["timelinelabels"]]
    if not labels:
        raise InputError(f"{where}: a range has no label; choose one in Label Studio")
    for frames in value["ranges"]:
        numbers = [frames.get(name) if isinstance(frames, dict) else None for name in ("start", "end")]
        first, last = (one if isinstance(one, int) and one > 0 else None for one in numbers)
        if first is None or last is None or first > last:
            raise InputError(f"{where}: {quoted(frames)}: not a range of frames from 1; correct it")
        start, stop = _exact(result, first, last, fps) or ((first - 1) / fps, last / fps)
        for label in labels:
            yield segment_in(where, start, stop, label, 1.0 if score is None else score)


def _exact(result: dict[str, Any], first: int, last: int, fps: float) -> tuple[float, float] | None:
    """The times in `meta`, unless the range was edited since."""
    meta = result.get("meta")
    start, stop = (meta.get("start_seconds"), meta.get("stop_seconds")) if isinstance(meta, dict) else (None, None)
    if not isinstance(start, int | float) or not isinstance(stop, int | float):
        return None
    return (start, stop) if frames_of(start, stop, fps) == (first, last) else None


def _rate(data: dict[str, Any], results: list[dict[str, Any]]) -> float | None:
    """Frames per second by the data of a task, or by the number of frames and the length that it or a result states."""
    for holder in (data, *(result["value"] for result in results)):
        for name in RATES:
            if rate := _positive(holder.get(name)):
                return rate
        frames, seconds = _positive(holder.get("framesCount")), _positive(holder.get("duration"))
        if frames and seconds and frames / seconds <= MAX_FPS:
            return frames / seconds
    return None


def _positive(value: Any) -> float | None:
    """A positive number, which tasks that were imported from a table have as text; None: it is none."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < 1e7 else None


def _path(where: str, data: dict[str, Any]) -> str:
    """The video of a task: below the folder of local files, else the name of what was uploaded or linked."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    text = texts.get("video") or next((one for one in texts.values() if PurePath(one).suffix), "")
    if not text:
        raise InputError(f'{where}: its data names no video; add "video"')
    if text.startswith(LOCAL_FILES):
        return unquote(text.removeprefix(LOCAL_FILES))
    if remote := _REMOTE.match(text):
        return PurePath(unquote(remote[1])).name
    if text.startswith("/data/upload/"):
        return UPLOADED.sub("", PurePath(unquote(text)).name, count=1)
    return text
