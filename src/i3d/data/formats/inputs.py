"""Expand files, folders, patterns and lists to one path per video."""

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from i3d.data.formats.columns import Columns, find_columns, no_path_column
from i3d.data.formats.other_tasks import refuse_other_lines
from i3d.errors import InputError, abridged, counted, printable
from i3d.utils.folders import MAX_NAME, PathLookup, is_folder, may_exist, paths_matching, refuse, walk_folders
from i3d.utils.remote import why_no_file
from i3d.utils.text import clip_lines, csv_records, line_error, read_lines
from i3d.video.frame_names import IMAGE_SUFFIXES, natural_key
from i3d.video.images import images_in, images_matching

VIDEO_SUFFIXES: Final = frozenset({
    ".3g2", ".3gp", ".264", ".265", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf",
    ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".obu", ".ogv", ".rm", ".rmvb", ".swf", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
})  # fmt: skip
NOT_VIDEOS: Final = IMAGE_SUFFIXES | {  # texts, arrays, weights, archives: also what i3d writes
    ".cfg", ".csv", ".eaf", ".flo", ".h5", ".html", ".json", ".jsonl", ".log", ".md", ".npy", ".npz", ".parquet",
    ".pdf", ".pkl", ".pt", ".pth", ".py", ".rst", ".safetensors", ".sh", ".srt", ".svg", ".tar", ".tsv", ".txt",
    ".vtt", ".xml", ".yaml", ".yml", ".zip",
}  # fmt: skip
TEXT_FILES: Final = frozenset({"LICENSE", "Makefile", "README", "SHA256SUMS"})
JUNK: Final = frozenset({"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"})
STDIN: Final = "-"  # the path of one video on the standard input
LIST_SUFFIXES: Final = frozenset({".txt", ".csv", ".tsv"})
log = logging.getLogger("i3d")


def expand_inputs(names: Iterable[str]) -> list[str]:
    """One path per video, in the order given; files of folders and patterns in natural order.

    A folder stands for the videos and the folders of frames below it; a folder that contains only images is one video.
    A `.txt` file lists one path a line (also MMAction2's lists), a `.csv` or `.tsv` file has a column `path`, `file` or
    `video`; their paths are relative to the file. A name of a missing file is returned, so that it becomes a row with
    an error; if no path exists at all, that is an InputError. A folder that cannot be listed is a path too.
    """
    paths: list[str] = []
    for name in names:
        path = Path(name)
        if why := why_no_file(name):
            raise InputError(f"{name}: {why}")
        if name == STDIN:
            paths.append(name)
        elif is_folder(path):
            paths += _in_folder(path)
        elif path.suffix.lower() in LIST_SUFFIXES and path.exists():
            paths += _in_list(path)
        elif not os.path.lexists(name) and glob.has_magic(name):
            matches = sorted(paths_matching(name), key=natural_key)
            if not matches:
                raise InputError(f"{name}: no file matches this pattern; correct it")
            paths += [p for match in matches for p in (_in_folder(Path(match)) if Path(match).is_dir() else [match])]
        else:
            paths.append(name)
    if not any(path == STDIN or may_exist(path) or ("%" in path and images_matching(path)) for path in paths):
        raise InputError(f"{paths[0]}: no such file; check the path" if paths else "no video is given")
    return paths


def _in_folder(folder: Path) -> list[str]:
    paths: list[str] = []
    names: list[str] = []
    unreadable: list[str] = []
    with suppress(OSError):  # of the folder itself: the walk reports it
        if is_frame_folder(folder):
            return [str(folder)]
    for place, folders, files in walk_visible(folder, on_error=lambda error: unreadable.append(str(error.filename))):
        folders.sort(key=natural_key)
        here = Path(place)
        if here != folder and _is_clip(here, min_images=2):
            paths.append(place)
        videos = [f for f in files if Path(f).suffix.lower() in VIDEO_SUFFIXES and not f.startswith(".")]
        paths += [str(here / f) for f in sorted(videos, key=natural_key)]
        names += files
    paths += unreadable
    notes = left_out(names)
    if not paths:
        what = "; ".join(["the folder contains no video and no frames", *(notes or ["check the path"])])
        raise InputError(f"{folder}: {what}")
    for note in notes:
        log.warning("%s: %s", printable(str(folder)), note)
    return paths


