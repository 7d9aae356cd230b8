"""Clips as folders of numbered images, RGB or optical flow.

    img_00001.jpg                            RGB: `img_{:05d}.jpg`, first number 1 (or any)
    flow_x_00001.jpg flow_y_00001.jpg        flow: `flow_{axis}_{:05d}.jpg`; MMAction2's `{}_{:05d}.jpg` is the same
    v0ABC-000001x.jpg v0ABC-000001y.jpg      in the folder v0ABC: `{folder}-{:06d}{axis}.jpg`
    u/v0/frame000001.jpg v/v0/...            in the folder u/v0: `../../{uv}/{folder}/frame{:06d}.jpg`
    u/frame000001.jpg v/frame000001.jpg      `{uv}/frame{:06d}.jpg`; also x/ and y/, flow_x/ and flow_y/
    flow_00001.jpg                           packed flow: x is red, y is green

Flow is uint8 with two channels, x then y: 127.5 is no motion.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.flow_files import FILES, flow_file_in, open_flow_file
from i3d.errors import InputError, VideoError, abridged
from i3d.video.base import DEFAULT_LIMITS, FrameHWC, Limits, Video
from i3d.video.frame_names import (
    PLACEHOLDERS,
    Modality,
    NameKind,
    choose_rgb,
    flow_axes,
    is_flow,
    is_half_of_flow,
    is_image,
    kinds_of,
    unclear_frames,
)
from i3d.video.images import FramesVideo, read_image

RECORD: Final = ".i3d-frames.json"  # in folders of frames that i3d wrote, and above them: the settings
_LAST_NUMBER: Final = re.compile(r"(\d{1,9})\D*\.\w+$", re.ASCII)
_EXAMPLES: Final = {"rgb": "img_{:05d}.jpg", "flow": "flow_{axis}_{:05d}.jpg or {folder}-{:06d}{axis}.jpg"}
MAX_INSPECTED: Final = 20  # folders from which the naming is inferred
_SUBFOLDERS: Final = ("{uv}", "{axis}", "flow_{axis}")  # of a clip, one for each direction of its flow
_SIBLINGS: Final = "../../{uv}/{folder}"  # of the clip: u/clip beside v/clip
_VERTICAL: Final = {"x": "u", "y": "v"}


@dataclass(frozen=True)
class FrameNaming:
    """How the frames of a folder are named: a template with one number.

    `{axis}` is x or y, `{uv}` u or v, for pairs of flow images; `{folder}` is the name of the folder.
    """

    template: str = "img_{:05d}.jpg"
    first: int = 1  # the number of the first frame
    modality: Modality = "rgb"
    is_inferred: bool = field(default=False, compare=False, repr=False)  # from other folders: checked in each

    def __post_init__(self) -> None:
        if self.in_one_file and self.modality == "flow":
            return
        object.__setattr__(self, "template", self.template.replace("{}", "{axis}", 1))
        try:
            has_number = self.name(0) != self.name(1)
        except (AttributeError, KeyError, IndexError, ValueError):
            has_number = False
        folders, slash, file = self.template.rpartition("/")
        if not has_number or not file or (slash and folders not in (*_SUBFOLDERS, _SIBLINGS)):
            todo = "write img_{:05d}.jpg, {folder}-{:06d}.jpg, or flow_{axis}_{:05d}.jpg for flow"
            raise InputError(f"template {self.template!r}: not a file name with a number; {todo}")
        if self.modality == "rgb" and self.paired:
            what = "{axis} is" if "{axis}" in self.template else "{uv} is"
            raise InputError(f"template {self.template!r}: {what} for flow; remove it for rgb")

    @property
    def in_one_file(self) -> bool:
        """Whether the flow of a clip is one file, an array or a lossless video."""
        return self.template in FILES.values()

    @property
    def paired(self) -> bool:
        """Whether x and y are two files."""
        return "{axis}" in self.template or "{uv}" in self.template

    @property
    def num_channels(self) -> int:
        return 3 if self.modality == "rgb" else 2

    def name(self, index: int, axis: str = "x", folder: Any = "") -> str:
        """The file of frame `index`, counted from 0, of a folder, relative to it."""
        name = str(folder).rpartition("/")[2]
        return self.template.format(self.first + index, axis=axis, uv=_VERTICAL[axis], folder=name)


def infer_naming(folder: Path, *, modality: Modality) -> FrameNaming:
    """The naming of the frames in a folder, from their names; the frames are those that `choose_rgb` chooses.

    A VideoError if the folder has no frames, or which images they are is unclear.
    """
    try:
        if modality == "flow" and (file := flow_file_in(folder)):
            return FrameNaming(file, 0, modality)
        names = [path.name for path in folder.iterdir() if is_image(path.name)]
        template, kind = _flow_template(folder, names) if modality == "flow" else _rgb_template(folder, names)
    except OSError as error:
        raise VideoError(str(folder), f"cannot be listed ({error.strerror})", "check the path") from error
    return FrameNaming(template, min(map(int, kind.numbers)), modality)


def _rgb_template(folder: Path, names: Sequence[str]) -> tuple[str, NameKind]:
    """The template of the RGB frames, and their names."""
    place = Path(str(folder))  # of packed folders too
    chosen, _ = choose_rgb(place, names, of_dataset=True)
    kinds = kinds_of(chosen)
    if len(kinds) != 1 or len(kinds[0].numbers) < len(chosen):
        what = f"its images are not numbered ({abridged(chosen, 3)})" if chosen else "it contains no numbered image"
        raise VideoError(str(folder), what, f"rename them, or pass --template, such as {_EXAMPLES['rgb']}")
    kinds[0].check_numbers(place)
    return _template(kinds[0], folder), kinds[0]


def _flow_template(folder: Path, names: Sequence[str]) -> tuple[str, NameKind]:
    """The template of the optical flow, and the names of its x direction."""
    kinds, place = kinds_of(names), Path(str(folder))
    candidates = _flow_templates(folder, kinds)
    if len(candidates) > 1:
        raise unclear_frames(place, [kind for _, kind in candidates], of_dataset=True)
    if not candidates:
        there_are = ", ".join(map(str, kinds)) or "no numbered images"
        todo = f"pass --template, such as {_EXAMPLES['flow']}"
        raise VideoError(str(folder), f"which images are its optical flow is unclear ({there_are})", todo)
    candidates[0][1].check_numbers(place)
    return candidates[0]


def _flow_templates(folder: Path, kinds: Sequence[NameKind]) -> list[tuple[str, NameKind]]:
    """The possible templates of the optical flow in a folder, and the names of each."""
    if axes := flow_axes(kinds):
        return [(_template(kind, folder, is_direction=True), kind) for kind in axes]
    if is_half_of_flow(Path(str(folder))):
        return [(f"{_SIBLINGS}/{_template(kind, folder)}", kind) for kind in kinds]
    for pattern in _SUBFOLDERS:
        halves = [folder / pattern.format(axis=axis, uv=_VERTICAL[axis]) for axis in "xy"]
        if all(half.is_dir() for half in halves):
            inner = kinds_of(path.name for path in halves[0].iterdir())
            return [(f"{pattern}/{_template(kind, folder)}", kind) for kind in inner]
    return [(_template(kind, folder), kind) for kind in kinds if is_flow(kind)]


def _template(kind: NameKind, folder: Any, *, is_direction: bool = False) -> str:
    """The template of a kind; the name of the folder at its beginning becomes `{folder}`, a direction `{axis}`."""
    name = str(folder).rpartition("/")[2]
    named = bool(name) and kind.prefix.startswith(name) and not kind.prefix[len(name) : len(name) + 1].isalnum()
    prefix, ending = (part.replace("{", "{{").replace("}", "}}") for part in (kind.prefix, kind.ending))
    if is_direction:
        prefix, ending = NameKind(prefix, ending, ()).with_axis(PLACEHOLDERS[kind.axis])
    if named:
        prefix = "{folder}" + prefix[len(name.replace("{", "{{").replace("}", "}}")) :]
    return f"{prefix}{{:{kind.number_format}}}{ending}"


def check_choice(folder: Path, naming: FrameNaming) -> None:
    """A VideoError if the images of a folder are not those of a naming that was inferred from other folders."""
    if not naming.is_inferred or naming.in_one_file:
        return
    try:
        images = {path.name for path in folder.iterdir() if is_image(path.name)}
    except OSError:
        return  # opening the frames reports that
    axes = "xy" if naming.paired else "x"
    named = {naming.name(index, axis, folder) for index in range(len(images) // len(axes)) for axis in axes}
    if images <= named and (images or "/" not in naming.template):
        return  # the usual case, without the cost of the rest
    own = infer_naming(folder, modality=naming.modality)
    if own.name(0, folder=folder) != naming.name(own.first - naming.first, folder=folder):
        what = f"its frames are named {own.template}, those of the other folders {naming.template}"
        raise VideoError(str(folder), what, "rename them, or pass --template")


def infer_common_naming(folder: Callable[[int], Any], num_folders: int, *, modality: Modality) -> FrameNaming | None:
    """The naming of most of MAX_INSPECTED folders, evenly spread over all.

    Its first number is the smallest of these folders: one may lack its first frames. Folders that are missing or empty
    are ignored; None if all are. Images of which no naming can be inferred are an InputError if all folders have such;
    else opening their folder reports them (`check_choice`).
    """
    namings: list[FrameNaming] = []
    unclear: VideoError | None = None
    for number in sorted({i * num_folders // MAX_INSPECTED for i in range(MAX_INSPECTED)}):
        try:
            namings.append(infer_naming(folder(number), modality=modality))
        except VideoError as error:  # missing, empty or unclear; reading the clip reports that
            unclear = unclear or (error if _has_images(folder(number)) else None)
    if namings:
        [(template, _)] = Counter(naming.template for naming in namings).most_common(1)
        first = min(n.first for n in namings if n.template == template)
        return FrameNaming(template, first, modality, is_inferred=True)
    if unclear is not None:
        raise InputError(str(unclear))
    return None


def _has_images(folder: Any) -> bool:
    try:
        return any(is_image(path.name) for path in folder.iterdir())
    except OSError:
        return False


def dataset_naming(annotations: Annotations, *, modality: Modality = "rgb") -> FrameNaming:
    """The naming of the frames in the folders of a dataset. An InputError if no inspected folder has frames."""
    naming = infer_common_naming(annotations.readable, len(annotations), modality=modality)
    if naming is None:
        annotations.check_present()  # missing folders have another root
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
    if num_frames is not None:
        check_choice(folder, naming)
    else:
        num_frames = count_frames(folder, naming) - first_frame
        if num_frames < 1:
            what = f"no frame {naming.name(first_frame, folder=folder)}"
            raise VideoError(str(folder), what, "check the folder and --template")

    def file_at(index: int, axis: str = "x") -> Path:
        return folder / naming.name(first_frame + index, axis, folder)

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
        missing, existing = (naming.name(index, folder=folder) for index in (count, later[0]))
        gap = f"{missing} is missing, {existing} exists"
        raise VideoError(str(folder), gap, "extract its frames again, or list their number")
    return count


def consecutive_frames(folder: Path, naming: FrameNaming) -> tuple[int, list[int]]:
    """The number of frames before the first gap in the numbers, and the frames after it."""
    if naming.in_one_file:
        with open_frames(folder, naming) as video:
            return video.num_frames, []
    check_choice(folder, naming)
    axes = "xy" if naming.paired else "x"
    try:
        names = {name for axis in axes for name in _listed(folder, naming.name(0, axis, folder).rpartition("/")[0])}
    except OSError as error:
        raise VideoError(str(folder), f"cannot be listed ({error.strerror})", "check the path") from error
    count = 0
    while all(naming.name(count, axis, folder) in names for axis in axes):
        count += 1
    numbers = {int(match[1]) - naming.first for name in names if (match := _LAST_NUMBER.search(name))}
    return count, sorted(n for n in numbers if n > count and naming.name(n, folder=folder) in names)


def _listed(folder: Any, place: str) -> Iterator[str]:
    """The files in a place below or beside a folder, relative to the folder."""
    for path in (folder / place if place else folder).iterdir():
        yield f"{place}/{path.name}" if place else path.name


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
    what = "it is grey; packed flow has x in red, y in green"
    raise VideoError(str(file), what, "if x and y are two images, name them flow_{axis}_{:05d}.jpg")
