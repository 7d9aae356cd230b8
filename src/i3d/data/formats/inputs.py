"""Expand files, folders, patterns and lists to one path per video."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from i3d.errors import InputError
from i3d.utils.text import csv_records, line_error, read_text
from i3d.video.frame_names import natural_key
from i3d.video.images import images_in, images_matching

VIDEO_SUFFIXES: Final = frozenset({
    ".3g2", ".3gp", ".264", ".265", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf",
    ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".obu", ".ogv", ".rm", ".rmvb", ".swf", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
})  # fmt: skip
STDIN: Final = "-"  # the path of one video on the standard input
LIST_SUFFIXES: Final = frozenset({".txt", ".csv", ".tsv"})
PATH_COLUMNS: Final = ("path", "file", "video")


def expand_inputs(names: Iterable[str]) -> list[str]:
    """One path per video, in the order given; files of folders and patterns in natural order.

    A folder stands for the videos and the folders of frames below it; a folder that contains only images is one video.
    A `.txt` file lists one path a line (also MMAction2's lists), a `.csv` or `.tsv` file has a column `path`, `file` or
    `video`; their paths are relative to the file. A name of a missing file is returned, so that it becomes a row with
    an error; if no path exists at all, that is an InputError.
    """
    paths: list[str] = []
    for name in names:
        path = Path(name)
        if name == STDIN:
            paths.append(name)
        elif path.is_dir():
            paths += _in_folder(path)
        elif path.suffix.lower() in LIST_SUFFIXES and path.is_file():
            paths += _in_list(path)
        elif not os.path.lexists(name) and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True), key=natural_key)  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise InputError(f"{name}: no file matches this pattern; correct it")
            paths += [p for match in matches for p in (_in_folder(Path(match)) if Path(match).is_dir() else [match])]
        else:
            paths.append(name)
    if not any(path == STDIN or os.path.lexists(path) or images_matching(path) for path in paths):
        raise InputError(f"{paths[0]}: no such file; check the path" if paths else "no video is given")
    return paths


def _in_folder(folder: Path) -> list[str]:
    if _is_clip(folder, min_images=1) and not any(entry.is_dir() for entry in folder.iterdir()):
        return [str(folder)]
    paths: list[str] = []
    for place, folders, files in walk_folders(folder):
        folders.sort(key=natural_key)
        here = Path(place)
        if here != folder and _is_clip(here, min_images=2):
            paths.append(place)
        videos = [f for f in files if Path(f).suffix.lower() in VIDEO_SUFFIXES and not f.startswith(".")]
        paths += [str(here / f) for f in sorted(videos, key=natural_key)]
    if not paths:
        raise InputError(f"{folder}: the folder contains no video and no frames; check the path")
    return paths


def walk_folders(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that follows symbolic links and visits each folder once, as links can form cycles."""
    visited: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        stat = os.stat(place)  # noqa: PTH116 (many folders, fast)
        if (stat.st_dev, stat.st_ino) in visited:
            folders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        yield place, folders, files


def _is_clip(folder: Path, *, min_images: int) -> bool:
    """Whether a folder is one video as frames: images, and no video file beside them."""
    has_video = any(p.suffix.lower() in VIDEO_SUFFIXES for p in folder.iterdir() if p.is_file())
    return not has_video and len(images_in(folder)) >= min_images


def _in_list(path: Path) -> list[str]:
    lines = read_text(path).splitlines()
    entries = _column(path, lines) if path.suffix.lower() != ".txt" else [line.strip() for line in lines]
    paths = [_resolve(path.parent, entry) for entry in entries if entry]
    if not paths:
        raise InputError(f"{path}: the list is empty; write one path on each line")
    return paths


def _column(path: Path, lines: list[str]) -> Iterator[str]:
    for line, record in csv_records(path, lines):
        column = path_column(path, record)
        entry = record.get(column, "").strip()
        if not entry:
            raise line_error(path, line, entry, f"the column {column} is empty; write a path, or remove the line")
        yield entry


def path_column(path: Path, record: Mapping[str, object]) -> str:
    """The column of a table that has the paths."""
    column = next((name for name in PATH_COLUMNS if name in record), None)
    if column is None:
        why = f"no column {', '.join(PATH_COLUMNS)}; rename the column of the paths"
        raise line_error(path, 1, ", ".join(record), why)
    return column


def _resolve(folder: Path, entry: str) -> str:
    """The path in a line. Trailing numbers (frame count, labels) are removed if the path exists only without them."""
    words = entry
    while not os.path.lexists(folder / words) and words.rpartition(" ")[2].isdecimal() and " " in words:
        words = words.rpartition(" ")[0].rstrip()
    return str(folder / (words if os.path.lexists(folder / words) else entry))
