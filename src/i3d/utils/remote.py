"""Sources of videos that are no files: addresses, live streams and cameras."""

import os
import re
from typing import Final

# `Path` makes one slash of two.
STREAM: Final = re.compile(r"(rtsps?|rtmps?|udp|srt|mms|rtp|tcp):/", re.IGNORECASE)
ADDRESS: Final = re.compile(r"(https?|ftps?|s3|gs):/|(www\.|m\.)?youtu(be\.com|\.be)/", re.IGNORECASE)
CAMERA: Final = re.compile(r"(/dev/video)?\d{1,2}|(web)?cam(era)?\d{0,2}", re.IGNORECASE)
DEVICE: Final = "/dev/video"
LIVE: Final = re.compile(r"(https?|rtsps?|rtmps?|rtp|udp|srt|tcp)://", re.IGNORECASE)  # what `i3d stream` opens


def as_address(name: str) -> str:
    """An address with the slash that `Path` drops; any other name as it is."""
    return re.sub(r"^(\w{2,}):/(?!/)", r"\1://", name)


def why_no_file(name: str) -> str:
    """Why an address, a live stream or a camera is not read, and what to do; "" for any other name."""
    name = as_address(name)
    if STREAM.match(name):
        record = f"ffmpeg -t 10 -i {name} -c copy part.mp4"
        return (
            f"is a live stream, and i3d reads files; use i3d stream --allow-network, or record a part first: {record}"
        )
    if ADDRESS.match(name):
        get = "curl -LO" if re.search(r"\.\w{2,4}$", name) else "yt-dlp"
        return f"is an address, and i3d reads files; download it first: {get} '{name}'"
    if CAMERA.fullmatch(name) and (name.startswith(DEVICE) or not os.path.lexists(name)):
        device = name if name.startswith(DEVICE) else f"{DEVICE}{name if name.isdecimal() else 0}"
        record = f"ffmpeg -t 10 -i {device} part.mp4"
        return f"is a camera, and i3d reads files; use i3d stream {name}, or record a part first: {record}"
    return ""


def camera_number(name: str) -> int | None:
    """The number of a camera that a name stands for; None for any other name, and for files."""
    if not CAMERA.fullmatch(name) or (not name.startswith(DEVICE) and os.path.lexists(name)):
        return None
    return int(re.sub(r"\D", "", name) or 0)


def without_password(address: str) -> str:
    """An address as it is printed: rtsp://***@host/path instead of rtsp://user:password@host/path."""
    return re.sub(r"^(\w+://)[^/?#]*@", r"\1***@", address)
