"""Features: rows of exactly the frames that they name, whatever the settings."""

import json
import re
import shutil
import sys
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i3d.errors import InputError, VideoError
from i3d.features.array_formats import read_array
from i3d.features.crops import crop_names, feature_crops
from i3d.features.extract import load_extractor
from i3d.features.extractor import FeatureExtractor, Row, Stream, num_rows, windows_of_stream
from i3d.models.engine.engine import Engine
from i3d.models.factory import build_network
from i3d.recipes.features import AUTHORS, PRESETS, FeatureSettings, describe_other_network, feature_preset
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import InceptionSettings, Preprocessing, ResNetSettings
from i3d.utils.atomic_files import remove_abandoned, replacing
from i3d.utils.device import ComputeConfig
from i3d.video.flow import flow_between, flow_to_bytes
from i3d.video.reader import open_video
from i3d.video.transforms import crop_views, flip
from i3d.weights.load import build_model, load_weights
from i3d.weights.pretrained import DEFAULT
from support import processes
from support.commands import run_here
from support.evaluation_runs import save_model
from support.rendering import encode, numbered_frame
from support.resizing import resize_short_side

ROOT = Path(__file__).parent.parent

RGB = Preprocessing(short_side=32, crop=32, mean=(127.5,) * 3, std=(60.0,) * 3)
FLOW = Preprocessing(short_side=32, crop=32, mean=(127.5,) * 2, std=(60.0,) * 2)


def engine(channels=3):
    torch.manual_seed(channels)
    net = build_network(ResNetSettings(depth=18, base_channels=4, in_channels=channels, num_classes=3))
    return Engine.create(net, ComputeConfig(precision="fp32"), device=torch.device("cpu"))


def extractor(settings, *kinds):
    streams = {
        "rgb": lambda: Stream(engine(), RGB, None),
        "flow": lambda: Stream(engine(2), FLOW, "dis"),
    }
    return FeatureExtractor(tuple(streams[kind]() for kind in kinds or ("rgb",)), settings)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    encode(path, [numbered_frame(k, height=36, width=48) for k in range(30)], fps=20)
    return path


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    encode(path, [numbered_frame(k, height=36, width=48) for k in range(130)], fps=20)
    return path


# which frames


@given(
    st.builds(
        FeatureSettings,
        window=st.integers(1, 9),
        stride=st.integers(1, 12),
        align=st.sampled_from(["start", "centre"]),
        padding=st.sampled_from(["none", "repeat"]),
    ),
    st.integers(0, 40),
)
def test_windows_against_a_loop(settings, num_frames):
    expected = []
    for number in range(num_frames + 1):
        middle = settings.window // 2 if settings.align == "centre" else 0
        first = number * settings.stride - middle
        indices = range(first, first + settings.window)
        if settings.padding == "repeat" and number * settings.stride < num_frames:
            expected.append((Row(first, first + settings.window), [min(max(i, 0), num_frames - 1) for i in indices]))
        elif settings.padding == "none" and first >= 0 and first + settings.window <= num_frames:
            expected.append((Row(first, first + settings.window), list(indices)))
    assert list(windows_of_stream(iter(range(num_frames)), settings)) == expected
    if settings.padding == "repeat" or settings.align == "start":
        assert num_rows(num_frames, settings) == len(expected)


def test_memory_does_not_grow_with_the_stream():
    alive = set()

    class Frame:
        def __init__(self):
            alive.add(id(self))

        def __del__(self):
            alive.discard(id(self))

    settings, most = FeatureSettings(window=5, stride=2), 0
    for _ in windows_of_stream((Frame() for _ in range(500)), settings):
        most = max(most, len(alive))
    assert most <= 5 + 2


# the numbers


