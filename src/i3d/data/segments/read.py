"""Read files of segments: the format is recognised by the suffix and the content."""

import logging
from pathlib import Path
from typing import Any, Final

from i3d.data.segments.activitynet import decode_activitynet, is_detections, is_truth
from i3d.data.segments.chapters import decode_chapters
from i3d.data.segments.elan import decode_elan
from i3d.data.segments.label_studio import decode_label_studio, is_label_studio
from i3d.data.segments.segment import SegmentFile, VideoSegments
from i3d.data.segments.srt import decode_srt
from i3d.data.segments.table import decode_table
from i3d.data.segments.webvtt import decode_webvtt
from i3d.errors import InputError, check_not_empty, printable
from i3d.utils.arguments import checks_types
from i3d.utils.text import parse_json, read_text, split_lines

CHAPTERS: Final = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
TEXTS: Final = (".json", ".csv", ".tsv", ".srt", ".vtt", ".eaf")
SUBTITLES: Final = (".srt", ".vtt")
SEGMENTS_ONLY: Final = (*SUBTITLES, ".eaf")
log = logging.getLogger("i3d")


@checks_types
def read_segments(path: Path | str, *, fps: float | None = None) -> tuple[VideoSegments, ...]:
    """The segments in a file, of each of its videos. What is left out or assumed is logged as a warning.

    The file: JSON of ActivityNet (detections or annotations) or of Label Studio, a table (.csv, .tsv), subtitles
    (.srt, .vtt), annotations of ELAN (.eaf), a video with chapters; or a folder of such files. A video is named as in
    the file: by its path, or by its name without suffix. `fps`: the frame rate by which Label Studio counted, where its
    export lacks it. A file that is none of these, and a segment that is none, are an InputError.
    """
    check_not_empty(path=path)
    path = Path(path)
    read = read_segment_file(path, fps=fps)
    for note in read.notes:
        log.warning("%s: %s", printable(str(path)), note)
    return read.videos


def read_segment_file(path: Path, *, fps: float | None = None) -> SegmentFile:
    """The segments in a file, or in the files of a folder, and notes on what is left out or assumed."""
    if path.is_dir():
        return _read_folder(path, fps)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.suffix.lower() in CHAPTERS:
        return decode_chapters(path)
    if path.suffix.lower() not in TEXTS:
        what = f"{path.suffix or 'no suffix'}: not a file of segments"
        raise InputError(f"{path}: {what}; give one that ends in {', '.join((*TEXTS, CHAPTERS[0]))}")
    return decode_segments(path, read_text(path), fps=fps)


def decode_segments(path: Path, text: str, *, fps: float | None) -> SegmentFile:
    """The segments in the text of a file of this name."""
    match path.suffix.lower():
        case ".json":
            return decode_segment_json(parse_json(text, where=str(path)), where=str(path), fps=fps)
        case ".eaf":
            return decode_elan(path, text)
        case ".srt":
            return decode_srt(path, split_lines(path, text))
        case ".vtt":
            return decode_webvtt(path, split_lines(path, text))
        case _:
            return decode_table(path, split_lines(path, text), fps=fps)


def is_segments(content: object) -> bool:
    """Whether parsed JSON holds segments of videos."""
    return is_detections(content) or is_truth(content) or is_label_studio(content)


def is_segment_source(source: Path) -> bool:
    """Whether a file, or all that is in a folder beside videos, is segments by its name."""
    if not source.is_dir():
        return source.suffix.lower() in SEGMENTS_ONLY
    entries = [entry for entry in source.iterdir() if not entry.name.startswith(".")]
    has_segments = any(entry.suffix.lower() == ".eaf" for entry in entries)
    return has_segments and not any(entry.is_dir() for entry in entries)


def decode_segment_json(content: Any, *, where: str, fps: float | None) -> SegmentFile:
    """The segments in parsed JSON."""
    if is_label_studio(content):
        return decode_label_studio(content, where=where, fps=fps)
    if is_detections(content) or is_truth(content):
        return decode_activitynet(content, where=where)
    what = 'not segments; ActivityNet\'s JSON has "results" or "database", Label Studio\'s is a list of tasks'
    raise InputError(f"{where}: {what}")


def _read_folder(folder: Path, fps: float | None) -> SegmentFile:
    """The files of one format in a folder, in the order of their names."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in TEXTS and not file.name.startswith("."))
    suffixes = sorted({file.suffix.lower() for file in files})
    if len(suffixes) != 1:
        what = f"files of several formats ({', '.join(suffixes)})" if files else "no file of segments"
        raise InputError(f"{folder}: {what}; name one file, or a folder with files of one format")
    read = [read_segment_file(file, fps=fps) for file in files]
    notes = [f"{file.name}: {note}" for file, one in zip(files, read, strict=True) for note in one.notes]
    videos = tuple(video for one in read for video in one.videos)
    return SegmentFile(videos, tuple(notes), of_players=any(one.of_players for one in read))
