"""Segments of videos for tests: written short, and drawn at random."""

from hypothesis import strategies as st

from i3d.data.segments.segment import Segment, VideoSegments

LABELS = ("run", "walk", "jump")


def video(name, *segments, seconds=None, **fields):
    """A video with segments (start, stop, label) or (start, stop, label, score)."""
    return VideoSegments(name, tuple(Segment(*segment) for segment in segments), seconds=seconds, **fields)


@st.composite
def free_segments(draw, names="abc"):
    """Videos with any segments, on a grid of tenths of a second and with few scores: many ties and overlaps."""
    videos = []
    for name in draw(st.lists(st.sampled_from(names), unique=True)):
        segments = []
        for _ in range(draw(st.integers(0, 6))):
            start, length = draw(st.integers(0, 30)), draw(st.integers(1, 12))
            label, score = draw(st.sampled_from(LABELS)), draw(st.integers(1, 4)) / 4
            segments.append((start / 10, (start + length) / 10, label, score))
        videos.append(video(name, *segments))
    return tuple(videos)


@st.composite
def sequences(draw, names="abc"):
    """Each of these videos, 4 s long, with one label or none in each tenth of a second."""
    videos = []
    for name in names:
        cuts = sorted(draw(st.sets(st.integers(1, 39), max_size=7)))
        segments = []
        for start, stop in zip([0, *cuts], [*cuts, 40], strict=True):
            label = draw(st.sampled_from((*LABELS, None)))
            if label is not None:
                segments.append((start / 10, stop / 10, label, draw(st.integers(1, 4)) / 4))
        videos.append(video(name, *segments, seconds=4.0))
    return tuple(videos)
