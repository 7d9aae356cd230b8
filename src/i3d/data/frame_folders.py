"""Clips as folders of numbered pictures, RGB or optical flow.

    img_00001.jpg                            RGB: `img_{:05d}.jpg`, first number 1 (or 0, or any)
    flow_x_00001.jpg flow_y_00001.jpg        flow: `flow_{axis}_{:05d}.jpg`; MMAction2's `{}_{:05d}.jpg` is the same
    flow_00001.jpg                           packed flow: x is red, y is green

Flow is uint8 with two channels, x then y: 127.5 is no movement.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, overload

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.flow_files import FILES, FlowFileVideo, flow_file_in
from i3d.data.shards import Shards
from i3d.errors import InputError, VideoError, printable
from i3d.video.base import DEFAULT_LIMITS, FrameHWC, Limits, Video
from i3d.video.images import IMAGE_SUFFIXES, ImagesVideo, RandomAccessVideo, read_grey, read_image

Modality = Literal["rgb", "flow"]
_NUMBERED: Final = re.compile(r"(.*?)(\d+)(\.\w+)")
_LAST_NUMBER: Final = re.compile(r"(\d{1,9})\D*\.\w+$", re.ASCII)
MAX_ASKED: Final = 20  # folders that are asked how frames are named
_AXIS: Final = re.compile(r"(?:^|(?<=[_\-]))[xy](?=[_\-]?$)")


@dataclass(frozen=True)
class FrameNaming:
    """How the pictures of a folder are named: a template with one number, for pairs of flow also an `{axis}`."""

    template: str = "img_{:05d}.jpg"
    first: int = 1  # the number of the first picture
    modality: Modality = "rgb"

    def __post_init__(self) -> None:
        if self.in_one_file and self.modality == "flow":
            return
        object.__setattr__(self, "template", self.template.replace("{}", "{axis}", 1))
        try:
            unlike = self.name(0) != self.name(1)
        except (KeyError, IndexError, ValueError):
            unlike = False
        if not unlike or "/" in self.template:
            raise InputError(
                f"template {self.template!r}: is no name with a number; write img_{{:05d}}.jpg, or "
                "flow_{axis}_{:05d}.jpg for flow"
            )
        if self.modality == "rgb" and self.paired:
            raise InputError(f"template {self.template!r}: {{axis}} is for flow; leave it out for rgb")

    @property
    def in_one_file(self) -> bool:
        """Whether a clip's flow lies in one file, an array or a lossless video."""
        return self.template in FILES.values()

    @property
    def paired(self) -> bool:
        """Whether x and y lie in two files."""
        return "{axis}" in self.template

    @property
    def num_channels(self) -> int:
        return 3 if self.modality == "rgb" else 2

    def name(self, index: int, axis: str = "x") -> str:
        """The file of frame `index`, which counts from 0."""
        return self.template.format(self.first + index, axis=axis)


def infer_naming(folder: Path, *, modality: Modality) -> FrameNaming:
    """How the pictures in a folder are named, from the names themselves."""
    try:
        if modality == "flow" and (file := flow_file_in(folder)):
            return FrameNaming(file, 0, modality)
        found = [
            m for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and (m := _NUMBERED.fullmatch(p.name))
        ]
    except OSError as error:
        raise VideoError(str(folder), f"cannot be listed ({error.strerror})", "check the path") from error
    kinds: dict[tuple[str, str], list[str]] = {}
    for match in found:
        kinds.setdefault((match[1], match[3]), []).append(match[2])
    flow_kinds = {kind for kind in kinds if _AXIS.search(kind[0]) or "flow" in kind[0].lower()}
    chosen = flow_kinds if modality == "flow" else kinds.keys() - flow_kinds
    if modality == "flow" and any(_AXIS.search(prefix) for prefix, _ in chosen):
        chosen = {kind for kind in chosen if _AXIS.search(kind[0]) and _AXIS.search(kind[0])[0] == "x"}  # type: ignore[index]
    if len(chosen) != 1:
        seen = ", ".join(f"{prefix}#{suffix}" for prefix, suffix in sorted(kinds)) or "no numbered pictures"
        raise InputError(
            f"{printable(str(folder))}: cannot tell the {modality} frames from their names ({printable(seen)}); "
            "say --template, such as img_{:05d}.jpg"
        )
    (prefix, suffix) = next(iter(chosen))
    numbers = kinds[prefix, suffix]
    digits = len(min(numbers, key=len))
    padded = any(number.startswith("0") and len(number) > 1 for number in numbers) or digits == len(
        max(numbers, key=len)
    )
    prefix = prefix.replace("{", "{{").replace("}", "}}")
    if modality == "flow":
        prefix = _AXIS.sub("{axis}", prefix)
    number = f"{{:0{digits}d}}" if padded and digits > 1 else "{:d}"
    return FrameNaming(f"{prefix}{number}{suffix}", min(map(int, numbers)), modality)


