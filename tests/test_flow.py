"""Optical flow against known motion, and its way through bytes and JPEG."""

import json
import re
import threading
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.class_files import class_names
from i3d.data.formats.read import read_annotations
from i3d.data.frame_extraction.extract import extract_frames
from i3d.data.frame_extraction.jobs import FlowSettings, FrameSettings
from i3d.data.frame_folders import RECORD, FrameNaming, open_frames
from i3d.data.loading import flow_cache
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.errors import InputError, VideoError
from i3d.recipes.settings import ClipProtocol, Preprocessing
from i3d.utils import process_pool
from i3d.utils.cache import Cache
from i3d.video.flow import (
    BOUND,
    METHODS,
    bytes_to_flow,
    consecutive_flows,
    describe_cost,
    flow_between,
    flow_to_bytes,
    flow_to_rgb,
)
from i3d.video.reader import open_video
from support.commands import run_here
from support.rendering import encode

MOST = {"tvl1": 0.05, "dis": 0.1, "farneback": 0.1}  # pixels, mean end-point error inside


def texture(dx=0.0, dy=0.0, *, height=160, width=200):
    """A smooth texture that has moved by (dx, dy) pixels, as RGB."""
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.random((height + 80, width + 80)).astype(np.float32), (0, 0), 2.5)
    large = (large - large.min()) / (large.max() - large.min()) * 255
    moved = cv2.warpAffine(
        large, np.float32([[1, 0, dx - 40], [0, 1, dy - 40]]), (width, height), flags=cv2.INTER_CUBIC
    )
    return np.repeat(np.rint(moved).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("motion", [(1.3, -0.7), (3.5, 2.25), (-2.0, 0.0), (0.0, 4.0)])
def test_known_motion(method, motion):
    flow = flow_between(texture(), texture(*motion), method=method)
    assert flow.shape == (160, 200, 2)
    assert flow.dtype == np.float32
    errors = np.linalg.norm(flow - np.array(motion), axis=-1)[20:-20, 20:-20]
    assert errors.mean() < MOST[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_still_video_has_no_flow(method):
    assert np.abs(flow_between(texture(), texture(), method=method)).max() < 1e-3
    plain = np.full((40, 50, 3), 77, np.uint8)
    assert not flow_between(plain, plain, method=method).any()


def test_how_many_flows_there_are():
    frames = [texture(k) for k in range(3)]
    between = list(consecutive_flows(frames, method="dis"))
    same = list(consecutive_flows(frames, method="dis", align="frames"))
    assert (len(between), len(same)) == (2, 3)
    assert np.array_equal(same, [between[0], *between])
    assert np.array_equal(between[1], flow_between(frames[1], frames[2], method="dis"))
    assert list(consecutive_flows(frames[:1], method="dis")) == []
    (one,) = consecutive_flows(frames[:1], method="dis", align="frames")
    assert not one.any()
    assert list(consecutive_flows([], method="dis", align="frames")) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_flow_depends_on_nothing_but_its_frames(method):
    frames = [texture(k * k, -k, height=64, width=80) for k in range(3)]
    first, again = (np.stack(list(consecutive_flows(frames, method=method))) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(first[1], flow_between(frames[1], frames[2], method=method))


@pytest.mark.parametrize("method", METHODS)
def test_several_pairs_at_once_are_those_of_one_thread(method):
    frames = [texture(k, -k / 2, height=48, width=64) for k in range(8)]
    one, several = (
        np.stack(list(consecutive_flows(frames, method=method, align="frames", threads=threads))) for threads in (1, 3)
    )
    assert np.array_equal(one, several)
    assert len(one) == 8


def test_frames_are_read_a_few_ahead_and_errors_come_in_their_place():
    read = []

    def frames():
        for k in range(9):
            read.append(k)
            if k == 6:
                raise VideoError("x.mp4", "it is damaged", "repair it")
            yield texture(k, height=32, width=40)

    flows = consecutive_flows(frames(), method="dis", threads=2)
    next(flows)
    assert len(read) <= 4
    with pytest.raises(VideoError, match="it is damaged"):
        list(flows)
    assert threading.active_count() < 20


def test_the_cost_is_measured():
    text = describe_cost("dis", short_side=64, fps=10)
    assert re.fullmatch(
        r"optical flow by dis: about \S+ s a frame of 85 x 64 here \(\S+ s for 1 s of video, \d+ threads?\)", text
    )
    assert "dis takes 1/75 of it" in describe_cost("tvl1", short_side=16)


def test_bad_arguments():
    with pytest.raises(ValueError, match="one size"):
        flow_between(texture(), texture(width=100))
    with pytest.raises(InputError, match="method 'raft': is not one of tvl1, dis, farneback"):
        flow_between(texture(), texture(), method="raft")


@given(st.floats(-40, 40, width=32), st.sampled_from([5.0, 20.0, 32.0]))
def test_bytes_are_within_half_a_step(value, bound):
    flow = np.full((1, 1, 2), value, np.float32)
    as_bytes = flow_to_bytes(flow, bound=bound)
    back = bytes_to_flow(as_bytes, bound=bound)
    assert abs(float(back[0, 0, 0]) - np.clip(value, -bound, bound)) <= bound / 255 + 1e-4
    assert np.array_equal(flow_to_bytes(back, bound=bound), as_bytes)


def test_bytes_by_hand():
    flow = np.array([[[-20, 20], [0, -30], [10, 0.1]]], np.float32)
    assert flow_to_bytes(flow).tolist() == [[[0, 255], [128, 0], [191, 128]]]
    assert BOUND == 20


def test_jpeg_preserves_flow_within_one_step():
    flow = flow_between(texture(), texture(3.5, 2.25), method="dis")
    as_bytes = flow_to_bytes(flow)
    for axis in (0, 1):
        _, content = cv2.imencode(".jpg", as_bytes[..., axis], [cv2.IMWRITE_JPEG_QUALITY, 100])
        back = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
        assert np.abs(back.astype(int) - as_bytes[..., axis]).max() <= 1


def test_colours_encode_direction_and_speed():
    flow = np.zeros((1, 4, 2), np.float32)
    flow[0, :3] = [[4, 0], [-4, 0], [2, 0]]
    right, left, slow, still = flow_to_rgb(flow)[0].tolist()
    assert right == [255, 0, 0]
    assert left == [0, 255, 255]
    assert slow == [255, 128, 128]
    assert still == [255, 255, 255]
    assert flow_to_rgb(flow, bound=8)[0, 0].tolist() == [255, 128, 128]
    assert flow_to_rgb(np.zeros((2, 2, 2), np.float32)).min() == 255


# as folders of images


@pytest.fixture
def moving(tmp_path):
    """Two classes of videos whose texture moves by known steps; and their frames."""
    motions = {"left": (-2.0, 0.0), "down": (0.0, 3.0)}
    for name, (dx, dy) in motions.items():
        (tmp_path / "clips" / name).mkdir(parents=True)
        frames = [texture(k * dx, k * dy, height=96, width=128) for k in range(5)]
        encode(tmp_path / "clips" / name / "a.mp4", frames, options={"crf": "5"})
    return tmp_path / "clips", motions


def test_videos_become_folders_of_flow_that_train_and_test_read(moving, tmp_path):
    method = "dis"
    clips, motions = moving
    out = tmp_path / "flow"
    result = run_here(["i3d", "data", "extract-frames", clips, "--out", out, "--flow-method", method, "--workers", "0"])
    assert result.returncode == 0, result.stderr
    assert "2 of 2 clips, 8 frames" in result.stderr
    names = sorted(path.name for path in (out / "left" / "a").iterdir() if path.suffix == ".jpg")
    assert names == [f"flow_{axis}_{k:05d}.jpg" for axis in "xy" for k in range(1, 5)]
    record = json.loads((out / "left" / "a" / RECORD).read_text())
    assert record["made_with"]["flow"] == {"method": method, "bound": 20.0, "align": "between", "format": "jpg"}
    annotations = read_annotations(out / "list.txt", classes=class_names(str(out / "classes.txt")))
    protocol = ClipProtocol(clip_len=4, frame_interval=1, num_clips=1, crops="center")
    view = TestView(protocol, Preprocessing(short_side=96, crop=96, mean=(127.5,) * 2, std=(127.5,) * 2))
    dataset = ClipDataset(annotations, view, flow=ClipFlow())
    for index in range(2):
        clip = annotations[index]
        (flow_VTHWC,) = dataset[0, index].views_N
        loaded_flow = bytes_to_flow(flow_VTHWC.clips()[0].numpy())
        motion = np.array(motions[clip.path.split("/")[0]])
        assert np.abs(loaded_flow[:, 20:-20, 20:-20].mean(axis=(0, 1, 2)) - motion).max() < 0.1
    again = run_here(["i3d", "data", "extract-frames", clips, "--out", out, "--flow-method", method, "--workers", "0"])
    assert "2 reused" in again.stderr
    other = run_here(
        ["i3d", "data", "extract-frames", clips, "--out", out, "--flow-method", method, "--flow-bound", "10"]
    )
    assert other.returncode == 2
    assert "made with other settings (flow.bound was 20.0, now 10.0)" in other.stderr


def test_flow_that_is_aligned_with_its_frames(moving, tmp_path):
    clips, _ = moving
    options = ["--flow-method", "dis", "--flow-align", "frames", "--short-side", "48", "--workers", "0"]
    run_here(["i3d", "data", "extract-frames", clips, "--out", tmp_path / "flow", *options])
    images = [cv2.imread(str(tmp_path / "flow" / "down" / "a" / f"flow_y_{k:05d}.jpg"), 0) for k in range(1, 6)]
    assert all(image.shape == (48, 64) for image in images)
    assert np.array_equal(images[0], images[1])
    speeds = [bytes_to_flow(image[10:-10, 10:-10, None]).mean() for image in images]
    assert speeds == pytest.approx([1.5] * 5, abs=0.15)  # half the size, half the way


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--flow-method", "raft"], "--flow-method 'raft': is not one of tvl1, dis, farneback"),
        (["--flow-method", "dis", "--flow-bound", "0"], "bound 0: must be above 0"),
        (["--flow-method", "dis", "--flow-format", "avi"], "--flow-format 'avi': is not one of jpg, npz, packed-video"),
        (["--flow-method", "dis", "--flow-align", "x"], "--flow-align 'x': is not one of between, frames"),
        (["--flow-method", "dis", "--template", "img_{:05d}.jpg"], "flow has two images per frame"),
    ],
)
def test_flow_that_cannot_be_written_is_an_error(moving, tmp_path, options, message):
    result = run_here(["i3d", "data", "extract-frames", moving[0], "--out", tmp_path / "flow", *options])
    assert result.returncode == 2
    assert message in result.stderr


def test_a_video_of_one_frame_has_no_flow(tmp_path):
    (tmp_path / "clips" / "x").mkdir(parents=True)
    encode(tmp_path / "clips" / "x" / "one.mp4", [texture()])
    command = ["i3d", "data", "extract-frames", tmp_path / "clips", "--out", tmp_path / "flow", "--flow-method", "dis"]
    result = run_here([*command, "--workers", "0"])
    assert result.returncode == 3
    assert (
        "one.mp4: it has one frame, and flow needs two; remove it from the list, or use --flow-align frames"
        in result.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "packed-video"])
