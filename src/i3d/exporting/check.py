"""Compare an exported file with PyTorch before it gets its name.

The reference is the network itself, not the traced graph: padding that was traced for one number of frames differs.
Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from i3d.errors import InputError
from i3d.models.engine.exported import FEATURES
from i3d.models.engine.forward import normalize
from i3d.models.engine.runtimes.exports import RunGraph
from i3d.models.engine.runtimes.task import LOGITS, TOLERANCE
from i3d.models.network import VideoNetwork
from i3d.recipes.settings import Preprocessing
from i3d.utils.progress import Progress, ProgressCallback
from i3d.weights.exported import GraphInput

BATCHES: Final = (1, 3, 4)
# All remainders of 8 by which Inception-I3D and I3D-ResNet halve T, then longer ones, odd and even.
FRAMES: Final = (16, 17, 18, 19, 20, 21, 22, 23, 31, 79)
FRAMES_OF_BATCHES: Final = {3: 17, 4: 24}
SEED: Final = 0


@dataclass(frozen=True)
class Agreement:
    """How far a file is from PyTorch."""

    difference: float  # the largest, of each clip relative to the largest value of the output
    case: str  # of this difference
    checked: str  # all cases in words


def cases(takes: GraphInput) -> list[tuple[int, int]]:
    """(clips, frames) that are compared."""
    if takes.frames is not None:
        return [(1, takes.frames), *((batch, takes.frames) for batch in BATCHES)]
    frames = sorted({takes.min_frames, *(number for number in FRAMES if number >= takes.min_frames)})
    more = [(batch, max(number, takes.min_frames)) for batch, number in FRAMES_OF_BATCHES.items()]
    return [*((1, number) for number in frames), *more]


def compare(
    run: RunGraph,
    net: VideoNetwork,
    pre: Preprocessing,
    takes: GraphInput,
    on_progress: ProgressCallback,
    chosen: Sequence[tuple[int, int]] = (),
) -> Agreement:
    """The largest difference of the logits and features of a file from those of a network in evaluation mode.

    `chosen`: (clips, frames) to compare (default: all `cases`).
    """
    worst, of_case, rng = 0.0, "", np.random.default_rng(SEED)
    chosen = chosen or cases(takes)
    on_progress(Progress("compare with PyTorch", 0, len(chosen), "case"))
    for number, (batch, frames) in enumerate(chosen):
        kinds = [_CLIPS[(number + clip) % 2] for clip in range(batch)]
        clips_NTHWC = np.stack([make(frames, takes.size, takes.channels, rng) for make in kinds])
        clips_NCTHW = normalize(torch.from_numpy(clips_NTHWC), mean=pre.mean, std=pre.std)
        actual = run(clips_NTHWC if takes.dtype == "uint8" else np.ascontiguousarray(clips_NCTHW.numpy()))
        for name, values in _expected(net, clips_NCTHW, is_first=number == 0):
            difference = _relative_difference(actual[name], values)
            if not difference <= worst:
                worst, of_case = difference, f"{name} at batch {batch} and {frames} frames"
        on_progress(Progress("compare with PyTorch", number + 1, len(chosen), "case"))
    batches, lengths = ({case[part] for case in chosen} for part in (0, 1))
    checked = f"random and rendered clips at batch {_listed(batches)} and {_listed(lengths)} frames"
    return Agreement(worst, of_case, checked)


def check_agreement(agreement: Agreement, name: str) -> None:
    """An InputError with the number if the largest difference is above the tolerance."""
    tolerance = TOLERANCE["fp32"]
    if not agreement.difference <= tolerance:
        what = f"its {agreement.case} differ from PyTorch's by {100 * agreement.difference:.3g} %"
        raise InputError(f"{name}: {what}, {100 * tolerance:g} % are allowed; nothing is written")


def _expected(net: VideoNetwork, clips_NCTHW: Tensor, *, is_first: bool) -> list[tuple[str, npt.NDArray[Any]]]:
    """The outputs of PyTorch by name, from one pass; in the first case logits also as training computes them."""
    with torch.inference_mode():
        logits_NK, pooled_NC = net.logits_and_pooled(clips_NCTHW)
        more = [(LOGITS, net(clips_NCTHW).numpy())] if is_first else []
        return [(LOGITS, logits_NK.numpy()), (FEATURES, pooled_NC.numpy()), *more]


def _relative_difference(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The largest over the clips; infinity for another shape, or values that are not finite."""
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    return float((np.abs(actual - expected).max(axis=1) / np.abs(expected).max(axis=1)).max())


def _random_clip(frames: int, size: int, channels: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    return rng.integers(0, 256, (frames, size, size, channels), dtype=np.uint8)


def _rendered_clip(frames: int, size: int, channels: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A smooth texture that moves and darkens."""
    times, rows, columns = np.ix_(np.arange(frames), np.arange(size), np.arange(size))
    rows_THWC = np.sin((rows / 9 + times / 3)[..., None] + rng.uniform(0, 6, channels))
    fading_THW = np.cos(columns / 13 - times / 5) * (1 - times / (2 * frames))
    return (127.5 + 127 * rows_THWC * fading_THW[..., None]).astype(np.uint8)


_CLIPS: Final[tuple[Callable[..., npt.NDArray[np.uint8]], ...]] = (_random_clip, _rendered_clip)


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