SETTINGS = {
    "windows": FeatureSettings(window=8, stride=4, fps=20.0),
    "another rate": FeatureSettings(window=6, stride=3, fps=12.0),
    "its own rate": FeatureSettings(window=6, stride=5, fps=None),
    "a layer": FeatureSettings(window=8, stride=8, fps=None, layer="layer2"),
    "centred": FeatureSettings(window=7, stride=6, fps=None, align="centre", padding="repeat"),
    "ten crops": FeatureSettings(window=8, stride=16, fps=None, crops="ten"),
    "five crops, mirrored": FeatureSettings(window=8, stride=16, fps=None, crops="five", flip=True),
    "three crops": FeatureSettings(window=8, stride=16, fps=None, crops="three"),
    **PRESETS,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kinds", [("rgb",), ("flow",), ("rgb", "flow")], ids="+".join)
def test_a_row_is_the_network_on_exactly_its_frames(clip, long_clip, name, kinds):
    settings, chosen = SETTINGS[name], extractor(SETTINGS[name], *kinds)
    clip = long_clip if settings.window == 64 else clip
    with open_video(clip) as video:
        features = chosen(video)
    with open_video(clip) as video:
        frames = resize_short_side(np.stack(list(video.stream(fps=settings.fps))), short_side=32)
    flows = [flow_to_bytes(flow_between(a, b, method="dis")) for a, b in zip(frames, frames[1:], strict=False)]
    inputs = {"rgb": frames, "flow": np.stack([flows[0], *flows])}
    assert features.num_frames == len(frames)
    assert len(features.rows) == len(features.values) > 1 or settings.stride == 16
    for row, values, (start, end) in zip(features.rows, features.values, features.seconds, strict=True):
        indices = np.clip(np.arange(*row), 0, len(frames) - 1)
        expected = [by_hand(chosen.streams[k], inputs[kind][indices], settings) for k, kind in enumerate(kinds)]
        assert np.allclose(values, np.concatenate(expected, axis=-1), rtol=1e-5, atol=1e-5)
        rate = settings.fps or 20
        assert (start, end) == pytest.approx((max(row.first, 0) / rate, min(row.stop, len(frames)) / rate), abs=1e-6)


def torchvision_five_crop(frames_THWC, *, size):
    """`torchvision.transforms.functional.five_crop`; `ten_crop` is that, then that of the mirrored frame."""
    height, width = frames_THWC.shape[1:3]
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return [
        frames_THWC[:, :size, :size],
        frames_THWC[:, :size, width - size :],
        frames_THWC[:, height - size :, :size],
        frames_THWC[:, height - size :, width - size :],
        frames_THWC[:, top : top + size, left : left + size],
    ]


def test_the_crops_of_a_row_are_those_of_torchvision_in_their_order():
    for height, width in ((50, 71), (64, 64), (53, 40)):
        frames = np.stack([*np.indices((height, width)), np.zeros((height, width), int)], axis=-1)[None]
        for crops in ("five", "ten"):
            expected = torchvision_five_crop(frames, size=32)
            expected += torchvision_five_crop(flip(frames), size=32) if crops == "ten" else []
            settings = FeatureSettings(crops=crops)
            boxes = feature_crops(height, width, size=32, settings=settings)
            actual = [frames[:, top : top + 32, left : left + 32] for top, left, _ in boxes]
            actual = [flip(crop) if box.mirrored else crop for crop, box in zip(actual, boxes, strict=True)]
            assert all(np.array_equal(a, b) for a, b in zip(actual, expected, strict=True))
            assert len(crop_names(settings)) == len(boxes)


def test_each_crop_has_the_name_of_its_place():
    width = 60
    for crops in ("five", "ten", "center"):
        settings = FeatureSettings(crops=crops, flip=crops != "ten")
        boxes = feature_crops(50, width, size=32, settings=settings)
        for name, (top, left, mirrored) in zip(crop_names(settings), boxes, strict=True):
            assert ("mirrored" in name) == mirrored
            assert ("top" in name, "bottom" in name) == (top == 0, top == 18)
            assert ("left" in name, "right" in name) == (left == 0, left == width - 32)


def test_the_sidecar_has_the_order_of_several_crops():
    assert "crop_order" not in load_extractor(DEFAULT, FeatureSettings()).made_with
    order = load_extractor(DEFAULT, feature_preset("anomaly-10crop-16")).made_with["crop_order"]
    assert order[:5] == ["top left", "top right", "bottom left", "bottom right", "centre"]
    assert order[5:7] == ["top right, mirrored", "top left, mirrored"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_the_network_of_its_authors_if_it_is_another(preset):
    """By the length of its rows, and where that is equal by what the networks compute."""
    width, authors, words = AUTHORS[preset]
    inception, mmaction2 = (named_recipe(name).network for name in ("i3d_rgb", "i3d_r50_32x2x1_100e_kinetics400_rgb"))
    own = [inception if author == "inception" else named_recipe(author).network for author in authors]
    assert describe_other_network(preset, own, width) == ""
    note = describe_other_network(preset, own, 3072 - width)
    assert f"preset {preset}: its authors' rows have {width} numbers, of {words}; these have {3072 - width}" in note
    for others in ([mmaction2], [mmaction2] * 2, own[:1] * (3 - len(own))):
        assert f"; these are of {others[0].description}" in describe_other_network(preset, others, width)


def by_hand(stream, clip_THWC, settings):
    crops = {
        "center": lambda: crop_views(clip_THWC, size=32, crops="center"),
        "three": lambda: crop_views(clip_THWC, size=32, crops="three"),
        "five": lambda: torchvision_five_crop(clip_THWC, size=32),
        "ten": lambda: [
            *torchvision_five_crop(clip_THWC, size=32),
            *torchvision_five_crop(flip(clip_THWC), size=32),
        ],
    }[settings.crops]()
    if settings.flip:
        crops = [view for crop in crops for view in (crop, flip(crop))]
    rows = []
    for crop in crops:
        x = torch.from_numpy(crop.copy()).float().permute(3, 0, 1, 2)[None]
        x = (x - 127.5) / 60
        with torch.inference_mode():
            values = (
                stream.engine.pooled(x)
                if settings.layer == "pooled"
                else stream.engine.features(x, endpoint=settings.layer).mean((2, 3, 4))
            )
        rows.append(values[0].numpy())
    return rows[0] if len(rows) == 1 else np.stack(rows)


def test_the_grid_is_exact(clip):
    settings = FeatureSettings(window=8, stride=8, fps=None, layer="layer3", grid=True)
    with open_video(clip) as video:
        features = extractor(settings)(video)
    averaged = FeatureSettings(window=8, stride=8, fps=None, layer="layer3")
    with open_video(clip) as video:
        plain = extractor(averaged)(video)
    assert features.values.ndim == 6
    assert features.values.shape[:2] == (3, 1)
    assert np.allclose(features.values.mean(axis=(1, 2, 3, 4)), plain.values, atol=1e-5)


def test_a_row_for_each_frame(clip):
    with open_video(clip) as video:
        features = extractor(feature_preset("segmentation-21-centred"))(video)
    assert len(features.values) == 30
    assert features.rows[0] == (-10, 11)
    assert features.seconds[29] == pytest.approx((19 / 20, 30 / 20))


def test_a_video_shorter_than_a_row(clip):
    message = "it has 30 frames, a row needs 64; use --padding repeat, or a smaller --window"
    with open_video(clip) as video, pytest.raises(VideoError, match=message):
        extractor(feature_preset("video-features-i3d"))(video)


def test_missing_parts_are_reported():
    with pytest.raises(InputError, match="layer 'Mixed_5c': this network has pooled, conv1, layer1"):
        extractor(FeatureSettings(layer="Mixed_5c"))
    with pytest.raises(InputError, match="name an endpoint, such as layer4"):
        extractor(FeatureSettings(grid=True))
    with pytest.raises(InputError, match="preset 'x': there are video-features-i3d"):
        feature_preset("x")


# the command


@pytest.fixture
def videos(tmp_path):
    for name, num_frames in {"a": 30, "b": 24, "more/a": 18, "short": 5}.items():
        path = tmp_path / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        encode(path, [numbered_frame(k, height=36, width=48) for k in range(num_frames)], fps=20)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"")
    return tmp_path / "videos"


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "m.safetensors")


