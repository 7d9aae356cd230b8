"""Which columns of a table are read, under the field's names for them, and which are refused by name.

    label_name, class_name      class names                start, start_sec, time_start, begin    with `end` of a part
    label_id, class_index       class numbers              start_frame, end_frame       with fps, or a known rate
    label, class, action        names, or numbers          onset, duration or offset    in seconds
    split, subset, partition    train, val, test           group, num_frames, score of a predicted part

A part of a video has both ends. Columns of other times, and of frame numbers, are an InputError unless both ends are
read; columns that may be a split, such as `fold` and `is_test`, unless a split is read. Any other column is named in a
warning.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from i3d.data.rows import LabelKind
from i3d.errors import InputError, abridged, printable
from i3d.utils.text import line_error

PATH_COLUMNS: Final = ("path", "file", "video")
_LABEL: Final = r"(?:label|class|action|category|activity|target)"
_LABELS: Final[dict[LabelKind, re.Pattern[str]]] = {  # the first that a table has is read
    "names": re.compile(rf"{_LABEL}_?(?:name|text|title)"),
    "either": re.compile(rf"{_LABEL}s?|classes|categories|activities"),
    "numbers": re.compile(rf"{_LABEL}_?(?:id|index|idx|number|num|no|nr)"),
}
_SPLIT: Final = re.compile(r"(?:data_?)?(?:split|subset|partition|set)")
_OTHER_SPLITS: Final = re.compile(
    r"(?:cv_?|k_?)?folds?(?:_?(?:id|idx|index|no|number|\d+))?|usage|phase"
    r"|(?:(?:is|in|for)_?)?(?:train(?:ing)?|test(?:ing)?|e?val(?:id|idation|uation)?|held_?out|holdout)(?:_set)?"
)
_SECONDS: Final = r"(?:s|secs?|seconds?|t|times?|ts|timestamps?)"
_UNITS: Final = (
    r"(?:frames?|f|idx|index|id|no|number|[mun]s|m?secs?|(?:milli|micro)(?:s|seconds?)|min(?:ute)?s?|pts"
    r"|time_?codes?|tc|samples?)"
)
_OF: Final = r"(?:(?:clip|video|segment|seg|shot|temporal|action|event|label)_?)?"
_BOUNDS: Final = {"start": "(?:start|begin|onset)", "end": "(?:end|stop|finish)"}
_CLOCK: Final = r"(?:(?:hh_mm_)?ss_m(?:sec|s))"  # of ELAN's tables: "Begin Time - hh:mm:ss.ms", or ss.msec
_TIMES: Final = {
    side: re.compile(rf"{_OF}(?:{_SECONDS}_?)?{word}(?:_?{_SECONDS})*(?:_{_CLOCK})?") for side, word in _BOUNDS.items()
}
_OTHER_TIMES: Final = re.compile(
    rf"{_OF}(?:(?:{_SECONDS}|{_UNITS})_?)*(?:{'|'.join(_BOUNDS.values())})(?:_?(?:{_SECONDS}|{_UNITS}))*"
    rf"|(?:first|last)_?(?:{_SECONDS}|{_UNITS})(?:_{_UNITS})?"
    r"|times?|time_?stamps?|ts|te|segments?|intervals?|(?:time|frame)_(?:range|span|interval)|frame(?:_(?:id|idx|index|no|number))?"
)
_ONSET: Final = re.compile(rf"onset(?:_?{_SECONDS})*")
_AFTER_ONSET: Final = {
    name: re.compile(rf"{word}(?:_?{_SECONDS})*") for name, word in (("end", "offset"), ("duration", "duration"))
}
_NUMBER: Final = r"(?:_?(?:id|idx|index|no|number))?"
_FRAMES: Final = {
    "start_frame": re.compile(rf"{_OF}(?:(?:start|begin|onset|first)_?frame|frame_?(?:start|begin|onset)){_NUMBER}"),
    "end_frame": re.compile(
        rf"{_OF}(?:(?:end|stop|finish|last|offset)_?frame|frame_?(?:end|stop|finish|offset)){_NUMBER}"
    ),
}
_FPS: Final = re.compile(r"(?:video_)?(?:fps|frame_?rate)")
_PAIRS: Final = (  # of times, in whatever unit, where both are there
    ("from", "to"), ("t0", "t1"), ("tmin", "tmax"), ("t_min", "t_max"), ("first", "last"), ("offset", "duration"),
    ("start_offset", "end_offset"), ("start_hms", "end_hms"), ("onset", "duration"), ("start", "duration"),
    ("min", "max"), ("t1", "t2"), ("st", "et"), ("s", "e"),
)  # fmt: skip
_WORDS: Final = (  # of the two ends: names that are equal but for these are a pair, such as phase_start and phase_end
    frozenset(["start", "begin", "starting", "beginning", "started", "beg", "onset", "on", "from", "lo"]),
    frozenset(["end", "stop", "finish", "ending", "ended", "fin", "offset", "off", "to", "hi"]),
)
_TIMED_PAIRS: Final = (("from", "to"), ("in", "out"))  # also with a unit: t_from, tc_in, out_point
_AROUND: Final = re.compile(rf"(?:{_SECONDS}|frames?|m?secs?|ms|tc|time_?code|points?|marks?)")
_SCORE: Final = re.compile(r"(?:scores?|conf(?:idence)?|prob(?:ability)?)")
SILENT: Final = frozenset({"", "is_cc"})  # the index of pandas, and the licence in Kinetics


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read; "" for those that it lacks."""

    path: str = ""
    label: str = ""
    label_kind: LabelKind = "either"
    start: str = ""
    end: str = ""
    split: str = ""
    group: str = ""
    num_frames: str = ""
    score: str = ""  # of a part
    duration: str = ""  # of a part, where it has no column of its end
    start_frame: str = ""  # first and last frame of a part, where no times are there
    end_frame: str = ""
    fps: str = ""  # with these
    times: tuple[str, ...] = ()  # other columns of times and frame numbers
    splits: tuple[str, ...] = ()  # other columns that may be a split
    unread: tuple[str, ...] = ()

    def check(self, path: Path) -> None:
        """An InputError if parts of videos, or splits, are given in a way that is not read."""
        if self.splits and not self.split:
            why = "may be a split, which is read from the column split, as train, val or test; rename it, or remove it"
            raise line_error(path, 1, ", ".join(self.splits), why)
        if self.start_frame or (self.start and (self.end or self.duration)):
            return
        if self.start or self.end:
            what = f"a table needs both ends of a part, {'the end' if self.start else 'the start'} has no column"
            raise line_error(path, 1, self.start or self.end, f"{what}; add it, empty where it is that of the video")
        if self.times:
            why = "times are read from the columns start and end, in seconds; convert and rename these, or remove them"
            raise line_error(path, 1, ", ".join(self.times), why)

    def no_label(self, names: Iterable[str]) -> str:
        """Why a clip has no label, and the next step."""
        if self.label:
            return "has no label; add one"
        return f"no column label (there are {abridged([*map(printable, names)], 6)}); rename the column of the labels"

    def warnings(self) -> list[str]:
        """A warning that names the columns that are not read."""
        names = [*map(printable, (*self.unread, *self.times, *self.splits))]
        return [f"these columns are not read: {abridged(names, 8)}"] if names else []


