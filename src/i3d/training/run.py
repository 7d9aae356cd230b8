"""A run as it goes: its parts, where it is, and what it does between two steps."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError

from i3d._version import __version__
from i3d.data.loading.batch import Batch, UnreadableClip
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, printable
from i3d.training.curves import draw_curves
from i3d.training.logger import MetricsLogger, Stopwatch, Watcher
from i3d.training.run_folder import BEST, CURVES, LOG, RunFolder
from i3d.training.state import MetricSums, TrainerState, full_tensor, load_newest, save_state, scale_of
from i3d.training.step import StepOutput, TrainState
from i3d.training.stopping import Stopping
from i3d.training.validation import validate
from i3d.utils.distributed import gloo_group
from i3d.weights.checkpoint import Card, save_checkpoint

LOG_EVERY: Final = 20  # steps
DRAW_EVERY: Final = 30.0  # seconds, at the most often
UNWRITTEN: Final = (OSError, InputError, SafetensorError)  # by a disk that is full, or gone


@dataclass
class Run:
    parts: TrainState
    loader: ClipLoader
    validation: ClipLoader | None
    folder: RunFolder
    journal: MetricsLogger | None  # of the first rank
    stopwatch: Stopwatch
    watcher: Watcher | None
    rate: float  # the full one
    steps_per_epoch: int
    total_steps: int
    position: TrainerState = field(default_factory=TrainerState.first)
    sums: MetricSums = field(default_factory=MetricSums)  # of this rank, since the last line of the log
    _last: StepOutput | None = None  # not looked at yet
    _drawn: float = field(default_factory=time.monotonic)  # the curves; first at the start

    @property
    def is_between_epochs(self) -> bool:
        step = self.position.step
        return step > 0 and (step % self.steps_per_epoch == 0 or step == self.total_steps)

    @property
    def has_to_validate(self) -> bool:
        """Whether a validation is due after the epoch that is over."""
        step = self.position.step
        is_time = step % (self.steps_per_epoch * self.parts.training.validate_every) == 0 or step == self.total_steps
        return self.validation is not None and self.is_between_epochs and is_time and self.position.validated < step

    @property
    def ends_early(self) -> bool:
        """Whether the last validations brought nothing better, for longer than the recipe has patience."""
        return 0 < self.parts.training.patience <= self.position.num_worse

    @property
    def world_size(self) -> int:
        return int(self.parts.accelerator.num_processes)

    @property
    def is_first_rank(self) -> bool:
        return bool(self.parts.accelerator.is_main_process)

    def check_alike(self, contract: str) -> None:
        """All ranks must train the same: clips, recipe, versions."""

        told = f"{contract} {__version__} {torch.__version__}"
        number = int(hashlib.sha256(told.encode()).hexdigest()[:12], 16)
        if len(set(self.gathered(number))) > 1:
            raise InputError(
                "the processes do not train the same: their clips, settings or versions of i3d or torch differ; "
                "give all of them the same files and command"
            )

    def go_on(self) -> None:
        """Take up the newest state in the folder, if there is any. All ranks must find the same."""
        found, faults = load_newest(self.folder.checkpoints, self.parts)
        for fault in faults:
            self.tell(f"warning: {fault}; the state before it is taken")
        steps = self.gathered(found.step if found else -1)
        if len(set(steps)) > 1:
            raise InputError(
                f"{printable(str(self.folder.path))}: the processes see states of different steps, "
                f"{', '.join(map(str, steps))}; --work-dir must be on storage that all share"
            )
        if found is not None:
            if found.contract != self.position.contract:
                raise InputError(
                    f"{printable(str(self.folder.path))}: its states are of a run with other settings or clips; "
                    "give the same, or another --work-dir"
                )
            self.position = found
            self.sums = found.sums_R[self.parts.accelerator.process_index]
            self.take_bad()
            self.tell(f"going on from step {found.step} of {self.total_steps}")

    def take_bad(self) -> None:
        """The unreadable clips that the run knew of."""
        self.loader.bad = {index: UnreadableClip(index, reason) for index, reason in self.position.bad}

    def steps_of(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch, from its step `first` on."""
        accumulate = self.parts.training.accumulate
        batches: list[Batch] = []
        for batch in self.stopwatch.waiting(self.loader.batches(epoch=epoch, first=first * accumulate)):
            batches.append(batch)
            if len(batches) == accumulate:
                yield batches
                batches = []
        if batches:
            yield batches

    def count(self, stepped: StepOutput) -> None:
        """One more step is done. Its loss is looked at when the next is under way."""
        self.look_at_last()
        self._last = stepped
        self.stopwatch.stepped(stepped.num_clips)
        self.position = self.position.model_copy(update={"step": self.position.step + 1})

    @contextmanager
    def workers_watched(self) -> Iterator[None]:
        """PyTorch tells of a worker that died wherever the process happens to be: as an error that names its clips."""
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise self.loader.lost_worker(error) from error

    def look_at_last(self) -> None:
        """Add up what the last step gave. A loss that is no number stops all ranks, before anything is saved."""
        stepped, self._last = self._last, None
        if stepped is None:
            return
        loss = float(stepped.loss)
        has_norm = stepped.grad_norm is not None and self.parts.training.precision != "fp16"  # fp16 skips such steps
        norm = float(stepped.grad_norm) if has_norm and stepped.grad_norm is not None else 0.0
        flags = self.gathered(2 * (not math.isfinite(loss)) + (not math.isfinite(norm)))
        if any(flags):
            mine, elsewhere = flags[self.parts.accelerator.process_index], any(flag & 2 for flag in flags)
            if not mine & 2 and elsewhere:
                raise InputError(
                    f"step {self.position.step}: the loss of another process is not a number; it names its clips"
                )
            what = f"the loss is {loss}" if mine & 2 else f"the gradients are not finite (norm {norm})"
            self._stop_at_nan(stepped, what)
        sums = self.sums
        self.sums = MetricSums(
            loss=sums.loss + loss,
            num_right=sums.num_right + int(stepped.num_right),
            num_clips=sums.num_clips + stepped.num_clips,
        )
        self.position = self.position.model_copy(update={"num_steps": self.position.num_steps + 1})

    def _stop_at_nan(self, stepped: StepOutput, what: str) -> None:
        files = [printable(self.loader.dataset.annotations.file(index)) for index in stepped.indices]
        named = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
        raise InputError(
            f"step {self.position.step}: {what}; its clips: {named}; states on the disk are of steps before. "
            "Try a lower rate (--lr), --precision fp32, or `i3d data check`"
        )

    def share_bad(self) -> None:
        """Every rank knows the unreadable clips of all; more than the limit stop the run."""
        loader = self.loader
        if self.world_size == 1:
            return
        seen_N = torch.zeros(len(loader.dataset), dtype=torch.int32)
        seen_N[list(loader.bad)] = 1
        total_N = self.parts.accelerator.reduce(seen_N.to(self.parts.device)).cpu()
        for index in torch.nonzero(total_N)[:, 0].tolist():
            if index not in loader.bad:
                file = printable(loader.dataset.annotations.file(index))
                loader.bad[index] = UnreadableClip(index, f"{file}: another process could not read it")
        loader.check_bad()

    def log(self, rate: float, epoch: int) -> None:
        """A line of the log: the means since the last line, over all ranks."""
        self.look_at_last()
        self.share_bad()
        position, world_size = self.position, self.parts.accelerator.num_processes
        if not position.num_steps:
            return
        sums = torch.tensor([self.sums.loss, self.sums.num_right, self.sums.num_clips], dtype=torch.float64)
        if world_size > 1:
            sums = self.parts.accelerator.reduce(_fitting(sums, self.parts.device)).double().cpu()
        figures = {
            "loss": sums[0].item() / (position.num_steps * world_size),
            "top1": sums[1].item() / max(sums[2].item(), 1),
            "lr": rate,
        }
        timing = self.stopwatch.figures(world_size)
        if self.journal is not None:
            self.journal.write({"step": position.step, "epoch": epoch, **figures})
            self.journal.write_timing({"step": position.step, "epoch": epoch, **timing})
        if self.watcher is not None and self.is_first_rank:
            self.watcher.step(position.step, self.total_steps, {**figures, **timing}, epoch=epoch)
        self.sums = MetricSums()
        self.position = position.model_copy(update={"num_steps": 0})
        self.stopwatch.restart()

    def save(self) -> None:
        """The state to the disk. A disk that is full costs this one: the run goes on, and says so."""
        self.look_at_last()
        self.share_bad()
        self._check_weights()
        bad = tuple((index, found.reason) for index, found in sorted(self.loader.bad.items()))
        scale = scale_of(self.parts.accelerator.scaler)
        self.position = self.position.model_copy(update={"bad": bad, "scale": scale, "sums_R": self._sums_of_all()})
        try:
            if self.journal is not None:
                self.journal.sync()
            save_state(self.folder.checkpoints, self.parts, self.position)
        except UNWRITTEN as error:
            self.tell(f"warning: step {self.position.step}: the state could not be saved ({error}); make room")
        self.gathered(0)  # nobody goes on before it is on the disk
        self.stopwatch.restart()

    def _sums_of_all(self) -> tuple[MetricSums, ...]:
        if self.world_size == 1:
            return (self.sums,)
        mine = torch.tensor([[self.sums.loss, self.sums.num_right, self.sums.num_clips]], dtype=torch.float64)
        rows = self.parts.accelerator.gather(_fitting(mine, self.parts.device)).double().cpu().tolist()
        return tuple(MetricSums(loss=row[0], num_right=int(row[1]), num_clips=int(row[2])) for row in rows)

    def _check_weights(self) -> None:
        """Weights that are not finite are never written, however finite the last loss was."""
        sound = [value.isfinite().all() for value in self.parts.net.state_dict().values() if value.is_floating_point()]
        if any(self.gathered(int(not bool(torch.stack([_whole_truth(s) for s in sound]).all())))):
            raise InputError(
                f"step {self.position.step}: the weights are not finite any more; states on the disk are of steps "
                "before. Try a lower rate (--lr), --precision fp32, or `i3d data check`"
            )

    def validate(self, epoch: int, stopping: Stopping) -> None:
        """The figures of all clips to validate on, by the averaged weights if there are any; the best are kept.

        A signal ends it: the run does it anew when it goes on.
        """
        parts, position = self.parts, self.position
        assert self.validation is not None
        self.look_at_last()
        with self.averaged():
            found = validate(parts, self.validation, is_over=lambda: bool(self.agreed_signal(stopping)))
            if found is None:
                return
            self.position = position = position.model_copy(update={"figures": tuple(found.figures.items())})
            chosen = "mean_average_precision" if parts.recipe.multi_label else parts.training.best_by
            value = found.figures.get(chosen, -1.0)  # without a clip that can be read
            is_better = position.best is None or value > position.best
            if is_better:
                self._keep_best()
        better = {"best": value, "best_step": position.step} if is_better else {}
        done = {"num_worse": 0 if is_better else position.num_worse + 1, "validated": position.step}
        self.position = position.model_copy(update={**better, **done})
        line = {"validation": found.figures, "clips": found.num_clips, "bad": found.num_bad}
        if self.journal is not None:
            self.journal.write({"step": position.step, "epoch": epoch, **line})
            if time.monotonic() - self._drawn > DRAW_EVERY:
                self.draw()
        told = ", ".join(f"{name} {value:.4f}" for name, value in found.figures.items())
        self.tell(f"epoch {epoch + 1}, step {position.step}: validation {told} ({found.num_clips} clips)")
        self.stopwatch.restart()

    def _keep_best(self) -> None:
        """A disk that is full costs the file of this one, and is told."""
        try:
            self.write_weights(BEST)
        except UNWRITTEN as error:
            self.tell(f"warning: step {self.position.step}: {BEST} could not be written ({error}); make room")

    def draw(self) -> None:
        """The curves so far. A picture that cannot be drawn ends no run."""
        if not self.is_first_rank:
            return
        self._drawn = time.monotonic()
        try:
            draw_curves(self.folder / CURVES, {self.folder.path.name: self.folder / LOG})
        except (OSError, InputError) as error:
            self.tell(f"warning: no curves were drawn ({error})")

    def averaged(self) -> AbstractContextManager[None]:
        """The network with the averaged weights, if they are kept."""
        ema = self.parts.ema
        return ema.in_place_of(self.parts.net) if ema is not None else nullcontext()

    def write_weights(self, name: str) -> None:
        """The weights as they are, in one file with all that predicting with them needs. All ranks call it."""
        parts, position = self.parts, self.position
        state = {entry: full_tensor(value) for entry, value in parts.net.state_dict().items()}
        if not self.is_first_rank:
            return
        annotations = self.loader.dataset.annotations
        card = Card(
            recipe=parts.recipe,
            labels=annotations.classes,
            licence="that of the clips and of the weights that it started from",
            origin={"source": "trained by i3d train", "data": printable(Path(annotations.source).name)},
            training={
                "steps": str(position.step),
                "epochs": f"{position.step / self.steps_per_epoch:g}",
                "seed": str(parts.seed),
                "started_from": printable(parts.training.init or "fresh weights"),
                **{f"validation_{key}": f"{value:.4f}" for key, value in position.figures},
            },
        )
        save_checkpoint(self.folder / name, state, card)

    def agreed_signal(self, stopping: Stopping) -> int:
        """The signal that some rank got, if any: all leave at the same step."""
        return max(self.gathered(stopping.signal))

    def gathered(self, value: int) -> list[int]:
        """A number of every rank. It goes from host to host: nobody waits for a device."""
        if self.world_size == 1:
            return [value]
        mine = torch.tensor([value])
        found = [torch.empty_like(mine) for _ in range(self.world_size)]
        torch.distributed.all_gather(found, mine, group=gloo_group())
        numbers: list[int] = torch.cat(found).tolist()
        return numbers

    def tell(self, message: str) -> None:
        if self.watcher is not None and self.is_first_rank:
            self.watcher.told(message)


def _whole_truth(value: torch.Tensor) -> torch.Tensor:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _fitting(sums: torch.Tensor, device: torch.device) -> torch.Tensor:
    return sums.float().to(device) if device.type == "mps" else sums.to(device)