def run(*arguments, expected=0):
    result = run_here(["i3d", "features", *arguments, "--device", "cpu"])
    assert result.returncode == expected, result.stderr
    return result.stderr


def num_files(folder):
    """Also of those that another process renames meanwhile."""
    return sum(path.is_file() for path in folder.rglob("*"))


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


OPTIONS = ("--window", "8", "--stride", "4", "--fps", "native")
EDITS = {
    "rows": [], "notes": ["mine"], "num_frames": 1, "shape": [1, 1], "video": "b.mp4", "made_with": {}, "runtimes": {},
    "digest": "", "sha256": "", "more": 1,
}  # fmt: skip


def test_a_folder_becomes_arrays_with_sidecars(videos, model, tmp_path):
    out = tmp_path / "out"
    err = run(videos, "--out", out, "--model", model, *OPTIONS, expected=3)
    assert "broken.mp4: the file is empty" in err
    assert "short.mp4: it has 5 frames, a row needs 8; use --padding repeat, or a smaller --window" in err
    assert "features of 3 of 5 videos" in err
    assert sorted(content(out)) == ["a.json", "a.npy", "b.json", "b.npy", "more/a.json", "more/a.npy"]
    sidecar, values = json.loads((out / "more" / "a.json").read_text()), np.load(out / "more" / "a.npy")
    weights = load_weights(model)
    assert sidecar["made_with"]["weights"] == [{"sha256": weights.sha256, "recipe": "tiny", "flow": None}]
    assert sidecar["made_with"]["runtime"] == "torch"
    assert sidecar["runtimes"] == {"torch": metadata.version("torch")}
    assert sidecar["shape"] == list(values.shape) == [3, 32]
    net = build_model(weights)
    with open_video(videos / "more" / "a.mp4") as video:
        frames = resize_short_side(np.stack(list(video.stream())), short_side=32)
    for row, features in zip(sidecar["rows"], values, strict=True):
        clip = frames[row["first"] : row["stop"], :, (frames.shape[2] - 32) // 2 :][:, :, :32]
        x = ((torch.from_numpy(clip.copy()).float() - 127.5) / 60).permute(3, 0, 1, 2)[None]
        with torch.inference_mode():
            assert np.allclose(net.pooled(x)[0].numpy(), features, atol=1e-5)
        assert row["end_seconds"] - row["start_seconds"] == pytest.approx(8 / 20, abs=1e-6)


@pytest.mark.slow
def test_existing_output_is_reused_and_changed_input_recomputed(videos, model, tmp_path):
    out = tmp_path / "out"
    for name in ("broken.mp4", "short.mp4"):
        (videos / name).unlink()
    run(videos, "--out", out, "--model", model, *OPTIONS)
    before = content(out)
    assert "3 reused" in run(videos, "--out", out, "--model", model, *OPTIONS)
    assert content(out) == before
    shutil.copy(videos / "b.mp4", videos / "a.mp4")
    (out / "b.npy").write_bytes(before["b.npy"][:-9])  # half a file
    unfinished = {**json.loads(before["more/a.json"]), "unfinished": True, "sha256": ""}
    (out / "more" / "a.json").write_text(json.dumps(unfinished))
    err = run(videos, "--out", out, "--model", model, *OPTIONS)
    assert "features of 3 of 3 videos, in" in err
    warning = "b.npy: edited or damaged since it was written (its SHA-256 is wrong); it is extracted again"
    assert err.count(warning) == 1
    after = content(out)
    assert after["b.npy"] == after["a.npy"] == before["b.npy"]
    assert after["more/a.json"] == before["more/a.json"]
    for name, value in EDITS.items():
        edited = {**json.loads(before["more/a.json"]), name: value}
        (out / "more" / "a.json").write_text(json.dumps(edited))
        err = run(videos, "--out", out, "--model", model, *OPTIONS)
        warning = "more/a.json: edited or damaged since it was written (its digest is wrong); it is extracted again"
        assert err.count(warning) == 1, name
        assert content(out) == after
    err = run(videos, "--out", out, "--model", model, "--window", "9", expected=2)
    assert "a.json: made with other settings (settings.window was 8, now 9; " in err
    assert content(out) == after
    run(videos, "--out", out, "--model", model, "--window", "9", "--fps", "native", "--force")
    assert json.loads((out / "a.json").read_text())["made_with"]["settings"]["window"] == 9


def test_files_of_others_are_left_alone(videos, model, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("a.npy", "a.json"):
        (tmp_path / "out" / name).write_text("{}")
        err = run(videos / "a.mp4", "--out", tmp_path / "out", "--model", model, *OPTIONS, expected=2)
        assert f"{name}: exists, and is damaged or was not written by i3d" in err
        assert (tmp_path / "out" / name).read_text() == "{}"


def load_npz(path):
    return dict(np.load(path))


def load_h5(path):
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def load_parquet(path):
    table = pyarrow.parquet.read_table(path)
    columns = {name: table.column(name).to_numpy() for name in ("first", "stop", "start_seconds", "end_seconds")}
    return {
        "features": np.array(table.column("features").to_pylist(), np.float32).reshape(len(table), 10, 32),
        "rows": np.stack([columns["first"], columns["stop"]], axis=1),
        "seconds": np.stack([columns["start_seconds"], columns["end_seconds"]], axis=1),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "load"), [("npz", load_npz), ("h5", load_h5), ("parquet", load_parquet)])
def test_other_formats_have_frames_and_seconds(videos, model, tmp_path, kind, load):
    options = (videos / "a.mp4", "--model", model, *OPTIONS, "--crops", "10")
    run(*options, "--out", tmp_path / "plain")
    for name in ("o", "again"):
        run(*options, "--out", tmp_path / name, "--array-format", kind)
    path = tmp_path / "o" / f"a.{kind}"
    contents, plain = load(path), np.load(tmp_path / "plain" / "a.npy")
    assert plain.shape == (6, 10, 32)
    assert np.array_equal(contents["features"], plain)
    assert contents["features"].dtype == np.float32
    assert contents["rows"].tolist() == [[k, k + 8] for k in range(0, 24, 4)]
    assert contents["seconds"][1].tolist() == pytest.approx([0.2, 0.6])
    assert path.read_bytes() == (tmp_path / "again" / f"a.{kind}").read_bytes()
    assert np.array_equal(read_array(path), plain)
    result = run_here(["i3d", "features", "compare", path, tmp_path / "plain" / "a.npy"])
    assert "they are the same to the bit" in result.stdout


@pytest.mark.parametrize(("kind", "library"), [("h5", "h5py"), ("parquet", "pyarrow")])
def test_a_format_whose_library_is_missing_is_reported_first(videos, model, tmp_path, monkeypatch, kind, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    err = run(videos / "a.mp4", "--out", tmp_path / "o", "--model", model, "--array-format", kind, expected=2)
    assert f"{kind} files need {library}, which is not installed; pip install 'i3d[scale]'" in err
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_another_video_of_the_same_name_is_not_overwritten(videos, model, tmp_path):
    for name, number in (("x", "a"), ("y", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "v.mp4").write_bytes((videos / f"{number}.mp4").read_bytes())
    out = ("--out", tmp_path / "o", "--model", model, *OPTIONS)
    run(tmp_path / "x" / "v.mp4", *out)
    before = (tmp_path / "o" / "v.npy").read_bytes()
    err = run(tmp_path / "y" / "v.mp4", *out, expected=2)
    assert (
        f"v.json: is of another video, {tmp_path / 'x' / 'v.mp4'}; choose another --out, or replace them with --force"
        in err
    )
    assert (tmp_path / "o" / "v.npy").read_bytes() == before
    (tmp_path / "list.txt").write_text("x/v.mp4\ny/v.mp4\n")
    run(tmp_path / "list.txt", "--out", tmp_path / "listed", "--model", model, *OPTIONS)
    assert (tmp_path / "listed" / "x" / "v.npy").read_bytes() == before
    run(f"{tmp_path}/[xy]/v.mp4", "--out", tmp_path / "pattern", "--model", model, *OPTIONS)
    assert (tmp_path / "pattern" / "x" / "v.npy").read_bytes() == before
    assert (tmp_path / "pattern" / "y" / "v.npy").exists()


@pytest.mark.slow
def test_one_sidecar_describes_one_array(videos, model, tmp_path):
    options = (videos / "a.mp4", "--out", tmp_path / "o", "--model", model, *OPTIONS)
    run(*options)
    assert "made with other settings (file_format was npy, now npz)" in run(
        *options, "--array-format", "npz", expected=2
    )
    run(*options, "--array-format", "npz", "--force")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a.json", "a.npz"]


def test_files_that_others_are_writing_are_not_deleted(tmp_path):
    """Names that share their first characters, and a process that is writing the same file."""
    path = tmp_path / ("a" * 70 + "1.npy")
    with replacing(path) as alive, replacing(path.with_name("a" * 70 + "2.npy")) as neighbour:
        killed = path.with_name(alive.name.replace(alive.stem[-8:], "12345678"))
        killed.write_bytes(b"half")
        remove_abandoned(path)
        assert alive.exists()
        assert neighbour.exists()
        assert not killed.exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "parquet"])
def test_files_that_are_none_of_these(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"no features")
    with pytest.raises(InputError, match="give a .npy or .npz or .h5 or .parquet"):
        read_array(path)


@pytest.mark.slow
def test_two_streams_side_by_side(videos, model, tmp_path):
    flow = save_model(tmp_path / "f.safetensors", channels=2)
    options, dis = (videos / "a.mp4", *OPTIONS), ("--flow-method", "dis")
    run(*options, "--out", tmp_path / "rgb", "--model", model)
    cache = ("--cache", tmp_path / "cache")
    run(*options, *dis, *cache, "--out", tmp_path / "flow", "--streams", "flow", "--flow-model", flow)
    assert len(list((tmp_path / "cache").rglob("*.flow.mkv"))) == 1
    with mock.patch("i3d.data.loading.flow_cache.consecutive_flows", side_effect=AssertionError):
        run(*options, *dis, *cache, "--out", tmp_path / "both", "--model", model, "--flow-model", flow)
    (tmp_path / "file").write_text("")  # where no cache can be: the same rows
    run(*options, *dis, "--cache", tmp_path / "file", "--out", tmp_path / "again", "--streams", "flow",
        "--flow-model", flow)  # fmt: skip
    assert np.array_equal(np.load(tmp_path / "again" / "a.npy"), np.load(tmp_path / "flow" / "a.npy"))
    rgb, of_flow, both = (np.load(tmp_path / name / "a.npy") for name in ("rgb", "flow", "both"))
    assert np.array_equal(both, np.concatenate([rgb, of_flow], axis=-1))
    sidecar = json.loads((tmp_path / "both" / "a.json").read_text())
    assert [weights["flow"] for weights in sidecar["made_with"]["weights"]] == [None, "dis"]
    assert sidecar["made_with"]["preprocessing"][1]["flow"] == "dis"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("openvino") is None, reason="pip install 'i3d[export]'")
