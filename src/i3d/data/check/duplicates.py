"""Near-duplicate clips: copies that were compressed, resized or converted again.

A fingerprint has three grey frames, at 1/4, 1/2 and 3/4 of a clip, each as 16 x 16 pixels and a difference hash of 64
bits. Two clips are near-duplicates if their hashes, their pixels, and the changes between the three frames are similar.
The changes distinguish clips of one static camera, which share the background but not the movement. Each clip is also
compared with the mirror images of the others.

Letters in names: N clips, T = 3 frames, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
import numpy.typing as npt

SIDE: Final = 16
BITS: Final = 3 * 64
BANDS: Final = 12  # of 16 bits (locality-sensitive hashing): hashes that differ in at most 11 bits share a band
ORDER: Final = np.random.default_rng(0).permutation(BITS)  # bands mix positions and frames: black borders fill none
MIN_CONTRAST: Final = 8.0  # standard deviation in at least two of the frames: flat frames all look the same
# Measured on 311 clips (64 x 64 studio, surveillance, web) and on modified copies of 65 of them. Copies with strong
# compression, half the size, or another codec: bits 2 to 4 (medians; 80 % up to 13), pixels up to 5.3, movement
# 0.01 to 0.03 (medians; 80 % up to 0.17). Different clips with at most 32 differing bits: movement from 0.37.
MAX_BITS: Final = 24
MAX_PIXELS: Final = 6.0  # mean absolute difference
MAX_MOVEMENT: Final = 0.3  # energy of the difference, as a fraction of the larger energy
STILL: Final = 1.0  # energy below which there is no movement to compare
MAX_DURATION: Final = 1.1  # ratio of the longer to the shorter
MAX_NEIGHBOURS: Final = 100  # a clip is compared with so many of similar brightness that share a band
CHUNK: Final = 8192  # pairs compared by their pixels at a time


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Hashes and small grey frames of a clip, 792 bytes."""

    hashes_T: npt.NDArray[np.uint64]
    grey_THW: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ClipFingerprints:
    """The fingerprints of N clips, and what else is compared."""

    hashes_NT: npt.NDArray[np.uint64]
    grey_NTHW: npt.NDArray[np.uint8]
    seconds_N: npt.NDArray[np.float64]
    contents_N: npt.NDArray[np.int64]  # equal numbers: equal bytes, which are not compared
    splits_N: npt.NDArray[np.int64]  # sets of splits, one bit per split

    def with_mirrors(self) -> Self:
        """These, then those of the mirror images: bits of a hash are differences of neighbours, so they swap."""
        bits_NTHW = np.unpackbits(np.ascontiguousarray(self.hashes_NT).view(np.uint8)).reshape(-1, 3, 8, 8)
        mirrored = np.packbits(1 - bits_NTHW[..., ::-1], axis=-1).reshape(-1, 3, 8).view(np.uint64)[..., 0]
        rest = (np.concatenate([values, values]) for values in (self.seconds_N, self.contents_N, self.splits_N))
        grey_NTHW = np.concatenate([self.grey_NTHW, self.grey_NTHW[..., ::-1]])
        return type(self)(np.concatenate([self.hashes_NT, mirrored]), grey_NTHW, *rest)


def fingerprint(frames: Sequence[npt.NDArray[np.uint8]]) -> Fingerprint | None:
    """The fingerprint of frames (H, W, C) at 1/4, 1/2 and 3/4; the last replaces missing ones. None: flat frames."""
    if not frames:
        return None
    grey_T = [_grey(frame_HWC) for frame_HWC in [*frames, *[frames[-1]] * (3 - len(frames))][:3]]
    grey_THW = np.stack([cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for grey in grey_T])
    if np.median(grey_THW.reshape(3, -1).std(axis=1)) < MIN_CONTRAST:
        return None
    small_THW = np.stack([cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA) for grey in grey_T])
    bits = small_THW[:, :, 1:] > small_THW[:, :, :-1]
    return Fingerprint(np.packbits(bits.reshape(3, -1), axis=1).view(np.uint64)[:, 0], grey_THW.astype(np.uint8))