def infer_common_naming(folder: Callable[[int], Any], num_folders: int, *, modality: Modality) -> FrameNaming | None:
    """How the pictures in many folders are named: as in most of some of them, which are spread over all.

    The first number is the smallest: a folder may lack its first frame, and may be missing or empty itself. None: all
    that were asked are. If there are pictures and none tells, that is an InputError.
    """
    found: list[FrameNaming] = []
    untold: InputError | None = None
    for number in sorted({i * num_folders // MAX_ASKED for i in range(MAX_ASKED)}):
        try:
            found.append(infer_naming(folder(number), modality=modality))
        except VideoError:  # missing, which is told where it is read
            continue
        except InputError as error:
            if any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder(number).iterdir()):
                untold = untold or error
    if found:
        [(template, _)] = Counter(names.template for names in found).most_common(1)
        return FrameNaming(template, min(names.first for names in found if names.template == template), modality)
    if untold is not None:
        raise untold
    return None


def dataset_naming(annotations: Annotations, shards: Shards | None, *, modality: Modality = "rgb") -> FrameNaming:
    """How the pictures in the folders of a dataset are named. That no folder tells is an InputError."""
    naming = infer_common_naming(partial(clip_folder, annotations, shards), len(annotations), modality=modality)
    if naming is None:
        where, path = annotations.where(0), printable(annotations.path(0))
        raise InputError(f"{where}: {path!r}: holds no frame, as other folders; extract them, or say --root")
    return naming


def clip_folder(annotations: Annotations, shards: Shards | None, index: int) -> Any:
    """The folder of a clip: a Path, or what reads as one."""
    return Path(annotations.file(index)) if shards is None else shards.folder(annotations.path(index))


def open_frames(
    folder: Path,
    naming: FrameNaming,
    *,
    num_frames: int | None = None,
    first_frame: int = 0,
    frames_fps: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
    at_least: int | None = None,
) -> Video:
    """The frames of a folder as a video; `num_frames` from `first_frame` on, or all.

    `at_least`: JPEG frames of RGB may be decoded smaller, down to this short side (`stills.read_image`).
    """
    if naming.in_one_file:
        return FlowFileVideo(
            folder, naming.template, first=first_frame, num_frames=num_frames, frames_fps=frames_fps, limits=limits
        )
    if num_frames is None:
        num_frames = count_frames(folder, naming) - first_frame
        if num_frames < 1:
            raise VideoError(str(folder), f"no frame {naming.name(first_frame)}", "check the folder and --template")
    if naming.modality == "flow":
        return FlowVideo(folder, naming, num_frames, first_frame, frames_fps=frames_fps, limits=limits)
    paths = _Paths(folder, naming, first_frame, num_frames)
    return ImagesVideo(str(folder), paths, frames_fps=frames_fps, limits=limits, at_least=at_least)


@dataclass(frozen=True)
class _Paths(Sequence[Path]):
    """The files of a folder's frames, each named when it is wanted: clips show few of them."""

    folder: Path
    naming: FrameNaming
    first: int
    num_frames: int

    def __len__(self) -> int:
        return self.num_frames

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.num_frames))]
        return self.folder / self.naming.name(self.first + index)


def count_frames(folder: Path, naming: FrameNaming) -> int:
    """How many frames there are. A number that is left out is a VideoError: something was lost."""
    count, later = frames_in_a_row(folder, naming)
    if later:
        gap = f"{naming.name(count)} is missing, {naming.name(later[0])} is there"
        raise VideoError(str(folder), gap, "extract its frames again, or list how many it has")
    return count


def frames_in_a_row(folder: Path, naming: FrameNaming) -> tuple[int, list[int]]:
    """How many frames follow each other without a gap, from the first on, and which are there behind a gap."""
    if naming.in_one_file:
        with open_frames(folder, naming) as video:
            return video.num_frames, []
    try:
        there = {p.name for p in folder.iterdir()}
    except OSError as error:
        raise VideoError(str(folder), f"cannot be listed ({error.strerror})", "check the path") from error
    count = 0
    while naming.name(count) in there and (not naming.paired or naming.name(count, "y") in there):
        count += 1
    numbers = {int(found[1]) - naming.first for name in there if (found := _LAST_NUMBER.search(name))}
    return count, sorted(number for number in numbers if number > count and naming.name(number) in there)


class FlowVideo(RandomAccessVideo):
    """Optical flow from pictures: frames are (H, W, 2), x then y."""

    def __init__(
        self,
        folder: Path,
        naming: FrameNaming,
        num_frames: int,
        first: int,
        *,
        frames_fps: float | None,
        limits: Limits,
    ) -> None:
        super().__init__(str(folder), num_frames, frames_fps=frames_fps, limits=limits)
        self._folder, self._naming, self._first = folder, naming, first
        self._size: tuple[int, int] | None = None  # height, width of the first frame

    def _frame(self, index: int) -> FrameHWC:
        frame_HWC = self._flow(index)
        self._size = self._size or frame_HWC.shape[:2]
        if frame_HWC.shape[:2] != self._size:
            height, width = frame_HWC.shape[:2]
            path = self._folder / self._naming.name(self._first + index)
            expected = f"{self._size[1]} x {self._size[0]}"
            raise VideoError(str(path), f"it is {width} x {height}, the frames before {expected}", "use one size")
        return frame_HWC

    def _flow(self, index: int) -> FrameHWC:
        read = partial(read_grey, max_pixels=self.limits.max_pixels)
        path = self._folder / self._naming.name(self._first + index)
        if self._naming.paired:
            other = self._folder / self._naming.name(self._first + index, "y")
            x_HW, y_HW = read(path), read(other)
            if x_HW.shape != y_HW.shape:
                raise VideoError(str(other), f"{y_HW.shape} pixels, its x has {x_HW.shape}", "compute the flow again")
            return np.stack([x_HW, y_HW], axis=-1)
        rgb_HWC = read_image(path, max_pixels=self.limits.max_pixels)
        is_still = np.abs(rgb_HWC[..., :2].astype(np.int16) - 128).max() <= 1  # nothing moves: both channels are alike
        if is_still or (rgb_HWC[..., 0] != rgb_HWC[..., 1]).any():
            return np.ascontiguousarray(rgb_HWC[..., :2])
        raise VideoError(str(path), "it is grey; packed flow has x in red, y in green", "say --template with {axis}")
