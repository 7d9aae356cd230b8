"""RTFM: (rows, crops, channels) as .npy, lists of their paths, labels of the frames of the test videos.

Row r is frames r x stride to r x stride + stride - 1: its test repeats the score of each row (`test_10crop.py`), and
compares it with one label for each frame, of all videos of the list in its order.
"""

import io
import shlex
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError, abridged, counted, printable, quoted
from i3d.features.layouts.listed import ListedVideo, Listing, SmallFiles

TRAINING: Final = "train.list"
TEST: Final = "test.list"
LABELS: Final = "gt.npy"
CONFIG: Final = "config.txt"
CHANNELS: Final = 2048  # for which model.py is written
CROPS: Final = 10
STRIDE: Final = 16


def encode_rtfm(listing: Listing) -> SmallFiles:
    """The lists, abnormal videos first, the labels of frames, and the lines to change in RTFM's code."""
    training = _abnormal_first(listing.of_subset("training"))
    tested = _abnormal_first([*listing.of_subset("validation"), *listing.of_subset("testing")])
    num_abnormal = sum(bool(video.segments) for video in training)
    labels = [frame_labels(video, listing.settings.stride) for video in tested]
    content = io.BytesIO()
    np.save(content, np.concatenate([np.zeros(0), *labels]))
    crops, channels = listing.shape
    notes = []
    if (crops, channels) != (CROPS, CHANNELS):
        what = f"rows have {crops} x {channels} numbers (crops, channels), and RTFM's model.py is written for"
        notes.append(f"{what} {CROPS} x {CHANNELS}; change it, or choose --crops 10 and networks of {CHANNELS} numbers")
    if listing.classes:
        names = abridged([printable(label) for label in listing.classes], 5)
        notes.append(f"frames in any segment are labelled as anomalies: {names}")
    if of_val := len(listing.of_subset("validation")):
        notes.append(f"{TEST} has the {counted(of_val, 'video')} of the subset validation too: RTFM has two lists")
    return SmallFiles(
        {
            TRAINING: _paths(training),
            TEST: _paths(tested),
            LABELS: content.getvalue(),
            CONFIG: _config(listing, num_abnormal).encode(),
        },
        rows=f"{counted(num_abnormal, 'abnormal video')} first in {TRAINING}, --feature-size {channels}",
        notes=notes,
    )


def frame_labels(video: ListedVideo, stride: int) -> npt.NDArray[np.float64]:
    """1 for each frame whose middle lies in a segment, else 0: `stride` frames of each row.

    Frames of a row are taken as equally long. Those that a row repeats behind the end have the label of the last one.
    """
    labels = []
    for row, (start, stop) in zip(video.rows, video.seconds, strict=True):
        num_real = min(row.stop, video.num_frames) - row.first
        middles = start + (np.minimum(np.arange(stride), num_real - 1) + 0.5) * (stop - start) / num_real
        inside = [(one.start <= middles) & (middles < one.stop) for one in video.segments]
        labels.append(np.any(inside, axis=0) if inside else np.zeros(stride, bool))
    return np.concatenate(labels).astype(np.float64)


def _abnormal_first(videos: list[ListedVideo]) -> list[ListedVideo]:
    return sorted(videos, key=lambda video: not video.segments)


def _paths(videos: list[ListedVideo]) -> bytes:
    paths = [str(video.file) for video in videos]
    if wrong := next((path for path in paths if "\n" in path), None):
        raise InputError(f"{quoted(wrong)}: has a line end, which {TRAINING} cannot hold; rename it")
    return "".join(f"{path}\n" for path in paths).encode()


def _config(listing: Listing, num_abnormal: int) -> str:
    lists = [("--rgb-list", TRAINING), ("--test-rgb-list", TEST), ("--gt", LABELS)]
    options = " ".join(f"{option} {shlex.quote(str(listing.out / name))}" for option, name in lists)
    lines = [
        "Features for RTFM, by i3d. The command:",
        "",
        f"python main.py --feature-size {listing.shape[-1]} {options}",
        "",
        f"In dataset.py, _parse_list, the number of abnormal videos is {num_abnormal}, at two places:",
        "",
        f"self.list = self.list[{num_abnormal}:]  # is_normal",
        f"self.list = self.list[:{num_abnormal}]  # else",
    ]
    if listing.settings.stride != STRIDE:
        lines += ["", "In test_10crop.py, the frames of a row:", ""]
        lines += [f"pred = np.repeat(np.array(pred), {listing.settings.stride})"]
    return "\n".join(lines) + "\n"
