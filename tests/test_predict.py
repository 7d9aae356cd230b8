"""`i3d.predict` and the `Predictor`: windows, looping, memory, options."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import i3d
from i3d.data.loading.view_stream import ViewSampler, windows_of
from i3d.evaluation.scoring import softmax
from i3d.inference.predictor import Predictor
from i3d.recipes.settings import ClipProtocol, Preprocessing, WindowProtocol
from i3d.utils.device import ComputeConfig, has_bf16
from i3d.video.container import ContainerVideo
from i3d.video.reader import open_video
from i3d.video.sampling import protocol_clips, windows
from i3d.video.transforms import center_crop
from support.commands import run
from support.engines import FakeEngine
from support.evaluation_runs import save_model
from support.processes import ENVIRONMENT
from support.rendering import numbered_frame, render


@pytest.fixture(scope="module")
def predictor():
    return Predictor(compute=ComputeConfig(device="cpu"))


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17, 40])
def test_windows_of_a_stream_are_those_of_its_length(num_frames):
    frames = (np.full((1, 1, 3), i, np.uint8) for i in range(num_frames))
    got = [clip_THWC[:, 0, 0, 0].tolist() for clip_THWC in windows_of(frames, WindowProtocol(max_window_frames=4))]
    assert got == [list(range(a, b)) for a, b in windows(num_frames, max_frames=4)]


@pytest.mark.slow
def test_the_whole_way_by_hand(tmp_path, predictor):
    """predict = decode, 25 fps, short side 256, centre crop 224, [-1, 1], logits, softmax: each step again."""
    import av
    import cv2

    path = render(tmp_path / "clip.mp4", num_frames=12, height=120, width=200)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    width = int(200 * 256 / 120 + 0.5)
    resized = [cv2.resize(frame, (width, 256)) for frame in frames]
    left = (width - 224) // 2
    clip_TCHW = np.stack([frame[16:240, left : left + 224] for frame in resized]).astype(np.float32) / 127.5 - 1
    with torch.inference_mode():
        logits = predictor.engine(torch.from_numpy(clip_TCHW).permute(3, 0, 1, 2)[None])[0].numpy()
    prediction = predictor(path, top_k=400)
    expected = softmax(logits)
    got = np.array(
        [next(p.score for p in prediction.predictions if p.label == label) for label in predictor.card.labels]
    )
    assert np.allclose(got, expected, atol=1e-5)
    assert prediction.frames == 12
    assert prediction.status == "ok"
    assert prediction.error == ""


@pytest.mark.parametrize("promised", [60, 75])
def test_clips_are_cut_from_frames_that_are_decoded_once(tmp_path, monkeypatch, promised):
    """Twice only where the packets promise another number of frames than can be decoded."""
    path, decoded, decode = render(tmp_path / "clip.mp4", num_frames=60), [], ContainerVideo.decode_packet

    def counting(self, packet):
        frames, errors = decode(self, packet)
        decoded.extend(frame.pts for frame in frames)
        return frames, errors

    monkeypatch.setattr(ContainerVideo, "decode_packet", counting)
    monkeypatch.setattr(ContainerVideo, "num_frames", promised)
    protocol = ClipProtocol(clip_len=4, frame_interval=2, num_clips=3, crops="center")
    *views, end = ViewSampler(protocol, Preprocessing(short_side=48, crop=40), None).views(path)
    assert end.frames_decoded == 60
    assert len(decoded) == (60 if promised == 60 else 120)
    with open_video(path) as video:
        for view, indices_T in zip(views, protocol_clips(60, protocol), strict=True):
            assert np.array_equal(view.clip_THWC, center_crop(video.frames_at(indices_T).frames_THWC, size=40))


@pytest.mark.slow
def test_short_clips_are_looped(predictor):
    frames = np.stack([numbered_frame(i, height=64, width=64) for i in range(4)])
    looped = frames[[0, 1, 2, 3, 0, 1, 2, 3, 0]]
    assert np.allclose(predictor.logits(frames).logits_VK, predictor.logits(looped).logits_VK, atol=1e-5)
    assert predictor.logits(frames[:1]).logits_VK.shape == (1, 400)


def test_long_videos_are_averaged_over_windows_by_their_length(predictor, monkeypatch):
    logits = iter(10 * torch.eye(3, 400))
    monkeypatch.setattr(predictor, "engine", FakeEngine(lambda _clips: next(logits)[None]))
    view_logits = predictor.logits(np.zeros((600, 4, 4, 3), np.uint8))
    assert view_logits.num_frames_V.tolist() == [250, 175, 175]
    assert view_logits.logits_VK.shape == (3, 400)


@pytest.mark.slow
def test_views_of_one_length_may_run_at_once(predictor, monkeypatch):
    """As clips of 32 frames do; of the windows of 250 frames one fills the machine."""
    assert predictor.views_at_once == 1
    frames = np.random.default_rng(0).integers(0, 256, (30, 224, 224, 3), dtype=np.uint8)
    protocol = predictor.sampler.protocol.model_copy(update={"max_window_frames": 9})
    monkeypatch.setattr(predictor, "sampler", replace(predictor.sampler, protocol=protocol))
    singles, engine, sizes = predictor.logits(frames), predictor.engine, []
    monkeypatch.setattr(predictor, "views_at_once", 2)
    monkeypatch.setattr(
        predictor, "engine", FakeEngine(lambda clips: sizes.append((len(clips), clips.shape[2])) or engine(clips))
    )
    several = predictor.logits(frames)
    assert several.num_frames_V.tolist() == singles.num_frames_V.tolist()
    assert sum(number for number, _ in sizes) == len(singles.num_frames_V)
    assert max(number for number, _ in sizes) == 2
    assert np.allclose(several.logits_VK, singles.logits_VK, atol=1e-4)


@pytest.mark.slow
def test_python_and_module_level_function_agree(tmp_path, predictor):
    path = render(tmp_path / "clip.mp4", num_frames=10)
    a, b = i3d.predict(path, device="cpu"), predictor(path)
    assert a == b
    assert len(a.predictions) == 5
    assert a.top1.label in predictor.card.labels
    assert "25 fps" in a.protocol
    assert "centre crop 224" in a.protocol


@pytest.mark.slow
def test_images_without_times_are_named_in_the_protocol(predictor):
    frames = np.zeros((9, 32, 32, 3), np.uint8)
    assert "taken as 25 fps" in predictor(frames).protocol
    assert "taken as" not in predictor(frames, frames_fps=25).protocol


@pytest.mark.slow
@pytest.mark.skipif(not has_bf16(), reason="this processor has no arithmetic of bfloat16")
def test_fast_is_close(tmp_path, predictor):
    path = render(tmp_path / "clip.mp4", num_frames=10, height=96, width=128)
    exact = predictor.logits(path).logits_VK
    fast = Predictor(compute=ComputeConfig(device="cpu", precision="auto")).logits(path).logits_VK
    assert 0 < np.abs(fast - exact).max() < 0.03 * np.abs(exact).max()  # of no action; of real clips: test_shared_clips


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cdu"}, "device 'cdu': is not one of auto, cpu, cuda"),
        ({"precision": "half"}, "precision 'half': is not one of auto, fp32, bf16, fp16"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(i3d.InputError, match=message):
        i3d.predict("clip.mp4", **options)


def test_too_narrow_frames_are_an_error_not_a_flood(tmp_path, predictor):
    frames = np.zeros((2, 2, 4096, 3), np.uint8)
    with pytest.raises(i3d.VideoError, match="4096 x 2 are too narrow"):
        predictor(frames)


def test_importing_stays_light():
    """Neither `import i3d` nor `i3d --help` loads torch, FFmpeg or OpenCV."""
    for what in (
        "import i3d",
        "import i3d.cli.main, sys; sys.argv[1:] = ['--help']\ntry: i3d.cli.main.main()\nexcept SystemExit: pass",
    ):
        code = f"{what}\nimport sys; sys.exit(', '.join({{'torch', 'av', 'cv2', 'pydantic'}} & set(sys.modules)) or 0)"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


MEMORY = """
import sys
import torch
from i3d.inference.predictor import Predictor
from i3d.utils.device import ComputeConfig
from support.commands import run
from support.engines import FakeEngine
from support.evaluation_runs import save_model
predictor = Predictor(compute=ComputeConfig(device="cpu"))
predictor.engine = FakeEngine(lambda clips_NCTHW: torch.zeros(len(clips_NCTHW), 400))
for path in sys.argv[1:]:
    views = predictor.logits(path)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print(views.num_frames_V.sum(), views.frames_decoded, int(peak) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to measure memory")
def test_memory_is_flat_in_the_length_of_the_video(tmp_path):
    """Two minutes after 40 s: 3 KB more a frame would fail. The network is left out: its cost is that of a window."""
    paths = [
        render(tmp_path / f"{seconds}.mp4", num_frames=5 * seconds, fps=5, options={"preset": "ultrafast"})
        for seconds in (40, 120)
    ]
    environment = {**os.environ, **ENVIRONMENT}
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, *paths], env=environment, capture_output=True, text=True, check=True
    )
    (*short, peak_of_short), (*long, peak_of_both) = (map(int, line.split()) for line in result.stdout.splitlines())
    assert (short, long) == ([25 * 40, 5 * 40], [25 * 120, 5 * 120])
    assert peak_of_both - peak_of_short < 6


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model of a user: one clip of 6 frames, every second one, in the middle of any video."""
    protocol = ClipProtocol(clip_len=6, frame_interval=2, num_clips=1, crops="center")
    return save_model(tmp_path_factory.mktemp("own") / "m.safetensors", protocol=protocol)


@pytest.mark.parametrize(
    ("options", "coverage", "line"),
    [
        ([], 0.11, "the video was scored in part (11 % of its length); --protocol windows scores all frames"),
        (["--num-clips", "3"], 0.33, "(33 % of its length)"),
        (["--protocol", "4x3"], 0.44, "(44 % of its length)"),
        (["--protocol", "windows"], 1.0, ""),
        (["--num-clips", "12"], 0.93, ""),  # nearly all of it
    ],
)
def test_how_much_of_a_video_is_scored_is_printed(tmp_path, own, options, coverage, line):
    clip = render(tmp_path / "long.mp4", num_frames=100)
    result = run("predict", clip, "--model", own, "--device", "cpu", "--json", *options)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["coverage"] == pytest.approx(coverage)
    assert line in result.stderr
    assert ("scored in part" in result.stderr) == bool(line)


def test_windows_of_a_network_of_clips_are_as_long_and_fast_as_a_clip(tmp_path, own):
    """All frames at 12.5 fps in windows of 6: as `test --protocols windows` scores them."""
    clip = render(tmp_path / "long.mp4", num_frames=37)
    predictor = Predictor(own, protocol="windows", compute=ComputeConfig(device="cpu"))
    views = [len(view.clip_THWC) for view in predictor.sampler.views(clip) if not hasattr(view, "timed")]
    assert sum(views) == 19  # 37 frames at 25 fps
    assert max(views) == 6
    (tmp_path / "l.csv").write_text("path,label\nlong.mp4,a\n")
    words = [own, "--data", tmp_path / "l.csv", "--protocols", "windows", "--device", "cpu"]
    assert run("test", *words, "--out", tmp_path / "r.json").returncode == 0
    (scores,) = json.loads((tmp_path / "r.json").read_text())["clips"][0]["scores"].values()
    predicted = {one.label: one.score for one in predictor(clip).predictions}
    assert scores == pytest.approx([predicted[label] for label in "abc"], abs=1e-6)


def test_repeated_frames_of_short_videos_are_counted(tmp_path, own):
    """A clip spans 11 frames."""
    short, long = (render(tmp_path / f"{n}.mp4", num_frames=n) for n in (10, 11))
    for options in ([], ["--num-clips", "3"], ["--protocol", "2x3"]):
        result = run("predict", short, long, "--model", own, "--device", "cpu", "--json", *options)
        assert [row["looped"] for row in json.loads(result.stdout)] == [True, False]
        line = f"1 of 2 videos, such as {short}, is shorter than what the network takes: frames are repeated"
        assert result.stderr.count("are repeated") == result.stderr.count(line) == 1
    result = run("predict", long, "--model", own, "--device", "cpu", "--json")
    assert "are repeated" not in result.stderr


def test_a_short_video_is_scored_as_a_whole(tmp_path, own):
    result = run("predict", render(tmp_path / "s.mp4", num_frames=11), "--model", own, "--device", "cpu")
    assert "scored in part" not in result.stderr
    wrong = run("predict", tmp_path / "s.mp4", "--model", own, "--protocol", "3x1", "--num-clips", "3")
    assert "error: --num-clips 3: --protocol sets it; leave one out" in wrong.stderr
