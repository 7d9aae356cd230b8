"""SubRip subtitles (.srt): a cue for each segment, with the label as its text. They hold no scores."""

import re
from pathlib import Path
from typing import Final

from i3d.data.segments.cues import check_all_read, check_cue_label, cue_segment, cue_time, cue_video, cues
from i3d.data.segments.segment import SegmentFile, VideoSegments
from i3d.errors import InputError, quoted

_FORMATTING: Final = re.compile(r"<[^>]*>|\{[^}]*\}|-->")  # what players and editors read as more than text


def encode_srt(video: VideoSegments) -> bytes:
    """The cues of one video, numbered from 1."""
    text = []
    for number, one in enumerate(video.segments, start=1):
        check_cue_label(one.label, "SRT")
        if _FORMATTING.search(one.label):
            why = "players read <...>, {...} and --> in SRT as more than text"
            raise InputError(f"label {quoted(one.label)}: {why}; write WebVTT (.vtt), or rename the class")
        times = f"{cue_time(one.start, point=',')} --> {cue_time(one.stop, point=',')}"
        text.append(f"{number}\n{times}\n{one.label}\n\n")
    return "".join(text).encode()


def decode_srt(path: Path, lines: list[str]) -> SegmentFile:
    """The segments of one video, whose name is that of the file."""
    segments = tuple(cue_segment(path, *cue) for cue in cues(path, lines))
    if not segments and any(line.strip() for line in lines):
        raise InputError(f"{path}: no subtitles; a cue has a line 00:00:01,500 --> 00:00:02,000")
    check_all_read(path, lines, is_identifier=str.isdecimal)
    return SegmentFile((VideoSegments(cue_video(path), segments),), of_players=True)
