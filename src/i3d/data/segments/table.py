"""Tables of segments: `video,label,start,stop,score`, with commas (.csv) or tabs (.tsv). Times are seconds."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from i3d.data.class_numbers import is_numeric
from i3d.data.formats.columns import Columns, find_columns, no_path_column
from i3d.data.segments.segment import Segment, SegmentFile, VideoSegments, score_in_file, segment_in, time_text
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


def decode_table(path: Path, lines: list[str]) -> SegmentFile:
    """The segments of a table whose columns have these or other names of the field, in the order of its videos."""
    columns = Columns()
    segments: dict[str, list[Segment]] = {}
    for line, record in csv_records(path, lines):
        if not columns.path:
            columns = _columns(path, record)
        video, label = record[columns.path].strip(), record[columns.label].strip()
        if not video or not label:
            raise line_error(path, line, video or label, f"no {'label' if video else 'video'} in this row; add one")
        start, stop = record[columns.start].strip() or "0", record[columns.end].strip()
        if not stop:
            raise line_error(path, line, video, f"{columns.end} is empty; write the end of the segment, in seconds")
        score = (record[columns.score].strip() if columns.score else "") or "1"
        segments.setdefault(video, []).append(segment_in(f"{path}:{line}", start, stop, label, score))
    videos = tuple(VideoSegments(video, tuple(listed)) for video, listed in segments.items())
    return SegmentFile(videos, tuple(columns.warnings()))


def _columns(path: Path, record: dict[str, str]) -> Columns:
    columns = find_columns(path, record)
    if not columns.path:
        raise no_path_column(path, record)
    columns.check(path)
    if not columns.start:
        raise line_error(path, 1, ", ".join(record), "no columns start and stop, in seconds; add them")
    if not columns.label:
        raise line_error(path, 1, ", ".join(record), "no column label; rename the column of the labels")
    return columns
