"""Damaged clips of every codec and container: every way of reading gives the frames of the clip, or a note of its own.

What cannot be known of a damaged clip is excluded here and listed in docs/reader.md ("What damage leaves no trace").
"""

import io
import itertools
import time
from functools import cache, partial

import av
import numpy as np
import pytest

from i3d.errors import VideoError
from i3d.video import open_video
from support.codecs import CODECS, CONTAINERS, clip_in
from support.fuzzing import rounds

PAIRS = [(codec, container) for codec in CODECS for container in CONTAINERS]
SECONDS = 5  # for one mutant
CASES_PER_TEST = 100
# One bit of a packet of VP8 or VP9 makes it one that is not displayed.
HIDDEN_FRAMES = ("vp8", "vp9")
# Containers that number or list no frames: one that is lost as a whole, or doubled, leaves no trace.
UNNUMBERED = (
    "ps",
    "asf",
    "nut",
    "ivf",
    "rm",
    "wtv",
    "swf",
    "h264",
    "hevc",
    "m4v",
    "mpeg2video",
    "mpeg1video",
    "mjpeg",
    "obu",
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """(content, frames) of a clip by codec and container, rendered once; None where the container does not take it."""
    folder = tmp_path_factory.mktemp("clips")

    @cache
    def content(codec, container):
        path = clip_in(codec, container, folder, num_frames=10)
        if path is None:
            return None, None
        with open_video(path) as video:
            frames = list(video.stream())
            assert video.notes == (), path
        return path.read_bytes(), frames

    return content


def mutant_of(content, random):
    """Some flipped bits, a cut, zeros, or a block that is dropped or doubled."""
    data = bytearray(content)
    start = random.randint(len(data))
    stop = min(start + int(2 ** random.uniform(2, 10)), len(data))
    match random.randint(5):
        case 0:
            for at in random.randint(0, len(data), random.randint(1, 9)):
                data[at] ^= 1 << random.randint(8)
        case 1:
            del data[max(start, 1) :]
        case 2:
            data[start:stop] = bytes(stop - start)
        case 3:
            del data[start:stop]
        case _:
            data[start:start] = data[start:stop]
    return bytes(data)


def read(content, how):
    """(result, notes) of one way to read a clip; no result but the message of an error."""
    try:
        with open_video(content) as video:
            return how(video), video.notes
    except VideoError as error:
        assert "\n" not in str(error)
        return None, (str(error),)


def middle_frames(video):
    """The frames displayed at the middle of each frame's time."""
    times = video._times
    return video.frames_at_seconds([float(start + end) / 2 for start, end in itertools.pairwise(times)]).frames_THWC


def silent_differences(content):
    """(frames in sequence, notes, what other readings give that differs from them without a note of their own)."""
    frames, notes = read(content, lambda video: list(video.stream()))
    if frames is None:
        return None, notes, []
    different = []
    for name, how in (("count", lambda video: video.count_frames()), ("packets", lambda video: video.num_frames),
                      ("times", lambda video: len(video._times) - 1)):  # fmt: skip
        number, own_notes = read(content, how)
        if number not in (None, len(frames)) and not own_notes:
            different.append(f"{name}: {number}")
    alone = [(f"frame {i}", [i], partial(_frames_at, indices=[i])) for i in range(len(frames))]
    every = list(range(len(frames)))
    ways = [*alone, ("by index", every, partial(_frames_at, indices=every)), ("by time", every, middle_frames)]
    for name, indices, how in ways:
        result, own_notes = read(content, how)
        if result is not None and not own_notes and not np.array_equal(result, [frames[i] for i in indices]):
            different.append(name)
    return frames, notes, different


def _frames_at(video, *, indices):
    return video.frames_at(indices).frames_THWC


def shows_unwritten_memory(content):
    """Whether pixels depend on the buffers that FFmpeg's decoder gets: it shows memory that it did not write."""

    def decode(*, holds):
        with av.open(io.BytesIO(content)) as container:
            held, pixels = [], []
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                pixels.append(frame.to_ndarray(format="rgb24"))
                held += [frame] if holds else []
            return pixels

    return not all(map(np.array_equal, decode(holds=False), decode(holds=True)))


def is_dropped_by_the_decoder(content, frames, notes):
    """Whether packets that look whole give no frame. Only decoding shows that: in sequence, and by index of all."""
    num_listed, _ = read(content, lambda video: video.num_frames)
    _, own_notes = read(content, lambda video: video.frames_at(range(num_listed)))
    return bool(own_notes) and f"its container lists {num_listed} frames, {len(frames)} can be decoded" in notes


def is_later_recording(frames, whole):
    """Whether these are the last frames: a recording may begin between two keyframes, which are waited for."""
    return np.array_equal(frames, whole[-len(frames) :])


def fault_of(content, whole, codec, container):
    """What is wrong without a note in a damaged clip; "" if nothing is. `whole`: the frames of the undamaged one."""
    frames, notes, different = silent_differences(content)
    if different and not shows_unwritten_memory(content) and not is_dropped_by_the_decoder(content, frames, notes):
        return f"{len(frames)} in sequence {notes}; {different}"
    is_unknown = container in UNNUMBERED or codec in HIDDEN_FRAMES
    if frames is not None and len(frames) != len(whole) and not notes and not is_unknown:
        return (
            "" if container == "ts" and is_later_recording(frames, whole) else f"{len(frames)} of {len(whole)} frames"
        )
    return ""


def check_mutants(clip, numbers):
    silent = []
    for number in numbers:
        random = np.random.RandomState(number)
        content = None
        while content is None:
            codec, container = PAIRS[random.randint(len(PAIRS))]
            content, whole = clip(codec, container)
        start = time.monotonic()
        fault = fault_of(mutant_of(content, random), whole, codec, container)
        assert time.monotonic() - start < SECONDS, (number, codec, container)
        if fault:
            silent.append((number, codec, container, fault))
    assert silent == []


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(max(rounds(2000) // CASES_PER_TEST, 1)))
def test_damaged_clips_are_read_alike_by_every_way(clip, part):
    check_mutants(clip, range(part * CASES_PER_TEST, (part + 1) * CASES_PER_TEST))


@pytest.mark.slow
@pytest.mark.fuzz
def test_mutants_that_once_differed_without_a_note(clip):
    """One of each kind of damage that a reading once passed over: packets, counters, indices, boxes, quantisation."""
    check_mutants(clip, (1, 26, 46, 71, 229, 439, 455, 623, 1641, 1734, 2853, 3115, 3367, 3711, 3941, 12998))
