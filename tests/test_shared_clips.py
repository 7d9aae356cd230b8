"""Real clips that lie beside the checkout, not in it: labelled Kinetics-style clips, strange and broken files."""

import csv
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from i3d.data.loading.preprocess import window_frames
from i3d.errors import VideoError
from i3d.inference.predictor import Predictor
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import forward
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig, has_bf16
from i3d.video.reader import open_video
from i3d.weights.load import build_model
from support.commands import run, run_here
from support.evaluation_runs import WINDOWS, save_model
from support.paths import GOLDEN
from support.paths import REAL_CLIPS as CLIPS

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    not CLIPS.is_dir(), reason=f"{CLIPS} is not here: real clips are not part of the project"
)


def index(folder):
    path = CLIPS / folder / "index.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


CLIP_ROWS = [pytest.param(folder, row, id=row["file"]) for folder in ("odd", "kinetics") for row in index(folder)]


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "row"), CLIP_ROWS)
def test_every_clip_gives_its_frames_or_one_line(folder, row):
    """All of them in sequence, some by index, and the same from bytes in memory."""
    path = CLIPS / folder / row["file"]
    if row["decodes"] != "yes":
        for source in (path, path.read_bytes()):
            with pytest.raises(VideoError) as error, open_video(source) as video:
                list(video.stream())
            assert "\n" not in str(error.value)
        return
    width, height = int(row["width"]), int(row["height"])
    expected = (width, height) if row["rotation"] in ("90", "-90") else (height, width)
    with open_video(path) as video:
        frames = list(video.stream())
        assert [frame.shape for frame in frames] == [(*expected, 3)] * int(row["frames"])
        if folder == "kinetics":
            assert video.notes == ()
        for indices in [[len(frames) - 1], np.random.RandomState(0).randint(0, len(frames), 6)]:
            assert np.array_equal(video.frames_at(indices).frames_THWC, [frames[i] for i in indices])
    with open_video(path.read_bytes()) as video:
        assert np.array_equal(next(video.stream()), frames[0])
        assert video.count_frames() == len(frames)


def test_a_rotated_phone_clip_is_the_plain_one_turned():
    with open_video(CLIPS / "odd" / "video_0.mov") as plain, open_video(CLIPS / "odd" / "video_90.mov") as turned:
        assert next(plain.stream()).shape == (320, 568, 3)
        assert next(turned.stream()).shape == (568, 320, 3)
    with (
        open_video(CLIPS / "odd" / "abseil_rot90.mp4") as turned,
        open_video(CLIPS / "kinetics" / "abseiling_k400.mp4") as plain,
    ):
        assert np.array_equal(next(turned.stream()), np.rot90(next(plain.stream()), -1))


def test_truncation_is_reported():
    with open_video(CLIPS / "odd" / "abseil_truncated.mkv") as video:
        assert len(list(video.stream())) == 69
        assert "truncated" in video.notes[0]


def logits_of(predictor, clip_THWC):
    """Logits (K) of a clip as it is, without resizing and cropping."""
    clips = torch.from_numpy(clip_THWC)[None]
    return forward(predictor.engine, clips, predictor.card.recipe.preprocessing)[0].numpy()


@pytest.mark.slow
def test_logits_of_the_reference_clip_equal_the_jax_implementation():
    """All 79 frames of kinetics-i3d's sample, unresized, as `rgb / 127.5 - 1`."""
    predictor = Predictor(compute=ComputeConfig(device="cpu"))
    with open_video(CLIPS / "kinetics" / "v_CricketShot_g04_c01_rgb.gif") as video:
        logits = logits_of(predictor, np.stack(list(video.stream())))
    golden = np.load(GOLDEN / "jax_i3d_rgb_kinetics400.npz")["cricket_logits"][0]
    assert np.abs(logits - golden).max() < 1e-3 * np.abs(golden).max()
    assert predictor.card.labels[int(logits.argmax())] == "playing cricket"


@pytest.fixture(scope="module")
def first_frames():
    """(clip (T, H, W, C) of at most 32 frames, its logits in fp32), by file, of three clips."""
    predictor = Predictor(compute=ComputeConfig(device="cpu", precision="fp32"))
    protocol, pre = predictor.card.recipe.protocol, predictor.card.recipe.preprocessing
    clips = {}
    for row in index("kinetics")[:3]:
        with open_video(CLIPS / "kinetics" / row["file"]) as video:
            clip_THWC = np.stack(list(islice(window_frames(video, protocol, pre), 32)))
        clips[row["file"]] = clip_THWC, logits_of(predictor, clip_THWC)
    return clips


