"""Two files of features: how alike, and what was done otherwise."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from i3d.errors import InputError
from i3d.features.compare import compare_features, likely_causes
from i3d.features.extract import load_extractor
from i3d.features.extractor import Row, VideoFeatures
from i3d.features.sidecar import FeatureFile, is_complete, write_features
from i3d.recipes.features import FeatureSettings
from i3d.utils.device import ComputeConfig
from i3d.video.reader import open_video
from i3d.weights.pretrained import DEFAULT
from support.commands import run_here
from support.evaluation_runs import save_model
from support.odd_json import DEEP, mutants
from support.rendering import encode, numbered_frame

SETTINGS = FeatureSettings(window=8, stride=4, fps=20.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", num_frames=40)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """For flow, which the search computes in many ways."""
    return make_clip(tmp_path_factory.mktemp("short") / "a.mp4", num_frames=18)


def make_clip(path, *, num_frames):
    rng = np.random.default_rng(0)
    frames = []
    for k in range(num_frames):
        frame = numbered_frame(k, height=40, width=56).copy()
        frame[..., 0] = np.clip(frame[..., 0] // 2 + 3 * k, 0, 255)
        frame[..., 2] = np.roll(frame[..., 2], k, axis=1) // 3 + rng.integers(0, 9)
        frames.append(frame)
    return encode(path, frames, fps=27, options={"crf": "5"})


@pytest.fixture
def source(tmp_path):
    return load_extractor(save_model(tmp_path / "m.safetensors"), SETTINGS, compute=ComputeConfig("cpu"))


def rows(extractor, clip):
    with open_video(clip) as video:
        return extractor(video).values


def test_cosines_by_hand(tmp_path):
    a = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", np.array([[0.0, 2.0], [4.0, 3.0], [0.0, 0.0], [1.0, 1.0]]))
    comparison = compare_features(tmp_path / "a.npy", tmp_path / "b.npy")
    assert comparison.cosines_R == pytest.approx([0, 24 / 25, 1])
    assert comparison.num_rows == (3, 4)
    assert not comparison.is_same
    assert compare_features(tmp_path / "a.npy", tmp_path / "a.npy").is_same
    rng = np.random.default_rng(0)
    long = rng.normal(size=(20, 30))
    np.save(tmp_path / "a.npy", long)
    np.savez(tmp_path / "b.npz", features=long[1:])
    shifted = compare_features(tmp_path / "a.npy", tmp_path / "b.npz").shifted
    assert shifted[1] == pytest.approx(1)
    assert max(abs(shifted[k]) for k in (-2, -1, 2)) < 0.3


ORDERS = {"mirrors after each": [0, 5, 1, 6, 2, 7, 3, 8, 4, 9], "reversed": list(range(9, -1, -1))}


def save_crops(folder, num_rows, crops_first, order):
    """Two files of ten crops; crops of one row are alike, and rows of one crop are."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(9, 1, 64)) + 0.5 * rng.normal(size=(1, 10, 64)) + 0.5 * rng.normal(size=(9, 10, 64))
    both = rows[: num_rows[0]], rows[: num_rows[1], order]
    for name, values, is_first in zip("ab", both, crops_first, strict=True):
        np.save(folder / f"{name}.npy", values.swapaxes(0, 1) if is_first else values)
    return folder / "a.npy", folder / "b.npy"