def find_similar(fingerprints: ClipFingerprints, *, across_splits: bool) -> dict[int, int]:
    """Map each near-duplicate to the first similar clip, also if mirrored; `across_splits`: only of another split.

    Only clips that share a band of their hashes are compared, with their neighbours in brightness, in arrays of pairs:
    100,000 clips take seconds, or minutes if all are from a few static cameras.
    """
    num_originals = len(fingerprints.hashes_NT)
    fingerprints = fingerprints.with_mirrors()
    num_clips = len(fingerprints.hashes_NT)
    bits_N = np.unpackbits(np.ascontiguousarray(fingerprints.hashes_NT).view(np.uint8).reshape(num_clips, -1), axis=1)
    keys_BN = np.packbits(bits_N[:, ORDER].reshape(num_clips, BANDS, 16), axis=2).view(np.uint16)[..., 0].T.copy()
    brightness_N = fingerprints.grey_NTHW.mean(axis=(1, 2, 3))
    first_of: dict[int, int] = {}
    for band in range(BANDS):
        order = np.lexsort((brightness_N, keys_BN[band]))
        sorted_N, bright_N = keys_BN[band][order], brightness_N[order]
        places = np.arange(num_clips)
        for step in range(1, MAX_NEIGHBOURS + 1):  # distance in brightness order; farther pairs differ more
            places = places[places + step < num_clips]
            near = bright_N[places + step] - bright_N[places] <= MAX_PIXELS
            places = places[near & (sorted_N[places] == sorted_N[places + step])]
            if not len(places):
                break
            pairs = np.sort(np.stack([order[places], order[places + step]]), axis=0)
            pairs = pairs[:, pairs[0] < num_originals]  # two mirror images are as alike as their originals
            for pair in _matching(fingerprints, keys_BN[:band], pairs, across_splits=across_splits):
                first, second = sorted(index % num_originals for index in pair)
                first_of[second] = min(first, first_of.get(second, first))
    return first_of


def _matching(
    fingerprints: ClipFingerprints, before: npt.NDArray[np.uint16], pairs: npt.NDArray[np.int64], *, across_splits: bool
) -> list[tuple[int, int]]:
    """Those of the pairs (2, P) that are near-duplicates and were not compared in an earlier band."""
    grey_NTHW, seconds_N, splits_N = fingerprints.grey_NTHW, fingerprints.seconds_N, fingerprints.splits_N
    i, j = pairs
    is_candidate = fingerprints.contents_N[i] != fingerprints.contents_N[j]
    if across_splits:
        either = splits_N[i] | splits_N[j]
        is_candidate &= (either & (either - 1) != 0) & (splits_N[i] != 0) & (splits_N[j] != 0)
    low, high = np.minimum(seconds_N[i], seconds_N[j]), np.maximum(seconds_N[i], seconds_N[j])
    pairs = pairs[:, is_candidate & (high <= MAX_DURATION * low)]
    pairs = pairs[:, ~(before[:, pairs[0]] == before[:, pairs[1]]).any(axis=0)]
    differing = np.bitwise_count(fingerprints.hashes_NT[pairs[0]] ^ fingerprints.hashes_NT[pairs[1]]).sum(axis=1)
    pairs = pairs[:, differing <= MAX_BITS]
    matching = []
    for start in range(0, pairs.shape[1], CHUNK):
        i, j = pairs[:, start : start + CHUNK]
        same = _similar_pixels(grey_NTHW[i].astype(np.float32), grey_NTHW[j].astype(np.float32))
        matching += list(zip(i[same].tolist(), j[same].tolist(), strict=True))
    return matching


def _similar_pixels(a_PTHW: npt.NDArray[np.float32], b_PTHW: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    pixels_P = np.abs(a_PTHW - b_PTHW).mean(axis=(1, 2, 3))
    a_PTHW, b_PTHW = (x_PTHW - x_PTHW.mean(axis=1, keepdims=True) for x_PTHW in (a_PTHW, b_PTHW))
    energy_P = np.maximum((a_PTHW**2).mean(axis=(1, 2, 3)), (b_PTHW**2).mean(axis=(1, 2, 3)))
    movement_P = ((a_PTHW - b_PTHW) ** 2).mean(axis=(1, 2, 3)) / np.maximum(energy_P, STILL)
    same: npt.NDArray[np.bool_] = (pixels_P <= MAX_PIXELS) & (movement_P <= MAX_MOVEMENT)
    return same


def _grey(frame_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey pixels (H, W); of flow, its horizontal part."""
    if frame_HWC.shape[2] == 2:
        return np.ascontiguousarray(frame_HWC[..., 0])
    grey: npt.NDArray[np.uint8] = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    return grey