def test_the_runtime_is_in_the_sidecar(videos, model, tmp_path):
    for name, runtime in (("one", "torch"), ("two", "openvino")):
        options = ("--runtime", runtime, "--cache", tmp_path / "cache")
        run(videos / "a.mp4", *OPTIONS, "--out", tmp_path / name, "--model", model, *options)
    one, two = (np.load(tmp_path / name / "a.npy") for name in ("one", "two"))
    assert np.allclose(one, two, atol=1e-5)
    sidecar = json.loads((tmp_path / "two" / "a.json").read_text())
    assert sidecar["made_with"]["runtime"] == "openvino"
    assert sidecar["runtimes"] == {"openvino": metadata.version("openvino")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "x"], "--preset 'x': is not one of video-features-i3d"),
        (["--layer", "fc"], "layer 'fc': this network has pooled, conv1"),
        (["--grid"], "name an endpoint"),
        (["--crops", "7"], "--crops '7': is not one of 1, 3, 5, 10"),
        (["--fps", "fast"], "write a number above 0 and at most 1,000, or native"),
        (["--fps", "-1"], "write a number above 0"),
        (["--window-align", "end"], "--window-align 'end': is not one of start, centre"),
        (["--array-format", "mat"], "--array-format 'mat': is not one of npy, npz, h5, parquet"),
        (["--flow-method", "raft"], "--flow-method 'raft': is not one of tvl1, dis, farneback"),
        (
            ["--flow-method", "dis"],
            "--flow-method dis: is for a network of flow; name one with --flow-model, or leave it out",
        ),
        (["--dense", "--stride", "4"], "--dense: is stride 1, centred, with repeated ends; leave --stride"),
        (["--crops", "10", "--mirror-crops"], "--mirror-crops: ten crops have the mirror images already; leave it out"),
        (["--preset", "anomaly-10crop-16", "--mirror-crops"], "ten crops have the mirror images already; leave flip"),
        (["--streams", "rgb,flow"], "no network of flow comes with the package; name one with --flow-model"),
        (["--flow-model", "MODEL"], "its network takes RGB (3 channels); set it with --model"),
        (["--precision", "fp16"], "precision fp16: a CPU has no fast float16"),
    ],
)
def test_bad_options(videos, model, tmp_path, options, message):
    options = [str(model) if word == "MODEL" else word for word in options]
    start = [] if "--model" in options else ["--model", model]
    assert message in run(videos / "a.mp4", "--out", tmp_path / "o", *start, *options, expected=2)


