"""The optical flow of a clip in one file: an array (.npz), or a lossless video with x in red and y in green (.mkv).

Flow is uint8 with two channels, x then y: 127.5 is no motion.
Letters in names: T flows, H rows, W columns.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from i3d.errors import VideoError, first_line
from i3d.utils.atomic_files import write_atomically
from i3d.video.base import FrameHWC, Limits, Video
from i3d.video.images import FramesVideo
from i3d.video.reader import open_video
from i3d.video.writer import write_lossless

FlowFormat = Literal["jpg", "npz", "packed-video"]
FILES: Final = {"npz": "flow.npz", "packed-video": "flow.mkv"}
MAX_BYTES: Final = 4 << 30  # of the flow of one clip


def write_flow_file(folder: Path, flows: Iterator[FrameHWC], *, kind: FlowFormat, bound: float) -> int:
    """Write the flow (H, W, 2) uint8 of a clip into a folder; the number of flows. Without any, no file is written."""
    path = folder / FILES[kind]
    first_HW2 = next(flows, None)
    if first_HW2 is None:
        return 0
    if kind == "packed-video":
        return write_lossless(path, map(flow_as_rgb, chain([first_HW2], flows)), fps=Fraction(25))
    content, flow_THW2 = io.BytesIO(), np.stack([first_HW2, *flows])
    np.savez_compressed(content, flow=flow_THW2, bound=np.float64(bound))
    write_atomically(path, content.getvalue())
    return len(flow_THW2)


def flow_file_in(folder: Any) -> str | None:
    """The name of the flow file in the folder of a clip, or None. Folders may be packed."""
    names = {path.name for path in folder.iterdir()}
    return next((name for name in FILES.values() if name in names), None)


def open_flow_file(folder: Any, name: str, *, first: int, num_frames: int | None, limits: Limits) -> Video:
    """The flow of a clip from one file, which is read completely: frames are (H, W, 2), x then y."""
    where = f"{folder}/{name}"
    flow_THW2 = _read(folder / name, where, limits)[first:]
    if num_frames is not None and len(flow_THW2) < num_frames:
        what = f"it has {len(flow_THW2)} flows from {first} on, {num_frames} are listed"
        raise VideoError(where, what, "correct the list, or compute the flow again")
    num_frames = num_frames or len(flow_THW2)
    return FramesVideo(where, num_frames, flow_THW2.__getitem__, limits=limits)


def _read(file: Any, where: str, limits: Limits) -> FrameHWC:
    try:
        content = file.read_bytes()
        if where.endswith(".mkv"):
            with open_video(content, name=where, limits=limits) as video:
                return np.stack(list(video.stream(transform=flow_from_rgb)))
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            size = next(entry.file_size for entry in arrays.zip.infolist() if entry.filename == "flow.npy")
            if size > MAX_BYTES:
                raise VideoError(where, f"its flow takes {size / 2**30:.1f} GiB", "split the video into several clips")
            flow_THW2: FrameHWC = arrays["flow"]
    except OSError as error:
        raise VideoError(where, f"cannot be read ({error.strerror})", "compute the flow again") from error
    except (ValueError, KeyError, EOFError, StopIteration, zipfile.BadZipFile, zlib.error) as error:
        raise VideoError(where, f"not flow ({first_line(error)})", "compute the flow again") from error
    if flow_THW2.dtype != np.uint8 or flow_THW2.ndim != 4 or flow_THW2.shape[3] != 2 or 0 in flow_THW2.shape:
        raise VideoError(where, f"it is {flow_THW2.dtype} of shape {flow_THW2.shape}", "give uint8 (T, H, W, 2)")
    return flow_THW2


def flow_as_rgb(flow_HW2: FrameHWC) -> FrameHWC:
    """Flow as an RGB image: x is red, y is green, blue is 0."""
    return np.dstack([flow_HW2, np.zeros(flow_HW2.shape[:2], np.uint8)])


def flow_from_rgb(frame_HWC: FrameHWC) -> FrameHWC:
    """The inverse of `flow_as_rgb`, of one frame."""
    return frame_HWC[..., :2].copy()
