"""Open the sources of a stream, at its start and again after a loss."""

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from i3d.errors import InputError, VideoError, abridged
from i3d.streaming.names import LiveSource
from i3d.utils.remote import DEVICE
from i3d.video.live import Camera, LiveVideo, PlayedFile, open_network, open_pipe

NETWORK_SECONDS: Final = 10.0  # without an answer or data, after which a connection counts as lost


def open_source(
    source: LiveSource, stop: threading.Event, *, speed: float = 1.0, seconds: float = NETWORK_SECONDS
) -> LiveVideo:
    """Open a source; reading ends when `stop` is set. A source that cannot be opened is a VideoError.

    `seconds`: how long an address may take to answer.
    """
    match source.kind:
        case "camera":
            return _open_camera(int(source.target), source.name)
        case "address":
            return open_network(source.target, source.name, seconds=NETWORK_SECONDS, open_seconds=seconds)
        case "pipe":
            return open_pipe(_standard_input(), source.name, stop)
        case "file":
            return PlayedFile(source.target, speed=speed, stop=stop)


def _open_camera(number: int, name: str) -> LiveVideo:
    if sys.platform == "linux" and not Path(f"{DEVICE}{number}").exists():
        here = sorted(str(path) for path in Path("/dev").glob("video*") if re.fullmatch(r"video\d+", path.name))
        what = f"there is no camera {number} ({DEVICE}{number})"
        raise VideoError(name, what, f"connected: {abridged(here, 5) or 'none'}")
    return Camera(number, name)


def _standard_input() -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("-: the standard input is a terminal; send a video: ffmpeg ... -f mpegts - | i3d stream -")
    return sys.stdin.buffer


@contextmanager
def opened(sources: Sequence[LiveSource], stop: threading.Event, *, speed: float) -> Iterator[list[LiveVideo]]:
    """All sources, open. If one cannot be opened, or an exception ends the block, all are closed."""
    with ExitStack() as stack:
        yield [stack.enter_context(open_source(source, stop, speed=speed)) for source in sources]


def backoff(first: float = 0.5, most: float = 30.0) -> Iterator[float]:
    """Seconds to wait before each attempt to connect: 0.5, 1, 2, ... 30, 30."""
    seconds = first
    while True:
        yield seconds
        seconds = min(2 * seconds, most)