def test_flow_in_one_file_is_read_bit_exactly(moving, tmp_path, kind):
    clips, _ = moving
    out = tmp_path / "flow"
    command = ["i3d", "data", "extract-frames", clips, "--out", out, "--flow-method", "dis", "--flow-format", kind]
    result = run_here([*command, "--workers", "0"])
    assert result.returncode == 0, result.stderr
    file = {"npz": "flow.npz", "packed-video": "flow.mkv"}[kind]
    assert sorted(path.name for path in (out / "down" / "a").iterdir()) == [RECORD, file]
    assert "2 reused" in run_here([*command, "--workers", "0"]).stderr
    annotations = read_annotations(out / "list.txt", classes=class_names(str(out / "classes.txt")))
    protocol = ClipProtocol(clip_len=4, frame_interval=1, num_clips=1, crops="center")
    pre = Preprocessing(short_side=96, crop=96, mean=(127.5,) * 2, std=(127.5,) * 2)
    dataset = ClipDataset(annotations, TestView(protocol, pre), flow=ClipFlow())
    for index in range(2):
        path = annotations.path(index)
        with open_video(clips / f"{path}.mp4") as video:
            frames = list(video.stream())
        expected = [flow_to_bytes(flow_between(a, b, method="dis")) for a, b in zip(frames, frames[1:], strict=False)]
        loaded_flow = dataset[0, index].views_N[0].clips()[0].numpy()
        assert np.array_equal(loaded_flow, np.stack(expected)[:, :, 16:112])
    checked = run_here(["i3d", "data", "check", out / "list.txt", "--modality", "flow", "--near-duplicates", "none"])
    assert "2 of 2 clips are sound" in checked.stdout, checked.stderr + checked.stdout
    packed = tmp_path / "packed"
    assert run_here(["i3d", "data", "pack", out / "list.txt", "--out", packed]).returncode == 0
    again = ClipDataset(read_annotations(packed), TestView(protocol, pre), flow=ClipFlow())
    assert np.array_equal(again[0, 1].views_N[0].clips(), dataset[0, 1].views_N[0].clips())
    first = (out / "down" / "a" / file).read_bytes()
    run_here([*command, "--workers", "0", "--force"])
    assert (out / "down" / "a" / file).read_bytes() == first
    (out / "down" / "a" / file).write_bytes(first[:200])
    bad = dataset[0, [annotations.path(k) for k in range(2)].index("down/a")].bad
    assert "flow" in bad[0].reason


