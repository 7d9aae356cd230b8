"""The pretrained networks in the package: their files and hashes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from i3d.utils.atomic_files import ASSETS


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint in the package. Its card holds source, licence, preprocessing and class names."""

    path: Path
    sha256: str


INCEPTION_RGB_KINETICS400: Final = Pretrained(
    path=ASSETS / "inception_rgb_kinetics400.safetensors",
    sha256="0b3967260dca06bde7bec699188e6ab4dcdb47d2b282346e1c80bc7ac418601e",
)
DEFAULT: Final = "inception_rgb_kinetics400"
PRETRAINED: Final[Mapping[str, Pretrained]] = {DEFAULT: INCEPTION_RGB_KINETICS400}
