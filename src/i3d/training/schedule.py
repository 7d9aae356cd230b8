"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

import math
from bisect import bisect_right

from i3d.recipes.training import CosineSchedule, PiecewiseSchedule, StepSchedule, Training


def lr_factor(step: int, training: Training, *, steps_per_epoch: int, total_steps: int) -> float:
    """The factor of the base learning rate at a step. Steps count from 0.

    Step schedule of (40, 80), 100 steps an epoch: 1 up to step 3999, 0.1 from 4000 on, 0.01 from 8000 on.
    """
    match training.schedule:
        case StepSchedule(epochs=epochs, gamma=gamma):
            factor = gamma ** bisect_right(epochs, step // steps_per_epoch)
        case CosineSchedule(end=end):
            progress = min(step / max(total_steps, 1), 1.0)
            factor = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))
        case PiecewiseSchedule(until=until, factors=factors):
            factor = factors[bisect_right(until, step)]
    warmup_steps = round(training.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        factor *= training.warmup_start + (1 - training.warmup_start) * step / warmup_steps
    return factor


def scaled_lr(training: Training, *, clips_per_step: int) -> float:
    """The base learning rate, scaled linearly to the batch size (Goyal et al. 2017, arXiv:1706.02677)."""
    if not training.base_batch:
        return training.optimizer.lr
    return training.optimizer.lr * clips_per_step / training.base_batch
