"""The pretrained networks in the package: their files and hashes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from i3d.utils.atomic_files import ASSETS


class Pretrained(NamedTuple):
    """A checkpoint in the package. Its card holds source, licence, preprocessing and class names."""

    path: Path
    sha256: str


DEFAULT: Final = "inception_rgb_kinetics400"
SHA256: Final = "0b3967260dca06bde7bec699188e6ab4dcdb47d2b282346e1c80bc7ac418601e"
PRETRAINED: Final[Mapping[str, Pretrained]] = {DEFAULT: Pretrained(ASSETS / f"{DEFAULT}.safetensors", SHA256)}