@pytest.mark.parametrize("num_rows", [(6, 6), (6, 8)])
@pytest.mark.parametrize("crops_first", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("order", ORDERS)
def test_crops_in_another_order_and_before_the_rows_are_reported(tmp_path, num_rows, crops_first, order):
    files = save_crops(tmp_path, num_rows, crops_first, ORDERS[order])
    comparison = compare_features(*files)
    assert comparison.crops_first == crops_first
    assert [ORDERS[order][crop] for crop in comparison.crop_order] == list(range(10))
    assert comparison.mean < 0.99
    assert comparison.reordered == pytest.approx(1)
    result = run_here(["i3d", "features", "compare", *files])
    crops = " ".join(map(str, comparison.crop_order))
    assert f"crops are in another order: with crops {crops} of the second 1.000000" in result.stdout
    for name, is_first in zip(("first", "second"), crops_first, strict=True):
        assert (f"the {name} has its crops before its rows: (crops, rows, numbers)" in result.stdout) == is_first
    output = json.loads(run_here(["i3d", "features", "compare", *files, "--json"]).stdout)
    assert (output["crop_order"], output["crops_first"]) == (list(comparison.crop_order), list(crops_first))


@pytest.mark.parametrize("crops_first", [(False, False), (False, True), (True, False), (True, True)])
def test_crops_in_the_same_order_are_not_reported(tmp_path, crops_first):
    comparison = compare_features(*save_crops(tmp_path, (6, 8), crops_first, list(range(10))))
    assert comparison.crop_order == ()
    assert comparison.cosines_R == pytest.approx(1)


def test_what_another_order_does_not_explain_is_not_reported_as_one(tmp_path):
    """Other numbers of crops are no crops before their rows; of unlike crops some order is always the best."""
    values_RVC = np.random.default_rng(0).normal(size=(30, 10, 64)).astype(np.float32)
    for name, values in [("a", values_RVC), ("five", values_RVC[:, :5]), ("later", values_RVC[1:, ::-1])]:
        np.save(tmp_path / f"{name}.npy", values)
    with pytest.raises(InputError, match="a.npy has rows of 10 x 64 numbers, .*five.npy of 5 x 64: another layer"):
        compare_features(tmp_path / "a.npy", tmp_path / "five.npy")
    comparison = compare_features(tmp_path / "a.npy", tmp_path / "later.npy")
    assert comparison.crop_order == ()
    assert comparison.num_rows == (30, 29)


def test_flat_rows_are_compared_with_those_of_several_crops(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 3, 5))
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "b.npy", rows.reshape(4, 15))
    assert compare_features(tmp_path / "a.npy", tmp_path / "b.npy").mean == pytest.approx(1)


def test_a_cause_is_searched_for_in_crops_of_any_order(clip, source, tmp_path):
    ten = replace(source, settings=SETTINGS.model_copy(update={"crops": "ten", "stride": 8}))
    values = rows(replace(ten, change=lambda frames: (f[..., ::-1] for f in frames)), clip)
    np.save(tmp_path / "b.npy", values[:, [0, 6, 1, 5, 2, 8, 3, 7, 4, 9]].swapaxes(0, 1))
    causes = likely_causes(ten, clip, tmp_path / "b.npy")
    assert causes[0].what == "colour order BGR"
    assert causes[0].cosine == pytest.approx(1, abs=1e-6)


CAUSES = {
    "colour order BGR": lambda e: replace(e, change=lambda frames: (f[..., ::-1] for f in frames)),
    "24 frames per second": lambda e: replace(e, settings=e.settings.model_copy(update={"fps": 24.0})),
    "the frame rate of the video": lambda e: replace(e, settings=e.settings.model_copy(update={"fps": None})),
    "values from -1 to 1": lambda e: replace(
        e,
        streams=tuple(
            replace(s, preprocessing=s.preprocessing.model_copy(update={"std": (127.5,) * 3})) for s in e.streams
        ),
    ),
    "no change": lambda e: e,
}


@pytest.mark.parametrize("what", CAUSES)
def test_the_cause_is_reported(clip, source, tmp_path, what):
    np.save(tmp_path / "b.npy", rows(CAUSES[what](source), clip))
    causes = likely_causes(source, clip, tmp_path / "b.npy")
    assert causes[0].what == what
    assert causes[0].cosine == pytest.approx(1, abs=1e-6)
    assert len(causes) > 10
    assert min(cause.cosine for cause in causes) < 0.9999


