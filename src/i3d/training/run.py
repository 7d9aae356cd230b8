"""A training run: its state, and everything that happens between two steps."""

import hashlib
import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError

from i3d._version import __version__
from i3d.data.loading.batch import Batch, UnreadableClip
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, counted, first_line, printable
from i3d.training.curves import draw_curves
from i3d.training.logger import MetricsLogger, Stopwatch, read_log
from i3d.training.run_folder import BEST, CURVES, LOG, RunFolder
from i3d.training.state import (
    MetricSums,
    TrainerState,
    full_tensor,
    load_newest,
    loss_scale_of,
    save_state,
    saved_steps,
)
from i3d.training.step import StepOutput, TrainState
from i3d.training.stopping import Stopping
from i3d.training.validation import validate
from i3d.utils.atomic_files import disk_todo
from i3d.utils.distributed import gloo_group
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.weights.checkpoint import Card, save_checkpoint

LOG_EVERY: Final = 20  # steps
DRAW_EVERY: Final = 30.0  # seconds between two drawings of the curves, at least
DISK_ERRORS: Final = (OSError, InputError, SafetensorError)  # a full disk, or one that is gone

log = logging.getLogger("i3d")


@dataclass
class TrainingRun:
    """All ranks call its methods alike; the first rank logs and writes."""

    state: TrainState
    loader: ClipLoader
    validation: ClipLoader | None
    folder: RunFolder
    base_lr: float
    steps_per_epoch: int
    total_steps: int
    on_progress: ProgressCallback = ignore_progress
    metrics_logger: MetricsLogger | None = None  # of the first rank
    trainer_state: TrainerState = field(default_factory=TrainerState.initial)
    sums: MetricSums = field(default_factory=MetricSums)  # of this rank, since the last line of the log
    stopwatch: Stopwatch = field(init=False)
    _shown: dict[str, float] = field(default_factory=dict)  # the last metrics that were logged, and the speed
    _last_output: StepOutput | None = None  # of the last step, not checked yet
    _drawn_at: float = field(default_factory=time.monotonic)  # when the curves were drawn; at first, the start

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.state.device)

    @property
    def step(self) -> int:
        """Completed steps."""
        return self.trainer_state.step

    @property
    def validation_is_due(self) -> bool:
        """Whether the epoch that ended is to be validated, and is not yet."""
        interval = self.steps_per_epoch * self.state.training.validate_every
        is_time = self.step % interval == 0 or self.step == self.total_steps
        return self.validation is not None and is_time and self.trainer_state.validated_step < self.step

    @property
    def saved_step(self) -> int | None:
        """The newest step whose state is on the disk; None: there is none, or the folder cannot be listed."""
        with suppress(OSError):
            return max((step for step in saved_steps(self.folder.checkpoints) if step <= self.step), default=None)
        return None

    @property
    def world_size(self) -> int:
        return int(self.state.accelerator.num_processes)

    @property
    def is_first_rank(self) -> bool:
        return bool(self.state.accelerator.is_main_process)

    def check_ranks_match(self, config: str) -> None:
        """All ranks must have the same clips, recipe and versions."""
        text = f"{config} {__version__} {torch.__version__}"
        digest = int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)
        if len(set(self.gather_int(digest))) > 1:
            raise InputError(
                "the processes differ in their clips, settings or versions of i3d or torch; give all of them the same "
                "files and command"
            )

    def resume(self, *, has_saved: bool = False) -> None:
        """Load the newest state in the folder, if there is one. All ranks must find the same.

        `has_saved`: an earlier start of the run has saved a state; none is then an InputError.
        """
        loaded, faults = load_newest(self.folder.checkpoints, self.state)
        for fault in faults:
            self.warn(f"{fault}; an older state is loaded")
        steps = self.gather_int(loaded.step if loaded else -1)
        if len(set(steps)) > 1:
            raise InputError(
                f"{self.folder.path}: the processes find states of different steps, {', '.join(map(str, steps))}; "
                "--work-dir must be on storage that all of them share"
            )
        if loaded is None:
            self._check_start(has_saved=has_saved)
            return
        if loaded.config_hash != self.trainer_state.config_hash:
            raise InputError(
                f"{self.folder.path}: its states belong to a run with other settings or clips; give those, or another "
                "--work-dir"
            )
        self._check_log(loaded)
        self.trainer_state = loaded
        self.sums = loaded.sums_R[self.state.accelerator.process_index]
        self.restore_bad_clips()
        self.info(f"resuming from step {loaded.step} of {self.total_steps}")

    def _check_start(self, *, has_saved: bool) -> None:
        """Without a state: an InputError if there was one, else a warning if the log has lines."""
        if has_saved:
            what = "has no state, but the run has saved some; restore them, or choose another --work-dir"
            raise InputError(f"{self.folder.checkpoints}: {what}")
        if self._last_logged_step():
            self.warn(f"{self.folder.checkpoints} has no state: training starts again, and {LOG} begins again")

    def _check_log(self, loaded: TrainerState) -> None:
        """Report a log that does not end where the state does, before it is written again, and missing best weights."""
        last, complete = self._last_logged_step(), loaded.step - loaded.num_unlogged_steps
        if last > loaded.step:
            self.warn(f"{LOG} ends at step {last}, the newest state at {loaded.step}: the steps between run again")
        if last < complete:
            self.warn(f"{self.folder / LOG}: ends at step {last} of {complete} that the state has; the others are lost")
        if loaded.best is not None and not (self.folder / BEST).exists():
            self.warn(f"{self.folder / BEST}: is missing; the next validation writes it, whatever its result")
            loaded.best = None

    def _last_logged_step(self) -> int:
        return max((line["step"] for line in read_log(self.folder / LOG)), default=0)

    def restore_bad_clips(self) -> None:
        """Give the loader the unreadable clips that the state lists."""
        self.loader.bad = {index: UnreadableClip(index, reason) for index, reason in self.trainer_state.bad_clips}

    def step_batches(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch, starting at its step `first`."""
        accumulate = self.state.training.accumulate
        batches = self.stopwatch.time_waits(self.loader.batches(epoch=epoch, first=first * accumulate))
        while of_step := list(islice(batches, accumulate)):
            yield of_step

    def finish_step(self, output: StepOutput) -> None:
        """Count a step. Its loss is read one step later, so that nothing waits for the device."""
        self.check_last_step()
        self._last_output = output
        self.stopwatch.add_step(output.num_clips)
        self.trainer_state.step += 1

    @contextmanager
    def naming_lost_clips(self) -> Iterator[None]:
        """PyTorch reports the death of a worker in any call: turn that into an error that names its clips."""
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise self.loader.worker_error(error) from error

    def check_last_step(self) -> None:
        """Add up the metrics of the last step. A loss that is not finite stops all ranks before anything is saved."""
        output, self._last_output = self._last_output, None
        if output is None:
            return
        loss = float(output.loss)
        has_norm = output.grad_norm is not None and self.state.training.precision != "fp16"  # fp16 skips such steps
        norm = float(output.grad_norm) if has_norm and output.grad_norm is not None else 0.0
        flags = self.gather_int(2 * (not math.isfinite(loss)) + (not math.isfinite(norm)))
        if any(flags):
            own_flag = flags[self.state.accelerator.process_index]
            if not own_flag & 2 and any(flag & 2 for flag in flags):
                raise InputError(f"step {self.step}: the loss of another process is not finite; it names its clips")
            files = [self.loader.dataset.annotations.file(index) for index in output.indices]
            names = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
            reason = f"the loss is {loss}" if own_flag & 2 else f"the gradient norm is {norm}"
            raise self._divergence(f"{reason}; its clips: {names}")
        sums = self.sums
        self.sums = MetricSums(
            loss=sums.loss + loss,
            num_right=sums.num_right + int(output.num_right),
            num_clips=sums.num_clips + output.num_clips,
        )
        self.trainer_state.num_unlogged_steps += 1

    def _divergence(self, reason: str) -> InputError:
        return InputError(
            f"step {self.step}: {reason}; the saved states are from earlier steps. "
            "Try a lower learning rate (--lr), --precision fp32, or `i3d data check`"
        )

    def sync_bad_clips(self) -> None:
        """Exchange the unreadable clips between ranks. Too many of them stop the run."""
        loader = self.loader
        if self.world_size == 1:
            return
        bad_N = torch.zeros(len(loader.dataset), dtype=torch.int32)
        bad_N[list(loader.bad)] = 1
        total_N = self.state.accelerator.reduce(bad_N.to(self.state.device)).cpu()
        for index in torch.nonzero(total_N)[:, 0].tolist():
            if index not in loader.bad:
                file = printable(loader.dataset.annotations.file(index))
                loader.bad[index] = UnreadableClip(index, f"{file}: another process could not read it")
        loader.check_bad()

    def report(self, part: float = 0.0) -> None:
        """Report the steps that are done, with the last metrics; `part`: of the next step."""
        if self.is_first_rank:
            self.on_progress(Progress("train", self.step + part, self.total_steps, "step", self._shown))

    def log_metrics(self, lr: float, epoch: int) -> None:
        """Write a line of the log: means over all ranks and the steps since the last line."""
        self.check_last_step()
        self.sync_bad_clips()
        num_steps = self.trainer_state.num_unlogged_steps
        if not num_steps:
            return
        sums_R = self._gather_sums()
        metrics = {
            "loss": sum(sums.loss for sums in sums_R) / (num_steps * self.world_size),
            "top1": sum(sums.num_right for sums in sums_R) / max(sum(sums.num_clips for sums in sums_R), 1),
            "lr": lr,
        }
        timing = self.stopwatch.speed(self.world_size)
        if self.metrics_logger is not None:
            self.metrics_logger.write({"step": self.step, "epoch": epoch, **metrics})
            self.metrics_logger.write_timing({"step": self.step, "epoch": epoch, **timing})
        self._shown = {"epoch": epoch + 1, **metrics, **timing}
        self.report()
        self.sums = MetricSums()
        self.trainer_state.num_unlogged_steps = 0
        self.stopwatch.restart()

    def save(self) -> None:
        """Write the state. If that fails, as on a full disk, the run continues with a warning."""
        self.check_last_step()
        self.sync_bad_clips()
        self._check_weights()
        state, bad = self.trainer_state, sorted(self.loader.bad.items())
        state.bad_clips = tuple((index, clip.reason) for index, clip in bad)
        state.loss_scale, state.sums_R = loss_scale_of(self.state.accelerator.scaler), self._gather_sums()
        try:
            if self.metrics_logger is not None:
                self.metrics_logger.sync()
            if self.is_first_rank and self.folder.restore_checkpoints():
                self.warn(f"{self.folder.checkpoints}: was removed, with the states in it; it is created again")
            save_state(self.folder.checkpoints, self.state, state)
            if self.is_first_rank:
                self.folder.record_saved()
        except DISK_ERRORS as error:
            self.warn(f"step {self.step}: the state could not be saved {_disk_fault(error)}")
        self.gather_int(0)  # a barrier: no rank continues before the state is on the disk
        self.stopwatch.restart()

    def _gather_sums(self) -> tuple[MetricSums, ...]:
        if self.world_size == 1:
            return (self.sums,)
        own_row = torch.tensor([[self.sums.loss, self.sums.num_right, self.sums.num_clips]], dtype=torch.float64)
        if self.state.device.type == "mps":  # it has no float64
            own_row = own_row.float()
        rows = self.state.accelerator.gather(own_row.to(self.state.device)).tolist()
        return tuple(MetricSums(loss=row[0], num_right=int(row[1]), num_clips=int(row[2])) for row in rows)

    def _check_weights(self) -> None:
        """Weights that are not finite are never written: the last loss was computed before the last update."""
        weights = [value for value in self.state.net.state_dict().values() if value.is_floating_point()]
        finite = [full_tensor(value.isfinite().all()) for value in weights]
        if any(self.gather_int(int(not bool(torch.stack(finite).all())))):
            raise self._divergence("the weights are not finite")

    def validate(self, epoch: int, stopping: Stopping) -> None:
        """Validate with the averaged weights, if there are any, and save the best weights.

        A signal ends it without a result; the resumed run then validates again.
        """
        assert self.validation is not None
        self.check_last_step()
        with self.averaged_weights():
            result = validate(
                self.state,
                self.validation,
                should_stop=lambda: bool(self.sync_stop_signal(stopping)),
                on_progress=self.on_progress if self.is_first_rank else ignore_progress,
            )
            if result is None:
                return
            metrics, num_clips = result
            state = self.trainer_state
            state.validation, state.validated_step = tuple(metrics.items()), self.step
            best_by = "mean_average_precision" if self.state.recipe.multi_label else self.state.training.best_by
            value = metrics.get(best_by, -1.0)  # there are none if no clip can be read
            is_best = state.best is None or value > state.best
            if is_best:
                try:
                    self.write_weights(BEST)
                except DISK_ERRORS as error:
                    self.warn(f"step {self.step}: {BEST} could not be written {_disk_fault(error)}")
        if is_best:
            state.best, state.best_step, state.num_worse = value, self.step, 0
        else:
            state.num_worse += 1
        if self.metrics_logger is not None:
            line = {"validation": metrics, "clips": num_clips, "bad": len(self.validation.dataset) - num_clips}
            self.metrics_logger.write({"step": self.step, "epoch": epoch, **line})
            if time.monotonic() - self._drawn_at > DRAW_EVERY:
                self.draw()
        words = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.info(f"epoch {epoch + 1}, step {self.step}: validation {words} ({counted(num_clips, 'clip')})")
        self.stopwatch.restart()

    def draw(self) -> None:
        """Draw the curves so far. If that fails, the run continues with a warning."""
        if not (self.is_first_rank and self.step):
            return
        self._drawn_at = time.monotonic()
        try:
            draw_curves(self.folder / CURVES, {self.folder.path.name: self.folder / LOG}, force=True)
        except (OSError, InputError) as error:
            self.warn(f"{CURVES} could not be drawn ({error})")

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Inside the block, the network has its averaged weights, if the recipe averages them."""
        ema = self.state.ema
        return ema.in_place_of(self.state.net) if ema is not None else nullcontext()

    def write_weights(self, name: str) -> None:
        """Write the current weights as a checkpoint that `load_model` reads. All ranks call it."""
        weights = {key: full_tensor(value) for key, value in self.state.net.state_dict().items()}
        if not self.is_first_rank:
            return
        annotations = self.loader.dataset.annotations
        card = Card(
            recipe=self.state.recipe,
            labels=annotations.classes,
            licence="that of the clips and of the weights that it started from",
            origin={"source": "trained by i3d train", "data": printable(Path(annotations.source).name)},
            training={
                "steps": str(self.step),
                "epochs": f"{self.step / self.steps_per_epoch:g}",
                "seed": str(self.state.seed),
                "started_from": printable(self.state.training.init or "random initialisation"),
                **{f"validation_{key}": f"{value:.4f}" for key, value in self.trainer_state.validation},
            },
        )
        save_checkpoint(self.folder / name, weights, card, force=True)

    def sync_stop_signal(self, stopping: Stopping) -> int:
        """The signal that any rank received, or 0: all ranks stop after the same step."""
        return max(self.gather_int(stopping.signal))

    def gather_int(self, value: int) -> list[int]:
        """A number of each rank. It goes over gloo, from CPU to CPU, so that no rank waits for its GPU."""
        if self.world_size == 1:
            return [value]
        own_value = torch.tensor([value])
        values = [torch.empty_like(own_value) for _ in range(self.world_size)]
        torch.distributed.all_gather(values, own_value, group=gloo_group())
        numbers: list[int] = torch.cat(values).tolist()
        return numbers

    def info(self, message: str) -> None:
        """Log on the first rank only."""
        if self.is_first_rank:
            log.info(message)

    def warn(self, message: str) -> None:
        """Log a warning on the first rank only."""
        if self.is_first_rank:
            log.warning(message)


def _disk_fault(error: Exception) -> str:
    """What failed, in brackets, and what to do about it. The advice of an InputError is for before a run."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return f"({first_line(cause)}); {disk_todo(cause)}"
