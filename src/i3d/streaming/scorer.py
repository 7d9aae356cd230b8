"""The network of a stream.

Letters in names: W windows, T frames, H rows, W columns, C channels, K classes.
"""

import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError
from i3d.exporting.engines import create_engine
from i3d.inference.prediction import LabelScore, best_labels
from i3d.models.network import check_crop
from i3d.recipes.recipe import Recipe
from i3d.timelines.scores import Scores, score_windows
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.distributed import local_device
from i3d.weights.load import Weights, load_weights
from i3d.weights.pretrained import DEFAULT

ROUNDS: Final = 3  # timed passes of each way to run the network, after one that warms up


class WindowScorer:
    """A network that scores windows of `frames` frames."""

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT,
        *,
        recipe: str | None = None,
        labels: Sequence[str] | None = None,
        compute: ComputeConfig | None = None,
        frames: int | None = None,
    ) -> None:
        """`model`, `recipe` and `labels` are those of `load_model`. A network of flow is an InputError."""
        compute = compute or ComputeConfig()
        self.weights: Weights = load_weights(model, recipe=recipe, labels=labels, takes_exports=True)
        self.recipe: Recipe = self.weights.card.recipe
        if self.recipe.network.in_channels != 3:
            raise InputError(f"{model}: is a network of flow, which is not streamed; use i3d timeline on a recording")
        crop = self.recipe.preprocessing.crop
        clip_CTHW = None if frames is None else (3, frames, crop, crop)
        device = pick_device(local_device(compute.device))
        self.engine = create_engine(self.weights, compute, device=device, clip_CTHW=clip_CTHW)
        check_crop(self.engine.net, self.recipe.preprocessing)

    def __call__(self, clips: list[npt.NDArray[np.uint8]], *, name: str) -> Scores:
        """Probabilities (W, K) of windows (T, H, W, C)."""
        return score_windows(self.engine, self.recipe, clips, name=name)

    def best(self, scores_K: npt.NDArray[np.float32], *, k: int) -> tuple[LabelScore, ...]:
        """The `k` most likely labels."""
        return best_labels(scores_K, self.weights.card.labels, k=k)

    def warm_up(self, *, batch: int, frames: int) -> None:
        """Run `batch` windows of noise: a first pass compiles and allocates, and takes longer than others."""
        crop, random = self.recipe.preprocessing.crop, np.random.default_rng(0)
        self([random.integers(0, 256, (frames, crop, crop, 3), dtype=np.uint8) for _ in range(batch)], name="noise")

    def seconds(self, *, batch: int, frames: int, clock: Callable[[], float] = time.perf_counter) -> float:
        """The median time of a pass of `batch` windows, after one that warms up."""
        self.warm_up(batch=batch, frames=frames)
        times = []
        for _ in range(ROUNDS):
            start = clock()
            self.warm_up(batch=batch, frames=frames)
            times.append(clock() - start)
        return median(times)
