"""Check a dataset: decode every frame of every clip, and compare the clips with each other.

    check_dataset(Path("clips")).counts        # {"ok": 118, "truncated": 2}

Clips are decoded in worker processes with limits on time and memory; a worker that crashes fails only its clip.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from i3d.data.annotations import SPLITS, Annotations, Clip, build_annotations
from i3d.data.check.clip import STATUSES, ClipInfo, ClipJob, Problem, ResourceLimits, Status, inspect_clip, run_limited
from i3d.data.check.duplicates import ClipFingerprints, find_similar
from i3d.data.check.repair import RepairJob, check_output_folder, repair_all, target_path
from i3d.data.check.report import ClipReport, DatasetReport
from i3d.data.formats.inputs import VIDEO_SUFFIXES, expand_inputs
from i3d.data.formats.read import read_annotations
from i3d.data.frame_folders import FrameNaming, infer_common_naming
from i3d.data.rows import Rows
from i3d.errors import InputError, doubt_units, printable
from i3d.utils.arguments import checks_types
from i3d.utils.outputs import check_outside
from i3d.utils.process_pool import WorkerDied, run_jobs
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import displayed_between, why_late
from i3d.video.frame_names import Modality

NearDuplicates = Literal["across-splits", "all", "none"]
FIXABLE: Final = ("truncated", "damaged")
UNTIMED_FPS: Final = 25  # assumed to compare the lengths of folders of frames
TIME_LIMIT: Final = 300.0  # seconds
MEMORY_LIMIT_GIB: Final = 4.0


@dataclass
class _SourceFile:
    """A file or a folder of frames, its clips, and the result of its inspection."""

    job: ClipJob
    path: str  # as listed
    clips: list[_CheckedClip] = field(default_factory=list)
    info: ClipInfo = field(default_factory=ClipInfo)

    def add_remark(self, remark: str) -> None:
        for clip in self.clips:
            clip.remarks.append(remark)


@dataclass(eq=False)
class _CheckedClip:
    """A listed clip, and what is wrong with it."""

    listed: Clip
    labels: tuple[str, ...]
    file: _SourceFile
    num_frames: int | None = None
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    duplicate_of: str = ""
    fixed_to: str = ""

    def report(self) -> ClipReport:
        """The row of the clip with the status of its most serious problem and the reasons of all."""
        problems = sorted(self.problems, key=lambda problem: STATUSES.index(problem[0]))
        listed, info = self.listed, self.file.info
        return ClipReport(
            path=listed.path,
            line=listed.line,
            split=listed.split,
            labels=self.labels,
            status=problems[0][0] if problems else "ok",
            reason=printable(" | ".join([*(why for _, why in problems), *self.remarks])),
            num_frames=self.num_frames,
            listed_frames=listed.num_frames,
            width=info.width,
            height=info.height,
            fps=info.fps,
            seconds=info.seconds,
            bytes=info.num_bytes,
            sha256=info.content,
            duplicate_of=self.duplicate_of,
            fixed_to=self.fixed_to,
        )

    def is_in_another_split(self, other: _CheckedClip) -> bool:
        splits = {self.listed.split, other.listed.split}
        return len(splits) == 2 and "" not in splits

    def add_duplicate(self, first: _CheckedClip, status: Status, what: str) -> None:
        """Report that the clip is like an earlier one."""
        clip, other = self.listed, first.listed
        same = self.file is first.file and status == "duplicate"
        words = f"is also on line {other.line}" if same and other.line else f"{what} {other.path}"
        if self.is_in_another_split(first):
            words += f", which is in {other.split}, this in {clip.split}"
        if self.labels and first.labels and set(self.labels) != set(first.labels):
            words += f", there labelled {' + '.join(first.labels)}, here {' + '.join(self.labels)}"
        todo = "keep both in one split, or one of them" if status == "near-duplicate" else "keep one"
        self.problems.append((status, f"{words}; {todo}"))
        self.duplicate_of = self.duplicate_of or other.path


@checks_types
def check_dataset(
    source: Path,
    *,
    naming: FrameNaming | None = None,
    modality: Modality = "rgb",
    num_workers: int = 2,
    time_limit: float = TIME_LIMIT,
    memory_limit_gib: float = MEMORY_LIMIT_GIB,
    min_frames: int = 1,
    near_duplicates: NearDuplicates = "across-splits",
    fix: Path | None = None,
    on_progress: ProgressCallback = ignore_progress,
    on_clip: Callable[[ClipReport], None] | None = None,
    **read_options: Any,
) -> DatasetReport:
    """Decode every clip of a list, of a folder of classes, or of a plain folder of videos and folders of frames.

    `read_options` are those of `read_annotations`; labels are not needed. `naming` and `modality` define which images
    of a folder are frames. `time_limit`: seconds for one clip; `memory_limit_gib`: memory of one worker. `min_frames`:
    clips with fewer are too short. `near_duplicates`: report near-duplicates in different splits, all, or none. `fix`:
    a folder for the decodable frames of truncated and damaged videos, encoded again; originals stay. `on_clip`
    gets each clip after its decoding, before the comparison. An unusable option or list is an InputError; a bad clip is
    not.
    """
    annotations, is_plain = _read(source, read_options)
    if fix is not None:
        check_outside(fix, source)
        check_output_folder(fix, Path(annotations.root))
    check = _DatasetCheck(annotations, naming, modality, min_frames=min_frames, is_plain=is_plain)
    limits = ResourceLimits(time_limit, int(memory_limit_gib * 2**30))
    check.inspect_all(num_workers, limits, on_progress, on_clip)
    on_progress(Progress("compare clips", 0, None))
    check.find_duplicates()
    check.find_near_duplicates(near_duplicates)
    if fix is not None:
        on_progress(Progress("repair clips", 0, None))
        check.fix(fix, num_workers, limits)
    return check.report(str(source))


@checks_types
def check_annotations(
    annotations: Annotations,
    *,
    naming: FrameNaming | None = None,
    num_workers: int = 2,
    near_duplicates: NearDuplicates = "all",
    on_progress: ProgressCallback = ignore_progress,
    on_clip: Callable[[ClipReport], None] | None = None,
) -> DatasetReport:
    """Check annotations that were read before; one row per clip, in their order. `naming` is that of frames."""
    check = _DatasetCheck(annotations, naming)
    limits = ResourceLimits(TIME_LIMIT, int(MEMORY_LIMIT_GIB * 2**30))
    check.inspect_all(num_workers, limits, on_progress, on_clip)
    on_progress(Progress("compare clips", 0, None))
    check.find_duplicates()
    check.find_near_duplicates(near_duplicates)
    return check.report(annotations.source)


def _read(source: Path, options: dict[str, Any]) -> tuple[Annotations, bool]:
    """The clips of a list, layout, video or plain folder; whether it is a plain folder, which has no labels."""
    automatic, rows = options.get("format", "auto") == "auto", Rows()
    if automatic and source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        rows.add(source.name, ())
        return build_annotations(rows, source=source, root=source.parent), False
    try:
        return read_annotations(source, need_labels=False, **options), False
    except InputError as error:
        is_layout = automatic and source.is_dir() and str(error).startswith(f"{printable(str(source))}: ")
        if not is_layout or options.get("root") is not None or options.get("split") is not None:
            raise  # the error concerns a list or an option
        rows.warnings.append(f"read as a plain folder, without classes and splits: {error}")
    for path in expand_inputs([str(source)]):
        rows.add(os.path.relpath(path, source), ())
    return build_annotations(rows, source=source, root=source), True


class _DatasetCheck:
    """The clips of a dataset and the results of their checks."""

    def __init__(
        self,
        annotations: Annotations,
        naming: FrameNaming | None,
        modality: Modality = "rgb",
        *,
        min_frames: int = 1,
        is_plain: bool = False,
    ) -> None:
        """All folders of frames have the same `naming`, by default the most frequent one; in a plain folder its own."""
        self.warnings, self.min_frames = annotations.warnings, min_frames
        self.has_offsets = bool(annotations.first_frames_N.any())
        self.clips: list[_CheckedClip] = []
        self.files: dict[str, _SourceFile] = {}
        paths = [annotations.readable(index) for index in range(len(annotations))]
        one_naming = is_plain and (naming is not None or modality == "flow")
        is_frames_N = [annotations.is_frames or (one_naming and path.is_dir()) for path in paths]
        if naming is None:
            folders = [path for path, is_frames in zip(paths, is_frames_N, strict=True) if is_frames]
            if modality == "flow" and len(folders) < len(paths):
                raise InputError(f"{annotations.path(0)}: flow is read from folders of frames; this is a video")
            naming = infer_common_naming(folders.__getitem__, len(folders), modality=modality) if folders else None
        for listed, path, is_frames in zip(annotations, paths, is_frames_N, strict=True):
            job = ClipJob(path, is_frames, naming if is_frames else None)
            file = self.files.setdefault(os.path.normpath(str(path)), _SourceFile(job, listed.path))
            clip = _CheckedClip(listed, tuple(annotations.classes[label] for label in listed.labels), file)
            file.clips.append(clip)
            self.clips.append(clip)

    def inspect_all(
        self,
        num_workers: int,
        limits: ResourceLimits,
        on_progress: ProgressCallback,
        on_clip: Callable[[ClipReport], None] | None,
    ) -> None:
        """Decode every file."""
        num_checked, total = 0, len(self.clips)
        on_progress(Progress("check clips", 0, total, "clip"))
        run, files = partial(run_limited, run=inspect_clip, limits=limits), list(self.files.values())
        with closing(run_jobs(run, [file.job for file in files], num_workers=num_workers)) as running:
            for number, result in running:
                file = files[number]
                if isinstance(result, WorkerDied):
                    result = ClipInfo((_worker_problem(result, limits.seconds),))
                file.info = replace(result, starts=array("d", result.starts[-1:]))
                for clip in file.clips:
                    self._record(clip, result)
                    num_checked += 1
                    on_progress(Progress("check clips", num_checked, total, "clip"))
                    if on_clip is not None:
                        on_clip(clip.report())

    def _record(self, clip: _CheckedClip, info: ClipInfo) -> None:
        """Set the number of frames and the problems of a clip from the inspection of its file."""
        clip.num_frames, more = self._extent(clip.listed, info)
        clip.problems += [*info.problems, *more]
        clip.remarks += [info.remark] * bool(info.remark)
        if clip.num_frames and clip.num_frames < self.min_frames:
            frames = "1 frame" if clip.num_frames == 1 else f"{clip.num_frames} frames"
            clip.problems.append(("too short", f"{frames}, at least {self.min_frames} are required"))

    def _extent(self, clip: Clip, info: ClipInfo) -> tuple[int | None, list[Problem]]:
        """The number of frames of a clip, and the problems with it."""
        if clip.start_seconds is not None or clip.end_seconds is not None:
            if not info.num_frames:
                return info.num_frames, []
            if info.frame_seconds is None:
                return 0, [("unreadable", "its frames have no times; remove its start and end from the list")]
            if late := why_late(info.starts, clip.start_seconds, clip.end_seconds):
                return 0, [("too short", "; ".join(late))]
            first, stop = displayed_between(info.starts, clip.start_seconds, clip.end_seconds)
            return stop - first, []
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

    def report(self, source: str) -> DatasetReport:
        rows = tuple(clip.report() for clip in self.clips)
        counted = Counter(row.status for row in rows)
        counts: dict[str, int] = {status: counted[status] for status in STATUSES if counted[status]}
        doubt = doubt_units(row.reason for row in rows)
        return DatasetReport(source, rows, counts, (*self.warnings, *([doubt] * bool(doubt))))

    def find_duplicates(self) -> None:
        """Find clips with equal bytes: of two, the later one, if both are the same part or in different splits."""
        clips_of_content: dict[str, list[_CheckedClip]] = {}
        for clip in self.clips:
            if clip.file.info.num_frames:
                clips_of_content.setdefault(clip.file.info.content, []).append(clip)
        for clips in clips_of_content.values():
            first_of_part: dict[object, _CheckedClip] = {}
            for position, clip in enumerate(clips):
                listed = clip.listed
                length = listed.num_frames if self.has_offsets else None
                part = (listed.start_seconds, listed.end_seconds, listed.first_frame, length)
                if part in first_of_part:
                    clip.add_duplicate(first_of_part[part], "duplicate", "the same content as")
                    continue
                first_of_part[part] = clip
                earlier = (other for other in clips[:position] if clip.is_in_another_split(other))
                if (other := next(earlier, None)) is not None:
                    clip.add_duplicate(other, "near-duplicate", "another part of the same video as")

    def find_near_duplicates(self, near: NearDuplicates) -> None:
        """Find clips that look like an earlier one: any, in other splits, or none."""
        across_splits = near == "across-splits"
        known = [(file, file.info, one) for file in self.files.values() if (one := file.info.fingerprint) is not None]
        if near == "none" or len(known) < 2:
            return
        contents = {info.content: number for number, (_, info, _) in enumerate(known)}
        fingerprints = ClipFingerprints(
            hashes_NT=np.stack([one.hashes_T for _, _, one in known]),
            grey_NTHW=np.stack([one.grey_THW for _, _, one in known]),
            seconds_N=np.array([info.seconds or (info.num_frames or 0) / UNTIMED_FPS for _, info, _ in known]),
            contents_N=np.array([contents[info.content] for _, info, _ in known]),
            splits_N=np.array(  # the set of the splits of a file, as bits
                [sum({1 << SPLITS.index(c.listed.split) for c in file.clips if c.listed.split}) for file, _, _ in known]
            ),
        )
        for later, earlier in sorted(find_similar(fingerprints, across_splits=across_splits).items()):
            for clip in known[later][0].clips:
                others = known[earlier][0].clips
                chosen = (other for other in others if not across_splits or clip.is_in_another_split(other))
                if (other := next(chosen, None)) is not None:
                    clip.add_duplicate(other, "near-duplicate", "looks like")

    def fix(self, folder: Path, num_workers: int, limits: ResourceLimits) -> None:
        """Encode the decodable frames of damaged files again."""
        jobs: list[RepairJob] = []
        files: list[_SourceFile] = []
        source_of: dict[Path, str] = {}
        for file in self.files.values():
            info = file.info
            is_fixable = info.remark or any(status in FIXABLE for status, _ in info.problems)
            if not is_fixable:
                continue
            if not info.num_frames or info.frame_seconds is None:
                file.add_remark("not encoded again: it has no frame, or no times, that can be decoded")
                continue
            target = target_path(file.path, folder)
            if target is None:
                file.add_remark("not encoded again: it lies outside the dataset")
                continue
            if (other := source_of.setdefault(target, file.path)) != file.path:
                file.add_remark(f"not encoded again: {target} is the new file of {other}; rename one of them")
                continue
            jobs.append(RepairJob(file.job, info.frame_seconds, target))
            files.append(file)
        with closing(repair_all(jobs, folder, num_workers=num_workers, limits=limits)) as running:
            for number, fixed in running:
                if isinstance(fixed, str):
                    files[number].add_remark(f"not encoded again: {fixed}")
                    continue
                decodable = files[number].info.num_frames
                lost = "" if fixed == decodable else f" of the {decodable} decodable"  # behind damage
                files[number].add_remark(f"{fixed}{lost} frames encoded again")
                for clip in files[number].clips:
                    clip.fixed_to = str(jobs[number].target)


def _worker_problem(died: WorkerDied, seconds: float) -> Problem:
    if died.cause == "SIGALRM":
        return "timeout", f"decoding it took over {seconds:g} s; replace it, or raise the time limit"
    memory = ", perhaps because memory ran out" if died.cause == "SIGKILL" else ""
    return "crashed", f"decoding it ended its process ({died.cause}{memory}); replace it"
