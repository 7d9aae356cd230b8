"""Videos whose first frame comes after the first sound: players count from the sound, i3d from the frame."""

from fractions import Fraction

import av
import numpy as np
import pytest

from i3d.data.formats.read import read_annotations
from i3d.data.segments.segment import Segment, VideoSegments
from i3d.data.segments.write import write_segments
from i3d.video.reader import open_video
from support.commands import run_here
from support.finetuning_runs import save_tiny
from support.rendering import numbered_frame

RATE = 16000


def with_sound(path, *, late):
    """Two seconds of sound from 0 on, and a second of frames from `late` seconds on."""
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("libx264", rate=25, options={"bf": "0"}), out.add_stream("aac", rate=RATE)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * RATE), np.float32), format="fltp", layout="mono")
        silence.rate, silence.pts = RATE, 0
        packets = [*audio.encode(silence), *audio.encode(None)]
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = number + round(25 * late), Fraction(1, 25)
            packets += video.encode(frame)
        out.mux([*packets, *video.encode(None)])
    return path


@pytest.mark.parametrize(("suffix", "late"), [("mp4", 1.2), ("mkv", 1.2), ("mp4", 0)])
def test_the_lead_is_from_the_first_sound_to_the_first_frame(tmp_path, suffix, late):
    with open_video(with_sound(tmp_path / f"a.{suffix}", late=late)) as video:
        assert video.lead_seconds == pytest.approx(late, abs=0.02)
        assert next(iter(video.decode_frames())).seconds == 0


@pytest.mark.parametrize(("late", "is_warned"), [(1.2, True), (0, False)])
def test_seconds_before_the_first_frame_are_in_a_warning(tmp_path, monkeypatch, late, is_warned):
    monkeypatch.chdir(tmp_path)
    with_sound(tmp_path / "a.mp4", late=late)
    model = save_tiny(tmp_path / "tiny.safetensors", labels=("a", "b"))
    how = ["--model", model, "--device", "cpu", "--enter", "0", "--leave", "0"]
    for name in ("s.srt", "s.csv"):
        result = run_here(["i3d", "timeline", "a.mp4", "--out", name, *how])
        assert result.returncode == 0, result.stderr
        what = f"{name}: the first frame comes after the first sound in a.mp4 (1.20 s): players count from the sound"
        assert (what in " ".join(result.stderr.split())) == (is_warned and name == "s.srt")
    for kind in ("label-studio", "csv"):
        (source,) = write_segments(
            tmp_path / f"l{'.json' if kind == 'label-studio' else '.csv'}",
            [VideoSegments("a.mp4", (Segment(0, 1, "a"),), fps=25.0)],
            format=kind,
        )
        warnings = " ".join(read_annotations(source).warnings)
        what = "1 video whose first frame comes after the first sound: a.mp4 (1.20 s)"
        assert (what in warnings) == (is_warned and kind == "label-studio")