def test_arrays_that_are_no_flow(tmp_path):
    (tmp_path / "x").mkdir()
    naming = FrameNaming("flow.npz", 0, "flow")
    for arrays, message in [
        ({"flow": np.zeros((3, 4, 4, 3), np.uint8)}, "it is uint8 of shape"),
        ({"flow": np.zeros((3, 4, 4, 2))}, "it is float64 of shape"),
        ({"other": np.zeros(3)}, "not flow"),
    ]:
        np.savez(tmp_path / "x" / "flow.npz", **arrays)
        with pytest.raises(VideoError, match=message):
            open_frames(tmp_path / "x", naming)
    np.savez(tmp_path / "x" / "flow.npz", flow=np.zeros((3, 4, 4, 2), np.uint8))
    with pytest.raises(VideoError, match="it has 3 flows from 0 on, 5 are listed"):
        open_frames(tmp_path / "x", naming, num_frames=5)
    with open_frames(tmp_path / "x", naming, num_frames=2, first_frame=1) as video:
        assert video.num_frames == 2


@pytest.mark.slow
@pytest.mark.parametrize(("align", "form"), [("between", "npz"), ("frames", "npz"), ("between", "jpg")])
def test_extracted_flow_is_that_of_the_cache(moving, tmp_path, align, form):
    clips, _ = moving
    (clips / "l.csv").write_text("path,start,end\nleft/a.mp4,,\ndown/a.mp4,0.04,0.16\n")
    words = ["i3d", "data", "extract-frames", clips / "l.csv", "--flow-method", "dis", "--flow-align", align]
    words += ["--flow-format", form, "--short-side", "48", "--workers", "0", "--cache", tmp_path / "cache"]
    first = run_here([*words, "--out", tmp_path / "a"])
    assert first.returncode == 0, first.stderr
    assert f"cached in {tmp_path / 'cache'}" in first.stderr
    assert len(list((tmp_path / "cache").rglob("*.flow.mkv"))) == 2
    with mock.patch("i3d.data.loading.flow_cache.consecutive_flows", side_effect=AssertionError):
        assert run_here([*words, "--out", tmp_path / "b"]).returncode == 0
    without = [*words, "--out", tmp_path / "c", "--flow-bound", "20.0001"]  # not cached: the same but for rounding
    result = run_here(without)
    assert result.returncode == 0
    assert "; not cached\n" in result.stderr
    assert len(list((tmp_path / "cache").rglob("*.flow.mkv"))) == 2
    for path in sorted((tmp_path / "a").rglob("*.*")):
        if path.suffix in (".npz", ".jpg"):
            one, other, _ = (path_in.read_bytes() for path_in in _in_all(path, tmp_path))
            assert one == other
            if form == "npz":
                flows = [np.load(path_in)["flow"].astype(int) for path_in in _in_all(path, tmp_path)]
                assert len(flows[0]) == (5 if "left" in str(path) else 3) - (align == "between")
                assert np.abs(flows[0] - flows[2]).max() <= 1


