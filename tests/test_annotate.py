"""Labels are drawn on copies of videos of every shape, which keep sizes, times and sound."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from i3d.errors import InputError
from i3d.inference import Predictor, annotate_video, annotate_videos
from i3d.inference.annotate_folder import RECORD, copy_names
from i3d.inference.label_box import LabelBox
from i3d.inference.prediction import LabelScore, Prediction
from i3d.utils.device import ComputeConfig
from i3d.video.reader import open_video
from i3d.video.sound import COPIED, open_sound
from i3d.video.writer import write_video
from support.commands import run_here
from support.evaluation_runs import save_model
from support.processes import locked_in_another_process
from support.rendering import encode, numbered_frame, render, set_display_matrix

ROW = Prediction("x", "ok", (LabelScore("yoga", 0.9), LabelScore("archery", 0.1)), "protocol", 4)
PLAIN = [np.full((96, 128, 3), 10 * k, np.uint8) for k in range(12)]


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
@pytest.mark.parametrize(("height", "width"), [(16, 2000), (2000, 16), (4000, 10), (1, 1), (63, 47), (540, 960)])
def test_any_shape(tmp_path, height, width, suffix):
    labels = (LabelScore("tying knot (not on a tie)", 0.9), LabelScore("yoga", 0.0))
    row = Prediction("x", "ok", labels, "protocol", 4)
    out = tmp_path / f"out.{suffix}"
    annotate_video(np.full((4, height, width, 3), 90, np.uint8), row, out)
    with open_video(out) as video:
        frames = list(video.stream())
    assert len(frames) == 4
    if suffix == "mp4":
        assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    else:
        assert max(frames[0].shape) <= 480


def add_sound(path, video, codec, *, seconds=1.0, start=0.0, rate=48000):
    """A copy of a video with a tone beside it, which begins at `start`."""
    with av.open(str(video)) as source, av.open(str(path), "w") as out:
        frames = out.add_stream_from_template(source.streams.video[0])
        tone = out.add_stream(codec, rate=rate, layout="stereo")
        wave = (8000 * np.sin(np.arange(int(rate * seconds)) / 20)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None].repeat(2, axis=1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, int(start * rate), Fraction(1, rate)
        out.mux([*tone.encode(frame), *tone.encode(None)])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = frames
                out.mux(packet)
    return path


def times_of(path):
    with open_video(path) as video:
        return [(start, end) for _, start, end in video.stream_with_times()]


def sound_of(path):
    """Codec, the seconds from the first frame to the first sound, and the bytes of every packet."""
    with av.open(str(path)) as file:
        (track,) = file.streams.audio
        video = file.streams.video[0]
        begin = (track.start_time or 0) * track.time_base - (video.start_time or 0) * video.time_base
        codec = track.codec_context.codec.canonical_name
        return codec, float(begin), [bytes(packet) for packet in file.demux(track) if packet.size]


@pytest.mark.parametrize(
    ("suffix", "codec", "start"), [("mp4", "aac", 0.0), ("avi", "libmp3lame", 0.0), ("mkv", "libopus", 0.3)]
)
def test_sound_is_copied_in_time(tmp_path, suffix, codec, start):
    render(tmp_path / "v.mp4", num_frames=40, codec="mpeg4")
    clip = add_sound(tmp_path / f"a.{suffix}", tmp_path / "v.mp4", codec, start=start)
    annotate_video(str(clip), ROW, tmp_path / "o.mp4")
    (before, begin, packets), (after, new_begin, copied) = sound_of(clip), sound_of(tmp_path / "o.mp4")
    assert (before, packets) == (after, copied)
    assert new_begin == pytest.approx(begin, abs=0.03)
    assert times_of(tmp_path / "o.mp4") == times_of(clip)


def test_sound_that_an_mp4_does_not_take_becomes_aac(tmp_path):
    render(tmp_path / "v.mp4", num_frames=40)
    clip = add_sound(tmp_path / "a.mkv", tmp_path / "v.mp4", "pcm_s16le", seconds=1.5)
    assert annotate_video(clip.read_bytes(), ROW, tmp_path / "o.mp4") == ()  # of the bytes of a file too
    with av.open(str(tmp_path / "o.mp4")) as file:
        (track,) = file.streams.audio
        assert track.codec_context.name == "aac"
        samples = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(track)])
    assert len(samples) / 48000 == pytest.approx(1.5, abs=0.05)
    assert np.sqrt(np.mean(samples[10000:50000] ** 2)) == pytest.approx(8000 / 2**15 / np.sqrt(2), rel=0.05)


def test_damaged_sound_is_noted_and_the_frames_stay(tmp_path):
    notes = []
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with open_sound(tmp_path / "x.mp4", notes.append) as sound:
        assert sound is None
    assert "its sound cannot be read, and is left out" in notes[0]
    assert "aac" in COPIED


def test_variable_times_and_turned_frames_stay(tmp_path):
    stamps = [0, 40, 200, 210, 250, 700, 1233, 1300]
    frames = [numbered_frame(k) for k in range(8)]
    clip = encode(tmp_path / "a.mkv", frames, stamps=stamps)
    annotate_video(str(clip), ROW, tmp_path / "o.mp4")
    assert times_of(tmp_path / "o.mp4") == times_of(clip)
    assert [float(start) for start, _ in times_of(clip)] == [stamp / 1000 for stamp in stamps]
    turned = set_display_matrix(render(tmp_path / "t.mp4", num_frames=5), (0, 1, -1, 0))
    annotate_video(str(turned), ROW, tmp_path / "turned.mp4")
    with open_video(turned) as before, open_video(tmp_path / "turned.mp4") as after:
        one, other = (next(iter(video.stream())) for video in (before, after))
    assert one.shape == other.shape == (64, 48, 3)
    assert np.abs(one[40:].astype(int) - other[40:]).mean() < 6  # below the box: the same colours


def test_a_box_is_small_and_the_rest_of_the_frame_stays():
    for height, width in ((64, 64), (120, 160), (480, 640), (1920, 1080), (2160, 3840)):
        frame_HWC = np.full((height, width, 3), 200, np.uint8)
        box = LabelBox.draw(ROW.predictions, height=height, width=width)
        box.blend(frame_HWC)
        changed_HW = (frame_HWC != 200).any(axis=2)
        rows, columns = np.flatnonzero(changed_HW.any(axis=1)), np.flatnonzero(changed_HW.any(axis=0))
        assert rows[-1] < height / 2
        assert changed_HW.mean() < (0.4 if width == 64 else 0.15)
        assert frame_HWC[changed_HW].min() > 60  # the frame shines through
        assert frame_HWC.max() > 240  # letters
        assert box.num_lines == 2
        assert len(rows) >= 18  # of letters of 9 pixels
        assert columns[-1] < width


@pytest.mark.parametrize(("height", "lines"), [(24, 1), (64, 2), (240, 10), (1080, 12)])
def test_as_many_labels_as_fit_into_half_of_the_frame(height, lines):
    labels = [LabelScore(f"class {k}", 0.5 - k / 100) for k in range(12)]
    box = LabelBox.draw(labels, height=height, width=height)
    assert box.num_lines == lines
    assert len(box.clear_HW1) <= height / 2 + 3


def test_long_and_foreign_labels(tmp_path):
    long = LabelScore("someone pours coffee into a blue mug " * 3, 0.5)
    one, many = (LabelBox.draw([long], height=height, width=200) for height in (26, 400))
    assert many.clear_HW1.shape[0] > 3 * one.clear_HW1.shape[0]  # divided at spaces
    assert many.clear_HW1.shape[1] <= 200
    assert LabelBox.draw([LabelScore("стрельба из лука", 0.5)], height=99, width=99).missing == ""
    box = LabelBox.draw([LabelScore("\U0001f9ff\U00013000", 0.5)], height=99, width=99)
    row = Prediction("x", "ok", (LabelScore("\U00013000", 0.5),), "protocol", 4)
    notes = annotate_video(np.stack(PLAIN), row, tmp_path / "o.mp4")
    what = "no installed font has the letters '\U00013000': install one"
    assert [note.startswith(what) for note in notes] == [True] * bool(box.missing)


def test_a_gif_has_few_colours_and_bytes(tmp_path):
    rng = np.random.default_rng(0)
    base_HWC = np.array(Image.fromarray(rng.integers(0, 255, (9, 16, 3), np.uint8)).resize((960, 540), 2))
    noise = (rng.integers(-3, 4, base_HWC.shape) for _ in range(60))
    frames = np.stack([np.clip(base_HWC + one, 0, 255).astype(np.uint8) for one in noise])
    annotate_video(frames, ROW, tmp_path / "o.gif", frames_fps=10)
    with Image.open(tmp_path / "o.gif") as image:
        assert (image.size, image.n_frames, image.info["duration"], image.info["loop"]) == ((480, 270), 60, 100, 0)
        image.seek(59)
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert (tmp_path / "o.gif").stat().st_size < 300_000  # a single frame takes a third of it
    small = np.asarray(Image.fromarray(base_HWC).resize((480, 270))).astype(int)
    assert np.abs(shown - small)[60:].mean() < 12
    write_video(tmp_path / "long.gif", (frame[:40, :40] for _ in range(2) for frame in frames), fps=10)
    with Image.open(tmp_path / "long.gif") as image:
        assert image.n_frames == 120


def test_what_cannot_be_drawn_is_refused(tmp_path):
    for name, message in (("o.avi", "must end in .mp4 or .gif"), ("d/o.mp4", "there is no folder")):
        with pytest.raises(InputError, match=message):
            annotate_video(np.stack(PLAIN), ROW, tmp_path / name)
    failed = Prediction("x", "error", (), "protocol", 0, "it is damaged")
    with pytest.raises(InputError, match=r"it has no labels to draw \(it is damaged\)"):
        annotate_video(np.stack(PLAIN), failed, tmp_path / "o.mp4")


# many videos


@pytest.fixture
def clips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("clips/run", "clips/frames"):
        Path(place).mkdir(parents=True)
    render(Path("clips/run/a.mp4"), num_frames=12)
    render(Path("clips/run/a.mkv"), num_frames=8)
    render(Path("clips/b.webm"), num_frames=8, codec="libvpx")
    Path("clips/bad.mp4").write_bytes(b"x")
    for k in range(5):
        Image.fromarray(numbered_frame(k)).save(f"clips/frames/img_{k}.png")
    return save_model(tmp_path / "m.safetensors")


COPIES = ["b.mp4", "frames.mp4", "run/a.mkv.mp4", "run/a.mp4"]


def copies(folder="labelled"):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_every_video_of_a_folder_gets_a_copy(clips):
    words = ["i3d", "predict", "clips", "gone.mp4", "--model", clips, "--annotate", "labelled", "--top-k", 2]
    result = run_here(words)
    assert result.returncode == 3
    assert "labels drawn on 4 of 6 videos, in labelled\n" in result.stderr
    assert "clips/bad.mp4: " in result.stderr
    assert "gone.mp4: no such file" in result.stderr
    assert copies() == [RECORD, *COPIES]
    with open_video("labelled/run/a.mp4") as video:
        assert len(list(video.stream())) == 12
    before = {name: Path("labelled", name).stat().st_mtime_ns for name in COPIES}
    assert "labels drawn on 4 of 6 videos, 4 reused, in labelled\n" in run_here(words).stderr
    assert {name: Path("labelled", name).stat().st_mtime_ns for name in COPIES} == before
    assert "4 of 6 videos, in" in run_here([*words[:-1], 1]).stderr  # other labels: ours are replaced
    render(Path("clips/run/a.mp4"), num_frames=9)
    assert "4 of 6 videos, 3 reused, in" in run_here([*words[:-1], 1]).stderr


def test_files_that_are_not_ours_stay(clips):
    words = ["i3d", "predict", "clips/run", "--model", clips, "--annotate", "labelled"]
    Path("labelled").mkdir()
    Path("labelled/a.mp4").write_text("mine")
    assert "labelled/a.mp4: the file exists; choose another name, or replace it with --force" in run_here(words).stderr
    assert copies() == ["a.mp4"]
    assert run_here([*words, "--force"]).returncode == 0
    assert "2 reused" in run_here(words).stderr
    with Path("labelled/a.mp4").open("ab") as file:
        file.write(b"edited")
    content = Path("labelled/a.mp4").read_bytes()
    assert run_here(words).returncode == 2
    assert Path("labelled/a.mp4").read_bytes() == content
    Path("labelled/a.mp4").unlink()
    Path("labelled/a.mp4").symlink_to("../clips/run/a.mp4")
    assert "is a link to" in run_here([*words, "--force"]).stderr
    Path("labelled/a.mp4").unlink()
    Path("labelled", RECORD).write_text("{")  # of a damaged record, nothing is ours
    assert "labelled/a.mkv.mp4: the file exists" in run_here(words).stderr


def test_an_interrupted_run_leaves_no_half_file_and_resumes(clips, monkeypatch):
    words = ["i3d", "predict", "clips/run", "clips/b.webm", "--model", clips, "--annotate", "labelled"]
    from i3d.inference import annotate_folder

    draw = annotate_folder.draw_on_video
    drawn = []

    def interrupted(source, drawing, out, **options):
        drawn.append(source)
        if len(drawn) == 2:
            Path(out).write_bytes(b"half")
            raise KeyboardInterrupt
        return draw(source, drawing, out, **options)

    monkeypatch.setattr(annotate_folder, "draw_on_video", interrupted)
    assert run_here(words).returncode == 130
    assert len(copies()) == 2  # the record, and the first copy
    assert "3 of 3 videos, 1 reused" in run_here(words).stderr
    assert len(drawn) == 4


def test_two_runs_do_not_write_to_one_folder(clips, tmp_path):
    Path("labelled").mkdir()
    with locked_in_another_process(tmp_path / "labelled" / RECORD):
        result = run_here(["i3d", "predict", "clips/run", "--model", clips, "--annotate", "labelled"])
    assert result.returncode == 2
    assert "labelled: another run is writing it" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clips", "--annotate", "o.mp4"], "--annotate o.mp4: is one file, and 5 videos were given; name a folder"),
        (["clips", "--annotate", "o.avi"], "must end in .mp4 or .gif, or have no suffix, as that of a folder"),
        (["clips", "--annotate", "m"], "--annotate m: is a file; name a folder"),
        (["clips", "--annotate", "clips/labelled"], "clips/labelled: lies in clips, which is read"),
        (["clips/b.webm", "--annotate", "clips"], "clips/b.webm: lies in the folder of copies, clips"),
        (["clips/b.webm", "b.webm", "--annotate", "o"], "both would write o/b.webm.mp4; name a common folder of both"),
    ],
)
def test_places_that_make_no_sense_are_refused(clips, words, message):
    Path("m").write_text("")
    render(Path("b.webm"), num_frames=8, codec="libvpx")
    before = sorted(Path().rglob("*"))
    result = run_here(["i3d", "predict", *words, "--model", clips])
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert sorted(Path().rglob("*")) == before


def test_the_standard_input_is_annotated(clips):
    for name in ("o.gif", "labelled"):
        words = ["i3d", "predict", "-", "--model", clips, "--annotate", name, "--out", "p.json", "--force"]
        result = run_here(words, stdin=Path("clips/run/a.mp4").read_bytes())
        assert result.returncode == 0, result.stderr
        assert json.loads(Path("p.json").read_text())[0]["path"] == "-"
    assert Path("o.gif").stat().st_size
    assert copies() == [RECORD, "stdin.mp4"]


def test_copies_from_python(clips):
    predictor = Predictor(clips, compute=ComputeConfig("cpu"))
    results = list(annotate_videos(["clips"], "labelled", predictor, top_k=1))
    assert [result.path and str(result.path) for result in results] == [
        "labelled/b.mp4", None, "labelled/frames.mp4", "labelled/run/a.mkv.mp4", "labelled/run/a.mp4"
    ]  # fmt: skip
    assert "not" in results[1].error
    assert all(len(result.prediction.predictions) == 1 for result in results if result.path)
    assert copy_names(["clips/run/*.mkv", "clips/frames"], Path("x")) == {
        "clips/run/a.mkv": "a.mp4",
        "clips/frames": "frames.mp4",
    }
