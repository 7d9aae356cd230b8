"""Look at every clip of a dataset before training does: is it there, whole, long enough, and there only once?

report = check(Path("train.csv"))
report.num_bad, report.rows[0].problem
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from i3d.data.annotations import Annotations, Rows, build
from i3d.data.check_clip import ClipFacts, ClipJob, look_at
from i3d.data.frame_folders import FrameNames, Modality, names_in
from i3d.data.inputs import VIDEO_SUFFIXES, expand
from i3d.data.missing import missing_clips
from i3d.data.repair import RepairJob, repair
from i3d.data.workers import Died, each_job
from i3d.errors import InputError, printable
from i3d.files import write_atomically
from i3d.video.reader import Limits

PROBLEMS: Final = (
    "missing", "empty", "unreadable", "no video", "truncated", "damaged", "wrong count", "too short", "timeout",
    "crashed", "duplicate", "near-duplicate",
)  # fmt: skip
REPAIRABLE: Final = ("truncated", "damaged")
NEAR_BITS: Final = 8  # of 192: what another size or bit rate changes; other clips of one scene differ by more
NEAR_SECONDS: Final = 0.1  # as a share: how unlike in length near-duplicates may be
BAND_BITS: Final = 16


@dataclass(frozen=True)
class ClipRow:
    """One clip. `problem` is "ok" or one of PROBLEMS; `reason` says more."""

    path: str
    problem: str
    reason: str
    split: str
    label: str
    num_frames: int
    listed_frames: int | None
    width: int
    height: int
    seconds: float | None
    num_bytes: int
    line: int
    sha256: str
    fixed_to: str = ""


@dataclass(frozen=True)
class Report:
    """All clips in the order of the list."""

    rows: tuple[ClipRow, ...]

    @property
    def num_bad(self) -> int:
        return sum(row.problem != "ok" for row in self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """How many clips have which problem."""
        found = [row.problem for row in self.rows]
        return {problem: found.count(problem) for problem in PROBLEMS if problem in found}


def check(
    annotations: Annotations,
    *,
    min_frames: int = 1,
    time_limit: float = 60.0,
    num_workers: int = 2,
    fix: Path | None = None,
    modality: Modality = "rgb",
    names: FrameNames | None = None,
    on_clip: Callable[[ClipRow], None] | None = None,
) -> Report:
    """Decode every frame of every clip, each in a process that is killed after `time_limit` seconds.

    Duplicates have the same bytes; near-duplicates are in different splits and look alike at three places. `fix`: a new
    folder, to which what can be decoded of truncated and damaged clips is encoded anew; nothing else is ever written.
    """
    if min_frames < 1 or time_limit <= 0 or num_workers < 1:
        raise InputError("min_frames and num_workers must be at least 1, time_limit above 0")
    if (Path(annotations.root) / "index.npz").is_file():
        raise InputError(f"{printable(annotations.root)}: shards hold what was checked before; check their source")
    missing = frozenset(missing_clips(annotations))
    rows: list[ClipRow | None] = [None] * len(annotations)
    prints: list[tuple[int, ...]] = [()] * len(annotations)
    for index in missing:
        rows[index] = _row(annotations, index, ClipFacts("missing", "no such file; restore it or drop the line"))
    todo = [index for index in range(len(annotations)) if index not in missing]
    jobs = [_job(annotations, index, modality, names, min_frames, time_limit) for index in todo]
    with closing(each_job(look_at, jobs, num_workers=min(num_workers, len(jobs)), time_limit=time_limit)) as answers:
        for number, facts in answers:
            index = todo[number]
            facts = _told(facts, time_limit) if isinstance(facts, Died) else facts
            rows[index], prints[index] = _row(annotations, index, facts), facts.fingerprint
            if on_clip is not None:
                on_clip(rows[index])  # type: ignore[arg-type]
    checked = [row for row in rows if row is not None]
    checked = _near_duplicates(_duplicates(checked), prints)
    if fix is not None:
        checked = _repaired(annotations, checked, fix, names, time_limit, num_workers)
    return Report(tuple(checked))


def clips_of(source: Path) -> Annotations | None:
    """A plain folder of videos, without classes, as annotations; None if it is no such folder."""
    if not source.is_dir() or not any(p.suffix.lower() in VIDEO_SUFFIXES for p in source.iterdir() if p.is_file()):
        return None
    rows = Rows()
    for path in expand([str(source)]):
        rows.add(os.path.relpath(path, source), ())
    return build(rows, source=source, root=source)


def write_report(path: Path, report: Report) -> None:
    """All rows as CSV, written whole or not at all."""
    text = io.StringIO()
    columns = [field.name for field in fields(ClipRow)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        values = {name: getattr(row, name) for name in columns}
        writer.writerow({name: "" if value is None else value for name, value in values.items()})
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _job(
    annotations: Annotations, index: int, modality: Modality, names: FrameNames | None, min_frames: int, limit: float
) -> ClipJob:
    path, clip = annotations.file(index), annotations[index]
    is_folder = Path(path).is_dir()
    try:
        known = names or (names_in(Path(path), modality=modality) if is_folder else None)
    except InputError:
        known = None  # decoding it as a plain folder of pictures tells more
    limits = Limits(max_seconds=limit)
    return ClipJob(path, known if is_folder else None, clip.num_frames, clip.first_frame, limits, min_frames)


def _told(died: Died, time_limit: float) -> ClipFacts:
    if died.timed_out:
        return ClipFacts("timeout", f"not decoded in {time_limit:g} s; check the file, or raise --time-limit")
    return ClipFacts("crashed", f"decoding it ended the process ({died.how}); replace the file")


def _row(annotations: Annotations, index: int, facts: ClipFacts) -> ClipRow:
    clip = annotations[index]
    return ClipRow(
        path=clip.path,
        problem=facts.problem or "ok",
        reason=facts.reason,
        split=clip.split,
        label="|".join(annotations.classes[label] for label in clip.labels),
        num_frames=facts.num_frames,
        listed_frames=clip.num_frames,
        width=facts.width,
        height=facts.height,
        seconds=facts.seconds,
        num_bytes=facts.num_bytes,
        line=clip.line,
        sha256=facts.sha256,
    )


def _duplicates(rows: Sequence[ClipRow]) -> list[ClipRow]:
    """Clips with the bytes of an earlier one, if they are not parts of one file."""
    first: dict[str, ClipRow] = {}
    found = []
    for row in rows:
        before = first.setdefault(row.sha256, row) if row.sha256 else row
        if before.path != row.path and row.problem == "ok":
            where = f" (in {row.split} and in {before.split})" if before.split != row.split else ""
            other = f", which is labelled {before.label}" if before.label != row.label else ""
            row = replace(row, problem="duplicate", reason=printable(f"the same bytes as {before.path}{other}{where}"))
        found.append(row)
    return found


def _near_duplicates(rows: list[ClipRow], prints: Sequence[tuple[int, ...]]) -> list[ClipRow]:
    """Clips that look like one of another split. Only those that agree in some 16 bits are compared."""
    shown = [i for i, row in enumerate(rows) if row.problem == "ok" and row.split and prints[i]]
    buckets: dict[tuple[int, int], list[int]] = {}
    for i in shown:
        whole = _joined(prints[i])
        for band in range(64 * len(prints[i]) // BAND_BITS):
            buckets.setdefault((band, whole >> band * BAND_BITS & (1 << BAND_BITS) - 1), []).append(i)
    near: dict[int, int] = {}
    for members in buckets.values():
        splits = np.array([hash(rows[i].split) for i in members])
        if len(members) < 2 or (splits == splits[0]).all():
            continue
        bits = np.array([prints[i] for i in members], np.uint64)
        for k, i in enumerate(members):
            unlike = np.bitwise_count(bits[:k] ^ bits[k]).sum(axis=1) <= NEAR_BITS
            for j in np.flatnonzero(unlike & (splits[:k] != splits[k])).tolist():
                if _as_long(rows[i], rows[members[j]]):
                    near.setdefault(i, members[j])
    for i, j in near.items():
        other = rows[j]
        reason = printable(f"looks like {other.path} (in {rows[i].split} and in {other.split}); look at both")
        rows[i] = replace(rows[i], problem="near-duplicate", reason=reason)
    return rows


def _joined(prints: tuple[int, ...]) -> int:
    return sum(bits << 64 * k for k, bits in enumerate(prints))


def _as_long(a: ClipRow, b: ClipRow) -> bool:
    x, y = (row.seconds if row.seconds is not None else float(row.num_frames) for row in (a, b))
    return abs(x - y) <= NEAR_SECONDS * max(x, y)


def _repaired(
    annotations: Annotations,
    rows: list[ClipRow],
    fix: Path,
    names: FrameNames | None,
    time_limit: float,
    num_workers: int,
) -> list[ClipRow]:
    """Encode what can be decoded of bad clips to new files; the rows tell where, or why not."""
    del names
    root = Path(annotations.root).resolve()
    if fix.exists() and (not stat.S_ISDIR(fix.stat().st_mode) or root.is_relative_to(fix.resolve())):
        raise InputError(f"--fix {printable(str(fix))}: holds the dataset, or is no folder; choose a new folder")
    chosen = [i for i, row in enumerate(rows) if row.problem in REPAIRABLE and Path(annotations.file(i)).is_file()]
    targets = [fix / Path(rows[i].path.lstrip("/")).with_suffix(".mp4") for i in chosen]
    if outside := [target for target in targets if ".." in target.parts]:
        raise InputError(f"--fix: {printable(str(outside[0]))}: leads out of the folder; check from a root above it")
    jobs = [RepairJob(annotations.file(i), str(target)) for i, target in zip(chosen, targets, strict=True)]
    with closing(each_job(repair, jobs, num_workers=min(num_workers, len(jobs)), time_limit=5 * time_limit)) as answers:
        for number, answer in answers if jobs else ():
            i = chosen[number]
            row = rows[i]
            if isinstance(answer, Died):
                rows[i] = replace(row, reason=f"{row.reason}; mending it failed ({answer.how})")
            elif answer:
                rows[i] = replace(row, reason=f"{row.reason}; not mended: {answer}")
            else:
                rows[i] = replace(row, fixed_to=str(targets[number]))
    return rows
