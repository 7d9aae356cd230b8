"""Batches of clips from worker processes, in an order that does not depend on the number of workers."""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Final
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch

from i3d.data.loading.batch import Batch, UnreadableClip, check_free_shared_memory
from i3d.data.loading.dataset import ClipDataset, Key, TestView, TrainView
from i3d.data.loading.samplers import Order, balanced_order, epoch_order, evaluation_batches, training_batches
from i3d.errors import I3DError, InputError, counted, doubt_units, first_line
from i3d.recipes.settings import WindowProtocol
from i3d.utils.process_pool import WORKER_CONTEXT

log = logging.getLogger("i3d")

PREFETCH: Final = 2  # batches that each worker loads in advance
CLIP_SECONDS: Final = 120  # time limit of a clip, after which its worker counts as hanging
VIDEO_SECONDS: Final = 3600  # of a video of which all frames are decoded
FLOW_SECONDS: Final = 24 * 3600  # of a video whose flow is computed: TV-L1 takes hours for an hour of video
OCCURRENCE_SHIFT: Final = 20  # bits of the epoch number; the bits above count the occurrences of a clip in the epoch
POLL_SECONDS: Final = 3  # between checks of workers that return nothing
GRACE_SECONDS: Final = 30  # for which a worker continues after SIGTERM
MAX_NAMED: Final = 10  # clips in an error

# Forked workers start at once and share the annotations. Elsewhere fork is not safe, so that workers start afresh; with
# WORKER_CONTEXT they do not run the user's script again. The default of Python 3.14 (forkserver) would run it.
WORKERS: Final[BaseContext] = multiprocessing.get_context("fork") if sys.platform == "linux" else WORKER_CONTEXT
_started: WeakKeyDictionary[BaseProcess, int] = WeakKeyDictionary()  # with the process that ends it, not a fork of that


