"""What a set of videos is: paths of videos, arrays of clips, or features that were extracted before.

Letters in names: N clips, T frames, H rows, W columns, C channels, D numbers of a feature.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.content import content_digest
from i3d.data.formats.inputs import STDIN, VIDEO_SUFFIXES, expand_inputs, is_frame_folder, walk_visible
from i3d.errors import InputError, check_not_empty, first_line, printable, quoted
from i3d.inference.sources import is_many, to_source
from i3d.utils.text import refuse_endless
from i3d.video.base import Source
from i3d.video.frame_names import IMAGE_SUFFIXES
from i3d.video_distance.arrays import Clip, ValueRange, as_clip
from i3d.video_distance.feature_files import FEATURE_SUFFIXES, FeatureSource, as_rows, feature_rows, features_in

# A folder, a list, a pattern, a file of arrays or of features; an array; or an iterable of videos and clips.
VideoSet: TypeAlias = str | os.PathLike[str] | npt.NDArray[Any] | torch.Tensor | Iterable[Any]
ARRAYS: Final = frozenset({".npy", ".npz"})
HINT: Final = "pass a folder, a list, (N, T, H, W, 3) uint8, or features (N, 400)"


@dataclass(frozen=True, eq=False)
class Item:
    """One video or one clip of a set."""

    name: str
    source: Source | Clip | Path  # a path of an array is read when it is its turn

    def load(self) -> Source | Clip:
        """The source of a video, or the clip of an array."""
        if isinstance(self.source, Path):
            return as_clip(load_array(self.source), self.name)
        return self.source


@dataclass(frozen=True, eq=False)
class ClipSource:
    """The videos and clips of a set."""

    name: str
    items: Iterable[Item]
    number: int | None = None  # None: unknown, as of an iterator
    is_once: bool = False  # an iterator, which cannot be read again
    notes: tuple[str, ...] = field(default=())


def open_set(videos: VideoSet, side: str) -> ClipSource | FeatureSource:
    """The set that a user names. `side`: "real" or "generated", for messages. What is no set is an InputError."""
    if isinstance(videos, str | os.PathLike):
        check_not_empty(**{side: os.fspath(videos)})
        return _of_path(os.fspath(videos))
    if isinstance(videos, torch.Tensor):
        videos = videos.detach().cpu().numpy()
    if isinstance(videos, np.ndarray):
        return _of_array(videos, f"({side} array)")
    if isinstance(videos, bytes | bytearray | memoryview | Mapping) or not isinstance(videos, Iterable):
        raise InputError(f"{side}: a {type(videos).__name__} is no set of videos; {HINT}")
    if isinstance(videos, Iterator):
        return ClipSource(f"({side} iterator)", _items(videos, side), is_once=True)
    if not isinstance(videos, list | tuple):
        return ClipSource(f"({side})", _Items(videos, side))
    items = list(_items(videos, side))
    _check_values((item.source for item in items if isinstance(item.source, Clip)), f"({side} list)")
    return ClipSource(f"({side} list)", items, len(items))


def load_array(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy, mapped into memory, or the only array of a .npz. Anything else is an InputError."""
    try:
        refuse_endless(path)
        if path.suffix.lower() == ".npy":
            loaded: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            return loaded
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if len(archive.files) != 1:
                names = ", ".join(map(printable, archive.files[:5])) or "nothing"
                raise InputError(f"{path}: holds {names}; save one array in it")
            return np.asarray(archive[archive.files[0]])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or first_line(error)}); check the path") from error
    except (ValueError, EOFError, TypeError, KeyError, zipfile.BadZipFile) as error:
        is_objects = "allow_pickle" in str(error) or "Python objects" in str(error)
        why = "Python objects, which are not read" if is_objects else first_line(error)
        raise InputError(f"{path}: is no array ({why}); save it again with numpy.save") from error


def _of_path(name: str) -> ClipSource | FeatureSource:
    path = Path(name)
    suffix = path.suffix.lower()
    if name == STDIN:
        raise InputError("-: a set is not read from the standard input; name a folder or a file")
    if path.is_file() and suffix in ARRAYS:
        array = load_array(path)
        return feature_rows(path) if array.ndim == 2 else _of_array(array, name)
    if path.is_file() and suffix in FEATURE_SUFFIXES:
        return feature_rows(path)
    if path.is_dir() and not is_frame_folder(path):
        arrays, has_videos = _arrays_in(path)
        if arrays and not has_videos:
            return features_in(path, arrays) or ClipSource(name, [Item(str(one), one) for one in arrays], len(arrays))
        if arrays:
            note = f"{name}: its videos are read; {len(arrays):,} files of arrays are left out"
            return _of_videos(name, (note,))
    return _of_videos(name)


