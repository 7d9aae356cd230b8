"""What a video is: a digest of its content; and whether it changed while it was read.

    stamp = file_stamp("clip.mp4")                  # before it is read: sizes and times
    signature_of_read("clip.mp4", stamp)            # after: [digest], or a VideoError if it changed

A digest differs between two videos of the same size and time. It is computed once for each state of a file: a process
reads a file again only if its size, its times or its inode changed.
"""

import errno
import hashlib
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from i3d.data.shards import PackedPath
from i3d.errors import VideoError
from i3d.video.images import images_in

CHANGED: Final = ("it changed while it was read", "run again when it is complete")
Stamp = tuple[tuple[str, int, int, int, int], ...]  # of each file: name, size, times of content and inode, inode


def content_digest(path: Path | PackedPath) -> str:
    """A hash of the content of a video file, on disk or in shards, or of a folder of frames."""
    if isinstance(path, PackedPath):
        content = path.read_bytes()  # the same hash as of the file
        return hashlib.sha256(f"{len(content)} ".encode() + hashlib.sha256(content).digest()).hexdigest()
    try:
        return _digest(_stamp(path))
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise VideoError(str(path), what, "check the path and its permissions") from error


def file_signature(path: str) -> list[str]:
    """The digest of a video file or a folder of frames, as JSON stores it.

    Empty for what is no file, such as the standard input: it never counts as unchanged.
    """
    try:
        return [_digest(_stamp(Path(path)))]
    except (OSError, ValueError):
        return []


def file_stamp(path: str) -> Stamp:
    """What changes if a file, or an image of a folder, is written to or replaced; empty for what is no file."""
    try:
        return _stamp(Path(path))
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return ()


def check_unchanged(path: str, stamp: Stamp) -> None:
    """A VideoError if a file no longer has the stamp that it had before it was read."""
    if stamp and file_stamp(path) != stamp:
        raise VideoError(path, *CHANGED)


def signature_of_read(path: str, stamp: Stamp) -> Sequence[str]:
    """The signature of what was read since the file had a stamp. A VideoError if it changed."""
    signature = file_signature(path) if stamp else []
    check_unchanged(path, stamp)
    return signature


def _stamp(path: Path) -> Stamp:
    files = images_in(path) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files]
    if not all(stat.S_ISREG(s.st_mode) for _, s in stats):
        raise OSError(errno.EINVAL, "not a regular file")  # a pipe can be read once, and may never end
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in stats)


@lru_cache(maxsize=1 << 16)
def _digest(stamp: Stamp) -> str:
    digest = hashlib.sha256()
    for name, size, *_ in stamp:
        digest.update(f"{size} ".encode())
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