def test_the_command_warns_of_the_network_of_a_preset(videos, model, tmp_path):
    out = ("--out", tmp_path / "o", "--model", model, "--preset", "localisation-16-25fps", "--padding", "repeat")
    note = "warning: preset localisation-16-25fps: its authors' rows have 2048 numbers, of two Inception-I3D, of RGB"
    assert note in run(videos / "a.mp4", *out)
    assert "its authors' rows" not in run(videos / "a.mp4", *out, "--layer", "layer2", "--force")


def test_two_videos_of_one_name(videos, model, tmp_path):
    err = run(videos / "a.mp4", videos / "more" / "a.mp4", "--out", tmp_path / "o", "--model", model, expected=2)
    assert "both would write" in err


@pytest.mark.slow
@pytest.mark.parametrize("network", [None, InceptionSettings(num_classes=3)], ids=["each window alone", "shared"])
def test_killed_and_in_three_processes_the_files_are_the_same(videos, tmp_path, network):
    model, options = save_model(tmp_path / "m.safetensors", network=network, crop=33), OPTIONS
    if network is not None:
        options = ("--layer", "Mixed_4b", "--window", "16", "--stride", "2", "--fps", "native")
    for name in ("broken.mp4", "short.mp4"):
        (videos / name).unlink()
    for k in range(4):
        shutil.copy(videos / "a.mp4", videos / f"c{k}.mp4")
    run(videos, "--out", tmp_path / "whole", "--model", model, *options)
    words = ["i3d", "features", videos, "--model", model, *options, "--device", "cpu", "--out"]
    for number in range(2 if network is None else 1):
        process = processes.start([*words, tmp_path / "killed"])
        processes.wait_until(lambda at_least=4 * number + 1: num_files(tmp_path / "killed") >= at_least, process)
        processes.kill_running(process)
    run(videos, "--out", tmp_path / "killed", "--model", model, *options)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    if network is None:  # how windows are computed does not depend on the number of processes
        log = tmp_path / "log"
        assert processes.start([*words, tmp_path / "three"], log, ranks=3).wait(300) == 0, log.read_text()
        assert content(tmp_path / "three") == content(tmp_path / "whole")


