"""Read files of segments: the format is recognised by the suffix and the content."""

import logging
from pathlib import Path

from i3d.data.segments.activitynet import decode_activitynet, is_detections, is_truth
from i3d.data.segments.segment import SegmentFile, VideoSegments
from i3d.data.segments.table import decode_table
from i3d.errors import InputError, check_not_empty, printable
from i3d.utils.arguments import checks_types
from i3d.utils.text import parse_json, read_lines, read_text

log = logging.getLogger("i3d")


@checks_types
def read_segments(path: Path | str) -> tuple[VideoSegments, ...]:
    """The segments in a file, of each of its videos. What is left out or assumed is logged as a warning.

    The file: JSON of ActivityNet (detections or annotations), or a table (.csv, .tsv). A video is named as in the
    file: by its path, or by its name without suffix. A file that is none of these, and a segment that is none, are an
    InputError.
    """
    check_not_empty(path=path)
    path = Path(path)
    read = read_segment_file(path)
    for note in read.notes:
        log.warning("%s: %s", printable(str(path)), note)
    return read.videos


def read_segment_file(path: Path) -> SegmentFile:
    """The segments in a file, and notes on what is left out or assumed."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return decode_table(path, read_lines(path))
        case ".json":
            return _decode_json(path)
        case suffix:
            raise InputError(f"{path}: {suffix or 'no suffix'}: not a file of segments; give a .json, .csv or .tsv")


def _decode_json(path: Path) -> SegmentFile:
    content = parse_json(read_text(path), where=str(path))
    if is_detections(content) or is_truth(content):
        return decode_activitynet(content, where=str(path))
    raise InputError(f'{path}: not segments; ActivityNet\'s JSON has "results" or "database"')
