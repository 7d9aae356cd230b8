"""The names of devices, without PyTorch."""

import re
from typing import Final

from i3d.errors import InputError

DEVICE_NAMES: Final = ("auto", "cpu", "cuda", "cuda:N", "mps", "npu", "npu:N")


def check_device_name(device: str) -> None:
    """An InputError if this is no name of a device that i3d takes."""
    if not re.fullmatch(r"auto|cpu|mps|(cuda|npu)(:\d+)?", device):
        raise InputError(f"--device {device!r}: is not one of {', '.join(DEVICE_NAMES)}; `i3d doctor` lists those here")
