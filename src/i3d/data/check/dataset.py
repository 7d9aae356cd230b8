"""What is wrong with the clips of a dataset: every frame is decoded, and every clip compared with the others.

    report = check(Path("clips"))
    report.counts                       # {"ok": 118, "truncated": 2}
    write_report(Path("report.csv"), report)

Clips are decoded in processes that are ended when they take too long; one that crashes takes no other with it.
"""

from __future__ import annotations

import csv
import io
import os
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from i3d.data.annotations import SPLITS, Annotations
from i3d.data.check.clip import STATUSES, Allowance, ClipInfo, ClipJob, Problem, Status, inspect_clip, limited
from i3d.data.check.duplicates import Fingerprint, Looks, alike
from i3d.data.check.listing import Listed, clips_of, frame_names, of_annotations
from i3d.data.check.repair import FixJob, check_folder, fix_all, target_of
from i3d.data.formats.read import Format
from i3d.data.frame_folders import FrameNaming, Modality
from i3d.data.shards import Shards
from i3d.errors import InputError, printable
from i3d.utils.atomic_files import write_atomically
from i3d.utils.process_pool import WorkerDied, run_jobs

Near = Literal["across-splits", "all", "none"]
FIXABLE: Final = ("truncated", "damaged")
UNTIMED_FPS: Final = 25  # to compare the lengths of folders of frames
TIME_LIMIT: Final = 300.0  # seconds
MEMORY_LIMIT_GIB: Final = 4.0
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes what begins so


@dataclass(frozen=True)
class ClipReport:
    """One row: a clip as it is listed, and what was found. Width to sha256 are those of its whole file."""

    path: str
    line: int  # in the list; 0: there is none
    split: str
    labels: tuple[str, ...]
    status: Status  # the most serious of what was found
    reason: str  # all that was found, on one line
    num_frames: int | None = None  # of the clip, that could be decoded
    listed_frames: int | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    sha256: str = ""
    duplicate_of: str = ""  # the path of an earlier clip
    fixed_to: str = ""  # the file that it was encoded to anew


@dataclass(frozen=True)
class Report:
    """All clips, in the order of the list, and how many there are of each status."""

    source: str
    rows: tuple[ClipReport, ...] = field(repr=False)
    counts: dict[str, int]  # the most serious first
    warnings: tuple[str, ...]  # of the list itself

    @property
    def exit_bad(self) -> int:
        """How many clips are not in order."""
        return len(self.rows) - self.counts.get("ok", 0)


@dataclass
class _File:
    """A file or a folder of frames, the clips that are of it, and what is kept of its facts."""

    job: ClipJob
    clips: list[int]
    facts: ClipInfo | None = None


def check_dataset(
    source: Path,
    *,
    root: Path | None = None,
    split: str | None = None,
    classes: tuple[str, ...] | None = None,
    format: Format = "auto",  # noqa: A002 (the word that users know)
    fold: int = 1,
    multi_label: bool = False,
    allow_outside: bool = False,
    modality: Modality = "rgb",
    template: str | None = None,
    first_index: int = 1,
    num_workers: int = 2,
    time_limit: float = TIME_LIMIT,
    memory_limit_gib: float = MEMORY_LIMIT_GIB,
    min_frames: int = 1,
    near_duplicates: Near = "across-splits",
    fix: Path | None = None,
    on_count: Callable[[int], None] | None = None,
    on_clip: Callable[[ClipReport], None] | None = None,
) -> Report:
    """Decode every clip of a list, of a folder of classes, or of a plain folder of videos and folders of frames.

    `root` to `allow_outside` are those of `read_annotations`; labels are not needed. `modality`, `template` and
    `first_index` say which pictures of a folder are frames. `time_limit`: seconds a clip may take, and a process may
    allocate `memory_limit_gib`. `min_frames`: clips with fewer are too short. `near_duplicates`: whether clips that
    look alike are told of if they are in different splits, anyway, or not. `fix`: the folder to which what can be
    decoded of cut and damaged videos is encoded anew; originals stay. `on_count` is told how many clips there are,
    `on_clip` each clip when it was decoded, before it is compared with others. An unusable option or list is an
    InputError; a bad clip never is.
    """
    if num_workers < 1 or time_limit <= 0 or memory_limit_gib < 0.5 or min_frames < 1:
        given = f"num_workers {num_workers}, time_limit {time_limit:g}, memory_limit_gib {memory_limit_gib:g}"
        raise InputError(f"{given}, min_frames {min_frames}: must be at least 1, above 0, at least 0.5, and at least 1")
    if near_duplicates not in get_args(Near):
        raise InputError(f"near_duplicates {near_duplicates!r}: is not one of {', '.join(get_args(Near))}")
    options: dict[str, Any] = {"root": root, "split": split, "classes": classes, "format": format, "fold": fold}
    options |= {"multi_label": multi_label, "allow_outside": allow_outside}
    clips, base, warnings = clips_of(source, options, one_naming=template is not None or modality == "flow")
    if fix is not None:
        check_folder(fix, base)
    shards = Shards.find(base)
    naming = frame_names(clips, shards, modality, None if template is None else (template, first_index))
    if on_count is not None:
        on_count(len(clips))
    checking = _Checking(clips, None if shards is None else base, naming, min_frames)
    allowed = Allowance(time_limit, int(memory_limit_gib * 2**30))
    checking.look_at_all(num_workers, allowed, on_clip)
    checking.compare(near_duplicates)
    if fix is not None:
        checking.fix(fix, num_workers, allowed)
    return checking.report(str(source), warnings)


