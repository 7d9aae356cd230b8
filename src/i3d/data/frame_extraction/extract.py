"""Extract the frames of videos to folders of JPEG files, with lists for MMAction2.

    out/run/clip/img_00001.jpg ...       the frames of run/clip.mp4
    out/run/clip_2.000_5.500/...         those of a part of it, from 2 to 5.5 seconds
    out/list.txt                         `folder frames label` of all readable clips
    out/list_train.txt ...               the same for each split
    out/classes.txt                      the class names in the order of their numbers
    out/.i3d-frames.json                 the settings; one in each folder describes its content

A folder appears when it is complete. An existing folder of the same video and settings is reused.
"""

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from i3d.data.annotations import SPLITS, Annotations, Clip
from i3d.data.class_files import classes_file
from i3d.data.formats.write import write_classes
from i3d.data.frame_extraction.jobs import WRITE_TODO, BadVideo, FrameFolder, FrameJob, FrameSettings
from i3d.data.frame_folders import RECORD
from i3d.data.resume import check_settings, read_record
from i3d.errors import InputError, counted, printable
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import UNFINISHED, read_bytes, remove_abandoned_folders, write_atomically, writing_to
from i3d.utils.cache import Cache
from i3d.utils.outputs import (
    WRITTEN,
    check_outside,
    check_recorded,
    content_hash,
    locked_output,
    output_folder,
    recorded,
)
from i3d.utils.process_pool import Part, WorkerDied, run_jobs
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress

LIST: Final = "list.txt"
CLASSES: Final = "classes.txt"
log = logging.getLogger("i3d")
UNLISTED: Final = f"is not in {LIST}: without labels, a name that ends in a number is ambiguous there"
LISTS: Final = {"": LIST, **{split: f"list_{split}.txt" for split in SPLITS}}


@dataclass(frozen=True)
class ExtractionResult:
    """The result of an extraction."""

    out: Path
    list_file: Path
    num_clips: int  # of the annotations
    num_written: int  # folders of this run
    num_reused: int  # folders of earlier runs
    num_frames: int  # in all these folders
    bad: tuple[BadVideo, ...]
    notes: tuple[tuple[str, str], ...]  # (path, remark on the video): truncated, damaged


@checks_types
def extract_frames(
    annotations: Annotations,
    out: Path,
    settings: FrameSettings,
    *,
    num_workers: int = 2,
    on_progress: ProgressCallback = ignore_progress,
    force: bool = False,
    cache: Cache | None = None,
) -> ExtractionResult:
    """Write the frames of each clip as JPEG files to its own folder below `out`, and the lists of these folders.

    `num_workers`: processes, 0: only this one. `on_progress` receives the clips, or the frames if there is one
    video. Of a clip with a start or an end, only those frames are written. A video that cannot be read, or that kills
    its worker, is in `bad`; nothing of it is written. `cache`: of flow, which other commands compute and read too;
    None: none.

    Two clips with the same folder, missing videos, an unwritable `out`, and existing folders of other videos or
    settings (unless `force`, which replaces them) are an InputError.
    """
    out = output_folder("out", out)
    if annotations.is_frames:
        raise InputError(f"{annotations.source}: these are folders of frames; give videos")
    check_outside(out, annotations.source)
    if out.resolve() == Path(annotations.root).resolve():
        raise InputError(f"{out}: is the folder of the videos; choose another folder for the frames")
    annotations.check_present()
    jobs, numbers_N = _plan(annotations, out)
    with writing_to(f"{out}:", WRITE_TODO):
        out.mkdir(parents=True, exist_ok=True)
    is_labelled = bool(annotations.classes)  # a labelled list contains this dataset only: one run at a time
    if not force and not is_labelled:
        jobs = _with_earlier_folders(jobs, out)
    with locked_output(str(out), out / LIST) if is_labelled else nullcontext():
        _check_out(annotations, out, jobs, settings, force=force)
        _write_record(out, settings, {})
        try:
            results = _run(jobs, settings, cache, num_workers, Counter(numbers_N), on_progress)
        finally:
            remove_abandoned_folders(out)
        with nullcontext() if is_labelled else locked_output(str(out), out / LIST, waits=True):
            return _finish(annotations, out, settings, jobs, numbers_N, results, append=not force and not is_labelled)