@pytest.mark.parametrize("caches", [True, False])
def test_frames_are_counted_while_the_flow_of_one_video_is_computed(moving, tmp_path, monkeypatch, caches):
    monkeypatch.setattr(process_pool, "PART_SECONDS", 0.0)
    monkeypatch.setattr(flow_cache, "REPORT_EVERY", 2)
    clips, _ = moving
    (clips / "l.csv").write_text("path,label\nleft/a.mp4,left\n")
    annotations = read_annotations(clips / "l.csv")
    settings, reports = FrameSettings(short_side=48, flow=FlowSettings("dis")), []
    cache = Cache(tmp_path / "cache") if caches else None
    extract_frames(annotations, tmp_path / "out", settings, num_workers=0, on_progress=reports.append, cache=cache)
    counts = [report.completed for report in reports if report.unit == "frame"]
    assert counts == ([0, 2, 4] if caches else [0, 1, 2, 3, 4])
    assert {report.total for report in reports if report.unit == "frame"} == {5}
    assert {report.stage for report in reports} == {"compute flow"}


def _in_all(path, root):
    return [root / name / path.relative_to(root / "a") for name in "abc"]


# the command


def test_the_command_flow(moving, tmp_path):
    clips, motions = moving
    (clips / "broken.mp4").write_bytes(b"")
    options = [
        "--out",
        tmp_path / "flow",
        "--flow-method",
        "dis",
        "--short-side",
        "48",
        "--fps",
        "native",
        "--workers",
        "0",
    ]
    result = run_here(["i3d", "flow", clips, *options])
    assert result.returncode == 3
    assert "broken.mp4: the file is empty" in result.stderr
    assert "2 of 3 clips, 8 frames; the list is " in result.stderr
    for name, motion in motions.items():
        with open_frames(tmp_path / "flow" / name / "a", FrameNaming("flow_{axis}_{:05d}.jpg", 1, "flow")) as video:
            flows = np.stack([bytes_to_flow(frame) for frame in video.stream()])
        assert flows.shape == (4, 48, 64, 2)
        assert flows[:, 10:-10, 10:-10].mean(axis=(0, 1, 2)) == pytest.approx(np.array(motion) / 2, abs=0.1)
    (clips / "broken.mp4").unlink()
    again = run_here(["i3d", "flow", clips / "left" / "a.mp4", clips / "down", *options])
    assert "2 reused" in again.stderr


