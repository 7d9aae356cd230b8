"""Open a video.

    with open_video("clip.mp4") as video:
        video.frames_at([0, 10, 20]).frames_THWC          # uint8 RGB, as displayed
        for frame_HWC in video.stream(fps=25): ...        # memory does not grow with the video

A source is a path, bytes, a folder or sequence of image files, or an array.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from i3d.errors import InputError, VideoError, check_not_empty
from i3d.utils.arguments import checks_types
from i3d.utils.remote import as_address, why_no_file
from i3d.video.base import DEFAULT_LIMITS, Limits, Source, Video
from i3d.video.container import ContainerVideo
from i3d.video.frame_names import missing_numbers
from i3d.video.images import frames_in, images_matching, open_array, open_images


@checks_types
def open_video(
    source: Source, *, frames_fps: float | None = None, limits: Limits = DEFAULT_LIMITS, name: str | None = None
) -> Video:
    """Open a video file, the bytes of one, a folder or sequence of image files, or an array (T, H, W, 3) uint8 RGB.

    A sequence is a list of paths or a numbered pattern such as "shots/img_%05d.jpg". Of a folder the RGB frames are
    read; other images are named in the notes, and so are missing numbers.

    Images and arrays have no times: `frames_fps` is their frame rate; without it each fills one slot at any requested
    rate (`timed` is False). `name` stands for bytes in error messages. A source that cannot be read is a VideoError.
    """
    check_not_empty(source=source if isinstance(source, str) else None)
    if isinstance(source, bytes):
        return ContainerVideo(source, limits=limits, name=name)
    if isinstance(source, np.ndarray):
        return open_array(source, frames_fps=frames_fps, limits=limits)
    if isinstance(source, (str, os.PathLike)):
        return _open_path(Path(source), frames_fps, limits)
    paths = [Path(p) for p in source if isinstance(p, str | os.PathLike)] if isinstance(source, Sequence) else []
    if not isinstance(source, Sequence) or len(paths) < len(source):
        kind = type(source).__name__
        raise InputError(f"source: type {kind} is no video; give a path, bytes, an array, or paths of images")
    name = f"{paths[0]} ... ({len(paths)} images)" if paths else "(no images)"
    return open_images(name, paths, frames_fps=frames_fps, limits=limits)


def _open_path(path: Path, frames_fps: float | None, limits: Limits) -> Video:
    if why := why_no_file(str(path)):
        raise VideoError(as_address(str(path)), *why.split("; ", 1))
    try:
        if path.is_dir():
            images, notes = frames_in(path)
        elif path.exists() or not (images := images_matching(str(path))):
            return ContainerVideo(path, limits=limits)
        else:
            notes = missing_numbers([image.name for image in images])
    except OSError as error:  # of a folder without rights, or of a disk
        todo = "check the path, its rights and the disk"
        raise VideoError(str(path), f"cannot be read ({error.strerror or error})", todo) from error
    return open_images(str(path), images, frames_fps=frames_fps, limits=limits, notes=notes)
