"""WebVTT (.vtt): a cue for each segment, with the label as its text, as browsers display it. It holds no scores."""

import html
import re
from pathlib import Path
from typing import Final

from i3d.data.segments.cues import check_all_read, check_cue_label, cue_segment, cue_time, cue_video, cues
from i3d.data.segments.segment import SegmentFile, VideoSegments
from i3d.errors import InputError

_MARK: Final = "WEBVTT"
_BLOCK: Final = re.compile(r"(NOTE|STYLE|REGION)(\s|$)")  # comments, and how cues are drawn
_TAG: Final = re.compile(r"<[^>]*>")  # of a speaker, or italics: `<` of a label is written as &lt;


def encode_webvtt(video: VideoSegments) -> bytes:
    """The cues of one video."""
    text = [f"{_MARK}\n\n"]
    for one in video.segments:
        check_cue_label(one.label, "WebVTT")
        times = f"{cue_time(one.start, point='.')} --> {cue_time(one.stop, point='.')}"
        text.append(f"{times}\n{html.escape(one.label, quote=False)}\n\n")
    return "".join(text).encode()


def decode_webvtt(path: Path, lines: list[str]) -> SegmentFile:
    """The segments of one video, whose name is that of the file."""
    if not lines[0].startswith(_MARK):
        raise InputError(f"{path}:1: does not begin with WEBVTT; add it, or name the file .srt")
    lines = _without_blocks(lines)
    check_all_read(path, lines, is_identifier=lambda _: True)
    plain = ((*cue[:3], html.unescape(_TAG.sub("", cue[3]))) for cue in cues(path, lines))
    segments = tuple(cue_segment(path, *cue) for cue in plain)
    return SegmentFile((VideoSegments(cue_video(path), segments),), of_players=True)


def _without_blocks(lines: list[str]) -> list[str]:
    """The lines, of which those of the header and of blocks that are no cues are empty."""
    texts, is_left_out = list[str](), True
    for number, line in enumerate(lines):
        if number and not lines[number - 1].strip():
            is_left_out = bool(_BLOCK.match(line))
        texts.append("" if is_left_out else line)
    return texts
