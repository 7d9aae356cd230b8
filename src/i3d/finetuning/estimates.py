"""How long the rest of a stage will take: from its first clips, or from steps of the overfit check.

Nothing is computed for an estimate alone, except two steps where layers are trained without an overfit check.
"""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from i3d.data.resume import read_record
from i3d.errors import counted
from i3d.finetuning.options import TrainLayers
from i3d.recipes.settings import ClipProtocol
from i3d.recipes.training import Training
from i3d.training.logger import read_log
from i3d.training.run_folder import DONE, LOG, RUN
from i3d.utils.durations import format_minutes, format_seconds

NUM_TIMED: Final = 4  # clips
LONG: Final = 600  # seconds on a CPU, from which a flag that shortens the work is named
# A backward pass takes twice the time of a forward pass. Frozen stages have none.
FORWARD_FRACTION: Final[dict[TrainLayers, float]] = {"last": 0.8, "all": 0.35}  # of a training step

log = logging.getLogger("i3d")


class FeaturePace:
    """Logs how many views must be computed and, after the first clips, how long all will take.

    The first clip is not timed: the workers start and the network warms up. Four clips are timed after it, and at least
    one of each worker, as workers load clips side by side. Fewer clips than that are only counted.
    """

    def __init__(
        self, stage: str, num_clips: int, *, num_views: int, num_cached: int, num_workers: int, shorter: str = ""
    ) -> None:
        """`num_views`: of a clip; `num_cached`: views in the cache; `shorter`: what shortens a long stage."""
        self._words = f"{stage}: {counted(num_clips * num_views, 'view')} to compute"
        self._num_clips, self._num_views, self._shorter = num_clips, num_views, shorter
        self._cached = f"{num_cached} {'is' if num_cached == 1 else 'are'} in the cache" if num_cached else ""
        self._num_timed, self._num_computed, self._started = max(num_workers, NUM_TIMED), 0, 0.0
        if 0 < num_clips <= 1 + self._num_timed:
            log.info(f"{self._words}{f' ({self._cached})' * bool(self._cached)}")

    def count_clip(self) -> None:
        """One more clip is computed."""
        self._num_computed += 1
        if self._num_computed == 1:
            self._started = time.monotonic()
        elif self._num_computed == 1 + self._num_timed < self._num_clips:
            each = (time.monotonic() - self._started) / self._num_timed
            seconds = each * self._num_clips
            details = "; ".join(filter(None, (f"{format_seconds(each / self._num_views)} a view", self._cached)))
            shorter = f"; {self._shorter}" if self._shorter and seconds > LONG else ""
            log.info(f"{self._words}, {format_minutes(seconds)} ({details}){shorter}")


def shorter_features(protocol: ClipProtocol, device: str) -> str:
    """Which flag shortens the computation of features on a CPU; "": none does."""
    if device != "cpu":
        return ""
    if protocol.num_clips > 1:
        return f"--test-clips 1 takes 1/{protocol.num_clips} of it"
    return "--flip off takes half of it" if protocol.crops == "two" else ""


@dataclass(frozen=True)
class StepTimes:
    """Seconds per clip of training steps, and of loading clips in all workers together."""

    step: float
    load: float
    is_parallel: bool  # workers load while a device other than the CPU computes

    @property
    def clip(self) -> float:
        """A clip, computed and loaded. On a CPU both need the same cores."""
        return max(self.step, self.load) if self.is_parallel else self.step + self.load


@dataclass(frozen=True)
class TrainingWork:
    """How much a training has to do."""

    layers: TrainLayers
    num_clips: int  # in an epoch
    num_validated: int  # views in a validation
    num_steps: int  # of an epoch
    num_epochs: int
    validate_every: int  # epochs
    epochs_done: float = 0.0  # by an earlier run

    @property
    def is_complete(self) -> bool:
        return self.epochs_done >= self.num_epochs

    def seconds(self, times: StepTimes) -> float:
        """How long the rest takes."""
        validation = self.num_validated * (times.load + FORWARD_FRACTION[self.layers] * times.step)
        epoch = self.num_clips * times.clip + validation / self.validate_every
        return (self.num_epochs - self.epochs_done) * epoch + (0.0 if self.epochs_done else validation)


def training_work(
    training: Training, layers: TrainLayers, folder: Path, num_clips: int, num_validation: int
) -> TrainingWork:
    """The work of `train` in a folder, without what its log has already."""
    num_steps = -(-num_clips // (training.batch_size * training.accumulate))
    num_epochs = -(-training.steps // num_steps) if training.steps else training.epochs
    num_logged = max((line["step"] for line in read_log(folder / LOG) if "loss" in line), default=0)
    is_complete = bool((read_record(folder / RUN) or {}).get(DONE))  # it may have stopped before the last epoch
    return TrainingWork(
        layers,
        num_clips * training.sampling.num_clips,
        num_validation * training.validation.num_views,
        num_steps,
        num_epochs,
        training.validate_every,
        num_epochs if is_complete else min(num_logged / num_steps, num_epochs),
    )


def describe_training(work: TrainingWork, times: StepTimes, *, num_trainings: int = 1, device: str) -> str:
    """The line about a training, or about so many of which it is the first."""
    seconds = work.seconds(times) + (num_trainings - 1) * replace(work, epochs_done=0.0).seconds(times)
    epochs = f"{counted(work.num_epochs, 'epoch')} of {counted(work.num_steps, 'step')}"
    what = f"training: {epochs}" if num_trainings == 1 else f"training: {num_trainings} folds, each {epochs}"
    earlier = f", of which {work.epochs_done:.2g} are complete" if work.epochs_done > 0 else ""
    shorter = f"; --train-layers head takes seconds, --epochs 1 takes 1/{work.num_epochs} of it"
    return f"{what}{earlier}, {format_minutes(seconds)}{shorter * (device == 'cpu' and seconds > LONG)}"