def _finish(
    annotations: Annotations,
    out: Path,
    settings: FrameSettings,
    jobs: list[FrameJob],
    numbers_N: list[int],
    results: dict[int, FrameFolder | BadVideo],
    *,
    append: bool,
) -> ExtractionResult:
    """Write the lists of all folders; the result."""
    written = {n: result for n, result in results.items() if isinstance(result, FrameFolder)}
    listed = [(clip, jobs[n].folder, written.get(n)) for clip, n in zip(annotations, numbers_N, strict=True)]
    if annotations.classes:
        _write_classes(annotations.classes, out)  # no list is there without its class names
    _write_lists(out, settings, listed, append=append)
    notes = [(jobs[number].path, note) for number, result in written.items() for note in result.notes]
    notes += [(clip.path, UNLISTED) for clip, folder, _ in listed if _is_ambiguous(clip, folder)]
    return ExtractionResult(
        out=out,
        list_file=out / LIST,
        num_clips=len(annotations),
        num_written=sum(not result.is_reused for result in written.values()),
        num_reused=sum(result.is_reused for result in written.values()),
        num_frames=sum(result.num_frames for result in written.values()),
        bad=tuple(result for result in results.values() if isinstance(result, BadVideo)),
        notes=tuple(notes),
    )


def _run(
    jobs: list[FrameJob],
    settings: FrameSettings,
    cache: Cache | None,
    num_workers: int,
    clips_of: Counter[int],
    on_progress: ProgressCallback,
) -> dict[int, FrameFolder | BadVideo]:
    """The results by job number, in the order of the jobs."""
    results: dict[int, FrameFolder | BadVideo] = {}
    report = _Report("extract frames" if settings.flow is None else "compute flow", jobs, clips_of, on_progress)
    run = partial(FrameJob.run, settings=settings, cache=cache)
    with closing(run_jobs(run, jobs, num_workers=num_workers, on_part=report.part)) as running:
        for number, result in running:
            if isinstance(result, WorkerDied):
                result = jobs[number].bad(f"its worker process died ({result.cause})")
            results[number] = result
            report.end(number, is_reused=isinstance(result, FrameFolder) and result.is_reused)
    return dict(sorted(results.items()))


class _Report:
    """Reports the finished clips and the parts of those that workers decode; of a single video, its frames."""

    def __init__(
        self, stage: str, jobs: Sequence[FrameJob], clips_of: Counter[int], on_progress: ProgressCallback
    ) -> None:
        self._stage, self._jobs, self._clips_of, self._on_progress = stage, jobs, clips_of, on_progress
        self._num_clips = self._num_reused = 0
        self._parts: dict[int, float] = {}  # of the jobs that run
        self._send("")

    def part(self, number: int, part: Part) -> None:
        name = self._jobs[number].path
        if len(self._jobs) == 1:
            self._on_progress(Progress(self._stage, part.completed, part.total, "frame", name=name))
            return
        self._parts[number] = min(part.completed / part.total, 0.99) if part.total else 0.0
        self._send(name)

    def end(self, number: int, *, is_reused: bool) -> None:
        self._parts.pop(number, None)
        self._num_clips += self._clips_of[number]
        self._num_reused += is_reused * self._clips_of[number]
        self._send("")

    def _send(self, name: str) -> None:
        completed = self._num_clips + sum(part * self._clips_of[number] for number, part in self._parts.items())
        total = self._clips_of.total()
        self._on_progress(Progress(self._stage, completed, total, "clip", name=name, reused=self._num_reused))


def _plan(annotations: Annotations, out: Path) -> tuple[list[FrameJob], list[int]]:
    """The jobs, one per folder, and for each clip the number of its job."""
    jobs: list[FrameJob] = []
    number_of: dict[str, int] = {}
    numbers_N: list[int] = []
    for index, clip in enumerate(annotations):
        folder = _folder(clip)
        if why := _folder_problem(folder):
            raise annotations.error(index, why)
        file = annotations.readable(index)
        file = Path(os.path.normpath(file)) if isinstance(file, Path) else file
        job = FrameJob(os.path.normpath(clip.path), file, clip.start_seconds, clip.end_seconds, out, folder)
        number = number_of.setdefault(folder, len(jobs))
        if number == len(jobs):
            jobs.append(job)
        elif jobs[number] != job:
            raise _same_folder(annotations, index, jobs[number])
        numbers_N.append(number)
    for index, number in enumerate(numbers_N):
        parent = next((p for p in map(str, PurePosixPath(jobs[number].folder).parents) if p in number_of), None)
        if parent is not None:
            raise _same_folder(annotations, index, jobs[number_of[parent]])
    return jobs, numbers_N


