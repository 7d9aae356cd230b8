"""The clips of each batch: pure functions of (seed, epoch), the same on every rank and after every resume."""

import numpy as np
import numpy.typing as npt

Order = npt.NDArray[np.int64]


def epoch_order(num_clips: int, *, seed: int, epoch: int) -> Order:
    """All clips once, shuffled by seed and epoch."""
    return np.random.default_rng((seed, epoch)).permutation(num_clips)


def balanced_order(classes_N: npt.NDArray[np.int64], *, seed: int, epoch: int) -> Order:
    """N clips in which every class is equally frequent (to within one): clips of rare classes are repeated.

    A clip is repeated only after all others of its class. The k-th occurrence of a clip (from 0) is encoded as its
    index plus k * N, so that each occurrence gets random augmentation of its own.
    """
    rng = np.random.default_rng((seed, epoch))
    members = [rng.permutation(np.flatnonzero(classes_N == label)) for label in np.unique(classes_N)]
    rounds = -(-len(classes_N) // len(members))
    drawn_RK = np.stack([np.resize(clips, rounds) for clips in members], axis=1)
    chosen_N: Order = rng.permutation(rng.permuted(drawn_RK, axis=1).reshape(-1)[: len(classes_N)])
    return chosen_N + len(classes_N) * _occurrences(chosen_N)


def _occurrences(values_N: Order) -> Order:
    """How often each value occurred before: 5 7 5 5 -> 0 0 1 2."""
    order = np.argsort(values_N, kind="stable")
    ranked_N = values_N[order]
    counts_N: Order = np.empty(len(order), np.int64)
    counts_N[order] = np.arange(len(order)) - np.searchsorted(ranked_N, ranked_N)
    return counts_N


def training_batches(
    order: Order, *, batch_size: int, rank: int = 0, world_size: int = 1, drop_last: bool = False
) -> list[Order]:
    """The batches of one rank in one epoch, each of at most `batch_size` clips, of clips in an order.

    All ranks have the same number of batches of the same sizes: an incomplete last step is filled with the first clips
    of the order, as by torch's DistributedSampler; with `drop_last`, a last batch of fewer clips is left out.

        10 clips, 2 ranks, batch size 2 -> batches of 2 2 1 clips on each rank
    """
    order = np.concatenate([order, np.resize(order, -len(order) % world_size)])
    step = batch_size * world_size
    end = len(order) // step * step if drop_last else len(order)
    return [order[first : first + step][rank::world_size] for first in range(0, end, step)]


def evaluation_batches(num_clips: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> list[Order]:
    """The batches of one rank in the order of the list. Every clip is on exactly one rank."""
    of_rank = np.arange(rank, num_clips, world_size, dtype=np.int64)
    return [of_rank[first : first + batch_size] for first in range(0, len(of_rank), batch_size)]
