"""`i3d doctor`: check an installation: versions, devices, decoder, weights, and a computation with a known answer."""

import importlib.metadata
import json
import platform
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import torch

from i3d._version import __version__
from i3d.errors import first_line
from i3d.utils.atomic_files import ASSETS
from i3d.utils.cores import num_cores
from i3d.video.reader import open_video
from i3d.video.writer import write_video
from i3d.weights.checkpoint import load_checkpoint
from i3d.weights.load import load_model
from i3d.weights.pretrained import DEFAULT, PRETRAINED

PACKAGES: Final = (
    "i3d", "torch", "numpy", "av", "opencv-contrib-python-headless", "pillow", "safetensors", "pydantic",
)  # fmt: skip
MAX_DIFFERENCE: Final = 1e-3  # relative to the largest logit; the kernels of the package are rounded to float16


@dataclass(frozen=True)
class Check:
    """One line of the output. `ok` is None for a line that only informs."""

    name: str
    result: str
    ok: bool | None = None


def check_installation() -> list[Check]:
    """Run all checks. A check that fails has `ok=False`; it never raises an exception."""
    checks = [
        Check("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Check("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)),
        Check("processor", f"{num_cores()} cores usable"),
    ]
    for name, check in (
        ("devices", _devices),
        ("decoder", _decoder),
        ("weights", _weights),
        ("self-check", _self_check),
    ):
        try:
            result, ok = check()
        except Exception as error:  # any exception of a check is its result
            result, ok = f"{type(error).__name__}: {first_line(error)}", False
        checks.append(Check(name, result, ok))
    return checks


def _version(name: str) -> str:
    try:
        return __version__ if name == "i3d" else importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _devices() -> tuple[str, None]:
    devices = [f"cpu ({torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()})"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return ", ".join(devices), None


def _decoder() -> tuple[str, bool]:
    """Encode a ramp of grey frames, decode it and compare the mean levels."""
    levels = [40 + 10 * i for i in range(12)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ramp.mp4"
        write_video(path, (np.full((64, 96, 3), level, np.uint8) for level in levels), fps=Fraction(25))
        with open_video(path) as video:
            means = [float(frame.mean()) for frame in video.stream()]
    error = max(abs(a - b) for a, b in zip(means, levels, strict=True)) if len(means) == len(levels) else float("inf")
    decoder = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}; H.264 clip written and read back"
    return f"{decoder}, {len(means)} of {len(levels)} frames, off by {error:.1f} of 255", error < 4


def _weights() -> tuple[str, bool]:
    path, sha256 = PRETRAINED[DEFAULT]
    _, card = load_checkpoint(path, sha256=sha256)
    return f"{card.recipe.name}, {len(card.labels)} classes, {card.licence}, SHA-256 {sha256} is right", True


def _self_check() -> tuple[str, bool]:
    """Compare the logits of a fixed input with those of an independent implementation in JAX."""
    expected = json.loads((ASSETS / "self_check.json").read_text())
    clip_NTHWC = np.random.RandomState(expected["seed"]).uniform(-1, 1, expected["shape_NTHWC"]).astype(np.float32)
    model = load_model()
    start = time.perf_counter()
    with torch.inference_mode():
        logits_K = model(torch.from_numpy(clip_NTHWC).permute(0, 4, 1, 2, 3))[0].numpy()
    seconds = time.perf_counter() - start
    golden_K = np.array(expected["logits"])
    difference = float(np.abs(logits_K - golden_K).max() / np.abs(golden_K).max())
    result = (
        f"logits of 16 frames within {difference:.1e} of the reference (allowed {MAX_DIFFERENCE:g}), {seconds:.1f} s"
    )
    return result, difference < MAX_DIFFERENCE