class ClipLoader:
    """The batches of one rank.

        for batch in loader.batches(epoch=3, first=120):   # resumes in the middle of epoch 3
            ...

    Clips that cannot be read are collected in `bad`, and the notes of those that are damaged in `notes`. Training
    replaces them by the next clips of the epoch's order; validation and testing leave them out. More of them than the
    fraction `max_bad` of the dataset (by default 1 % in training and none otherwise) are an InputError. Of training:
    `balanced` draws every class equally often, without `shuffle` the clips come in the order of the list, `drop_last`
    leaves out the last batch of an epoch if it is incomplete. `subset`: indices of the clips to validate or test.
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
        shuffle: bool = True,
        drop_last: bool = False,
        subset: Order | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.rank, self.world_size = dataset, batch_size, rank, world_size
        self.is_training = isinstance(dataset.view, TrainView)
        self.balanced, self.shuffle, self.drop_last, self.subset = balanced, shuffle, drop_last, subset
        self.max_bad = (0.01 if self.is_training else 0.0) if max_bad is None else max_bad
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"max_bad {self.max_bad}: must be a fraction from 0 to 1")
        self.bad: dict[int, UnreadableClip] = {}
        self.notes: dict[int, str] = {}
        if self.is_training and drop_last and not self.num_batches():
            what = f"{counted(len(dataset), 'clip')} make no whole step of {world_size} x {batch_size}"
            raise InputError(f"training.drop_last: {what}; set it to false, or --batch-size to less")
        self._time_limit = _seconds_per_clip(dataset) * batch_size
        self._keys: list[list[Key]] = []  # of each batch of the epoch: the `batch_sampler` of the DataLoader
        self._pass = self._number = 0
        if num_workers and isinstance(dataset.view, TrainView):
            s, size = dataset.view.sampling, dataset.view.augmentation.size
            clip_bytes = s.num_clips * s.clip_len * size * size * dataset.num_channels
            check_free_shared_memory(clip_bytes * batch_size * num_workers * PREFETCH)
        with _starting_workers():
            self._loader = torch.utils.data.DataLoader(
                dataset,
                batch_sampler=self._keys,
                num_workers=num_workers,
                timeout=POLL_SECONDS if num_workers else 0,
                collate_fn=_unchanged,
                pin_memory=pin_memory,
                worker_init_fn=_init_worker,
                persistent_workers=num_workers > 0,
                prefetch_factor=PREFETCH if num_workers else None,
                multiprocessing_context=WORKERS if num_workers else None,
                generator=torch.Generator(),  # the global generator must not advance: dropout depends on its state
            )

    def num_batches(self, *, epoch: int = 0) -> int:
        """Number of batches of an epoch on this rank."""
        return len(self._order(epoch))

    @property
    def last_batch_size(self) -> int:
        """Clips in the last batch of every epoch on this rank, which may be fewer than in the others."""
        return len(self._order(0)[-1])

    def batches(self, *, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `first` on."""
        num_clips = len(self.dataset)
        self._keys[:] = [
            [(epoch + (int(i) // num_clips << OCCURRENCE_SHIFT), int(i) % num_clips) for i in order]
            for order in self._order(epoch)[first:]
        ]
        self._pass += 1
        this_pass = self._pass
        with _starting_workers():
            batches = iter(self._loader)
        self._number = waited = 0
        while True:
            if self._pass != this_pass:
                raise RuntimeError("another iteration of this loader has begun; use two loaders for two at a time")
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, ConnectionError, EOFError) as error:
                waited += POLL_SECONDS
                if "timed out" in str(error) and waited < self._time_limit:
                    continue
                raise self.worker_error(error) from error
            waited = 0
            if isinstance(batch, I3DError):
                raise batch
            for bad in batch.bad:
                self._add_bad(bad)
            for noted in batch.notes:
                self.notes[noted.index] = f"{self.dataset.annotations.file(noted.index)}: {noted.note}"
            yield batch
            self._number += 1

    def worker_error(self, error: Exception) -> InputError:
        """The error for a worker that died (by a crash, or for lack of memory) or hangs: it names the clips at work."""
        in_work = self._keys[self._number : self._number + max(PREFETCH * self._loader.num_workers, 1)]
        paths = [self.dataset.annotations.file(index) for keys in in_work for _, index in keys]
        named = ", ".join(paths[:MAX_NAMED]) + (f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else "")
        what = f"a process that loads clips {'hangs' if 'timed out' in str(error) else 'died'} ({first_line(error)})"
        todo = "run `i3d data check` on them, or use fewer or no workers if memory ran out"
        return InputError(f"{what} at one of these: {named}; {todo}")

    def _order(self, epoch: int) -> list[Order]:
        num_clips, rank = len(self.dataset), {"rank": self.rank, "world_size": self.world_size}
        if self.is_training:
            seed = self.dataset.seed
            if self.balanced:
                order = balanced_order(self.dataset.rarest_N, seed=seed, epoch=epoch)
            else:
                order = epoch_order(num_clips, seed=seed, epoch=epoch) if self.shuffle else np.arange(num_clips)
            return training_batches(order, batch_size=self.batch_size, drop_last=self.drop_last, **rank)
        subset = np.arange(num_clips) if self.subset is None else self.subset
        return [subset[places] for places in evaluation_batches(len(subset), batch_size=self.batch_size, **rank)]

    def _add_bad(self, bad: UnreadableClip) -> None:
        asked = self.is_training and not doubt_units(known.reason for known in self.bad.values())
        self.bad.setdefault(bad.index, bad)
        self.check_bad()
        if asked and (doubt := doubt_units([bad.reason])):
            log.warning(doubt)

    def check_bad(self) -> None:
        """An InputError if more clips are bad than `max_bad` allows."""
        num_clips = len(self.dataset)
        if len(self.bad) > self.max_bad * num_clips:
            what = f"{len(self.bad)} of {counted(num_clips, 'clip')} cannot be read"
            what += f", more than --max-bad {100 * self.max_bad:g}%"
            first = next(iter(self.bad.values()))
            raise InputError(f"{what} allows; the first: {first.reason} (`i3d data check` lists all)")


def _seconds_per_clip(dataset: ClipDataset) -> float:
    if dataset.computes_flow:
        return FLOW_SECONDS
    protocols = dataset.view.protocols if isinstance(dataset.view, TestView) else ()
    decodes_all = any(isinstance(protocol, WindowProtocol) for protocol in protocols)
    return VIDEO_SECONDS if decodes_all else CLIP_SECONDS


@contextmanager
def _starting_workers() -> Iterator[None]:
    """Remember the workers that the block starts, for `_end_workers`.

    Without PyTorch's warning against more workers than cores, which is wrong for slow storage.
    """
    before = set(multiprocessing.active_children())
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            yield
    finally:
        _started.update(dict.fromkeys(set(multiprocessing.active_children()) - before, os.getpid()))


@atexit.register
def _end_workers() -> None:
    """Kill remaining workers when the process ends: it would wait until their GRACE_SECONDS are over.

    Workers remain where one has died and PyTorch's handler of SIGCHLD interrupts the start or the end of others.
    """
    workers = [worker for worker, parent in _started.items() if parent == os.getpid() and worker.is_alive()]
    if workers and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise an error for each of them
    for worker in workers:
        worker.kill()


def _unchanged(batch: Any) -> Any:
    """The `collate_fn`: the dataset returns whole batches."""
    return batch


def _init_worker(_worker: int) -> None:
    """Leave interrupts to the main process, and use one thread: the parallelism is that of the workers."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    # SIGTERM goes to the whole process group: the main process still needs batches to end the current step.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
