"""Check a dataset: decode every frame of every clip, and compare the clips with each other.

    report = check(Path("clips"))
    report.counts                       # {"ok": 118, "truncated": 2}
    write_report(Path("report.csv"), report)

Clips are decoded in worker processes with limits on time and memory; a worker that crashes fails only its clip.
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
from i3d.data.check.clip import STATUSES, ClipInfo, ClipJob, Problem, ResourceLimits, Status, inspect_clip, run_limited
from i3d.data.check.duplicates import ClipFingerprints, Fingerprint, find_similar
from i3d.data.check.listing import ListedClip, common_naming, from_annotations, list_clips
from i3d.data.check.repair import RepairJob, check_output_folder, repair_all, target_path
from i3d.data.formats.read import Format
from i3d.data.frame_folders import FrameNaming, Modality
from i3d.data.shards import Shards
from i3d.errors import InputError, printable
from i3d.utils.atomic_files import write_atomically
from i3d.utils.process_pool import WorkerDied, run_jobs

NearDuplicates = Literal["across-splits", "all", "none"]
FIXABLE: Final = ("truncated", "damaged")
UNTIMED_FPS: Final = 25  # assumed to compare the lengths of folders of frames
TIME_LIMIT: Final = 300.0  # seconds
MEMORY_LIMIT_GIB: Final = 4.0
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet evaluates cells that begin with these


@dataclass(frozen=True)
class ClipReport:
    """One row: a listed clip and the result of its check. `width` to `sha256` are those of its whole file."""

    path: str
    line: int  # in the list; 0: none
    split: str
    labels: tuple[str, ...]
    status: Status  # of its most serious problem
    reason: str  # all problems, on one line
    num_frames: int | None = None  # decodable frames of the clip
    listed_frames: int | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    sha256: str = ""
    duplicate_of: str = ""  # the path of an earlier clip
    fixed_to: str = ""  # the file with its re-encoded frames


@dataclass(frozen=True)
class DatasetReport:
    """All clips in the order of the list, and the number of clips of each status."""

    source: str
    rows: tuple[ClipReport, ...] = field(repr=False)
    counts: dict[str, int]  # the most serious first
    warnings: tuple[str, ...]  # about the list

    @property
    def num_bad(self) -> int:
        """Number of clips with a problem."""
        return len(self.rows) - self.counts.get("ok", 0)


@dataclass
class _SourceFile:
    """A file or a folder of frames, the indices of its clips, and the result of its inspection."""

    job: ClipJob
    clips: list[int]
    info: ClipInfo | None = None


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
    near_duplicates: NearDuplicates = "across-splits",
    fix: Path | None = None,
    on_count: Callable[[int], None] | None = None,
    on_clip: Callable[[ClipReport], None] | None = None,
) -> DatasetReport:
    """Decode every clip of a list, of a folder of classes, or of a plain folder of videos and folders of frames.

    `root` to `allow_outside` are those of `read_annotations`; labels are not needed. `modality`, `template` and
    `first_index` define which images of a folder are frames. `time_limit`: seconds for one clip; `memory_limit_gib`:
    memory of one worker. `min_frames`: clips with fewer are too short. `near_duplicates`: report near-duplicates in
    different splits, all, or none. `fix`: a folder for the decodable frames of truncated and damaged videos, encoded
    again; originals stay. `on_count` gets the number of clips, `on_clip` each clip after its decoding, before the
    comparison. An unusable option or list is an InputError; a bad clip is not.
    """
    if num_workers < 1 or time_limit <= 0 or memory_limit_gib < 0.5 or min_frames < 1:
        given = f"num_workers {num_workers}, time_limit {time_limit:g}, memory_limit_gib {memory_limit_gib:g}"
        raise InputError(f"{given}, min_frames {min_frames}: must be at least 1, above 0, at least 0.5, and at least 1")
    if near_duplicates not in get_args(NearDuplicates):
        raise InputError(f"near_duplicates {near_duplicates!r}: is not one of {', '.join(get_args(NearDuplicates))}")
    options: dict[str, Any] = {"root": root, "split": split, "classes": classes, "format": format, "fold": fold}
    options |= {"multi_label": multi_label, "allow_outside": allow_outside}
    clips, base, warnings = list_clips(source, options, one_naming=template is not None or modality == "flow")
    if fix is not None:
        check_output_folder(fix, base)
    shards = Shards.find(base)
    naming = common_naming(clips, shards, modality, None if template is None else (template, first_index))
    if on_count is not None:
        on_count(len(clips))
    check = _DatasetCheck(clips, None if shards is None else base, naming, min_frames)
    limits = ResourceLimits(time_limit, int(memory_limit_gib * 2**30))
    check.inspect_all(num_workers, limits, on_clip)
    check.compare(near_duplicates)
    if fix is not None:
        check.fix(fix, num_workers, limits)
    return check.report(str(source), warnings)


def check_annotations(
    annotations: Annotations,
    *,
    naming: FrameNaming | None = None,
    num_workers: int = 2,
    near_duplicates: NearDuplicates = "all",
    on_clip: Callable[[ClipReport], None] | None = None,
) -> DatasetReport:
    """Check annotations that were read before; one row per clip, in their order. `naming` is that of frames."""
    base, clips = Path(annotations.root), list(from_annotations(annotations))
    shards = Shards.find(base)
    naming = naming or common_naming(clips, shards, "rgb", None)
    check = _DatasetCheck(clips, None if shards is None else base, naming, 1)
    check.inspect_all(num_workers, ResourceLimits(TIME_LIMIT, int(MEMORY_LIMIT_GIB * 2**30)), on_clip)
    check.compare(near_duplicates)
    return check.report(annotations.source, annotations.warnings)


def write_report(path: Path, report: DatasetReport) -> None:
    """Write the rows as CSV, whole or not at all.

    No cell is a formula for a spreadsheet: such paths get the prefix `./`, other texts an apostrophe.
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


