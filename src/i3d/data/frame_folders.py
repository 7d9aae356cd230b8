"""Clips as folders of numbered images, RGB or optical flow.

    img_00001.jpg                            RGB: `img_{:05d}.jpg`, first number 1 (or any)
    flow_x_00001.jpg flow_y_00001.jpg        flow: `flow_{axis}_{:05d}.jpg`; MMAction2's `{}_{:05d}.jpg` is the same
    flow_00001.jpg                           packed flow: x is red, y is green

Flow is uint8 with two channels, x then y: 127.5 is no motion.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.flow_files import FILES, flow_file_in, open_flow_file
from i3d.errors import InputError, VideoError
from i3d.video.base import DEFAULT_LIMITS, FrameHWC, Limits, Video
from i3d.video.images import IMAGE_SUFFIXES, FramesVideo, read_image

Modality = Literal["rgb", "flow"]
RECORD: Final = ".i3d-frames.json"  # in folders of frames that i3d wrote, and above them: the settings
_NUMBERED: Final = re.compile(r"(.*?)(\d+)(\.\w+)")
_LAST_NUMBER: Final = re.compile(r"(\d{1,9})\D*\.\w+$", re.ASCII)
MAX_INSPECTED: Final = 20  # folders from which the naming is inferred
_AXIS: Final = re.compile(r"(?:^|(?<=[_\-]))[xy](?=[_\-]?$)")


@dataclass(frozen=True)
class FrameNaming:
    """How the frames of a folder are named: a template with one number, and an `{axis}` for pairs of flow images."""

    template: str = "img_{:05d}.jpg"
    first: int = 1  # the number of the first frame
    modality: Modality = "rgb"

    def __post_init__(self) -> None:
        if self.in_one_file and self.modality == "flow":
            return
        object.__setattr__(self, "template", self.template.replace("{}", "{axis}", 1))
        try:
            has_number = self.name(0) != self.name(1)
        except (KeyError, IndexError, ValueError):
            has_number = False
        if not has_number or "/" in self.template:
            todo = "write img_{:05d}.jpg, or flow_{axis}_{:05d}.jpg for flow"
            raise InputError(f"template {self.template!r}: not a file name with a number; {todo}")
        if self.modality == "rgb" and self.paired:
            raise InputError(f"template {self.template!r}: {{axis}} is for flow; remove it for rgb")

    @property
    def in_one_file(self) -> bool:
        """Whether the flow of a clip is one file, an array or a lossless video."""
        return self.template in FILES.values()

    @property
    def paired(self) -> bool:
        """Whether x and y are two files."""
        return "{axis}" in self.template

    @property
    def num_channels(self) -> int:
        return 3 if self.modality == "rgb" else 2

    def name(self, index: int, axis: str = "x") -> str:
        """The file name of frame `index`, counted from 0."""
        return self.template.format(self.first + index, axis=axis)


def infer_naming(folder: Path, *, modality: Modality) -> FrameNaming:
    """The naming of the frames in a folder, from their names."""
    try:
        if modality == "flow" and (file := flow_file_in(folder)):
            return FrameNaming(file, 0, modality)
        names = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise VideoError(str(folder), f"cannot be listed ({error.strerror})", "check the path") from error
    kinds: dict[tuple[str, str], list[str]] = {}  # numbers by (prefix, suffix)
    for match in map(_NUMBERED.fullmatch, names):
        if match is not None:
            kinds.setdefault((match[1], match[3]), []).append(match[2])
    axes = {kind: match[0] for kind in kinds if (match := _AXIS.search(kind[0]))}
    flow_kinds = axes.keys() | {kind for kind in kinds if "flow" in kind[0].lower()}
    chosen = kinds.keys() - flow_kinds
    if modality == "flow":
        chosen = {kind for kind, axis in axes.items() if axis == "x"} if axes else flow_kinds
    if len(chosen) != 1:
        candidates = ", ".join(f"{prefix}#{suffix}" for prefix, suffix in sorted(kinds)) or "no numbered images"
        todo = "pass --template, such as img_{:05d}.jpg"
        raise InputError(f"{folder}: which images are the {modality} frames is unclear ({candidates}); {todo}")
    (prefix, suffix) = next(iter(chosen))
    numbers = kinds[prefix, suffix]
    lengths = {len(number) for number in numbers}
    digits = min(lengths)
    padded = len(lengths) == 1 or any(number.startswith("0") and len(number) > 1 for number in numbers)
    prefix = prefix.replace("{", "{{").replace("}", "}}")
    if modality == "flow":
        prefix = _AXIS.sub("{axis}", prefix)
    number = f"{{:0{digits}d}}" if padded and digits > 1 else "{:d}"
    return FrameNaming(f"{prefix}{number}{suffix}", min(map(int, numbers)), modality)


def infer_common_naming(folder: Callable[[int], Any], num_folders: int, *, modality: Modality) -> FrameNaming | None:
    """The naming of most of MAX_INSPECTED folders, evenly spread over all.

    Its first number is the smallest of these folders: one may lack its first frames. Folders that are missing or empty
    are ignored; None if all are. Images of which no naming can be inferred are an InputError.
    """
    namings: list[FrameNaming] = []
    unclear: InputError | None = None
    for number in sorted({i * num_folders // MAX_INSPECTED for i in range(MAX_INSPECTED)}):
        try:
            namings.append(infer_naming(folder(number), modality=modality))
        except VideoError:  # missing; reading the clip reports that
            continue
        except InputError as error:
            if any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder(number).iterdir()):
                unclear = unclear or error
    if namings:
        [(template, _)] = Counter(naming.template for naming in namings).most_common(1)
        return FrameNaming(template, min(n.first for n in namings if n.template == template), modality)
    if unclear is not None:
        raise unclear
    return None


def dataset_naming(annotations: Annotations, *, modality: Modality = "rgb") -> FrameNaming:
    """The naming of the frames in the folders of a dataset. An InputError if no inspected folder has frames."""
    naming = infer_common_naming(annotations.readable, len(annotations), modality=modality)
    if naming is None:
        raise annotations.error(0, "contains no frame, like the other folders; extract frames, or give another --root")
    return naming


def open_frames(
    folder: Path,
    naming: FrameNaming,
    *,
    num_frames: int | None = None,
    first_frame: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> Video:
    """The frames of a folder as a video: `num_frames` from `first_frame` on, or all."""
    if naming.in_one_file:
        return open_flow_file(folder, naming.template, first=first_frame, num_frames=num_frames, limits=limits)
    if num_frames is None:
        num_frames = count_frames(folder, naming) - first_frame
        if num_frames < 1:
            raise VideoError(str(folder), f"no frame {naming.name(first_frame)}", "check the folder and --template")

    def file_at(index: int, axis: str = "x") -> Path:
        return folder / naming.name(first_frame + index, axis)

    def frame_at(index: int) -> FrameHWC:
        if naming.paired:
            return _read_flow_pair(file_at(index), file_at(index, "y"), limits)
        if naming.modality == "flow":
            return _read_packed_flow(file_at(index), limits)
        return read_image(file_at(index), max_pixels=limits.max_pixels)

    return FramesVideo(str(folder), num_frames, frame_at, file_at=file_at, limits=limits)


def count_frames(folder: Path, naming: FrameNaming) -> int:
    """The number of frames. A missing number is a VideoError: frames were lost."""
    count, later = consecutive_frames(folder, naming)
    if later:
        gap = f"{naming.name(count)} is missing, {naming.name(later[0])} exists"
        raise VideoError(str(folder), gap, "extract its frames again, or list their number")
    return count


def consecutive_frames(folder: Path, naming: FrameNaming) -> tuple[int, list[int]]:
    """The number of frames before the first gap in the numbers, and the frames after it."""
    if naming.in_one_file:
        with open_frames(folder, naming) as video:
            return video.num_frames, []
    try:
        names = {p.name for p in folder.iterdir()}
    except OSError as error:
        raise VideoError(str(folder), f"cannot be listed ({error.strerror})", "check the path") from error
    count = 0
    while naming.name(count) in names and (not naming.paired or naming.name(count, "y") in names):
        count += 1
    numbers = {int(match[1]) - naming.first for name in names if (match := _LAST_NUMBER.search(name))}
    return count, sorted(number for number in numbers if number > count and naming.name(number) in names)


def _read_flow_pair(x_file: Path, y_file: Path, limits: Limits) -> FrameHWC:
    """Optical flow (H, W, 2) from two grey images."""
    x_HW, y_HW = (read_image(file, max_pixels=limits.max_pixels, grey=True) for file in (x_file, y_file))
    if x_HW.shape != y_HW.shape:
        raise VideoError(str(y_file), f"{y_HW.shape} pixels, x has {x_HW.shape}", "compute the flow again")
    return np.stack([x_HW, y_HW], axis=-1)


def _read_packed_flow(file: Path, limits: Limits) -> FrameHWC:
    """Optical flow (H, W, 2) from one image with x in red and y in green."""
    rgb_HWC = read_image(file, max_pixels=limits.max_pixels)
    is_still = np.abs(rgb_HWC[..., :2].astype(np.int16) - 128).max() <= 1  # no motion: both channels are equal
    if is_still or (rgb_HWC[..., 0] != rgb_HWC[..., 1]).any():
        return np.ascontiguousarray(rgb_HWC[..., :2])
    raise VideoError(str(file), "it is grey; packed flow has x in red, y in green", "pass --template with {axis}")
