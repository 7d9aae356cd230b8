"""What SRT and WebVTT have in common: one video a file, and a label on a line of its own."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from i3d.data.labels import is_visible
from i3d.data.segments.segment import PRECISION, Segment, segment_in
from i3d.errors import InputError, printable, quoted

_TIME: Final = r"(?:(\d{2,}):)?(\d{2}):(\d{2})[.,](\d{3})"
_TIMING: Final = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(?:[ \t].*)?")
MILLISECONDS: Final = 10**PRECISION


def cue_time(seconds: float, *, point: str) -> str:
    """A time as 01:02:03.456, with this sign before the milliseconds."""
    whole, milliseconds = divmod(round(seconds * MILLISECONDS), MILLISECONDS)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{milliseconds:03d}"


def cues(path: Path, lines: list[str]) -> list[tuple[int, float, float, str]]:
    """(line, start, stop, text) of the cues: a line of times, and the lines below it up to an empty one."""
    listed = []
    for number, line in enumerate(lines, start=1):
        if "-->" not in line:
            continue
        if not (match := _TIMING.fullmatch(line)):
            why = "not the times of a cue; write 00:00:01.500 --> 00:00:02.000"
            raise InputError(f"{path}:{number}: {quoted(line)}: {why}")
        end = next((k for k in range(number, len(lines)) if not lines[k].strip()), len(lines))
        text = "\n".join(lines[number:end])
        listed.append((number, _seconds(match.groups()[:4]), _seconds(match.groups()[4:]), text))
    return listed


def cue_segment(path: Path, line: int, start: float, stop: float, label: str) -> Segment:
    """The segment of a cue, whose text is the label."""
    if not label.strip():
        raise InputError(f"{path}:{line + 1}: the cue has no text; write the label below its times")
    if "\n" in label:
        raise InputError(f"{path}:{line + 1}: {quoted(label)}: two lines; write one label below the times of a cue")
    return segment_in(f"{path}:{line}", start, stop, label.strip())


def check_all_read(path: Path, lines: list[str], *, is_identifier: Callable[[str], bool]) -> None:
    """An InputError for text that belongs to no cue: a label below an empty line would be lost.

    `is_identifier`: whether a line above the times of a cue may be its name or number.
    """
    is_cue = False
    for number, line in enumerate(lines, start=1):
        is_cue = bool(line.strip()) and (is_cue or "-->" in line)
        is_name = "-->" in "".join(lines[number : number + 1]) and is_identifier(line.strip())
        if line.strip() and not is_cue and not is_name:
            raise InputError(f"{path}:{number}: {quoted(line)}: is in no cue; write it below the times, or remove it")


def check_cue_label(label: str, what: str) -> None:
    """An InputError for a label that is no single line of text, without blanks around it."""
    if label != label.strip() or not is_visible(label):
        why = f"blanks around a label, and signs that are not visible, are lost in {what}"
        raise InputError(f"label {quoted(label)}: {why}; write another format, or rename the class")


def cue_video(path: Path) -> str:
    """The video that a file of subtitles belongs to, by its name: players expect clip.srt beside clip.mp4."""
    return printable(path.stem)


def _seconds(fields: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, milliseconds = (int(field or 0) for field in fields)
    return hours * 3600 + minutes * 60 + seconds + milliseconds / MILLISECONDS
