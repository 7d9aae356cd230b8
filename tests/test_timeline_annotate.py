"""Timelines drawn on videos: at the times of the frames, a row for each label that is on."""

from fractions import Fraction

import numpy as np
import pytest

from i3d.data.segments.segment import Segment
from i3d.errors import InputError, VideoError
from i3d.timelines import Timeline, annotate_timeline
from i3d.timelines.annotate import TimelineDrawing, rows_over_time
from i3d.timelines.rows import BAR
from i3d.video.reader import open_video
from support.rendering import encode

GREY = np.full((120, 160, 3), 128, np.uint8)
RUN, WALK, TALK = Segment(0.2, 3, "run", 0.5), Segment(1, 2, "walk", 1.0), Segment(2, 4, "talk", 0.25)


def timeline(*segments, seconds=5.0):
    return Timeline("a.mp4", tuple(sorted(segments)), "protocol", seconds=seconds)


def drawn(path):
    """The frames of a file, and when they begin."""
    with open_video(path) as video:
        frames, starts, _ = zip(*video.stream_with_times(), strict=True)
    return frames, [float(start) for start in starts]


def bars(frame_HWC):
    """The width of the bar in each row of pixels, of those in which the bar is not interrupted by letters."""
    is_bar_HW = (np.abs(frame_HWC.astype(int) - np.array(BAR[:3])) < 40).all(axis=2)
    return is_bar_HW.sum(axis=1)


def test_the_bar_of_each_frame_is_that_of_its_time(tmp_path):
    """Of a video of variable frame rate, whose times and size stay."""
    stamps = [0, 40, 200, 210, 999, 1000, 1300, 1990, 2000, 2040, 2800, 3000, 3100, 4500]
    clip = encode(tmp_path / "a.mkv", [GREY] * len(stamps), stamps=stamps)
    segments = (Segment(0.2, 1, "run", 0.4), Segment(1, 2, "run", 0.8), Segment(2, 3, "unknown", 0.4))
    segments = (*segments, Segment(3, 4.0, "walk", 1.0))
    notes = annotate_timeline(str(clip), timeline(*segments, seconds=9), tmp_path / "o.mp4")
    frames, starts = drawn(tmp_path / "o.mp4")
    before, times = drawn(clip)
    assert (notes, starts) == ((), times)
    assert times == [stamp / 1000 for stamp in stamps]
    assert {frame.shape for frame in frames} == {before[0].shape}
    full = max(bars(frames[times.index(3.0)]))
    for frame_HWC, start in zip(frames, starts, strict=True):
        score = next((one.score for one in segments if one.start <= start < one.stop and one.label != "unknown"), 0)
        assert max(bars(frame_HWC)) == pytest.approx(score * full, abs=3), start
        is_box_HW = (frame_HWC.astype(int).sum(axis=2) < 3 * 90) & (frame_HWC[..., 2] < 90)
        assert is_box_HW.sum() > 60  # the box, of unknown parts too
        assert np.abs(frame_HWC[60:].astype(int) - 128).max() < 8  # half of the frame stays
    assert 60 < full < 160


def test_a_label_keeps_its_row():
    states = rows_over_time([RUN, WALK, TALK, Segment(2.5, 3, "sit")])
    assert [(time, tuple(one and one.label for one in rows)) for time, rows in states] == [
        (0.2, ("run",)),
        (1, ("run", "walk")),
        (2, ("run", "talk")),
        (2.5, ("run", "talk", "sit")),
        (3, (None, "talk")),
        (4, ()),
    ]


def test_several_labels_are_several_rows(tmp_path):
    frames_THWC = np.stack([GREY] * 25)
    annotate_timeline(frames_THWC, timeline(RUN, WALK, TALK), tmp_path / "o.mp4", frames_fps=5)
    frames, _ = drawn(tmp_path / "o.mp4")
    heights = [int((bars(frame_HWC) > 15).sum()) for frame_HWC in frames]
    row = heights[2]
    assert row > 8
    assert heights[0] == heights[-1] == 0
    assert [round(heights[k] / row) for k in (1, 4, 6, 11, 17, 19, 20)] == [1, 1, 2, 2, 1, 1, 0]


def test_the_last_frame_keeps_its_label():
    drawing = TimelineDrawing(timeline(Segment(0, 1, "run"), Segment(1, 5, "walk")))
    assert [one.label for one in drawing.rows_at(5.02)] == ["walk"]
    assert TimelineDrawing(timeline(Segment(0, 4, "run"))).rows_at(4.5) == ()


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
@pytest.mark.parametrize(("height", "width"), [(16, 600), (600, 16), (1, 1), (47, 63), (720, 1280)])
def test_any_shape(tmp_path, suffix, height, width):
    long = Segment(0, 1, "someone pours coffee into a blue mug " * 4)
    segments = (long, *(Segment(0, 1, f"label {k}", k / 20) for k in range(20)))
    frames_THWC = np.full((3, height, width, 3), 90, np.uint8)
    notes = annotate_timeline(frames_THWC, timeline(*segments, seconds=1), tmp_path / f"o.{suffix}", frames_fps=10)
    assert len(drawn(tmp_path / f"o.{suffix}")[0]) == 3
    assert (notes == ()) == (height == 720 and suffix == "mp4")
    if notes:
        assert " of 21 not drawn: at most " in notes[0]
        assert "at a time fit into half of the frame" in notes[0]


def test_a_box_covers_at_most_half_of_the_height():
    for height, width in ((64, 64), (120, 160), (480, 640), (1080, 1920)):
        for number in (1, 4, 30):
            frame_HWC = np.full((height, width, 3), 200, np.uint8)
            segments = [Segment(0, 1, f"label {k}", 0.5) for k in range(number)]
            TimelineDrawing(timeline(*segments)).draw(frame_HWC, Fraction(0))
            rows = np.flatnonzero((frame_HWC != 200).any(axis=(1, 2)))
            assert rows[-1] <= 0.55 * height
            assert frame_HWC.max() > 240  # letters


def test_what_cannot_be_drawn_is_refused(tmp_path):
    failed = Timeline("a.mp4", (), "protocol", error="it is damaged")
    with pytest.raises(InputError, match="the timeline has an error: it is damaged"):
        annotate_timeline(np.stack([GREY]), failed, tmp_path / "o.mp4")
    with pytest.raises(VideoError, match="its images have no times; give their rate with --frames-fps"):
        annotate_timeline(np.stack([GREY]), timeline(RUN), tmp_path / "o.mp4")
    with pytest.raises(InputError, match=r"must end in \.mp4 or \.gif"):
        annotate_timeline(np.stack([GREY]), timeline(RUN), tmp_path / "o.avi", frames_fps=5)
    assert not list(tmp_path.iterdir())