def find_columns(path: Path, names: Iterable[str]) -> Columns:
    """The meaning of the columns of these names. Two columns of one meaning are an InputError."""
    plain = {name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names}
    chosen: dict[str, str] = {"path": _only(path, [name for name in plain if plain[name] in PATH_COLUMNS] or [""])}
    kind: LabelKind = "either"
    for label_kind, pattern in _LABELS.items():
        if matching := [name for name in plain if pattern.fullmatch(plain[name])]:
            chosen["label"], kind = _only(path, matching), label_kind
            break
    patterns = {**_TIMES, "split": _SPLIT, "group": re.compile("group"), "num_frames": re.compile("num_frames")}
    for meaning, pattern in patterns.items():
        if matching := [name for name in plain if pattern.fullmatch(plain[name])]:
            chosen[meaning] = _only(path, matching)
    chosen |= _other_ends(path, plain, chosen)
    has_part = {"start", "end"} <= chosen.keys() or "duration" in chosen or "start_frame" in chosen
    if has_part and (scores := [name for name in plain if _SCORE.fullmatch(plain[name])]):
        chosen["score"] = _only(path, scores)
    others = [name for name in plain if name not in chosen.values() and name not in SILENT]
    paired = _paired(set(plain.values()))
    times = tuple(name for name in others if _OTHER_TIMES.fullmatch(plain[name]) or plain[name] in paired)
    splits = tuple(name for name in others if _OTHER_SPLITS.fullmatch(plain[name]))
    unread = tuple(name for name in others if name not in (*times, *splits))
    return Columns(**chosen, label_kind=kind, times=times, splits=splits, unread=unread)


def _paired(names: set[str]) -> set[str]:
    """The names that are times because the other end stands beside them."""
    paired = {name for pair in _PAIRS if set(pair) <= names for name in pair} | _alike(names)
    words = {name: [part for part in name.split("_") if not _AROUND.fullmatch(part)] for name in names}
    for pair in _TIMED_PAIRS:
        ends = [{name for name in names if words[name] == [word]} for word in pair]
        paired |= ends[0] | ends[1] if all(ends) else set()
    return paired


def _alike(names: set[str]) -> set[str]:
    """The names of pairs that are equal but for one word, which is one of a start and of an end."""
    by_rest: dict[tuple[str, ...], tuple[set[str], set[str]]] = {}
    for name in names:
        words = name.split("_")
        for place, word in enumerate(words):
            rest = (*words[:place], "", *words[place + 1 :])
            for side, listed in enumerate(_WORDS):
                if word in listed:
                    by_rest.setdefault(rest, (set(), set()))[side].add(name)
    return {name for starts, ends in by_rest.values() if starts and ends for name in starts | ends}


def _other_ends(path: Path, plain: dict[str, str], chosen: dict[str, str]) -> dict[str, str]:
    """Columns that stand for start and end: the length after an onset, its offset, or frame numbers."""
    if "end" in chosen:
        return {}
    if "start" in chosen:
        after = _AFTER_ONSET.items() if _ONSET.fullmatch(plain[chosen["start"]]) else ()
        for meaning, pattern in after:
            if matching := [name for name in plain if pattern.fullmatch(plain[name])]:
                return {meaning: _only(path, matching)}
        return {}
    ends: dict[str, str] = {}
    for meaning, pattern in _FRAMES.items():
        if matching := [name for name in plain if pattern.fullmatch(plain[name])]:
            ends[meaning] = _only(path, matching)
    if len(ends) < len(_FRAMES):
        return {}
    rates = [name for name in plain if _FPS.fullmatch(plain[name])]
    return ends | ({"fps": _only(path, rates)} if rates else {})


def no_path_column(path: Path, names: Iterable[str]) -> InputError:
    """The error of a table without a column of paths."""
    why = f"no column {', '.join(PATH_COLUMNS)}; rename the column of the paths"
    return line_error(path, 1, ", ".join(names), why)


def _only(path: Path, names: list[str]) -> str:
    if len(names) > 1:
        raise InputError(f"{path}:1: columns {', '.join(map(printable, names))} mean the same; remove all but one")
    return names[0]