def test_one_frame_later(clip, source, tmp_path):
    with open_video(clip) as video:
        frames = list(video.stream(fps=20.0))
    values = rows(replace(source, change=lambda stream: iter(list(stream)[1:])), clip)
    assert len(frames) > len(values)
    np.save(tmp_path / "b.npy", values)
    assert likely_causes(source, clip, tmp_path / "b.npy")[0].what == "one frame later"


@pytest.mark.slow
def test_the_bound_of_flow(short, tmp_path):
    model = save_model(tmp_path / "f.safetensors", channels=2)
    extractor = load_extractor(None, SETTINGS, flow_model=model, flow="dis", compute=ComputeConfig("cpu"))
    np.save(tmp_path / "b.npy", rows(replace(extractor, bound=15.0), short))
    assert likely_causes(extractor, short, tmp_path / "b.npy")[0].what == "flow clipped to 15 pixels"


@pytest.mark.slow
def test_the_method_of_flow(short, tmp_path):
    save_model(tmp_path / "f.safetensors", channels=2)
    extractor = load_extractor(
        None, SETTINGS, flow_model=tmp_path / "f.safetensors", flow="dis", compute=ComputeConfig("cpu")
    )
    streams = tuple(replace(stream, flow="farneback") for stream in extractor.streams)
    np.save(tmp_path / "b.npy", rows(replace(extractor, streams=streams), short))
    assert likely_causes(extractor, short, tmp_path / "b.npy")[0].what == "flow by farneback"


@pytest.mark.slow
def test_settings_are_read_from_the_sidecar_of_the_other_array(clip, source, tmp_path):
    options = ["i3d", "features", clip, "--model", tmp_path / "m.safetensors", "--window", "11", "--device", "cpu"]
    for name, more in (("ours", ["--stride", "4"]), ("theirs", ["--stride", "3", "--fps", "13"])):
        assert run_here([*options, "--out", tmp_path / name, *more]).returncode == 0
    one, other = tmp_path / "ours/a.npy", tmp_path / "theirs/a.npy"
    result = run_here(["i3d", "features", "compare", one, other, "--model", tmp_path / "m.safetensors", "--json"])
    causes = json.loads(result.stdout)["causes"]
    assert causes[0]["what"] == "the settings of the other .json"
    assert causes[0]["cosine"] == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_the_command(clip, source, tmp_path):
    model = tmp_path / "m.safetensors"
    options = ["--model", model, "--window", "8", "--stride", "4", "--device", "cpu", "--fps"]
    assert run_here(["i3d", "features", clip, "--out", tmp_path / "a", *options, "20"]).returncode == 0
    assert run_here(["i3d", "features", clip, "--out", tmp_path / "c", *options, "24"]).returncode == 0
    ours, theirs = tmp_path / "a" / "a.npy", tmp_path / "b.npy"
    np.save(theirs, rows(replace(source, change=lambda stream: (f[..., ::-1] for f in stream)), clip))
    result = run_here(["i3d", "features", "compare", ours, theirs, "--model", model, "--device", "cpu"])
    assert result.returncode == 0, result.stderr
    first = next(line for line in result.stdout.splitlines() if "colour order" in line or "no change" in line)
    assert first.split()[:2] == ["colour", "order"]
    output = json.loads(run_here(["i3d", "features", "compare", ours, tmp_path / "c" / "a.npy", "--json"]).stdout)
    assert output["differ"] == ["settings.fps: 20.0, 24.0"]
    same = run_here(["i3d", "features", "compare", ours, ours])
    assert "the same to the bit" in same.stdout


def written(base, values_RC, *, video="v.mp4", content="c"):
    """Features as they are written of a video."""
    rows = tuple(Row(8 * r, 8 * r + 8) for r in range(len(values_RC)))
    features = VideoFeatures(np.float32(values_RC), rows, ((0.0, 1.0),) * len(rows), 8 * len(rows), ())
    write_features(FeatureFile(video, base, "npy"), features, {"file_format": "npy"}, [content])
    return base.with_name(f"{base.name}.npy")