class _DatasetCheck:
    """The clips of a dataset and the results of their checks."""

    def __init__(
        self, clips: Sequence[ListedClip], shards: Path | None, naming: FrameNaming | None, min_frames: int
    ) -> None:
        self.clips, self.min_frames = clips, min_frames
        self.has_offsets = any(clip.first_frame for clip in clips)
        self.rows: list[ClipReport] = []
        self.problems: list[list[Problem]] = [[] for _ in clips]
        self.remarks: list[str] = [""] * len(clips)
        numbers: dict[str, int] = {}
        self.files: list[_SourceFile] = []
        for index, clip in enumerate(clips):
            self.rows.append(ClipReport(clip.path, clip.line, clip.split, clip.labels, "ok", ""))
            file = os.path.normpath(clip.file)
            number = numbers.setdefault(file, len(self.files))
            if number == len(self.files):
                self.files.append(
                    _SourceFile(
                        ClipJob(clip.file, clip.path, shards, clip.is_frames, naming if clip.is_frames else None), []
                    )
                )
            self.files[number].clips.append(index)

    def inspect_all(
        self, num_workers: int, limits: ResourceLimits, on_clip: Callable[[ClipReport], None] | None
    ) -> None:
        """Decode every file."""
        run = partial(run_limited, run=inspect_clip, limits=limits)
        with closing(run_jobs(run, [file.job for file in self.files], num_workers=num_workers)) as running:
            for number, result in running:
                file = self.files[number]
                if isinstance(result, WorkerDied):
                    result = ClipInfo((_worker_problem(result, limits.seconds),))
                for index in file.clips:
                    self._record(index, result)
                    if on_clip is not None:
                        on_clip(self.row(index))
                file.info = replace(result, starts=array("d", result.starts[-1:]))

    def _record(self, index: int, info: ClipInfo) -> None:
        """Set the row and the problems of a clip from the inspection of its file."""
        clip = self.clips[index]
        num_frames, more = self._extent(clip, info)
        self.problems[index] += [*info.problems, *more]
        self.remarks[index] = info.remark
        if num_frames and num_frames < self.min_frames:
            few = f"{num_frames} {'frame' if num_frames == 1 else 'frames'}, at least {self.min_frames} are required"
            self.problems[index].append(("too short", few))
        self.rows[index] = replace(
            self.rows[index],
            num_frames=num_frames,
            listed_frames=clip.num_frames,
            width=info.width,
            height=info.height,
            fps=info.fps,
            seconds=info.seconds,
            bytes=info.num_bytes,
            sha256=info.content,
        )

    def _extent(self, clip: ListedClip, info: ClipInfo) -> tuple[int | None, list[Problem]]:
        """The number of frames of a clip, and the problems with it."""
        if clip.start_seconds is not None or clip.end_seconds is not None:
            if not info.num_frames:
                return info.num_frames, []
            if info.frame_seconds is None:
                return 0, [("unreadable", "its frames have no times; remove its start and end from the list")]
            if num_displayed := info.frames_between(clip.start_seconds, clip.end_seconds):
                return num_displayed, []
            what = f"the part begins at {clip.start_seconds or 0:.3f} s, the video ends at {info.seconds:.3f} s"
            return 0, [("too short", f"{what}; correct its start")]
        if info.num_numbered is None:
            return info.num_frames, []
        present, listed = info.num_numbered, clip.num_frames
        gap: list[Problem] = [("damaged", info.gap)] if info.gap else []
        if listed is None:
            return info.num_frames, gap
        stop = clip.first_frame + listed
        if stop > present or (stop < present and not self.has_offsets):
            numbers = f"{clip.first_frame} to {stop - 1}" if self.has_offsets else f"{listed:,}"
            wrong = f"its list states {numbers} frames, there are {present:,}"
            gap = [("wrong count", f"{wrong}: {info.gap}" if info.gap else f"{wrong}; correct the list")]
        num_frames = max(min(stop, present) - clip.first_frame, 0) if self.has_offsets else info.num_frames
        return num_frames, gap

    def compare(self, near: NearDuplicates) -> None:
        """Find duplicates, and near-duplicates if requested."""
        self.find_duplicates()
        if near != "none":
            self.find_near_duplicates(across_splits=near == "across-splits")

    def report(self, source: str, warnings: tuple[str, ...]) -> DatasetReport:
        rows = tuple(self.row(index) for index in range(len(self.clips)))
        counted = Counter(row.status for row in rows)
        return DatasetReport(
            source, rows, {status: counted[status] for status in STATUSES if counted[status]}, warnings
        )

    def row(self, index: int) -> ClipReport:
        """The row of a clip with the status of its most serious problem and the reasons of all."""
        problems = sorted(self.problems[index], key=lambda problem: STATUSES.index(problem[0]))
        reasons = [why for _, why in problems] + [self.remarks[index]] * bool(self.remarks[index])
        return replace(
            self.rows[index], status=problems[0][0] if problems else "ok", reason=printable(" | ".join(reasons))
        )

    def find_duplicates(self) -> None:
        """Find clips with equal bytes: of two, the later one, if both are the same part or in different splits."""
        clips_of_content: dict[str, list[int]] = {}
        for file in self.files:
            if file.info is not None and file.info.num_frames:
                clips_of_content.setdefault(file.info.content, []).extend(file.clips)
        for clips in clips_of_content.values():
            first_of_part: dict[object, int] = {}
            for position, index in enumerate(sorted(clips) if len(clips) > 1 else ()):
                clip = self.clips[index]
                length = clip.num_frames if self.has_offsets else None
                part = (clip.start_seconds, clip.end_seconds, clip.first_frame, length)
                if part in first_of_part:
                    self._add_duplicate(index, first_of_part[part], "duplicate", "the same content as")
                    continue
                first_of_part[part] = index
                earlier = (other for other in sorted(clips)[:position] if self._in_different_splits(other, index))
                if (other := next(earlier, None)) is not None:
                    self._add_duplicate(index, other, "near-duplicate", "another part of the same video as")

    def find_near_duplicates(self, *, across_splits: bool) -> None:
        """Find clips that look like an earlier one."""
        known: list[tuple[_SourceFile, ClipInfo, Fingerprint]] = [
            (file, file.info, file.info.fingerprint)
            for file in self.files
            if file.info is not None and file.info.fingerprint is not None
        ]
        if len(known) < 2:
            return
        contents = {info.content: number for number, (_, info, _) in enumerate(known)}
        fingerprints = ClipFingerprints(
            hashes_NT=np.stack([one.hashes_T for _, _, one in known]),
            grey_NTHW=np.stack([one.grey_THW for _, _, one in known]),
            seconds_N=np.array([info.seconds or (info.num_frames or 0) / UNTIMED_FPS for _, info, _ in known]),
            contents_N=np.array([contents[info.content] for _, info, _ in known]),
            splits_N=np.array([self._splits(file) for file, _, _ in known]),
        )
        for later, earlier in sorted(find_similar(fingerprints, across_splits=across_splits).items()):
            for index in known[later][0].clips:
                others = known[earlier][0].clips
                chosen = (other for other in others if not across_splits or self._in_different_splits(other, index))
                if (other := next(chosen, None)) is not None:
                    self._add_duplicate(index, other, "near-duplicate", "looks like")

    def _splits(self, file: _SourceFile) -> int:
        """The set of the splits of a file, as bits."""
        return sum({1 << SPLITS.index(self.clips[i].split) for i in file.clips if self.clips[i].split})

    def _in_different_splits(self, one: int, other: int) -> bool:
        """Whether two clips are in different splits."""
        splits = {self.clips[one].split, self.clips[other].split}
        return len(splits) == 2 and "" not in splits

    def _add_duplicate(self, index: int, other: int, status: Status, what: str) -> None:
        clip, first = self.clips[index], self.clips[other]
        same = clip.file == first.file and status == "duplicate"
        words = f"is also on line {first.line}" if same and first.line else f"{what} {first.path}"
        if self._in_different_splits(index, other):
            words += f", which is in {first.split}, this in {clip.split}"
        if clip.labels and first.labels and set(clip.labels) != set(first.labels):
            words += f", there labelled {' + '.join(first.labels)}, here {' + '.join(clip.labels)}"
        todo = "keep both in one split, or one of them" if status == "near-duplicate" else "keep one"
        self.problems[index].append((status, f"{words}; {todo}"))
        if not self.rows[index].duplicate_of:
            self.rows[index] = replace(self.rows[index], duplicate_of=first.path)

    def fix(self, folder: Path, num_workers: int, limits: ResourceLimits) -> None:
        """Encode the decodable frames of damaged files again."""
        jobs: list[RepairJob] = []
        files: list[_SourceFile] = []
        for file in self.files:
            info = file.info
            if info is None or not info.num_frames or info.frame_seconds is None:
                continue
            if not info.remark and not any(status in FIXABLE for status, _ in info.problems):
                continue
            target = target_path(file.job.name, folder)
            if target is None:
                self._add_remark(file, "not encoded again: it lies outside the dataset")
                continue
            jobs.append(RepairJob(file.job, info.frame_seconds, target))
            files.append(file)
        with closing(repair_all(jobs, folder, num_workers=num_workers, limits=limits)) as running:
            for number, fixed in running:
                self._add_remark(files[number], fixed.note if fixed.path else f"not encoded again: {fixed.note}")
                for index in files[number].clips:
                    self.rows[index] = replace(self.rows[index], fixed_to=fixed.path)

    def _add_remark(self, file: _SourceFile, remark: str) -> None:
        for index in file.clips:
            self.remarks[index] = " | ".join(filter(None, (self.remarks[index], remark)))


def _worker_problem(died: WorkerDied, seconds: float) -> Problem:
    """The problem of a clip whose worker died."""
    if died.cause == "SIGALRM":
        return "timeout", f"decoding it took over {seconds:g} s; replace it, or raise the time limit"
    memory = ", perhaps because memory ran out" if died.cause == "SIGKILL" else ""
    return "crashed", f"decoding it ended its process ({died.cause}{memory}); replace it"
