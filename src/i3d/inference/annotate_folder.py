"""Copies of many videos with their predicted labels, below one folder.

    for copy in annotate_videos(["clips/"], "labelled", Predictor()):
        print(copy.path or copy.error)

A hidden record in the folder has the digest of every copy, and what it was made of. A copy that is still as it was
written may be replaced, and is reused if nothing that it depends on has changed; any other file stays.
"""

import glob
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from i3d.data.content import check_unchanged, file_signature, file_stamp
from i3d.data.formats.inputs import STDIN, VIDEO_SUFFIXES, expand_inputs, path_below
from i3d.data.recorded_folder import RecordedFolder
from i3d.data.resume import read_record
from i3d.errors import InputError, VideoError, check_not_empty
from i3d.inference.annotate import PredictionDrawing
from i3d.inference.drawn_video import Drawing, draw_on_video
from i3d.inference.predict_many import predict_each
from i3d.inference.prediction import Prediction
from i3d.inference.predictor import VideoClassifier
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically, writing_to
from i3d.utils.cache import cache_key
from i3d.utils.folders import is_missing
from i3d.utils.outputs import (
    check_outside,
    content_hash,
    file_sha256,
    output_folder,
    recorded,
    recorded_files,
)
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import Limits

RECORD: Final = ".i3d-annotated.json"
MADE_OF: Final = "made_of"  # in the record: of each copy, a hash of all that it depends on
VERSION: Final = 1  # of the drawing: increase it when copies would look different
TODO: Final = "free disk space, or choose another folder"


@dataclass(frozen=True)
class AnnotatedVideo:
    """The outcome for one video."""

    prediction: Prediction
    path: Path | None  # of the copy; None: there is none, and `error` has the reason
    reused: bool = False  # an earlier run has written it
    error: str = ""
    notes: tuple[str, ...] = ()  # labels or sound that were left out


@dataclass(frozen=True)
class Copy:
    """The outcome for one video, of whatever was drawn on it."""

    path: Path | None  # None: there is no copy, and `error` has the reason
    reused: bool = False  # an earlier run has written it
    error: str = ""
    notes: tuple[str, ...] = ()  # what was left out


@checks_types
def annotate_videos(
    sources: Sequence[str],
    out: str | PathLike[str],
    predictor: VideoClassifier,
    *,
    top_k: int = 5,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    force: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> Iterator[AnnotatedVideo]:
    """Predict videos (files, folders, patterns, lists), and write a copy of each with its labels below `out`.

    A copy is an .mp4 (`annotate_video`), at the path that its video has below the named folder, list or pattern. An
    unreadable video has an `error` in its outcome. Existing files that are no copies, or were edited, are an InputError
    before the first video, unless `force` replaces them.
    """
    names = copy_names(sources, output_folder("out", out))
    folder = AnnotatedFolder(Path(out), names, force=force)
    return _annotate_each(folder, predictor, top_k, frames_fps, limits, on_progress)


def _annotate_each(
    folder: "AnnotatedFolder",
    predictor: VideoClassifier,
    top_k: int,
    frames_fps: float | None,
    limits: Limits | None,
    on_progress: ProgressCallback,
) -> Iterator[AnnotatedVideo]:
    how: dict[str, Any] = {"frames_fps": frames_fps, "limits": limits, "on_progress": on_progress}
    with folder.locked():
        for video, row in zip(folder.names, predict_each(predictor, folder.names, top_k=top_k, **how), strict=True):
            copy = Copy(None, error=row.error)
            if row.status == "ok":
                copy = folder.draw(video, PredictionDrawing(row), **how)
            yield AnnotatedVideo(row, copy.path, copy.reused, copy.error, copy.notes)


def copy_names(sources: Sequence[str], out: Path) -> dict[str, str]:
    """The name of the copy of each video below `out`; two videos with the same name are an InputError.

    `run/a.mp4` and `run/a.avi` become `run/a.mp4` and `run/a.avi.mp4`.
    """
    below: dict[str, Path] = {}
    for source in sources:
        check_not_empty(source=source)
        check_outside(out, source)
        is_absent = source != STDIN and is_missing(source) and not glob.has_magic(source) and "%" not in source
        for path in [source] if is_absent else expand_inputs([source]):  # which becomes a row with an error
            if path != STDIN and Path(path).resolve().is_relative_to(out.resolve()):
                raise InputError(f"{path}: lies in the folder of copies, {out}; leave it out, or choose another folder")
            below.setdefault(path, path_below(source, path) if path != STDIN else Path("stdin"))
    stems = {path: p.with_suffix("") if p.suffix.lower() in VIDEO_SUFFIXES else p for path, p in below.items()}
    num_of_stem = Counter(stems.values())
    names: dict[str, str] = {}
    for path, its_path in below.items():
        keeps_suffix = num_of_stem[stems[path]] > 1 and its_path.suffix.lower() != ".mp4"
        name = f"{(its_path if keeps_suffix else stems[path]).as_posix()}.mp4"
        if name in names.values():
            other = next(other for other, taken in names.items() if taken == name)
            both = f"{path} and {other}: both would write {out / name}"
            raise InputError(f"{both}; name a common folder of both, or use two folders")
        names[path] = name
    return names


class AnnotatedFolder(RecordedFolder):
    """The folder of the copies. Files in their places that are not ours are an InputError, unless `force`."""

    def __init__(self, out: Path, names: Mapping[str, str], *, force: bool = False) -> None:
        super().__init__(out, RECORD, what="copies", todo=TODO)
        self.names = names
        self.check_names(names.values(), force=force)

    def draw(
        self,
        video: str,
        drawing: Drawing,
        *,
        content: bytes | None = None,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Copy:
        """Write the copy of a video, or reuse it. `content`: of the standard input."""
        name = self.names[video]
        path, stamp = self.out / name, () if content is not None else file_stamp(video)
        signature = file_signature(video) if content is None else [content_hash(content)]
        made_of = cache_key(version=VERSION, video=signature, lines=drawing.lines, fps=frames_fps)
        before = read_record(self.record) or {}
        is_current = signature and before.get(MADE_OF, {}).get(name) == made_of
        if is_current and path.is_file() and file_sha256(path) in recorded(before, name):
            return Copy(path, reused=True)
        try:
            with writing_to(f"{path}:", TODO), recorded_files(self.out, self.record) as temporary:
                part = temporary / name
                part.parent.mkdir(parents=True, exist_ok=True)
                source = video if content is None else content
                notes = draw_on_video(
                    source, drawing, part,
                    frames_fps=frames_fps, limits=limits, force=False, on_progress=on_progress,
                )  # fmt: skip
                check_unchanged(video, stamp)
                path.parent.mkdir(parents=True, exist_ok=True)
        except VideoError as error:
            return Copy(None, error=str(error))
        self._store(name, made_of)
        return Copy(path, notes=notes)

    def _store(self, name: str, made_of: str) -> None:
        record = read_record(self.record) or {}
        record[MADE_OF] = {**record.get(MADE_OF, {}), name: made_of}
        write_atomically(self.record, (json.dumps(record, indent=1) + "\n").encode())
