"""What all steps of fine-tuning share, and who is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from i3d.data.annotations import Annotations
from i3d.finetuning.defaults import Choice
from i3d.finetuning.fitting import Parts
from i3d.finetuning.inspect_data import DatasetSummary
from i3d.finetuning.plan import Planned
from i3d.recipes.recipe import Recipe
from i3d.recipes.training import Training
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.utils.progress import Progress
from i3d.weights.load import Weights

START, BEST, LAST = "start.safetensors", "best.safetensors", "last.safetensors"


class Watcher(Protocol):
    """Who is told what happens, a terminal for instance."""

    def told(self, message: str) -> None: ...
    def __call__(self, progress: Progress) -> None: ...
    def working(self, what: str, done: int, total: int) -> None: ...
    def chosen(self, choices: Sequence[Choice]) -> None: ...


class Nobody:
    """A watcher that looks away."""

    def told(self, message: str) -> None: ...
    def __call__(self, progress: Progress) -> None: ...
    def working(self, what: str, done: int, total: int) -> None: ...
    def chosen(self, choices: Sequence[Choice]) -> None: ...


@dataclass(frozen=True)
class Job:
    """A run of fine-tuning, after it was decided what to do."""

    work_dir: Path
    weights: Weights
    init: str  # where these come from
    seen: DatasetSummary
    planned: Planned
    parts: Parts
    compute: ComputeConfig
    cache: Cache
    seed: int
    watcher: Watcher

    @property
    def annotations(self) -> Annotations:
        """The clips that can be read."""
        return self.seen.clips.annotations

    @property
    def recipe(self) -> Recipe:
        return self.planned.recipe

    @property
    def training(self) -> Training:
        assert self.planned.recipe.training is not None
        return self.planned.recipe.training


def counter(watcher: Watcher, what: str, total: int) -> Callable[..., None]:
    """A function that counts its calls for the watcher."""
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        watcher.working(what, done, total)

    return count