def test_flow_is_shown_in_colours(moving, tmp_path):
    clips, _ = moving
    options = [
        "--out",
        tmp_path / "flow",
        "--flow-method",
        "dis",
        "--short-side",
        "0",
        "--fps",
        "native",
        "--workers",
        "0",
    ]
    run_here(["i3d", "flow", clips / "left" / "a.mp4", *options])
    run_here(["i3d", "flow", clips / "left" / "a.mp4", *options[2:], "--out", tmp_path / "narrow", "--flow-bound", "5"])
    for source in (clips / "left" / "a.mp4", tmp_path / "flow" / "a", tmp_path / "narrow" / "a"):
        result = run_here(
            ["i3d", "flow", "show", source, "--out", tmp_path / "c.mp4", "--max-displacement", "2", "--force"]
        )
        assert result.returncode == 0, result.stderr
        with open_video(tmp_path / "c.mp4") as video:
            frames = np.stack(list(video.stream()))
        assert frames.shape == (4, 96, 128, 3)
        red, green, blue = frames[:, 20:-20, 20:-20].mean(axis=(0, 1, 2))
        assert red < 60  # to the left is cyan
        assert green > 200
        assert blue > 200
    again = run_here(["i3d", "flow", "show", clips / "left" / "a.mp4", "--out", tmp_path / "c.mp4"])
    assert "c.mp4: the file exists; choose another name, or replace it with --force" in again.stderr
    itself = run_here(["i3d", "flow", "show", tmp_path / "c.mp4", "--out", tmp_path / "c.mp4", "--force"])
    assert "c.mp4: is what the command reads; choose another name" in itself.stderr
    whole = run_here(["i3d", "flow", "show", tmp_path / "flow", "--out", tmp_path / "d.mp4"])
    assert f"holds a folder for each video; name one, such as {tmp_path / 'flow' / 'a'}" in whole.stderr


