"""Which images of a folder are its frames, by their names: RGB frames, optical flow, or something beside them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from i3d.errors import VideoError, abridged, counted

Modality = Literal["rgb", "flow"]
IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_NUMBERED: Final = re.compile(r"(.*?)(\d+)(\D*\.\w+)", re.DOTALL)
_AXIS_BEFORE: Final = re.compile(r"(?:^|(?<=[_\-]))[xyuv](?=[_\-]?$)")  # flow_x_00001.jpg
_AXIS_AFTER: Final = re.compile(r"(?:^|(?<=[_\-]))[xyuv](?=\.)")  # 00001x.jpg, 00001_x.jpg
_TIME: Final = re.compile(r"(?:\d+[-_:])*\d+\.|(?:\d+[-_:.])*\d\d[-_:.]\d\d[-_:.]")  # before the last number
_FLOW: Final = re.compile(r"flow(?![a-z])", re.IGNORECASE)
PARTNERS: Final = {"x": "y", "u": "v"}
PLACEHOLDERS: Final = {"x": "{axis}", "u": "{uv}"}
REGULAR: Final = 0.8  # numbers of which so many have one distance are a sequence; of others gaps are not known


@dataclass(frozen=True)
class NameKind:
    """Image files whose names differ in their last number only."""

    prefix: str
    ending: str
    numbers: tuple[str, ...]  # as written

    def __str__(self) -> str:
        return f"{self.prefix}#{self.ending}"

    @property
    def names(self) -> list[str]:
        """The file names, in the order of their numbers."""
        return [f"{self.prefix}{number}{self.ending}" for number in sorted(self.numbers, key=lambda n: (int(n), n))]

    @property
    def number_format(self) -> str:
        """`05d` if the numbers are padded to five digits, `d` if they are not."""
        lengths = {len(number) for number in self.numbers}
        padded = len(lengths) == 1 or any(number.startswith("0") and len(number) > 1 for number in self.numbers)
        return f"0{min(lengths)}d" if padded and min(lengths) > 1 else "d"

    @property
    def template(self) -> str:
        """The names as `str.format` writes them."""
        prefix, ending = (part.replace("{", "{{").replace("}", "}}") for part in (self.prefix, self.ending))
        return f"{prefix}{{:{self.number_format}}}{ending}"

    def check_numbers(self, folder: Path) -> None:
        """A VideoError if the template cannot write all numbers: 1 beside 01, 1 beside 02, other digits than 0 to 9."""
        odd = [number for number in self.numbers if format(int(number), self.number_format) != number]
        if odd:
            others = [number for number in self.numbers if number not in odd]
            examples = ", ".join(f"{self.prefix}{number}{self.ending}" for number in (*others[:1], odd[0]))
            what = f"the numbers of its frames are not written in one way, in digits 0 to 9 ({examples})"
            raise VideoError(str(folder), what, "rename them img_00001.jpg, img_00002.jpg")

    @property
    def axis(self) -> str:
        """The letter of the direction, if the name has one: x, y, u or v."""
        match = _AXIS_BEFORE.search(self.prefix) or _AXIS_AFTER.search(self.ending)
        return match[0] if match else ""

    def with_axis(self, axis: str) -> tuple[str, str]:
        """(prefix, ending) with another letter, or a placeholder, for the direction."""
        if _AXIS_BEFORE.search(self.prefix):
            return _AXIS_BEFORE.sub(axis, self.prefix), self.ending
        return self.prefix, _AXIS_AFTER.sub(axis, self.ending)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts img_2 before img_10."""
    parts = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
    return [*parts, (2, 0, name)]  # orders 1.mp4 and 01.mp4 too, independent of the file system


def kinds_of(names: Iterable[str]) -> list[NameKind]:
    """The kinds of numbered images among file names. Other files are ignored."""
    numbers: dict[tuple[str, str], list[str]] = {}
    for match in map(_NUMBERED.fullmatch, names):
        if match is not None and is_image(match[0]):
            numbers.setdefault((match[1], match[3]), []).append(match[2])
    return [NameKind(*key, tuple(numbers[key])) for key in sorted(numbers)]