def test_grids_that_would_fill_the_memory_are_refused(monkeypatch, clip):
    monkeypatch.setattr("i3d.features.extractor.MAX_BYTES", 9999)
    settings = FeatureSettings(layer="layer1", grid=True, window=9, stride=1)
    source = load_extractor(save_model(clip.parent / "grid.safetensors"), settings, compute=ComputeConfig("cpu"))
    with open_video(clip) as video, pytest.raises(VideoError, match="rows take over 0 GiB; leave out --grid"):
        source(video)


@pytest.mark.parametrize(("command", "other"), [("features", "compare"), ("flow", "show")])
def test_help_is_that_of_the_subcommand(command, other):
    output = run_here(["i3d", command, "--help"]).stdout
    assert "--out" in output
    assert f"Usage: i3d {command} COMMAND --out PATH [OPTIONS] VIDEOS..." in output
    assert re.search(rf"{other} +[A-Z]", output)


@pytest.mark.slow
def test_frames_are_decoded_while_the_network_runs(tmp_path):
    """When the first row is there, frames beyond its window have been decoded, but not the whole video."""
    encode(tmp_path / "a.mp4", [numbered_frame(k) for k in range(100)])
    decoded = []
    extract = extractor(FeatureSettings(window=4, stride=4), "rgb")
    with open_video(tmp_path / "a.mp4") as video:

        def on_progress(progress):
            if progress.completed:
                time.sleep(0 if decoded else 0.2)
                decoded.append(video.frames_decoded)

        extract(video, on_progress=on_progress)
    assert 8 < decoded[0] < 60
