"""Timelines of rendered videos of ten minutes: boundaries, labels, and the same times in every format.

The videos are decoded, and windows of them scored, as always; only the network is replaced by one whose scores are the
shares of the colours in a window. Files are read by other libraries than ours, and as lists to train on.
"""

import csv
import html
import json
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pysubs2
import pytest
import webvtt
from pympi.Elan import Eaf

from i3d.data.formats.read import read_annotations
from i3d.data.segments.read import read_segments
from i3d.data.segments.write import SUFFIXES, write_segments
from i3d.recipes.settings import WindowProtocol
from i3d.timelines import scores
from support.commands import run_here
from support.finetuning_runs import save_tiny
from support.long_videos import COLOURS, GREY, LABELS, scores_of_colours, write_long

SECONDS = 600
KINDS = ("25", "29.97", "variable")
FORMATS = ("activitynet", "csv", "tsv", "srt", "vtt", "eaf", "label-studio", "chapters")


def parts_of(random):
    """Labels and lengths of the parts of a video; None: unknown."""
    parts, names = [], [*COLOURS, None]
    while sum(seconds for _, seconds in parts) < SECONDS:
        label = random.choice([name for name in names if not parts or name != parts[-1][0]])
        parts.append((label, float(random.uniform(3, 25))))
    return parts


def durations_of(kind, random):
    """How long each frame of a video of 10 minutes is displayed."""
    if kind == "variable":
        choices = [Fraction(one, 1000) for one in (20, 33, 40, 100, 250)]
        durations = [choices[number] for number in random.integers(0, 5, 7000)]
    else:
        period = Fraction(1, 25) if kind == "25" else Fraction(1001, 30000)
        durations = [period] * int(SECONDS / period)
    ends = np.cumsum([float(one) for one in durations])
    return durations[: int(np.searchsorted(ends, SECONDS))]


def make_video(path, kind):
    """A video; the true (start, stop, label) of its parts, at times of frames."""
    random = np.random.default_rng(KINDS.index(kind))
    parts, durations = parts_of(random), durations_of(kind, random)
    stops = np.cumsum([seconds for _, seconds in parts])
    starts = np.cumsum([0.0, *(float(one) for one in durations)])
    places = np.searchsorted(stops, starts[:-1], side="right").clip(max=len(parts) - 1)
    labels = [parts[place][0] for place in places]
    write_long(path, [COLOURS.get(label, GREY) for label in labels], durations)
    cuts = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(labels)]
    return [(starts[first], starts[stop], labels[first] or "unknown") for first, stop in pairwise(cuts)]


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    """A video, what is true of it, and the table that `i3d timeline` writes of it."""
    folder = tmp_path_factory.mktemp(f"ten minutes {request.param}")
    truth = make_video(folder / "match.mp4", request.param)
    protocol = WindowProtocol(fps=25.0, max_window_frames=250)  # of the network that comes with i3d
    model = save_tiny(folder / "tiny.safetensors", labels=LABELS, protocol=protocol)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "forward", scores_of_colours)
        patch.chdir(folder)
        result = run_here(["i3d", "timeline", "match.mp4", "--model", model, "--out", "match.csv", "--device", "cpu"])
    assert result.returncode == 0, result.stderr
    return folder, truth, request.param


def test_every_boundary_is_within_a_stride_of_default_settings(run):
    folder, truth, _ = run
    stride = scores.WINDOW / scores.STRIDES_PER_WINDOW / 25
    (timeline,) = read_segments(folder / "match.csv")
    assert [one.label for one in timeline.segments] == [label for _, _, label in truth]
    assert len(truth) > 30
    assert {label for _, _, label in truth} == {*COLOURS, "unknown"}
    starts, stops, _ = zip(*truth, strict=True)
    assert [one.start for one in timeline.segments] == pytest.approx(starts, abs=stride)
    assert [one.stop for one in timeline.segments] == pytest.approx(stops, abs=stride)


def milliseconds(segments):
    return [(round(1000 * start), round(1000 * stop), label) for start, stop, label in segments]


def read_by_others(file, kind):
    """(start, stop, label) in milliseconds, by start, as the library of a format reads them."""
    match kind:
        case "activitynet":
            content = json.loads(file.read_text())
            (rows,), (video,) = content["results"].values(), content["external_data"]["videos"].values()
            return sorted(milliseconds([(*one["segment"], one["label"]) for one in (*rows, *video["unknown"])]))
        case "csv" | "tsv":
            rows = csv.DictReader(file.read_text().splitlines(), delimiter="," if kind == "csv" else "\t")
            return milliseconds(
                (float(row["start"]), float(row["stop"]), row.get("label_name") or row["label"]) for row in rows
            )
        case "srt":
            return [(one.start, one.end, one.plaintext) for one in pysubs2.load(str(file))]
        case "vtt":
            return [(ms_of(one.start), ms_of(one.end), html.unescape(one.text)) for one in webvtt.read(str(file))]
        case "eaf":
            eaf = Eaf(str(file))
            tiers = [eaf.get_annotation_data_for_tier(tier) for tier in eaf.get_tier_names()]
            return sorted(tuple(one[:3]) for tier in tiers for one in tier)
        case "label-studio":
            (task,) = json.loads(file.read_text())
            results = task["predictions"][0]["result"]
            fps = task["data"]["fps"]
            for one in results:  # Label Studio displays the range, and nothing of `meta`
                (frames,) = one["value"]["ranges"]
                assert (frames["start"] - 1) / fps == pytest.approx(one["meta"]["start_seconds"], abs=1 / fps)
                assert frames["end"] / fps == pytest.approx(one["meta"]["stop_seconds"], abs=1 / fps)
            return milliseconds(
                (one["meta"]["start_seconds"], one["meta"]["stop_seconds"], one["value"]["timelinelabels"][0])
                for one in results
            )
        case "chapters":
            with av.open(str(file)) as video:
                chapters = video.chapters()
            return [
                (one["start"] * one["time_base"] * 1000, one["end"] * one["time_base"] * 1000, one["metadata"]["title"])
                for one in chapters
            ]


def ms_of(clock):
    hours, minutes, seconds = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(1000 * float(seconds))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_has_the_same_times(run, kind, tmp_path, monkeypatch):
    folder, _, _ = run
    monkeypatch.chdir(folder)
    timelines = read_segments("match.csv")
    (file,) = write_segments(tmp_path / f"match{SUFFIXES[kind]}", timelines, format=kind)
    expected = milliseconds((one.start, one.stop, one.label) for one in timelines[0].segments)
    assert read_by_others(file, kind) == expected
    listed = read_annotations(file, root=folder, format="segments" if kind == "chapters" else "auto")
    clips = [(clip.start_seconds, clip.end_seconds, listed.classes[clip.labels[0]]) for clip in listed]
    assert milliseconds(clips) == [one for one in expected if one[2] != "unknown"]
    assert {clip.path for clip in listed} == {"match.mp4"}