def _folder(clip: Clip) -> str:
    """The path without its suffix, and with the times of a part: class/clip.mp4 from 2 s -> class/clip_2.000_end."""
    stem = os.path.splitext(os.path.normpath(clip.path))[0].replace(os.sep, "/")  # noqa: PTH122
    if clip.start_seconds is None and clip.end_seconds is None:
        return stem
    end = "end" if clip.end_seconds is None else f"{clip.end_seconds:.3f}"
    return f"{stem}_{clip.start_seconds or 0:.3f}_{end}"


def _folder_problem(folder: str) -> str | None:
    """Why a folder cannot be below `out` and in a list; None if it can."""
    top = folder.split("/")[0]
    if top in ("", "..") or ":" in top[1:2]:
        return "its frames would be outside the new folder; list it by a path below the root"
    if top in (*LISTS.values(), CLASSES, RECORD) or top.startswith(UNFINISHED):
        return f"its frames would replace {top}; rename it"
    if folder != folder.strip().strip(",") or folder.startswith("#") or re.search(r"[\r\n\ud800-\udfff]", folder):
        return "a list of frame folders cannot represent this name; rename it"
    return None


def _is_ambiguous(clip: Clip, folder: str) -> bool:
    """Whether its line would be misread: "clip 1 250" without a label reads as "clip" with 1 frame and label 250."""
    return not clip.labels and re.search(r"[ \t,]-?\d+$", folder) is not None


def _same_folder(annotations: Annotations, index: int, other: FrameJob) -> InputError:
    what = f"its frames and those of {other.path!r} would be in one folder, {other.folder}"
    todo = "rename one, or extract them to two folders"
    return annotations.error(index, f"{what}; {todo}")


def _check_out(
    annotations: Annotations, out: Path, jobs: list[FrameJob], settings: FrameSettings, *, force: bool
) -> None:
    """Refuse to replace files of others, and to mix frames of other settings, videos or classes with the new ones."""
    if not (out / RECORD).exists():
        if name := next((name for name in (*LISTS.values(), CLASSES) if (out / name).exists()), None):
            raise _foreign(out / name)
    elif not force:
        _check_record(out / RECORD, out / RECORD, asdict(settings))
        record, todo = read_record(out / RECORD), "move it away, or replace it with --force"
        for name in LISTS.values():
            check_recorded(out / name, recorded(record, name), todo=todo)
    classes = out / CLASSES
    if not force and classes.exists() and read_bytes(classes) != classes_file(annotations.classes):
        todo = "give the same classes (--classes), choose another folder, or replace them with --force"
        raise InputError(f"{classes}: other classes than those of {annotations.source}; {todo}")
    for job in jobs:
        if job.target.exists():
            if not (job.target / RECORD).exists():
                raise _foreign(job.target)
            if not force and (record := read_record(job.target / RECORD)):
                _check_record(job.target / RECORD, job.target, job.made_with(settings))
                if (other := str(record.get("file", ""))) and os.path.exists(other) and not job.is_of(record):  # noqa: PTH110
                    todo = "choose another folder, or replace its frames with --force"
                    raise InputError(f"{job.target}: is of another video, {other}; {todo}")


def _check_record(record: Path, where: Path, made_with: dict[str, Any]) -> None:
    """An InputError if a record names other settings than `made_with`."""
    before, todo = read_record(record) or {}, "choose another folder, or make its frames again with --force"
    check_settings(before.get("made_with", {}), made_with, where=str(where), todo=todo)


def _foreign(path: Path) -> InputError:
    return InputError(f"{path}: exists and was not written by i3d; choose another folder, or move it away")


