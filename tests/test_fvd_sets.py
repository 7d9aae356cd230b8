"""`i3d fvd` and `i3d.fvd` on sets of every kind: what is read, cached, warned of and refused."""

import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

import i3d
from i3d.errors import InputError
from i3d.features.extractor import Row, VideoFeatures
from i3d.features.sidecar import FeatureFile, write_features
from i3d.video import open_video
from i3d.video_distance import fvd_protocol
from i3d.video_distance.embed_set import EmbeddedSet
from i3d.video_distance.report import _comparability
from i3d.video_distance.resizing import shrink_antialiased
from i3d.video_distance.statistics import Sample
from support.commands import run
from support.finetuning_runs import save_tiny
from support.rendering import encode, numbered_frame, render

FRAMES = 10
PROTOCOL = fvd_protocol(frames=FRAMES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny network that takes values from -1 to 1 and gives 24 logits."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    return save_tiny(path, labels=tuple(f"label{k}" for k in range(24)), std=127.5)


def frames_of(first, *, step=1, number=FRAMES, **size):
    return np.stack([numbered_frame((first + step * k) % 256, **size) for k in range(number)])


def array_of(number, *, step=1, offset=0, frames=FRAMES):
    return np.stack([frames_of(offset + 11 * k, step=step, number=frames) for k in range(number)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two folders of videos, and the frames of one as an array."""
    folder = tmp_path_factory.mktemp("sets")
    for name, step in (("real", 1), ("generated", 3)):
        (folder / name).mkdir()
        for k in range(4):
            encode(folder / name / f"{k}.mkv", frames_of(20 * k, step=step, number=14), codec="ffv1")
    return folder


@pytest.fixture
def fvd(model):
    def compute(real, generated, **options):
        return i3d.fvd(real, generated, **{"protocol": PROTOCOL, "model": model, "device": "cpu", **options})

    return compute


def command(place, model, *more, sets=("real", "generated")):
    words = [place / one if isinstance(one, str) else one for one in sets]
    return run("fvd", *words, "--model", model, "--frames", FRAMES, "--device", "cpu", *more)


def test_the_command_prints_the_value_and_the_whole_protocol_in_one_line(place, model, fvd):
    result = command(place, model, "--control", "--bootstrap", "20")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Frechet distance of the logits of another network (not FVD) ")
    assert "(95 % interval of this biased value " in lines[0]
    assert lines[1].startswith("Kernel distance of the same features ")
    assert "if each generated clip has shuffled frames" in lines[2]
    assert "if each generated clip has its middle frame repeated" in lines[3]
    assert len(lines) == 5
    wanted = fvd(place / "real", place / "generated")
    digest = wanted.protocol["network_sha256"]
    assert lines[4] == (
        f"protocol: original, changed: frames 10; network {model} {digest[:12]}, fp32; 24 logits before softmax; "
        "10 frames, stride 1; the first clip of each video; stretched to 224 x 224, bilinear without half-pixel "
        "centres; range 2 x / 255 - 1; covariance over N-1; 4 clips (matroska ffv1) real and 4 clips "
        f"(matroska ffv1) generated; seed 0; real set {wanted.real.sha256[:12]}"
    )
    printed = json.loads(command(place, model, "--json").stdout)
    assert printed == json.loads(json.dumps(wanted.as_dict() | {"protocol": printed["protocol"]}))
    assert printed["protocol_line"] == lines[4].removeprefix("protocol: ")
    assert "4 real and 4 generated clips, published values have 2,048 of each" in result.stderr


def decoded(path):
    with open_video(path) as video:
        return video.frames_at(range(14)).frames_THWC


def test_all_kinds_of_sets_with_the_same_frames_have_the_same_value(place, fvd, tmp_path):
    """Folders, patterns, lists, folders of frames and of arrays, arrays of any layout, tensors, floats, iterables."""
    wanted = fvd(place / "real", place / "generated").value
    assert wanted > 0
    videos = [place / "generated" / f"{k}.mkv" for k in range(4)]
    clips = np.stack([decoded(video) for video in videos])
    np.save(tmp_path / "clips.npy", clips)
    np.savez(tmp_path / "clips.npz", clips)
    arrays, images = tmp_path / "arrays", tmp_path / "images"
    arrays.mkdir()
    for k, clip in enumerate(clips):
        np.save(arrays / f"{k}.npy", clip)
        (images / str(k)).mkdir(parents=True)
        for number, frame_HWC in enumerate(clip):
            Image.fromarray(frame_HWC).save(images / str(k) / f"{number:03}.png")
    (tmp_path / "list.txt").write_text("".join(f"{place}/generated/{k}.mkv\n" for k in range(4)))
    sets = [
        str(place / "generated" / "*.mkv"), tmp_path / "list.txt", tmp_path / "clips.npy", tmp_path / "clips.npz",
        arrays, str(arrays / "*.npy"), [str(arrays / "*.npy")], images,
        clips, clips.transpose(0, 1, 4, 2, 3), clips.transpose(0, 4, 1, 2, 3), torch.from_numpy(clips),
        list(clips), iter(clips), [clips[:1], clips[1:]], videos, [*videos[:2], *clips[2:]],
        [video.read_bytes() for video in videos], tuple(videos),
    ]  # fmt: skip
    for generated in sets:
        assert fvd(place / "real", generated).value == pytest.approx(wanted, rel=1e-9)
    floats = clips.astype(np.float64) / 127.5 - 1
    assert fvd(place / "real", floats).value == pytest.approx(wanted, rel=1e-4)


def test_features_are_compared_without_a_network(tmp_path):
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 50, 400)).astype(np.float32)
    np.save(tmp_path / "one.npy", one)
    wanted = i3d.fvd(one, other)
    assert wanted.metric == "FVD (if these are logits of the reference network)"
    assert wanted.kernel_name == "KVD (if these are logits of the reference network)"
    nothing = {"network", "frames", "stride", "clips", "resize", "resolution", "range"}
    assert {wanted.protocol[name] for name in nothing} == {None}
    assert "no network; features of 400 numbers; covariance over N-1; 50 clips" in wanted.protocol_line
    assert i3d.fvd(tmp_path / "one.npy", other).value == wanted.value
    assert any("features of unknown protocol" in warning for warning in wanted.warnings)
    assert "both sets are features: no network runs, and of the protocol only the covariance applies" in wanted.warnings
    assert i3d.fvd(one, one.copy()).value < 1e-3
    narrow = i3d.fvd(one[:, :24], other[:, :24])
    assert narrow.metric == "Frechet distance of features of 24 numbers (not FVD)"
    assert "no network; features of 24 numbers; covariance" in narrow.protocol_line


def test_of_features_only_the_first_rows_are_taken():
    one, other = np.random.default_rng(0).standard_normal((2, 2060, 400)).astype(np.float32)
    style = i3d.fvd(one, other[:2048], protocol="stylegan-v")
    assert style.value == i3d.fvd(one[:2048], other[:2048], protocol="stylegan-v").value
    assert (style.real.clips, style.real.left_out) == (2048, 12)
    assert "real: 12 rows are left out behind the first 2,048 clips" in style.warnings
    assert "features of 400 numbers, at most 2,048 rows of a set; covariance over N; 2,048 clips" in style.protocol_line
    assert i3d.fvd(one, other, protocol=fvd_protocol(max_clips=9)).value == i3d.fvd(one[:9], other[:9]).value


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"model": "no/such/model"}, "model no/such/model"),
        ({"mixed_sizes": True}, "mixed_sizes"),
        ({"protocol": fvd_protocol(frames=10, stride=2)}, "frames 10, stride 2"),
        ({"protocol": fvd_protocol(resize="short-side")}, "resize short-side"),
        ({"protocol": fvd_protocol("cd-fvd", resolution=64)}, "resolution 64"),
        ({"protocol": fvd_protocol("stylegan-v", clips="all")}, "clips all"),
    ],
)
def test_options_that_cannot_act_on_features_are_refused(options, what):
    with pytest.raises(InputError, match=f"^{what}: both sets are features, on which only covariance, max_clips, "):
        i3d.fvd(*np.zeros((2, 3, 400), np.float32), **options)


def test_features_beside_clips_are_fvd_under_a_condition_and_other_networks_are_named(fvd):
    """The network of the tests gives 24 numbers; as the reference network it gives the name of the metric."""
    rows = np.random.default_rng(0).standard_normal((3, 24)).astype(np.float32)
    assert fvd(CLIPS, rows).metric == "Frechet distance of the logits of another network (not FVD)"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("i3d.video_distance.embedding.Embedder.is_reference", True)
        assert fvd(CLIPS, rows).metric == "FVD (if these are logits of the reference network)"
        assert fvd(CLIPS, CLIPS).metric == "FVD"


def write_rows(folder, name, rows, **settings):
    folder.mkdir(exist_ok=True)
    made_with = {"settings": {"layer": "pooled", "window": 16, "stride": 16, "fps": None, **settings}}
    features = VideoFeatures(rows, tuple(Row(k, k + 1) for k in range(len(rows))), ((0.0, 1.0),) * len(rows), 9, ())
    write_features(FeatureFile(f"{name}.mp4", folder / name, "npy"), features, made_with, ["x"])


def test_folders_of_i3d_features_are_sets(tmp_path):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((2, 3, 10, 1024)).astype(np.float32)
    for side, each in zip(("real", "generated"), rows, strict=True):
        for k, values in enumerate(each):
            write_rows(tmp_path / side, f"v{k}", values)
    sets = tmp_path / "real", tmp_path / "generated"
    with pytest.raises(InputError, match=r"rows of 1024 numbers, which are pooled, not logits; pass --features pooled"):
        i3d.fvd(*sets)
    result = i3d.fvd(*sets, protocol=fvd_protocol(features="pooled"))
    assert result.metric == "Frechet distance of pooled features (not FVD)"
    assert (result.real.clips, result.real.origin) == (
        30,
        "features of i3d (layer pooled, window 16, stride 16, fps None)",
    )
    write_rows(tmp_path / "generated", "v9", rows[0, 0], window=24)
    with pytest.raises(InputError, match=r"was made with settings.window 24, .* with 16; extract both alike"):
        i3d.fvd(*sets, protocol=fvd_protocol(features="pooled"))


def test_features_are_cached_by_content_and_protocol(place, model, fvd, tmp_path, monkeypatch):
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "cache"))
    wanted = fvd(place / "real", place / "generated", control=True)
    renamed = shutil.copytree(place / "real", tmp_path / "renamed")
    (renamed / "0.mkv").rename(renamed / "z.mkv")
    with monkeypatch.context() as patch:
        patch.setattr("i3d.video_distance.embedding.Embedder.__call__", None)  # any call of the network fails
        again = fvd(renamed, place / "generated", control=True)
        assert (again.value, again.control) == (pytest.approx(wanted.value, rel=1e-12), pytest.approx(wanted.control))
        assert again.real.sha256 == wanted.real.sha256
        for other in ({"frames": 11}, {"stride": 1, "resize": "stretch"}, {"features": "pooled"}, {"stride": 1}):
            protocol = fvd_protocol(**{"frames": FRAMES, **other})
            if protocol.model_dump(exclude={"name"}) != PROTOCOL.model_dump(exclude={"name"}):
                with pytest.raises(TypeError):
                    fvd(renamed, place / "generated", protocol=protocol)


def test_a_damaged_video_is_not_cached_and_noted_each_time(place, fvd, tmp_path):
    shutil.copytree(place / "real", tmp_path / "cut")
    content = (place / "real" / "3.mkv").read_bytes()
    (tmp_path / "cut" / "3.mkv").write_bytes(content[: int(len(content) * 0.9)])
    for _ in range(2):
        result = fvd(tmp_path / "cut", place / "generated")
        assert any(warning.startswith(f"{tmp_path}/cut/3.mkv: ") for warning in result.warnings)


def test_short_and_unreadable_videos_are_counted_and_named(place, model, tmp_path):
    shutil.copytree(place / "real", tmp_path / "real")
    render(tmp_path / "real" / "short.mkv", num_frames=4, codec="ffv1")
    (tmp_path / "real" / "torn.mkv").write_bytes(b"")
    result = command(tmp_path, model, sets=("real", place / "generated"))
    assert result.returncode == 3
    assert (
        f"real: 1 video is shorter than the 10 frames of a clip, and left out: {tmp_path}/real/short.mkv (4)"
        in result.stderr
    )
    assert "real: 1 video is unreadable, and not in the value" in result.stderr
    assert f"error: {tmp_path}/real/torn.mkv: the file is empty" in result.stderr
    assert "4 clips (matroska ffv1) real" in result.stdout


def test_arrays_beside_videos_are_left_out_and_named(place, fvd, tmp_path, caplog):
    shutil.copytree(place / "real", tmp_path / "mixed")
    np.save(tmp_path / "mixed" / "a.npy", CLIPS)
    note = f"{tmp_path}/mixed: its videos are read; 1 files of arrays are left out"
    assert note in fvd(tmp_path / "mixed", place / "generated").warnings
    caplog.clear()
    with pytest.raises(InputError, match="gives 0 of the at least 2 clips"):
        fvd(tmp_path / "mixed", place / "generated", protocol=fvd_protocol(frames=500))
    assert note in caplog.messages


def test_what_makes_sets_incomparable_is_warned_of(place, fvd, tmp_path):
    for k in range(3):
        render(tmp_path / f"{k}.mp4", num_frames=12, fps=12)
    text = "\n".join(fvd(place / "real", tmp_path, protocol=fvd_protocol(frames=FRAMES, max_clips=3)).warnings)
    assert "frame rates differ: real 25 fps and generated 12 fps; frames are compared by number, so that" in text
    assert "compressed clips differ: real none, generated 100 % h264; compression alone gives a distance" in text
    assert "real: 1 video is left out behind the first 3 clips" in text
    assert "both sets have the same videos" in "\n".join(fvd(place / "real", place / "real").warnings)
    shared = [place / "real" / "0.mkv", *(place / "generated" / f"{k}.mkv" for k in range(2))]
    assert "1 video is in both sets, which lowers the value" in "\n".join(fvd(place / "real", shared).warnings)
    twice = fvd(array_of(2), array_of(3, step=2), protocol=fvd_protocol("cd-fvd", frames=FRAMES)).warnings
    assert "real: arrays are stretched only: the resize to 256 is of files" in twice
    long = fvd(array_of(3, frames=12), array_of(3, step=2)).warnings
    assert "real: arrays have 12 frames, of which a clip spans 10" in long
    large = fvd(array_of(9), array_of(9, step=2))
    assert large.real.chance.half == 4
    assert "of 4 are" in "\n".join(large.warnings)
    mixed = [*array_of(2), frames_of(0, height=40, width=40)]
    assert any("clips have 2 sizes (64 x 48, 40 x 40)" in w for w in fvd(mixed, array_of(3), mixed_sizes=True).warnings)


@pytest.mark.parametrize(
    ("real", "generated", "warning"),
    [
        ({"array": 2047, "mp4 h264": 1}, {"mp4 h264": 2048}, "compressed clips differ: real 0.0488 % h264, generated"),
        ({"array": 4}, {"png": 3, "matroska ffv1": 1}, ""),
        ({"mp4 h264": 90, "array": 10}, {"mp4 h264": 94, "array": 6}, ""),
        ({"mp4 h264": 90, "array": 10}, {"mp4 h264": 96, "array": 4}, "compressed clips differ: real 90 % h264, "),
        ({"avi mjpeg": 4}, {"mp4 h264": 4}, "codecs differ: real 100 % mjpeg, generated 100 % h264; compression alone"),
        ({"matroska h264": 4}, {"mp4 h264": 4}, ""),
        ({}, {"mp4 h264": 4}, ""),
    ],
)
def test_compression_is_compared_by_fractions_and_codecs(real, generated, warning):
    sets = (EmbeddedSet("", {}, Sample(2), encodings=Counter(each)) for each in (real, generated))
    warnings = _comparability(*sets)
    assert len(warnings) == bool(warning)
    assert "".join(warnings).startswith(warning)


def test_random_clips_depend_on_the_seed_and_the_content_alone(place, fvd, tmp_path):
    protocol = fvd_protocol(frames=FRAMES, clips="random")
    values = [fvd(place / "real", place / "generated", protocol=protocol, seed=seed).value for seed in (0, 0, 1, 2)]
    assert values[0] == values[1]
    assert len({*values}) == 3
    result = fvd(place / "real", place / "generated", protocol=protocol, runs=3)
    assert list(result.runs) == [values[0], *values[2:]]
    assert result.spread_of_runs == pytest.approx(np.std(result.runs, ddof=1))
    backwards = [place / "real" / f"{k}.mkv" for k in (3, 2, 1, 0)]
    assert fvd(backwards, place / "generated", protocol=protocol).value == pytest.approx(values[0], rel=1e-9)


def test_files_are_resized_twice_by_cd_fvd_and_arrays_once(place, fvd):
    """A file, against its frames that `shrink_antialiased` has resized before; the two differ from one resize."""
    protocol = fvd_protocol("cd-fvd", frames=FRAMES, clips="first", resolution=32)
    clips = np.stack([decoded(place / "generated" / f"{k}.mkv") for k in range(4)])
    shrunk = np.stack([shrink_antialiased(clip, 32) for clip in clips])
    of_files, of_shrunk, of_arrays = (
        fvd(place / "real", generated, protocol=protocol, mixed_sizes=True).value
        for generated in (place / "generated", shrunk, clips)
    )
    assert of_files == pytest.approx(of_shrunk, rel=1e-9)
    assert of_files != pytest.approx(of_arrays, rel=1e-3)


def test_all_clips_of_a_video_lie_end_to_end(fvd):
    parts = array_of(6)
    joined = np.concatenate(parts)[None]
    protocol = fvd_protocol(frames=FRAMES, clips="all")
    result = fvd(joined, joined, protocol=protocol)
    assert (result.real.clips, result.real.videos) == (6, 1)
    assert fvd(joined, array_of(5, step=4), protocol=protocol).value == pytest.approx(
        fvd(parts, array_of(5, step=4)).value, rel=1e-9
    )


def test_a_stride_takes_every_nth_frame(fvd):
    long = array_of(4, frames=28)
    protocol = fvd_protocol(frames=FRAMES, stride=3)
    assert fvd(long, array_of(4, frames=28, step=2), protocol=protocol).value == pytest.approx(
        fvd(long[:, ::3], array_of(4, frames=28, step=2)[:, ::3]).value, rel=1e-9
    )


CLIPS = array_of(3)
HALF = np.random.default_rng(0).random((3, FRAMES, 8, 8, 3))
BAD_SETS = {
    "no set": (3, r"real: a int is no set of videos"),
    "a mapping": ({"a": CLIPS}, r"real: a dict is no set of videos"),
    "bytes": (b"abc", r"real: a bytes is no set of videos"),
    "an empty name": ("", "real: is empty"),
    "nothing": ("nowhere", "nowhere: no such file"),
    "the standard input": ("-", "-: a set is not read from the standard input"),
    "one clip": (CLIPS[0], r"\(real array\): one clip is no set"),
    "six axes": (CLIPS[None], "is no set"),
    "an empty array": (CLIPS[:0], "gives 0 of the at least 2 clips"),
    "an empty list": ([], "gives 0 of the at least 2 clips"),
    "a clip of two axes": ([CLIPS[0, :, :, 0, 0]], r"its shape is \(10, 48\), as of features; give them in one file"),
    "1 clip": (CLIPS[:1], "gives 1 of the at least 2 clips"),
    "grey": (CLIPS[..., :1], "no axis has 3 channels; pass RGB"),
    "int64": (CLIPS.astype(np.int64), r"its values are int64; pass uint8"),
    "bool": (CLIPS > 3, "its values are bool; pass uint8"),
    "[0, 1]": (HALF, r"\(real array\): its floats are from .* to .*, which is not \[-1, 1\]; pass uint8"),
    "[0, 1], an iterator": (iter(HALF), r"\(real iterator\): its floats are from"),
    "[0, 1], a list": (list(HALF), r"\(real list\): its floats are from"),
    "[0, 255] floats": (HALF * 255, r"its floats are from .* to 2\d\d"),
    "[-2, 2]": (HALF * 4 - 2, "its floats are from -"),
    "NaN": (np.where(HALF > 0.99, np.nan, HALF), "has NaN or infinity"),
    "other lengths": ([CLIPS[0], array_of(1, frames=11)[0]], "has 11 frames, real.0. has 10; give clips of one length"),
    "other sizes": ([CLIPS[0], CLIPS[0, :, :40]], "is 64 x 40, real.0. 64 x 48; give clips of one size"),
    "short clips": (CLIPS[:, :9], "has 9 frames, a clip needs 10"),
    "a list of frames": (["a.png", "b.png"], "'a.png' is an image; pass videos, or folders of frames"),
    "a number in a list": ([CLIPS[0], 3], "a video cannot be of type int"),
    "logits of 3 numbers": (np.zeros((3, 3), np.float32), "has rows of 3 numbers, the network gives 24"),
    "NaN features": (np.full((3, 24), np.nan), "are not rows of finite float32 numbers"),
    "features over float32": (np.full((3, 24), 1e200), "are not rows of finite float32 numbers"),
    "no features": (np.zeros((0, 24)), "are not rows of finite float32 numbers"),
    "pooled features": (np.zeros((3, 1024), np.float32), "1024 numbers, which are pooled, not logits"),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_what_is_no_set_is_refused_in_one_line(fvd, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad, message = BAD_SETS[name]
    with pytest.raises(InputError, match=message) as error:
        fvd(bad, CLIPS)
    assert "\n" not in str(error.value)


def test_floats_that_are_hardly_below_0_are_warned_of(fvd):
    """[0, 1] after a cubic resize: one value below 0 does not make it [-1, 1]."""
    cubic = HALF.astype(np.float32)
    cubic[1, 0, 0, 0, 0] = -0.003
    start = r"\(real array\): its floats are from -0.003 to [01.]+\d*, none below -0.5, as of \[0, 1\]; pass uint8"
    assert any(re.match(start, warning) for warning in fvd(cubic, 2 * HALF - 1).warnings)
    assert not any("its floats" in warning for warning in fvd(2 * HALF - 1, 2 * HALF - 1).warnings)


def test_sizes_that_differ_between_the_sets_are_refused(fvd):
    with pytest.raises(
        InputError, match=r"generated array.*is 60 x 48, .*real array.* 64 x 48; give clips of one size"
    ):
        fvd(CLIPS, CLIPS[:, :, :, :60])


OPTIONS = {
    "runs": ({"runs": 2}, "runs 2: the protocol original, changed: frames 10 draws no clips at random"),
    "no runs": ({"runs": 0}, "runs 0: must be from 1 to 1,000"),
    "one draw": ({"bootstrap": 1}, "bootstrap 1: one draw has no interval"),
    "a negative seed": ({"seed": -1}, "seed -1: must be from 0"),
    "a preset": ({"protocol": "fid"}, "preset 'fid': there are original"),
    "few frames": ({"protocol": fvd_protocol(frames=2), "model": "inception_rgb_kinetics400"}, "takes at least 9"),
    "a type": ({"control": "yes"}, "control: 'yes' is of type str; give True or False"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_make_no_sense_are_refused(fvd, name):
    options, message = OPTIONS[name]
    with pytest.raises(InputError, match=message):
        fvd(CLIPS, CLIPS, **options)


def test_a_bootstrap_of_too_many_clips_is_refused_before_the_network_runs(fvd, monkeypatch):
    many, message = (
        np.zeros((10_001, FRAMES, 1, 1, 3), np.uint8),
        r"has 10,001 clips or videos, a bootstrap takes 10,000",
    )
    monkeypatch.setattr("i3d.video_distance.api.load_embedder", None)  # any call fails
    with pytest.raises(InputError, match=message):
        fvd(many, CLIPS, bootstrap=20)
    with pytest.raises(InputError, match=message):
        i3d.fvd(*np.zeros((2, 10_001, 4), np.float32), bootstrap=20)
    with pytest.raises(TypeError):
        fvd(many, CLIPS, bootstrap=20, protocol=fvd_protocol(frames=FRAMES, max_clips=10_000))


def test_networks_of_other_values_are_refused(tmp_path, fvd):
    other = save_tiny(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="does not take values from -1 to 1"):
        fvd(CLIPS, CLIPS, model=other)


def test_an_iterator_is_read_once(fvd):
    protocol = fvd_protocol(frames=9, clips="random")
    with pytest.raises(InputError, match="real: an iterator is read once, for 2 runs; pass a list"):
        fvd(iter(CLIPS), CLIPS, protocol=protocol, runs=2)
    with pytest.raises(InputError, match="has features, no frames to shuffle"):
        fvd(CLIPS, np.zeros((3, 24), np.float32), control=True)
    with pytest.raises(InputError, match="both sets are features, of which nothing is drawn"):
        i3d.fvd(*np.zeros((2, 3, 400), np.float32), protocol=protocol, runs=2)


BAD_FILES = {
    "text.npy": (b"words", "is no array"),
    "empty.npy": (b"", "is no array"),
    "torn.npz": (b"PK\x03\x04", "is no array"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_are_no_arrays_are_refused(place, model, tmp_path, name):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    result = command(place, model, sets=("real", tmp_path / name))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {tmp_path / name}: {message}")
    assert result.stderr.count("\n") == 1


def test_archives_of_several_arrays_and_of_objects_are_refused(fvd, tmp_path):
    np.savez(tmp_path / "two.npz", a=CLIPS, b=CLIPS)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"two.npz: holds a, b; save one array in it"):
        fvd(tmp_path / "two.npz", CLIPS)
    with pytest.raises(InputError, match=r"objects.npy: is no array \(Python objects, which are not read\)"):
        fvd(tmp_path / "objects.npy", CLIPS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frames", "0"], "--frames"),
        (["--fvd-protocol", "fid"], "--fvd-protocol"),
        (["--clips", "some"], "--clips"),
        (["--max-clips", "1"], "--max-clips"),
        (["--runs", "0"], "--runs"),
        (["--covariance", "n+1"], "--covariance"),
    ],
)
def test_bad_options_of_the_command_are_named(place, words, message):
    result = run("fvd", place / "real", place / "generated", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def moving(place, order):
    """A square that moves to the right from a place of its own, with its frames in an order."""
    top, left = int(8 * place), int(29 * place) % 96
    frames = np.full((FRAMES, 96, 96, 3), 60, np.uint8)
    for frame_HWC, step in zip(frames, order, strict=True):
        frame_HWC[top : top + 28, (left + 8 * step + np.arange(28)) % 96] = (230, 200, 40)
    return frames


@pytest.mark.slow
def test_the_control_separates_motion_from_content():
    """Two halves of one motion are near, two motions of the same frames far, as the shuffled control shows."""
    rng, places = np.random.default_rng(0), np.arange(12) / 2
    real, same = (np.stack([moving(k + shift, range(FRAMES)) for k in places]) for shift in (0, 0.25))
    jumping = np.stack([moving(k + 0.25, rng.permutation(FRAMES)) for k in places])
    one = i3d.fvd(real, same, protocol=PROTOCOL, control=True)
    other = i3d.fvd(real, jumping, protocol=PROTOCOL)
    assert one.metric == "FVD"
    assert one.value < 0.4 * other.value  # 50 and 170
    assert one.value < 0.4 * one.control["shuffled"]  # 166
    assert one.value < 0.4 * one.control["frozen"]  # 228
    assert other.value == pytest.approx(one.control["shuffled"], rel=0.2)