def _of_videos(name: str, notes: tuple[str, ...] = ()) -> ClipSource:
    items = [_item_of(path) for path in expand_inputs([name])]
    return ClipSource(name, items, len(items), notes=notes)


def _item_of(path: str) -> Item:
    """A video, or an array of one clip."""
    return Item(path, Path(path) if Path(path).suffix.lower() in ARRAYS else path)


def _arrays_in(folder: Path) -> tuple[list[Path], bool]:
    """(the files of arrays below a folder, whether there are videos or frames too)."""
    arrays: list[Path] = []
    has_videos = False
    for place, folders, files in walk_visible(folder):
        folders.sort()
        suffixes = {Path(name).suffix.lower() for name in files}
        has_videos |= not suffixes.isdisjoint(VIDEO_SUFFIXES | IMAGE_SUFFIXES)
        kinds = ARRAYS | FEATURE_SUFFIXES
        arrays += [Path(place) / name for name in sorted(files) if Path(name).suffix.lower() in kinds]
    return arrays, has_videos


def _of_array(array: npt.NDArray[Any], name: str) -> ClipSource | FeatureSource:
    if array.ndim == 2 and array.dtype.kind == "f":
        rows_ND = as_rows(array, name)
        return FeatureSource(name, rows_ND, hashlib.sha256(rows_ND.tobytes()).hexdigest())
    if array.ndim != 5:
        what = "one clip is no set" if array.ndim == 4 else f"{array.dtype} of shape {array.shape} is no set"
        raise InputError(f"{name}: {what}; {HINT}")
    items = _ArrayItems(array, name)
    if array.dtype != np.uint8:
        _check_values((item.source for item in items if isinstance(item.source, Clip)), name)
    return ClipSource(name, items, len(array))


def _check_values(clips: Iterable[Clip], name: str) -> None:
    """An InputError for float clips that cannot be [-1, 1], before any network runs."""
    values = ValueRange(name)
    for clip in clips:
        values.add(clip)
    values.check()


@dataclass(frozen=True, eq=False)
class _ArrayItems:
    """The clips of an array (N, ...), one at a time: a mapped file is not read as a whole."""

    array: npt.NDArray[Any]
    name: str

    def __iter__(self) -> Iterator[Item]:
        for number, clip in enumerate(self.array):
            name = f"{self.name}[{number}]"
            yield Item(name, as_clip(clip, name))


@dataclass(frozen=True, eq=False)
class _Items:
    """The items of an iterable that can be read again."""

    videos: Iterable[Any]
    side: str

    def __iter__(self) -> Iterator[Item]:
        return _items(self.videos, self.side)


def _items(videos: Iterable[Any], side: str) -> Iterator[Item]:
    """The items of an iterable of paths, of other videos, of clips (4 dimensions), and of batches of them (5)."""
    for number, video in enumerate(videos):
        name = f"{side}[{number}]"
        if isinstance(video, str | os.PathLike) and is_many(video):
            yield from map(_item_of, expand_inputs([os.fspath(video)]))
            continue
        if isinstance(video, str | os.PathLike):
            if Path(video).suffix.lower() in IMAGE_SUFFIXES:
                raise InputError(f"{name}: {quoted(video)} is an image; pass videos, or folders of frames")
            yield _item_of(os.fspath(video))
            continue
        array = video.detach().cpu().numpy() if isinstance(video, torch.Tensor) else video
        if isinstance(array, np.ndarray) and array.ndim == 5:
            yield from _ArrayItems(array, name)
        elif isinstance(array, np.ndarray):
            yield Item(name, as_clip(array, name))
        else:
            yield Item(name, to_source(video))


def digest_of(source: Source | Clip) -> str:
    """A hash of the content of a video, or of a clip."""
    if isinstance(source, Clip):
        return source.digest
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if isinstance(source, str | os.PathLike):
        return content_digest(Path(source))
    if isinstance(source, np.ndarray):
        return as_clip(source, "").digest
    return hashlib.sha256(" ".join(content_digest(Path(image)) for image in source).encode()).hexdigest()
