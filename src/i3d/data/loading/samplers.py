"""Which clips make up which batch: pure functions of (seed, epoch), the same on every rank and after every resume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Order = npt.NDArray[np.int64]


def epoch_order(num_clips: int, *, seed: int, epoch: int) -> Order:
    """All clips once, shuffled by seed and epoch."""
    return np.random.default_rng((seed, epoch)).permutation(num_clips)


def balanced_order(classes_N: npt.NDArray[np.int64], *, seed: int, epoch: int) -> Order:
    """As many clips as there are, every class equally often (but for one): clips of rare classes come again.

    The clips of a class come in a shuffled round, so that none comes again before all have come. A clip that comes for
    the k-th time (from 0) has its number plus k times the number of clips: it is drawn anew.
    """
    rng = np.random.default_rng((seed, epoch))
    members = [rng.permutation(np.flatnonzero(classes_N == label)) for label in np.unique(classes_N)]
    rounds = -(-len(classes_N) // len(members))
    drawn_RK = np.stack([np.resize(clips, rounds) for clips in members], axis=1)
    chosen_N: Order = rng.permutation(rng.permuted(drawn_RK, axis=1).reshape(-1)[: len(classes_N)])
    return chosen_N + len(classes_N) * _occurrences(chosen_N)


def _occurrences(values_N: Order) -> Order:
    """How often each value came before: 5 7 5 5 -> 0 0 1 2."""
    order = np.argsort(values_N, kind="stable")
    ranked_N = values_N[order]
    first_N = np.maximum.accumulate(np.where(np.diff(ranked_N, prepend=-1) != 0, np.arange(len(order)), 0))
    counts_N: Order = np.empty(len(order), np.int64)
    counts_N[order] = np.arange(len(order)) - first_N
    return counts_N


def training_batches(
    num_clips: int,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    order: Order | None = None,
) -> list[Order]:
    """The batches of one rank in one epoch, each of at most `batch_size` clips.

    All ranks have equally many batches and in each of them equally many clips: if the last batch of all ranks does not
    divide, it is filled up from the start of the order. `order` None: `epoch_order`.

        10 clips, 2 ranks of 2 -> batches of 2 2 1 clips on each rank
    """
    if num_clips < 1 or batch_size < 1 or not 0 <= rank < world_size:
        raise ValueError(f"impossible: {num_clips=}, {batch_size=}, {rank=}, {world_size=}")
    order = epoch_order(num_clips, seed=seed, epoch=epoch) if order is None else order
    missing = -num_clips % world_size
    order = np.concatenate([order, np.resize(order, missing)])
    whole = batch_size * world_size
    return [order[first : first + whole][rank::world_size] for first in range(0, len(order), whole)]


def evaluation_batches(num_clips: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> list[Order]:
    """The batches of one rank in the order of the list; all ranks together have every clip exactly once."""
    mine = np.arange(rank, num_clips, world_size, dtype=np.int64)
    return [mine[first : first + batch_size] for first in range(0, len(mine), batch_size)]