def is_image(name: str) -> bool:
    """Whether a file name is that of an image, not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def flow_axes(kinds: Sequence[NameKind]) -> list[NameKind]:
    """The kinds with horizontal flow (x or u) for which there is one with vertical flow."""
    existing = {(kind.prefix, kind.ending) for kind in kinds}
    return [kind for kind in kinds if kind.axis in PARTNERS and kind.with_axis(PARTNERS[kind.axis]) in existing]


def rgb_kinds(kinds: Sequence[NameKind]) -> list[NameKind]:
    """The kinds that are not optical flow."""
    axes = flow_axes(kinds)
    flow = {(k.prefix, k.ending) for k in axes} | {k.with_axis(PARTNERS[k.axis]) for k in axes}
    return [k for k in kinds if (k.prefix, k.ending) not in flow and not is_flow(k)]


def is_flow(kind: NameKind) -> bool:
    """Whether the names have the word flow."""
    return _FLOW.search(kind.prefix + kind.ending) is not None


def is_half_of_flow(folder: Path) -> bool:
    """Whether a folder has one direction of the flow of a video: u/VIDEO beside v/VIDEO, and no other folder."""
    other = {"u": "v", "v": "u"}.get(folder.parent.name)
    root = folder.parent.parent
    if other is None or not (root / other / folder.name).is_dir():
        return False
    return {path.name for path in root.iterdir() if path.is_dir()} == {"u", "v"}  # else they may be classes


def choose_rgb(folder: Path, names: Sequence[str], *, of_dataset: bool = False) -> tuple[list[str], list[str]]:
    """(the RGB frames among the image files of a folder, in order; notes on ignored images and missing numbers).

    Optical flow alone, several sequences side by side, and numbers that are written in several ways are a VideoError.
    Without a sequence all images are frames. `of_dataset`: the next step may be an option of commands that read
    datasets.
    """
    kinds = kinds_of(names)
    rgb = rgb_kinds(kinds)
    flow = [name for kind in kinds if kind not in rgb for name in kind.names]
    if names and (len(flow) == len(names) or is_half_of_flow(folder)):
        what = f"its images are optical flow ({abridged([str(kind) for kind in kinds], 3)}), not RGB frames"
        dataset = "a network of two channels reads flow, and `i3d data` with --modality flow"
        todo = f"give the folder of the RGB frames; {dataset if of_dataset else 'only datasets may be of stored flow'}"
        raise VideoError(str(folder), what, todo)
    sequences = _sequences(rgb)
    if len(sequences) > 1:
        raise unclear_frames(folder, [sequence[0] for sequence in sequences], of_dataset=of_dataset)
    chosen = sorted(set(names).difference(flow), key=natural_key)
    if sequences:
        in_sequence = sorted((name for kind in sequences[0] for name in kind.names), key=natural_key)
        if 2 * len(in_sequence) < len(chosen):
            others = abridged(sorted(set(chosen).difference(in_sequence), key=natural_key), 3)
            what = f"only {len(in_sequence)} of its {len(chosen)} images are numbered alike, unlike {others}"
            raise VideoError(str(folder), what, "move the others, or number all: img_00001.jpg, img_00002.jpg")
        chosen = in_sequence
    for kind in kinds_of(chosen):
        if len(kind.numbers) > 1:
            kind.check_numbers(folder)
    ignored = sorted(set(names).difference(chosen), key=natural_key)
    notes = [f"{counted(len(ignored), 'image is', 'images are')} ignored: {abridged(ignored, 3)}"] if ignored else []
    return chosen, [*notes, *missing_numbers(chosen)]


def unclear_frames(folder: Path, kinds: Sequence[NameKind], *, of_dataset: bool) -> VideoError:
    """The error of a folder with several sequences; `of_dataset`: a template selects one too."""
    what = f"which images are its frames is unclear ({abridged([str(kind) for kind in kinds], 4)})"
    first = kinds[0]
    pattern = f"{folder}/{first.prefix}%{first.number_format}{first.ending}"
    option = f" or --template '{first.template}'" if of_dataset else ""
    return VideoError(str(folder), what, f"name one kind, such as {pattern}{option}")


def _sequences(kinds: Sequence[NameKind]) -> list[list[NameKind]]:
    """Several images each; times (0.033.png, 1.066.png, 12-00-59.png, 12-01-00.png) are one sequence of kinds."""
    times: dict[str, list[NameKind]] = {}
    sequences = []
    for kind in kinds:
        if _TIME.fullmatch(kind.prefix):
            times.setdefault(kind.ending, []).append(kind)
        elif len(kind.numbers) > 1:
            sequences.append([kind])
    return sequences + [group for group in times.values() if sum(len(kind.numbers) for kind in group) > 1]


def missing_numbers(names: Sequence[str]) -> list[str]:
    """A note on the gaps in a sequence of regular numbers, if there are any."""
    kinds = kinds_of(names)
    if len(kinds) != 1:
        return []
    numbers = sorted(map(int, kinds[0].numbers))
    distances = Counter(after - before for before, after in pairwise(numbers))
    if not distances:
        return []
    step = 1 if 1 in distances else distances.most_common(1)[0][0]
    gaps = [(before, after) for before, after in pairwise(numbers) if after - before >= 2 * step]
    if step < 1 or not gaps or (step > 1 and distances[step] < REGULAR * (len(numbers) - 1)):
        return []
    num_missing = sum((after - before) // step - 1 for before, after in gaps)
    first = f"{kinds[0].prefix}{str(gaps[0][0] + step).zfill(len(kinds[0].numbers[0]))}{kinds[0].ending}"
    return [f"{counted(num_missing, 'frame is', 'frames are')} missing, the first {first}"]