def path_below(name: str, path: str) -> Path:
    """The path of a video below the folder, list or pattern that names it; else its own name."""
    around = Path(name)
    if around.suffix.lower() in LIST_SUFFIXES:
        around = around.parent
    elif glob.has_magic(name) and not around.exists():
        around = next(p for p in around.parents if not glob.has_magic(str(p)))
    video, root = Path(os.path.abspath(path)), Path(os.path.abspath(around))  # noqa: PTH100 (keeps links)
    return video.relative_to(root) if video != root and video.is_relative_to(root) else Path(video.name)


def is_frame_folder(folder: Path) -> bool:
    """Whether a folder is one video: it holds images, and neither videos nor folders."""
    return _is_clip(folder, min_images=1) and not any(map(is_folder, folder.iterdir()))


def left_out(names: Iterable[str]) -> list[str]:
    """A note on the files of a folder that may be videos, but are not read as such because of their names."""
    visible = (name for name in names if not name.startswith(".") and name not in TEXT_FILES)
    counts = Counter(Path(name).suffix.lower() for name in visible)
    unknown = sorted((suffix, count) for suffix, count in counts.items() if suffix not in VIDEO_SUFFIXES | NOT_VIDEOS)
    kinds = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in unknown]
    number = counted(sum(count for _, count in unknown), "file is", "files are")
    what = f"{number} left out, with names that are not those of videos ({abridged(kinds, 5)})"
    return [f"{what}; rename the videos among them"] if unknown else []


def walk_visible(
    folder: Path, *, on_error: Callable[[OSError], None] = refuse
) -> Iterator[tuple[str, list[str], list[str]]]:
    """`walk_folders` without folders whose name begins with a dot, and those of systems (`JUNK`)."""
    for place, folders, files in walk_folders(folder, on_error=on_error):
        folders[:] = filter(is_visible_folder, folders)
        yield place, folders, files


def is_visible_folder(name: str) -> bool:
    """Whether a folder may hold clips, by its name."""
    return not name.startswith(".") and name not in JUNK


def _is_clip(folder: Path, *, min_images: int) -> bool:
    """Whether a folder is one video as frames: images, and no video file beside them."""
    has_video = any(p.suffix.lower() in VIDEO_SUFFIXES and not is_folder(p) for p in folder.iterdir())
    return not has_video and len(images_in(folder)) >= min_images


def _in_list(path: Path) -> list[str]:
    is_table = path.suffix.lower() != ".txt"
    lines = read_lines(path)
    refuse_other_lines(path, lines, todo="give the videos, their folder, or a list with a path on each line")
    entries = _column(path, lines) if is_table else (line.strip() for _, line in clip_lines(lines))
    folder, num_shortened, lookup = os.path.dirname(path), 0, PathLookup()  # noqa: PTH120 (many paths, fast)
    paths: list[str] = []
    for entry in entries:
        if "/" in entry and (why := why_no_file(entry)):  # not a camera: a video may be named 0
            raise InputError(f"{path}: {entry!r} {why}")
        paths.append(os.path.join(folder, entry if is_table else _without_numbers(folder, entry, lookup)))  # noqa: PTH118
        num_shortened += not paths[-1].endswith(entry)
    if not paths:
        raise InputError(f"{path}: the list is empty; write one path on each line")
    if num_shortened:
        what = "the numbers behind its paths (frames, labels) are not read: whole clips are"
        log.info("%s: %s", printable(str(path)), what)
    return paths


def _column(path: Path, lines: list[str]) -> Iterator[str]:
    columns = Columns()
    for line, record in csv_records(path, lines):
        if not columns.path:
            columns = find_columns(path, record)
            if not columns.path:
                raise no_path_column(path, record)
            if times := [name for name in (columns.start, columns.end, *columns.times) if name]:
                names = abridged([*map(printable, times)], 6)
                log.warning("%s: these columns are not read: %s; whole videos are", printable(str(path)), names)
        entry = record[columns.path].strip()
        if not entry:
            why = f"the column {columns.path} is empty; write a path, or remove the line"
            raise line_error(path, line, entry, why)
        yield entry


def _without_numbers(folder: str, entry: str, lookup: PathLookup) -> str:
    """The path in a line: without trailing numbers (frames, labels) if it exists only so."""
    head = len(entry.rstrip("0123456789 "))
    first_blank = entry.find(" ", head)
    if not head or first_blank < 0:
        return entry
    longest = entry.rfind("/", 0, head) + 1 + MAX_NAME  # no file has a longer name, however many numbers follow
    blanks = [match.start() for match in re.finditer(" +", entry[: longest + 1]) if match.start() >= first_blank]
    ends = [len(entry), *reversed(blanks)]
    return entry[: ends[lookup.first(entry, ends, folder=folder) or 0]]
