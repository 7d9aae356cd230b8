"""Damaged clips of every codec and container: what is read of one is the same by every way, or has a note."""

import time
from functools import cache

import numpy as np
import pytest

from i3d.errors import VideoError
from i3d.video import open_video
from support.codecs import CODECS, CONTAINERS, clip_in
from support.fuzzing import rounds

PAIRS = [(codec, container) for codec in CODECS for container in CONTAINERS]
SECONDS = 5  # for one mutant
CASES_PER_TEST = 100
# FFmpeg's decoder of VP8 reports no error and shows memory that it did not write: other pixels in every reading.
RANDOM_PIXELS = ("vp8",)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The content of a clip by codec and container, rendered once; None where the container does not take the codec."""
    folder = tmp_path_factory.mktemp("clips")

    @cache
    def content(codec, container):
        path = clip_in(codec, container, folder, num_frames=10)
        return None if path is None else path.read_bytes()

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


def readings(content, random, *, compares_pixels):
    """(readings that differ, notes) of a clip that is read in sequence, by count, by index and by time."""
    differences, notes = [], []

    def read(how):
        try:
            with open_video(content) as video:
                result = how(video)
                notes.extend(video.notes)
                return result
        except VideoError as error:
            assert "\n" not in str(error)
            notes.append(str(error))
            return None

    frames = read(lambda video: list(video.stream()))
    if frames is None:
        return [], notes
    for name, how in (("count", lambda video: video.count_frames()), ("packets", lambda video: video.num_frames),
                      ("time", lambda video: len(video._times) - 1)):  # fmt: skip
        number = read(how)
        if number is not None and number != len(frames):
            differences.append(f"{name} {number}, sequence {len(frames)}")
    if not compares_pixels:
        return differences, notes
    indices = random.randint(0, len(frames), 3)
    for index in indices:
        by_index = read(lambda video, i=index: video.frames_at([i]))
        if by_index is not None and not np.array_equal(by_index.frames_THWC[0], frames[index]):
            differences.append(f"frame {index} by index")
    by_index = read(lambda video: video.frames_at(indices))
    if by_index is not None and not np.array_equal(by_index.frames_THWC, [frames[i] for i in indices]):
        differences.append(f"clip {indices}")
    times = read(lambda video: video._timetable_by_decoding())
    if times is not None and len(times) == len(frames) + 1:
        middles = [float(times[i] + times[i + 1]) / 2 for i in indices]
        by_time = read(lambda video: video.frames_at_seconds(middles))
        if by_time is not None and not np.array_equal(by_time.frames_THWC, [frames[i] for i in indices]):
            differences.append(f"by time {indices}")
    return differences, notes


def check_mutants(clip, numbers):
    silent = []
    for number in numbers:
        random = np.random.RandomState(number)
        content = None
        while content is None:
            codec, container = PAIRS[random.randint(len(PAIRS))]
            content = clip(codec, container)
        start = time.monotonic()
        differences, notes = readings(mutant_of(content, random), random, compares_pixels=codec not in RANDOM_PIXELS)
        assert time.monotonic() - start < SECONDS, (number, codec, container)
        if differences and not notes:
            silent.append((number, codec, container, differences))
    assert silent == []


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(max(rounds(2000) // CASES_PER_TEST, 1)))
def test_damaged_clips_are_read_alike_by_every_way(clip, part):
    check_mutants(clip, range(part * CASES_PER_TEST, (part + 1) * CASES_PER_TEST))
