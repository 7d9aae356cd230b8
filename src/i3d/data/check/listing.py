"""What there is to check: the clips of any list or layout, or of a plain folder, and how their frames are named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i3d.data.annotations import Annotations
from i3d.data.formats.inputs import VIDEO_SUFFIXES, expand_inputs
from i3d.data.formats.read import read_annotations
from i3d.data.frame_folders import FrameNaming, Modality, infer_common_naming
from i3d.data.shards import Shards
from i3d.errors import InputError, printable


@dataclass(frozen=True)
class Listed:
    """A clip as it is listed."""

    path: str
    file: str
    line: int = 0
    split: str = ""
    labels: tuple[str, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    num_frames: int | None = None
    first_frame: int = 0
    is_frames: bool = False  # a folder of frames that are named as in the other folders


def clips_of(source: Path, options: dict[str, Any], *, one_naming: bool) -> tuple[list[Listed], Path, tuple[str, ...]]:
    """The clips of any list or folder, the folder that their paths start from, and what the list is warned of.

    `one_naming`: the frames in all folders of a plain folder are named alike; else each folder is for itself.
    """
    automatic = options["format"] == "auto"
    if automatic and source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        return [Listed(source.name, str(source))], source.parent, ()
    try:
        annotations = read_annotations(source, need_labels=False, **options)
    except InputError as error:
        is_layout = automatic and source.is_dir() and str(error).startswith(f"{printable(str(source))}: ")
        if not is_layout or options["root"] is not None or options["split"] is not None:
            raise  # it is about a list, or an option
        return _plain(source, one_naming), source, (f"taken as a plain folder, without classes and splits: {error}",)
    return list(of_annotations(annotations)), Path(annotations.root), annotations.warnings


def of_annotations(annotations: Annotations) -> Iterator[Listed]:
    for index, clip in enumerate(annotations):
        yield Listed(
            clip.path,
            annotations.file(index),
            clip.line,
            clip.split,
            tuple(annotations.classes[label] for label in clip.labels),
            clip.start_seconds,
            clip.end_seconds,
            clip.num_frames,
            clip.first_frame,
            clip.is_frames,
        )


def _plain(folder: Path, one_naming: bool) -> list[Listed]:
    """Every video and every folder of frames below a folder, without labels."""
    return [
        Listed(os.path.relpath(path, folder), path, is_frames=one_naming and os.path.isdir(path))  # noqa: PTH112
        for path in expand_inputs([str(folder)])
    ]


def frame_names(
    clips: Sequence[Listed], shards: Shards | None, modality: Modality, told: tuple[str, int] | None
) -> FrameNaming | None:
    """How the pictures of all folders are named: as is told, or as in most of them. None: anyhow."""
    if told is not None:
        return FrameNaming(told[0], told[1], modality)
    of_frames = [clip for clip in clips if clip.is_frames]
    if modality == "flow" and len(of_frames) < len(clips):
        raise InputError(f"{printable(clips[0].path)}: flow is read from folders of frames; this is a video")

    def folder(number: int) -> Any:
        clip = of_frames[number]
        return Path(clip.file) if shards is None else shards.folder(clip.path)

    return infer_common_naming(folder, len(of_frames), modality=modality) if of_frames else None
