"""Batches of clips, made by worker processes, in an order that does not depend on how many there are."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import cv2
import numpy as np
import torch

from i3d.data.loading.batch import Batch, UnreadableClip
from i3d.data.loading.dataset import ClipDataset, Key, TestView, TrainView
from i3d.data.loading.samplers import Order, balanced_order, evaluation_batches, training_batches
from i3d.data.loading.shared_memory import check_room
from i3d.errors import I3DError, InputError, first_line, printable
from i3d.recipes.settings import WindowProtocol

PREFETCH: Final = 2  # batches that each worker makes ahead
CLIP_SECONDS: Final = 120  # for one clip; after that its worker hangs
VIDEO_SECONDS: Final = 3600  # for one video all of whose frames are seen
FLOW_SECONDS: Final = 24 * 3600  # for one whose flow is computed: TV-L1 takes hours for an hour of video
REPEATS: Final = 20  # bits of the epoch above which a clip that comes again in it is counted: another draw
POLL_SECONDS: Final = 3  # how often workers are looked after that give nothing
GRACE_SECONDS: Final = 30  # that a worker goes on after SIGTERM
MAX_NAMED: Final = 10  # clips


class ClipLoader:
    """The batches of one rank.

        for batch in loader.batches(epoch=3, first=120):   # goes on in the middle of epoch 3
            ...

    In training, clips that cannot be read are replaced (by the next in the order of the epoch) and counted; once more
    than `max_bad` of the dataset's clips are bad, it stops with an InputError. In validation and testing nothing is
    replaced: a bad clip stops at once, unless `max_bad` lets it be left out; it is in `bad` either way. `balanced`
    draws every class equally often; of validation and testing, `only` some clips may be left.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        batch_size: int,
        num_workers: int = 2,
        rank: int = 0,
        world_size: int = 1,
        max_bad: float | None = None,
        pin_memory: bool = False,
        balanced: bool = False,
        only: Order | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.rank, self.world_size = dataset, batch_size, rank, world_size
        self.is_training = isinstance(dataset.view, TrainView)
        self.balanced, self.only = balanced, only
        self.max_bad = (0.01 if self.is_training else 0.0) if max_bad is None else max_bad
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"max_bad must be a share from 0 to 1, got {self.max_bad}")
        self.bad: dict[int, UnreadableClip] = {}
        protocols = dataset.view.protocols if isinstance(dataset.view, TestView) else ()
        is_whole = any(isinstance(protocol, WindowProtocol) for protocol in protocols)
        seconds = FLOW_SECONDS if dataset.computes_flow else VIDEO_SECONDS if is_whole else CLIP_SECONDS
        self._patience = seconds * batch_size
        self._keys = _Keys()
        self._pass = self._number = 0
        if num_workers and isinstance(dataset.view, TrainView):
            s, size = dataset.view.sampling, dataset.view.augmentation.size
            clip_bytes = s.num_clips * s.clip_len * size * size * dataset.num_channels
            check_room(clip_bytes * batch_size * num_workers * PREFETCH)
        with _as_many_workers_as_asked():
            self._loader = torch.utils.data.DataLoader(
                dataset,
                batch_sampler=self._keys,
                num_workers=num_workers,
                timeout=POLL_SECONDS if num_workers else 0,
                collate_fn=_as_it_is,
                pin_memory=pin_memory,
                worker_init_fn=_one_thread,
                persistent_workers=num_workers > 0,
                prefetch_factor=PREFETCH if num_workers else None,
                generator=torch.Generator(),  # else it draws from the global one, and a resumed run has other dropout
            )

    def num_batches(self, *, epoch: int = 0) -> int:
        """How many batches an epoch has on this rank."""
        return len(self._order(epoch))

    def batches(self, *, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `first` on."""
        num_clips = len(self.dataset)
        self._keys.batches = [
            [(epoch + (int(i) // num_clips << REPEATS), int(i) % num_clips) for i in order]
            for order in self._order(epoch)[first:]
        ]
        self._pass += 1
        this_pass = self._pass
        with _as_many_workers_as_asked():
            batches = iter(self._loader)
        self._number = waited = 0
        while True:
            if self._pass != this_pass:
                raise RuntimeError("another pass over this loader has begun; two at a time need two loaders")
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, ConnectionError, EOFError) as error:
                waited += POLL_SECONDS
                if "timed out" in str(error) and waited < self._patience:
                    continue
                raise self.lost_worker(error) from error
            waited = 0
            if isinstance(batch, I3DError):
                raise batch
            for bad in batch.bad:
                self._count(bad)
            yield batch
            self._number += 1

    def lost_worker(self, error: Exception) -> InputError:
        """What to tell if a worker died (a crash, no memory), or hangs: the clips that the workers had."""
        at_work = self._keys.batches[self._number : self._number + max(PREFETCH * self._loader.num_workers, 1)]
        paths = [printable(self.dataset.annotations.file(index)) for keys in at_work for _, index in keys]
        more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
        what = "hangs" if "timed out" in str(error) else "died"
        return InputError(
            f"a process that loads clips {what} ({first_line(error)}) at one of these: {', '.join(paths[:MAX_NAMED])}"
            f"{more}; run `i3d data check` on them, or use fewer or no workers if memory ran out"
        )

    def _order(self, epoch: int) -> list[Order]:
        num_clips, ranks = len(self.dataset), {"rank": self.rank, "world_size": self.world_size}
        if self.is_training:
            seed = self.dataset.seed
            order = balanced_order(self.dataset.rarest_N, seed=seed, epoch=epoch) if self.balanced else None
            return training_batches(num_clips, batch_size=self.batch_size, seed=seed, epoch=epoch, order=order, **ranks)
        chosen = np.arange(num_clips) if self.only is None else self.only
        return [chosen[places] for places in evaluation_batches(len(chosen), batch_size=self.batch_size, **ranks)]

    def _count(self, bad: UnreadableClip) -> None:
        self.bad.setdefault(bad.index, bad)
        self.check_bad()

    def check_bad(self) -> None:
        """An InputError if more clips are bad than the limit allows."""
        num_clips = len(self.dataset)
        if len(self.bad) > self.max_bad * num_clips:
            first = next(iter(self.bad.values()))
            raise InputError(
                f"{len(self.bad)} of {num_clips} clips cannot be read, more than --max-bad {100 * self.max_bad:g}% "
                f"allows; the first: {first.reason} (`i3d data check` lists all)"
            )


class _Keys:
    """What DataLoader asks for the keys of each batch; set anew for every epoch."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


@contextmanager
def _as_many_workers_as_asked() -> Iterator[None]:
    """Without PyTorch's advice against more workers than cores, which is wrong where they wait for storage."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


@atexit.register
def _end_workers() -> None:
    """Workers that are left when the process ends are ended at once: their grace would hold it up.

    Such are left where one has died and PyTorch's handler of that signal interrupts the starting or ending of others.
    """
    workers = multiprocessing.active_children()
    if workers and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's would raise an error for each of them
    for worker in workers:
        worker.kill()


def _as_it_is(batch: Any) -> Any:
    return batch


def _one_thread(_worker: int) -> None:
    """Workers are what runs side by side, not threads in them. The main process sees to signals."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    # A signal to the whole group must not take the workers away from the step that is being made.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
