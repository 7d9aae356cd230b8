"""From what a user names (files, folders, patterns, lists) to one path a video."""

import csv
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from i3d.errors import InputError, printable
from i3d.video.images import images_in, images_matching, natural_key

VIDEO_SUFFIXES: Final = frozenset({
    ".3g2", ".3gp", ".264", ".265", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf",
    ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".obu", ".ogv", ".rm", ".rmvb", ".swf", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
})  # fmt: skip
STDIN: Final = "-"  # one video on the standard input
LIST_SUFFIXES: Final = frozenset({".txt", ".csv", ".tsv"})
PATH_COLUMNS: Final = ("path", "file", "video")


def expand_inputs(names: Iterable[str]) -> list[str]:
    """One path a video, in the order given; folders and patterns in natural order.

    A folder stands for the videos below it (and folders of frames below it), or, if it holds only images, for one
    video of those frames. A `.txt` file lists one path a line (MMAction2's lists too), a `.csv` or `.tsv` file has a
    column `path`, `file` or `video`; paths in it are relative to it. A name that leads to nothing is kept, so that
    it becomes a row with an error; if nothing at all is left, that is an InputError.
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
                raise InputError(f"{printable(name)}: no file matches this pattern; check it")
            paths += [p for match in matches for p in (_in_folder(Path(match)) if Path(match).is_dir() else [match])]
        else:
            paths.append(name)
    if not any(path == STDIN or os.path.lexists(path) or images_matching(path) for path in paths):
        raise InputError(f"{printable(paths[0])}: no such file; check the path" if paths else "no video was named")
    return paths


def _in_folder(folder: Path) -> list[str]:
    if _is_clip(folder, min_images=1) and not any(entry.is_dir() for entry in folder.iterdir()):
        return [str(folder)]
    found: list[str] = []
    for place, folders, files in walk_folders(folder):
        folders.sort(key=natural_key)
        here = Path(place)
        if here != folder and _is_clip(here, min_images=2):
            found.append(place)
        videos = [f for f in files if Path(f).suffix.lower() in VIDEO_SUFFIXES and not f.startswith(".")]
        found += [str(here / f) for f in sorted(videos, key=natural_key)]
    if not found:
        raise InputError(f"{printable(str(folder))}: the folder holds no video and no frames; check the path")
    return found


def walk_folders(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that follows links to folders, each folder once: links may run in a circle."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = os.stat(place)  # noqa: PTH116 (many folders, fast)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        yield place, folders, files


def _is_clip(folder: Path, *, min_images: int) -> bool:
    """Whether a folder is one video as frames: images, and no video file beside them."""
    has_video = any(p.suffix.lower() in VIDEO_SUFFIXES for p in folder.iterdir() if p.is_file())
    return not has_video and len(images_in(folder)) >= min_images


def _in_list(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{printable(str(path))}:{line}: not UTF-8; save the list as UTF-8") from error
    except OSError as error:
        raise InputError(f"{printable(str(path))}: cannot be read ({error.strerror}); check its rights") from error
    entries = _column(path, lines) if path.suffix.lower() != ".txt" else [line.strip() for line in lines]
    found = [_resolve(path.parent, entry) for entry in entries if entry]
    if not found:
        raise InputError(f"{printable(str(path))}: the list is empty; put one path on each line")
    return found


def _column(path: Path, lines: list[str]) -> list[str]:
    header = lines[0] if lines else ""
    delimiter = max(",\t;", key=header.count)
    rows = csv.DictReader(lines, delimiter=delimiter)
    column = next((c for c in PATH_COLUMNS if c in (rows.fieldnames or ())), None)
    if column is None:
        raise InputError(f"{printable(str(path))}:1: no column {' or '.join(PATH_COLUMNS)} in {header[:80]!r}; add one")
    found = []
    for row in rows:
        entry = (row[column] or "").strip()
        if not entry and any(value for value in row.values()):
            where = f"{printable(str(path))}:{rows.line_num}"
            raise InputError(f"{where}: nothing in the column {column}; write a path, or take the line out")
        found.append(entry)
    return found


def _resolve(folder: Path, entry: str) -> str:
    """The path of a list's line; trailing numbers (frame count, labels) are cut off if only that gives a file."""
    words = entry
    while not os.path.lexists(folder / words) and words.rpartition(" ")[2].isdecimal() and " " in words:
        words = words.rpartition(" ")[0].rstrip()
    return str(folder / (words if os.path.lexists(folder / words) else entry))