def test_other_videos_and_edited_arrays_are_reported(tmp_path):
    one = written(tmp_path / "one", np.eye(3))
    assert compare_features(one, written(tmp_path / "copy", np.eye(3), video="copy.mp4")).notes == ()
    other = written(tmp_path / "other.v2", np.eye(3), video="w.mp4", content="d")
    message = "they are of videos of different content: v.mp4 and w.mp4"
    assert compare_features(one, other).notes == (message,)
    result = run_here(["i3d", "features", "compare", one, other, "--json"])
    assert result.stderr == f"warning: {message}\n"
    assert json.loads(result.stdout)["notes"] == [message]
    np.save(one, 2 * np.eye(3))
    np.save(tmp_path / "theirs.npy", np.eye(3))
    edited = f"{one}: edited or damaged since it was written (its SHA-256 is not that of {one.with_suffix('.json')})"
    assert compare_features(tmp_path / "theirs.npy", one).notes == (edited,)
    one.with_suffix(".json").write_text("[]")
    assert "one.json: is damaged or of another tool" in compare_features(one, one).notes[0]


def test_odd_sidecars_are_one_line(tmp_path):
    """Whatever is in the JSON: extracting refuses it by name or replaces it with --force; comparing reports it."""
    one, other = written(tmp_path / "one", np.eye(2)), written(tmp_path / "other", np.eye(2))
    sidecar, target = one.with_suffix(".json"), FeatureFile("v.mp4", tmp_path / "one", "npy")
    text = sidecar.read_text()
    odd = [json.dumps(mutant) for mutant in mutants({**json.loads(text), "rows": []})]
    for content in (
        "NaN",
        "null",
        "7",
        DEEP,
        text.replace('"c"', "NaN"),
        text.replace("{", '{"made_with": {}, ', 1),
        *odd,
    ):
        sidecar.write_text(content)
        compare_features(one, other)
        is_complete(target, {"file_format": "npy"}, force=True)
        try:
            is_reused = is_complete(target, {"file_format": "npy"}, force=False)
        except InputError as error:
            assert str(sidecar) in str(error)
            assert "\n" not in str(error)
        else:
            assert not is_reused  # the video is not there


@pytest.mark.parametrize("name", ["one.npy", "one.json"])
def test_pipes_are_not_waited_for(tmp_path, name):
    one, other = written(tmp_path / "one", np.eye(2)), written(tmp_path / "other", np.eye(2))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    if name == "one.npy":
        with pytest.raises(InputError, match=r"one\.npy: a pipe or a device"):
            compare_features(one, other)
    else:
        assert "one.json: is damaged" in compare_features(one, other).notes[0]


def test_arrays_that_cannot_be_compared(clip, source, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    np.save(tmp_path / "b.npy", np.ones((3, 5)))
    np.save(tmp_path / "c.npy", np.array([["a"]]))
    np.save(tmp_path / "d.npy", np.array([[np.nan]]))
    (tmp_path / "e.npy").write_bytes(b"no array")
    np.save(tmp_path / "f.npy", np.array([[{"a": 1}]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="rows of 4 numbers, .* of 5: another layer"):
        compare_features(tmp_path / "a.npy", tmp_path / "b.npy")
    for name, message in [
        ("c", "not rows of finite"),
        ("d", "not rows of finite"),
        ("e", "no features"),
        ("f", "no features"),
    ]:
        with pytest.raises(InputError, match=message):
            compare_features(tmp_path / "a.npy", tmp_path / f"{name}.npy")
    with pytest.raises(InputError, match="cannot be read"):
        compare_features(tmp_path / "a.npy", tmp_path / "nowhere.npy")
    result = run_here(["i3d", "features", "compare", tmp_path / "a.npy", tmp_path / "a.npy", "--model", DEFAULT])
    assert result.returncode == 2
    assert "a.json: is missing or damaged; the search needs its settings" in result.stderr