def test_flow_of_folders_of_frames_and_beside_earlier_ones(moving, tmp_path):
    clips, _ = moving
    frames = tmp_path / "frames"
    frames.mkdir()
    with open_video(clips / "left" / "a.mp4") as video:
        for k, frame in enumerate(video.stream()):
            cv2.imwrite(str(frames / f"img_{k:05d}.png"), frame[..., ::-1])
    out = tmp_path / "flow"
    options = [
        "--out",
        out,
        "--flow-method",
        "dis",
        "--short-side",
        "0",
        "--fps",
        "native",
        "--workers",
        "0",
        "--flow-format",
        "npz",
    ]
    for source in (clips / "left" / "a.mp4", frames, frames):
        result = run_here(["i3d", "flow", source, *options])
        assert result.returncode == 0, result.stderr
    assert "1 of 1 clip, 4 frames, 1 reused" in result.stderr
    assert (out / "list.txt").read_text() == "a 4\nframes 4\n"
    of_video, of_frames = (np.load(out / name / "flow.npz")["flow"] for name in ("a", "frames"))
    assert np.array_equal(of_video, of_frames)
    partly = run_here(["i3d", "flow", clips / "left" / "a.mp4", tmp_path / "gone.mp4", *options])
    assert partly.returncode == 3
    assert "gone.mp4: no such file; check the path" in partly.stderr
    assert "1 of 2 clips, 4 frames, 1 reused" in partly.stderr


def test_a_video_is_listed_once_below_any_common_folder(moving, tmp_path):
    clips, _ = moving
    out, numbers = tmp_path / "flow", {}
    options = ["--flow-method", "dis", "--short-side", "0", "--workers", "0", "--flow-format", "npz"]
    for source in ("left/a.mp4", "left", "", "down", "down/a.mp4", "left", ""):
        result = run_here(["i3d", "flow", clips / source, "--out", out, *options])
        assert result.returncode == 0, result.stderr
        folders = [line.split()[0] for line in (out / "list.txt").read_text().splitlines()]
        numbers[source] = len(folders)
        flows = {np.load(out / folder / "flow.npz")["flow"].tobytes() for folder in folders}
        assert len(flows) == len(folders)
    assert numbers == {"left/a.mp4": 1, "left": 2, "": 2, "down": 2, "down/a.mp4": 2}
    assert "2 of 2 clips, 8 frames, 2 reused" in result.stderr
    (clips / "other").mkdir()
    encode(clips / "other" / "a.mp4", [texture(k, k, height=96, width=128) for k in range(5)])
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    result = run_here(["i3d", "flow", clips / "other" / "a.mp4", "--out", out, *options])
    assert result.returncode == 2
    what = f"{out / 'a'}: is of another video, {clips / 'left' / 'a.mp4'}; choose another folder, or replace"
    assert what in result.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4", "--out", "f", "--flow-method", "raft"], "--flow-method 'raft': is not one of"),
        (["a.mp4", "--out", "f", "--fps", "fast"], "write a number above 0 and at most 1,000, or native"),
        (["a.mp4", "--out", "f", "--flow-format", "avi"], "--flow-format 'avi': is not one of"),
        (["nowhere.mp4", "--out", "f"], "nowhere.mp4: no such file"),
        (["show", "a.mp4", "--out", "f.png"], "the name must end in .mp4 or .gif"),
    ],
)
def test_errors_of_the_command(moving, monkeypatch, words, message):
    monkeypatch.chdir(moving[0] / "left")
    result = run_here(["i3d", "flow", *words])
    assert result.returncode == 2
    assert message in result.stderr