def check_annotations(
    annotations: Annotations,
    *,
    naming: FrameNaming | None = None,
    num_workers: int = 2,
    near_duplicates: Near = "all",
    on_clip: Callable[[ClipReport], None] | None = None,
) -> Report:
    """The same of clips that were read already; a row for each, in their order. `naming` is that of frames."""
    base, clips = Path(annotations.root), list(of_annotations(annotations))
    shards = Shards.find(base)
    naming = naming or frame_names(clips, shards, "rgb", None)
    checking = _Checking(clips, None if shards is None else base, naming, 1)
    checking.look_at_all(num_workers, Allowance(TIME_LIMIT, int(MEMORY_LIMIT_GIB * 2**30)), on_clip)
    checking.compare(near_duplicates)
    return checking.report(annotations.source, annotations.warnings)


def write_report(path: Path, report: Report) -> None:
    """Write the rows as CSV, whole or not at all.

    No cell is a formula to a spreadsheet: paths that would be begin with `./`, other texts with an apostrophe.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label" if f.name == "labels" else f.name for f in fields(ClipReport)])
    for row in report.rows:
        writer.writerow([_cell(f.name, getattr(row, f.name)) for f in fields(ClipReport)])
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))


def _cell(name: str, value: Any) -> str:
    if value is None or (name == "line" and not value):
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = "|".join(value) if isinstance(value, tuple) else str(value)
    if text.startswith(FORMULA) and not isinstance(value, int):
        text = f"./{text}" if name in ("path", "duplicate_of", "fixed_to") else f"'{text}"
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return printable(text)
    return text


class _Checking:
    """The clips of a dataset, and what becomes known of them."""

    def __init__(
        self, clips: Sequence[Listed], shards: Path | None, naming: FrameNaming | None, min_frames: int
    ) -> None:
        self.clips, self.min_frames = clips, min_frames
        self.has_offsets = any(clip.first_frame for clip in clips)
        self.rows: list[ClipReport] = []
        self.problems: list[list[Problem]] = [[] for _ in clips]
        self.remarks: list[str] = [""] * len(clips)
        numbers: dict[str, int] = {}
        self.files: list[_File] = []
        for index, clip in enumerate(clips):
            self.rows.append(ClipReport(clip.path, clip.line, clip.split, clip.labels, "ok", ""))
            file = os.path.normpath(clip.file)
            number = numbers.setdefault(file, len(self.files))
            if number == len(self.files):
                self.files.append(
                    _File(ClipJob(clip.file, clip.path, shards, clip.is_frames, naming if clip.is_frames else None), [])
                )
            self.files[number].clips.append(index)

    def look_at_all(self, num_workers: int, allowed: Allowance, on_clip: Callable[[ClipReport], None] | None) -> None:
        """Decode every file."""
        run = partial(limited, run=inspect_clip, allowed=allowed)
        with closing(run_jobs(run, [file.job for file in self.files], num_workers=num_workers)) as running:
            for number, answer in running:
                file = self.files[number]
                if isinstance(answer, WorkerDied):
                    answer = ClipInfo((_death(answer, allowed.seconds),))
                for index in file.clips:
                    self._tell(index, answer)
                    if on_clip is not None:
                        on_clip(self.row(index))
                file.facts = replace(answer, starts=array("d", answer.starts[-1:]))

    def _tell(self, index: int, facts: ClipInfo) -> None:
        """What the facts of its file say of a clip."""
        clip = self.clips[index]
        num_frames, more = self._extent(clip, facts)
        self.problems[index] += [*facts.problems, *more]
        self.remarks[index] = facts.remark
        if num_frames and num_frames < self.min_frames:
            few = f"{num_frames} {'frame' if num_frames == 1 else 'frames'}, at least {self.min_frames} are wanted"
            self.problems[index].append(("too short", few))
        self.rows[index] = replace(
            self.rows[index],
            num_frames=num_frames,
            listed_frames=clip.num_frames,
            width=facts.width,
            height=facts.height,
            fps=facts.fps,
            seconds=facts.seconds,
            bytes=facts.num_bytes,
            sha256=facts.content,
        )

    def _extent(self, clip: Listed, facts: ClipInfo) -> tuple[int | None, list[Problem]]:
        """How many frames of its file are the clip's, and what is wrong with that."""
        if clip.start_seconds is not None or clip.end_seconds is not None:
            if not facts.num_frames:
                return facts.num_frames, []
            if facts.frame_seconds is None:
                return 0, [("unreadable", "its frames have no times; leave its start and end out")]
            if shown := facts.frames_between(clip.start_seconds, clip.end_seconds):
                return shown, []
            what = f"the part begins at {clip.start_seconds or 0:.3f} s, the video ends at {facts.seconds:.3f} s"
            return 0, [("too short", f"{what}; correct its start")]
        if facts.num_there is None:
            return facts.num_frames, []
        there, listed = facts.num_there, clip.num_frames
        gap: list[Problem] = [("damaged", facts.gap)] if facts.gap else []
        if listed is None:
            return facts.num_frames, gap
        stop = clip.first_frame + listed
        if stop > there or (stop < there and not self.has_offsets):
            numbers = f"{clip.first_frame} to {stop - 1}" if self.has_offsets else f"{listed:,}"
            wrong = f"its list says {numbers} frames, there are {there:,}"
            gap = [("wrong count", f"{wrong}: {facts.gap}" if facts.gap else f"{wrong}; correct the list")]
        num_frames = max(min(stop, there) - clip.first_frame, 0) if self.has_offsets else facts.num_frames
        return num_frames, gap

    def compare(self, near: Near) -> None:
        """Clips with others: the same bytes, and, if asked for, those that look alike."""
        self.find_duplicates()
        if near != "none":
            self.find_alike(across_splits=near == "across-splits")

    def report(self, source: str, warnings: tuple[str, ...]) -> Report:
        rows = tuple(self.row(index) for index in range(len(self.clips)))
        counted = Counter(row.status for row in rows)
        return Report(source, rows, {status: counted[status] for status in STATUSES if counted[status]}, warnings)

    def row(self, index: int) -> ClipReport:
        """A clip with the most serious of its problems, and all of them in words."""
        problems = sorted(self.problems[index], key=lambda problem: STATUSES.index(problem[0]))
        reasons = [why for _, why in problems] + [self.remarks[index]] * bool(self.remarks[index])
        return replace(
            self.rows[index], status=problems[0][0] if problems else "ok", reason=printable(" | ".join(reasons))
        )

    def find_duplicates(self) -> None:
        """Clips of the same bytes: the later of two, if both are the same part, or if they are in different splits."""
        clips_of_content: dict[str, list[int]] = {}
        for file in self.files:
            if file.facts is not None and file.facts.num_frames:
                clips_of_content.setdefault(file.facts.content, []).extend(file.clips)
        for clips in clips_of_content.values():
            first_of_part: dict[object, int] = {}
            for place, index in enumerate(sorted(clips) if len(clips) > 1 else ()):
                clip = self.clips[index]
                length = clip.num_frames if self.has_offsets else None
                part = (clip.start_seconds, clip.end_seconds, clip.first_frame, length)
                if part in first_of_part:
                    self._tell_alike(index, first_of_part[part], "duplicate", "the same content as")
                    continue
                first_of_part[part] = index
                earlier = (other for other in sorted(clips)[:place] if self._divided(other, index))
                if (other := next(earlier, None)) is not None:
                    self._tell_alike(index, other, "near-duplicate", "another part of the same video as")

    def find_alike(self, *, across_splits: bool) -> None:
        """Clips that look like an earlier one."""
        known: list[tuple[_File, ClipInfo, Fingerprint]] = [
            (file, file.facts, file.facts.fingerprint)
            for file in self.files
            if file.facts is not None and file.facts.fingerprint is not None
        ]
        if len(known) < 2:
            return
        contents = {facts.content: number for number, (_, facts, _) in enumerate(known)}
        looks = Looks(
            hashes_NT=np.stack([one.hashes_T for _, _, one in known]),
            grey_NTHW=np.stack([one.grey_THW for _, _, one in known]),
            seconds_N=np.array([facts.seconds or (facts.num_frames or 0) / UNTIMED_FPS for _, facts, _ in known]),
            contents_N=np.array([contents[facts.content] for _, facts, _ in known]),
            splits_N=np.array([self._splits(file) for file, _, _ in known]),
        )
        for later, earlier in sorted(alike(looks, across_splits=across_splits).items()):
            for index in known[later][0].clips:
                others = known[earlier][0].clips
                chosen = (other for other in others if not across_splits or self._divided(other, index))
                if (other := next(chosen, None)) is not None:
                    self._tell_alike(index, other, "near-duplicate", "looks like")

    def _splits(self, file: _File) -> int:
        """The set of the splits that a file is in, as bits."""
        return sum({1 << SPLITS.index(self.clips[i].split) for i in file.clips if self.clips[i].split})

    def _divided(self, one: int, other: int) -> bool:
        """Whether two clips are in different splits."""
        splits = {self.clips[one].split, self.clips[other].split}
        return len(splits) == 2 and "" not in splits

    def _tell_alike(self, index: int, other: int, status: Status, what: str) -> None:
        clip, first = self.clips[index], self.clips[other]
        same = clip.file == first.file and status == "duplicate"
        words = f"is also on line {first.line}" if same and first.line else f"{what} {first.path}"
        if self._divided(index, other):
            words += f", which is in {first.split}, this in {clip.split}"
        if clip.labels and first.labels and set(clip.labels) != set(first.labels):
            words += f", there labelled {' + '.join(first.labels)}, here {' + '.join(clip.labels)}"
        todo = "keep both in one split, or one of them" if status == "near-duplicate" else "keep one"
        self.problems[index].append((status, f"{words}; {todo}"))
        if not self.rows[index].duplicate_of:
            self.rows[index] = replace(self.rows[index], duplicate_of=first.path)

    def fix(self, folder: Path, num_workers: int, allowed: Allowance) -> None:
        """Encode anew what can be decoded of damaged files."""
        jobs: list[FixJob] = []
        files: list[_File] = []
        for file in self.files:
            facts = file.facts
            if facts is None or not facts.num_frames or facts.frame_seconds is None:
                continue
            if not facts.remark and not any(status in FIXABLE for status, _ in facts.problems):
                continue
            target = target_of(file.job.name, folder)
            if target is None:
                self._remark(file, "not encoded anew: it lies outside of the dataset")
                continue
            jobs.append(FixJob(file.job, facts.frame_seconds, target))
            files.append(file)
        with closing(fix_all(jobs, folder, num_workers=num_workers, allowed=allowed)) as running:
            for number, fixed in running:
                self._remark(files[number], fixed.note if fixed.path else f"not encoded anew: {fixed.note}")
                for index in files[number].clips:
                    self.rows[index] = replace(self.rows[index], fixed_to=fixed.path)

    def _remark(self, file: _File, words: str) -> None:
        for index in file.clips:
            self.remarks[index] = " | ".join(filter(None, (self.remarks[index], words)))


def _death(died: WorkerDied, seconds: float) -> Problem:
    """What is told of a clip whose process came to an end."""
    if died.cause == "SIGALRM":
        return "timeout", f"decoding it took over {seconds:g} s; replace it, or raise the time limit"
    memory = ", perhaps because memory ran out" if died.cause == "SIGKILL" else ""
    return "crashed", f"decoding it ended its process ({died.cause}{memory}); replace it"
