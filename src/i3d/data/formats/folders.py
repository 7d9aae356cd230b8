"""Folders of classes, with videos or folders of frames.

root/<class>/clip.mp4                    without splits
root/train/<class>/...  root/val/...     with splits (train, val, test, or other spellings)
root/<class>/<clip>/img_00001.jpg        folders of frames
"""

import os
from pathlib import Path

from i3d.data.formats.inputs import VIDEO_SUFFIXES, is_visible_folder, left_out, walk_visible
from i3d.data.formats.tables import SPLIT_NAMES
from i3d.data.rows import Rows
from i3d.errors import InputError, abridged
from i3d.utils.folders import check_link
from i3d.video.frame_names import IMAGE_SUFFIXES, natural_key


def read_folders(root: Path) -> Rows:
    """All videos, or folders of frames, below the folders of their classes, in natural order."""
    splits = {name: split_of(name) for name in _folders(root)}
    has_splits = any(splits.values()) and not any(_holds_clips(root / name) for name in splits if not splits[name])
    # Folders beside those of splits, such as annotations/, are no classes.
    splits = {name: split for name, split in splits.items() if split} if has_splits else {"": ""}
    rows = Rows()
    classes: set[str] = set()
    names: list[str] = []  # of all files
    for top, split in splits.items():
        _no_strays(root / top)
        for name in _folders(root / top):
            classes.add(name)
            names += _add_class(rows, root, "/".join(filter(None, (top, name))), name, split)
    notes = left_out(names)
    if not rows.paths:
        todo = "give a folder with one folder per class (or train/ and val/ of such), or a list"
        raise InputError("; ".join([f"{root}: no video and no folder of frames in its folders", *notes, todo]))
    rows.warnings += notes
    rows.classes = tuple(sorted(classes))
    rows.warnings += _deeper(rows, has_splits=has_splits)
    return rows


def _deeper(rows: Rows, *, has_splits: bool) -> list[str]:
    """A warning if all clips are in folders below those of the classes, which may be the classes."""
    inner = [path.split("/")[has_splits + 1 : -1] for path in rows.paths]
    names = sorted({folders[0] for folders in inner if folders})
    if not all(inner) or len(names) < 2:
        return []
    what = f"all clips are in folders below those of the classes: {abridged([*map(repr, names)], 3)}"
    return [f"{what}; if these are the classes, give a list, or move them up"]


def _holds_clips(place: Path) -> bool:
    suffixes = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return any(Path(file).suffix.lower() in suffixes for _, _, files in walk_visible(place) for file in files)


def _no_strays(place: Path) -> None:
    """An InputError for videos beside the folders of classes, which have no class."""
    strays = sorted(p.name for p in place.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    if strays:
        what = f"{len(strays)} videos are beside the folders of classes, such as {strays[0]}"
        raise InputError(f"{place}: {what}; move each into the folder of its class, or give a list")


def split_of(name: str) -> str:
    """The split in the name of a folder: rawframes_train -> train, val_256 -> val; "" for other names."""
    parts = [name.lower(), *name.lower().replace("-", "_").split("_")]
    return next((SPLIT_NAMES[part] for part in parts if SPLIT_NAMES.get(part)), "")


def _folders(place: Path) -> list[str]:
    with os.scandir(place) as scanned:
        entries = [entry for entry in scanned if is_visible_folder(entry.name)]
    for entry in entries:
        check_link(entry.path)
    return sorted((entry.name for entry in entries if entry.is_dir()), key=natural_key)


def _add_class(rows: Rows, root: Path, folder: str, label: str, split: str) -> list[str]:
    """Add the clips in the folder of a class; the names of all files in it."""
    names: list[str] = []
    for place, folders, files in walk_visible(root / folder):
        folders.sort(key=natural_key)
        relative = os.path.relpath(place, root)
        visible = [file for file in sorted(files, key=natural_key) if not file.startswith(".")]
        videos = [file for file in visible if Path(file).suffix.lower() in VIDEO_SUFFIXES]
        has_images = any(Path(file).suffix.lower() in IMAGE_SUFFIXES for file in visible)
        if has_images and not videos and relative != folder:
            _set_kind(rows, root, is_frames=True)
            rows.add(relative, (label,), split=split)
            folders.clear()
        for file in videos:
            _set_kind(rows, root, is_frames=False)
            rows.add(f"{relative}/{file}", (label,), split=split)
        names += files
    return names


def _set_kind(rows: Rows, root: Path, *, is_frames: bool) -> None:
    """An InputError if a dataset has both videos and folders of frames."""
    if rows.paths and rows.is_frames != is_frames:
        raise InputError(f"{root}: some clips are videos, others folders of frames; move one kind to another folder")
    rows.is_frames = is_frames