@pytest.mark.slow
@pytest.mark.skipif(not has_bf16(), reason="this processor has no arithmetic of bfloat16")
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_is_within_a_hundredth_of_fp32(tmp_path, first_frames, runtime):
    if runtime == "openvino":
        pytest.importorskip("onnxscript", reason="pip install 'i3d[export]'")
    predictor = Predictor(compute=ComputeConfig(device="cpu", precision="bf16"))
    predictor.engine = Engine.create(
        build_model(predictor.weights),
        ComputeConfig(precision="bf16", runtime=runtime, cache=Cache(tmp_path)),
        device=CPU,
        clip_CTHW=(3, 32, 224, 224),
    )
    for file, (clip_THWC, expected_K) in first_frames.items():
        logits_K = logits_of(predictor, clip_THWC)
        assert np.abs(logits_K - expected_K).max() < 0.01 * np.abs(expected_K).max(), file
        assert logits_K.argmax() == expected_K.argmax(), file


@pytest.mark.slow
@pytest.mark.skipif(not (CLIPS / "weizmann").is_dir(), reason="the Weizmann clips are not here")
def test_the_shipped_weights_learn_the_actions_of_weizmann(tmp_path):
    """Of seven people, two held out: one view of each clip, the classifier alone."""
    rows = [row for row in index("weizmann") if "_mirror" not in row["file"] and row["group"] <= "p6"]
    listed = [f"{row['file']},{row['label']},{row['group']},{row['split']}" for row in rows]
    (tmp_path / "weizmann.csv").write_text("\n".join(["path,label,group,split", *listed]) + "\n")
    options = [
        "--root",
        CLIPS / "weizmann",
        "--work-dir",
        tmp_path / "W",
        "--cache",
        tmp_path / "cache",
        "--workers",
        0,
    ]
    command = ["i3d", "train", "--data", tmp_path / "weizmann.csv", "--train-layers", "head", "--views", 1, "--json"]
    result = run_here([*command, *options, "--device", "cpu"])
    assert result.returncode == 0, result.stderr
    output = json.loads(result.stdout)
    assert output["tested_on"] == "val"
    assert output["metrics"]["num_clips"] == sum(row["split"] == "val" for row in rows)
    assert output["metrics"]["top1"] == 1.0


@pytest.mark.slow
def test_all_odd_clips_in_one_run(tmp_path):
    """By a tiny network: what counts is what is read."""
    model, out = save_model(tmp_path / "m.safetensors", protocol=WINDOWS), tmp_path / "r.json"
    result = run("predict", CLIPS / "odd", "--model", model, "--out", out)
    assert result.returncode == 3
    assert "Traceback" not in result.stderr
    rows = {Path(row["path"]).name: row for row in json.loads(out.read_text())}
    for listed in index("odd"):
        row = rows.pop(listed["file"])
        if listed["decodes"] == "yes":
            assert (row["status"], row["frames"]) == ("ok", int(listed["frames"]))
        else:
            assert (row["status"], row["predictions"]) == ("error", [])
            assert row["error"].startswith(row["path"])
    assert list(rows) == ["abseil"]  # the folder of frames
    assert rows["abseil"]["frames"] == 60


FITTEST = {"askanything_playing_guitar.mp4": "playing bass guitar"}  # not the first name; the guitar has four strings


def run_on_list(rows, folder, *options):
    """What `i3d test` with the shipped weights prints of these clips, and the rows of the list."""
    lines = ["path,label"]
    for row in rows:
        label = FITTEST.get(row["file"], row["label"].split("|")[0])
        assert label in row["label"].split("|")
        lines.append(f"{row['file']},{label}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    result = run_here(["i3d", "test", "inception_rgb_kinetics400", "--data", folder / "list.csv", "--root",
                     CLIPS / "kinetics", "--workers", "1", "--precision", "auto", *options])  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout, lines[1:]


@pytest.mark.slow
def test_the_kinetics_clips_as_a_list_are_all_recognised(tmp_path):
    """From 64 frames in the middle of each clip."""
    outputs = ["--out", tmp_path / "r.json", "--report", tmp_path / "r.html"]
    stdout, lines = run_on_list(index("kinetics"), tmp_path, "--protocols", "1x1", *outputs)
    assert "top-1 1.0000 (95 % interval 0.796 to 1.000) of 15 clips" in stdout
    page = (tmp_path / "r.html").read_text()
    assert "15 of 15 clips correct" in page
    assert all(line.split(",")[1] in page for line in lines)
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["counts"] == {"clips": 15, "unreadable": 0}
    assert document["protocols"]["1x1"]["metrics"]["top1"] == 1.0


@pytest.mark.slow
def test_all_frames_of_a_clip_are_tested_unless_a_protocol_is_named(tmp_path):
    shortest = sorted(index("kinetics"), key=lambda row: int(row["frames"]) / float(row["fps"]))[:2]
    stdout, _ = run_on_list(shortest, tmp_path)
    assert "top-1 1.0000" in stdout
    assert "protocol: inception_rgb_kinetics400: all frames at 25 fps in windows of at most 250" in stdout
