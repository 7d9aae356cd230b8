"""Tables of segments: `video,label,start,stop,score`, with commas (.csv) or tabs (.tsv). Times are seconds."""

import csv
import io
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Final

from i3d.data.class_numbers import is_numeric
from i3d.data.formats.columns import Columns, find_columns, no_path_column
from i3d.data.formats.parts import (
    FramePart,
    frames_of_row,
    rate_of_row,
    score_of_row,
    seconds_of_frames,
    seconds_of_row,
)
from i3d.data.formats.tables import read_split
from i3d.data.segments.segment import Segment, SegmentFile, VideoSegments, score_in_file, segment_in, time_text
from i3d.errors import InputError
from i3d.utils.text import csv_records, line_error

COLUMNS: Final = ("video", "label", "start", "stop", "score")
LABEL_NAME: Final = "label_name"  # the column of names that look like class numbers


def encode_table(videos: Sequence[VideoSegments], *, delimiter: str) -> bytes:
    """A row for each segment. Labels that look like numbers have a column that states that they are names."""
    has_numbers = any(is_numeric(segment.label) for video in videos for segment in video.segments)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([LABEL_NAME if has_numbers and name == "label" else name for name in COLUMNS])
    for video in videos:
        for one in video.segments:
            times = (time_text(one.start), time_text(one.stop))
            writer.writerow((video.video, one.label, *times, score_in_file(one.score)))
    return text.getvalue().encode()


def decode_table(path: Path, lines: list[str], *, fps: float | None = None) -> SegmentFile:
    """The segments of a table whose columns have these or other names of the field, in the order of its videos.

    `fps`: of parts in frames, where the table has no column of frame rates.
    """
    columns = Columns()
    rows: list[tuple[int, str, str, float]] = []  # line, video, label, score
    times: list[tuple[float, float]] = []
    frames, rates = list[FramePart](), list[float | None]()
    splits: dict[str, str] = {}
    for line, record in csv_records(path, lines):
        columns = columns if columns.path else _columns(path, record)
        video, label = record[columns.path].strip(), record[columns.label].strip()
        if not video or not label:
            raise line_error(path, line, video or label, f"no {'label' if video else 'video'} in this row; add one")
        split = read_split(path, line, record.get(columns.split))
        if splits.setdefault(video, split) != split:
            raise line_error(path, line, video, f"splits {splits[video]!r} and {split!r}; a video has one")
        score = score_of_row(path, line, record, columns)
        rows.append((line, video, label, 1.0 if isnan(score) else score))
        if columns.start_frame:
            frames.append(frames_of_row(path, line, video, record, columns))
            rates.append(rate_of_row(path, line, record, columns) or fps)
        else:
            start, end = seconds_of_row(path, line, record, columns)
            if isnan(end):
                raise line_error(path, line, video, "the end of the segment is empty; write it, in seconds")
            times.append((0.0 if isnan(start) else start, end))
    notes = columns.warnings()
    if frames:
        times, note = _seconds(path, rows, frames, rates)
        notes.append(note)
    segments: dict[str, list[Segment]] = {}
    for (line, video, label, score), (start, end) in zip(rows, times, strict=True):
        segments.setdefault(video, []).append(segment_in(f"{path}:{line}", start, end, label, score))
    videos = (VideoSegments(video, tuple(listed), split=splits[video]) for video, listed in segments.items())
    return SegmentFile(tuple(videos), tuple(notes))


def _seconds(
    path: Path, rows: list[tuple[int, str, str, float]], frames: list[FramePart], rates: list[float | None]
) -> tuple[list[tuple[float, float]], str]:
    def wrong(number: int, why: str) -> InputError:
        return line_error(path, rows[number][0], rows[number][1], why)

    def times_of(_: str, number: int) -> list[float]:
        raise wrong(number, "its frame rate is unknown, which turns frames into seconds; add a column fps")

    return seconds_of_frames(frames, rates, times_of, wrong)


def _columns(path: Path, record: dict[str, str]) -> Columns:
    columns = find_columns(path, record)
    if not columns.path:
        raise no_path_column(path, record)
    columns.check(path)
    if not columns.start and not columns.start_frame:
        raise line_error(path, 1, ", ".join(record), "no columns start and stop, in seconds; add them")
    if not columns.label:
        raise line_error(path, 1, ", ".join(record), "no column label; rename the column of the labels")
    return columns
