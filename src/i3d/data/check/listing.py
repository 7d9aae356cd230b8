"""List the clips to check: of any annotation list, dataset layout or plain folder, with the naming of their frames."""

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
class ListedClip:
    """A clip of a list."""

    path: str
    file: str
    line: int = 0
    split: str = ""
    labels: tuple[str, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    num_frames: int | None = None
    first_frame: int = 0
    is_frames: bool = False  # a folder of frames with the same naming as the other folders


def list_clips(
    source: Path, options: dict[str, Any], *, one_naming: bool
) -> tuple[list[ListedClip], Path, tuple[str, ...]]:
    """The clips of a list or folder, the folder that their paths are relative to, and warnings about the list.

    `one_naming`: all folders of frames below a plain folder have the same naming; else each has its own.
    """
    automatic = options["format"] == "auto"
    if automatic and source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        return [ListedClip(source.name, str(source))], source.parent, ()
    try:
        annotations = read_annotations(source, need_labels=False, **options)
    except InputError as error:
        is_layout = automatic and source.is_dir() and str(error).startswith(f"{printable(str(source))}: ")
        if not is_layout or options["root"] is not None or options["split"] is not None:
            raise  # the error concerns a list or an option
        return _plain(source, one_naming), source, (f"read as a plain folder, without classes and splits: {error}",)
    return list(from_annotations(annotations)), Path(annotations.root), annotations.warnings


def from_annotations(annotations: Annotations) -> Iterator[ListedClip]:
    for index, clip in enumerate(annotations):
        yield ListedClip(
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


def _plain(folder: Path, one_naming: bool) -> list[ListedClip]:
    """Every video and every folder of frames below a folder, without labels."""
    return [
        ListedClip(os.path.relpath(path, folder), path, is_frames=one_naming and os.path.isdir(path))  # noqa: PTH112
        for path in expand_inputs([str(folder)])
    ]


def common_naming(
    clips: Sequence[ListedClip], shards: Shards | None, modality: Modality, given: tuple[str, int] | None
) -> FrameNaming | None:
    """The naming of the frames in all folders: the `given` (template, first index), or the most frequent one."""
    if given is not None:
        return FrameNaming(*given, modality)
    folders = [clip for clip in clips if clip.is_frames]
    if modality == "flow" and len(folders) < len(clips):
        raise InputError(f"{printable(clips[0].path)}: flow is read from folders of frames; this is a video")

    def folder(number: int) -> Any:
        clip = folders[number]
        return Path(clip.file) if shards is None else shards.folder(clip.path)

    return infer_common_naming(folder, len(folders), modality=modality) if folders else None