def _write_record(out: Path, settings: FrameSettings, lists: dict[str, bytes]) -> None:
    """Write the settings, and the digests of the lists that are written next and before: a kill leaves one of both."""
    record = read_record(out / RECORD)
    written = {name: recorded(record, name) for name in LISTS.values()}
    for name, content in lists.items():
        written[name] = [*written[name], content_hash(content)][-2:]
    content = json.dumps({"made_with": asdict(settings), WRITTEN: written}, indent=1).encode()
    if not record or record != json.loads(content):  # a run beside this one may have written it
        write_atomically(out / RECORD, content)


def _write_lists(
    out: Path, settings: FrameSettings, listed: list[tuple[Clip, str, FrameFolder | None]], *, append: bool
) -> None:
    """Write a list of all clips and one per split. `append`: with the lines of folders from earlier runs."""
    current = {folder for _, folder, _ in listed}
    others = {split: _lines_of_others(out, name, current) for split, name in LISTS.items()}
    if others[""] and not append:
        clips = counted(len(others[""]), "clip")
        log.warning("%s: %s of earlier runs, not in this dataset, are removed; their folders stay", out / LIST, clips)
    lines = {split: [*(others[split] if append else [])] for split in LISTS}
    for clip, folder, frames in listed:
        if frames is not None and not _is_ambiguous(clip, folder):
            line = " ".join([folder, str(frames.num_frames), *map(str, clip.labels)])
            for split in {"", clip.split}:
                lines[split].append(f"{line}\n")
    contents = {LISTS[split]: "".join(lines[split]).encode() for split in LISTS if lines[split] or split == ""}
    _write_record(out, settings, contents)
    for name in LISTS.values():
        if name in contents:
            write_atomically(out / name, contents[name])
        else:  # of an earlier run
            (out / name).unlink(missing_ok=True)


def _write_classes(classes: tuple[str, ...], out: Path) -> None:
    """Write the class names. Lists with other names are removed before: new ones follow."""
    path = out / CLASSES
    if path.exists() and read_bytes(path) != classes_file(classes):
        for name in LISTS.values():
            (out / name).unlink(missing_ok=True)
    write_classes(classes, path)


def _lines_of_others(out: Path, name: str, folders: set[str]) -> list[str]:
    """The lines of a list whose folders exist and are not among `folders`."""
    return [line for folder, line in _listed_folders(out, name) if folder not in folders]


def _listed_folders(out: Path, name: str) -> list[tuple[str, str]]:
    """The folders of a list that exist, and their lines."""
    try:
        lines = (out / name).read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        return []
    listed = []
    for line in lines:
        folder = line.rstrip("\n")
        while " " in folder and not (out / folder / RECORD).exists():
            folder = folder.rpartition(" ")[0]
        if (out / folder / RECORD).exists():
            listed.append((folder, line))
    return listed


def _with_earlier_folders(jobs: list[FrameJob], out: Path) -> list[FrameJob]:
    """The jobs, with the folder of an earlier run for a video that it listed below another common folder.

    Such a video has the same content, and one of the two paths ends in the other: `run/a.mp4` was `a.mp4`.
    """
    moved = [job for job in jobs if not (record := read_record(job.target / RECORD)) or not job.is_of(record)]
    new_folders = {job.folder for job in jobs}
    earlier: dict[str, tuple[str, object]] = {}  # folder: path and signature of its video
    for folder, _ in _listed_folders(out, LIST):
        record = read_record(out / folder / RECORD) or {}
        path = record.get("made_with", {}).get("video")
        if folder not in new_folders and isinstance(path, str):
            earlier[folder] = path, record.get("signature")
    chosen = []
    for job in jobs:
        same = (
            folder
            for folder, (path, signature) in earlier.items()
            if _ends_alike(path, job.path) and job.has_content(signature)
        )
        other = next(same, None) if job in moved else None
        chosen.append(job if other is None else replace(job, path=earlier.pop(other)[0], folder=other))
    if count := sum(one != other for one, other in zip(jobs, chosen, strict=True)):
        what = f"{counted(count, 'video')} of earlier runs, named below another folder, keep their folders"
        log.info("%s: %s", printable(str(out)), what)
    return chosen


def _ends_alike(one: str, other: str) -> bool:
    """Whether one of two paths ends in the other."""
    short, long = sorted((PurePosixPath(path).parts for path in (one, other)), key=len)
    return long[-len(short) :] == short
