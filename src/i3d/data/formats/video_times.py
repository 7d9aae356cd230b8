"""When the frames of a video are displayed, for lists that state frames, or what lies between segments."""

from pathlib import Path

from i3d.errors import VideoError
from i3d.video.reader import open_video


def frame_times(path: Path) -> tuple[float, ...]:
    """The start of each frame and the end of the last, in seconds. A video that cannot be read is a VideoError."""
    with open_video(path) as video:
        table = video.timetable()
        ends = table[1:] if table else [frame.until for frame in video.decode_frames()]
        return (0.0, *map(float, ends))


def lead_of_file(path: Path) -> float:
    """`Video.lead_seconds` of a file; 0 if it cannot be read."""
    if not path.is_file():
        return 0.0
    try:
        with open_video(path) as video:
            return video.lead_seconds
    except VideoError:
        return 0.0


def length_of(path: Path) -> float | None:
    """The length of a video in seconds; None if it cannot be read."""
    try:
        return frame_times(path)[-1]
    except VideoError:
        return None
