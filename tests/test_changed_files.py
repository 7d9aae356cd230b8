"""A video that is replaced or written to while it is read: an error, and nothing is logged or stored of it."""

import json
import os
from multiprocessing import Process

import pytest

from i3d.data.content import content_digest
from i3d.data.formats.read import read_annotations
from i3d.data.frame_extraction import jobs
from i3d.data.frame_extraction.extract import extract_frames
from i3d.data.frame_extraction.jobs import FrameSettings
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.pack import pack_dataset
from i3d.errors import VideoError
from i3d.evaluation.scorer import Scorer
from i3d.features import extract
from i3d.features.extract import extract_features, load_extractor
from i3d.features.extractor import FeatureExtractor
from i3d.recipes.features import FeatureSettings
from i3d.utils.cache import Cache
from i3d.video.reader import open_video
from support.commands import run
from support.evaluation_runs import save_model
from support.rendering import encode, numbered_frame, render

CHANGED = "it changed while it was read; run again when it is complete"
SETTINGS = FeatureSettings(window=8, stride=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def clips(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        render(tmp_path / name, num_frames=12)
    (tmp_path / "l.csv").write_text("path,label\na.mp4,a\nb.mp4,b\nc.mp4,c\n")
    return tmp_path


def append(path):
    with path.open("ab") as file:
        file.write(b"more")


def test_a_test_counts_it_as_unreadable(clips, model, monkeypatch):
    real = Scorer.__call__

    def scored(self, views, name, *, index, **options):
        if index == 1:
            append(clips / "b.mp4")
        return real(self, views, name, index=index, **options)

    words = ["test", model, "--data", clips / "l.csv", "--device", "cpu", "--workers", "0", "--max-bad", "40%"]
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "__call__", scored)
        result = run(*words, "--out", clips / "r.json")
    assert result.returncode == 3
    assert f"b.mp4: {CHANGED}" in result.stderr
    logged = (clips / ".r.json.resume").read_text()
    assert ['"key": "a.mp4"' in logged, '"key": "b.mp4"' in logged, '"key": "c.mp4"' in logged] == [True, False, True]
    again = run(*words, "--out", clips / "r.json")
    assert again.returncode == 0
    assert "2 of 3 clips were done before" in again.stderr


def test_features_are_not_written(clips, model, monkeypatch):
    real = FeatureExtractor.__call__

    def extracted(self, video, **options):
        features = real(self, video, **options)
        append(clips / "b.mp4")
        return features

    extractor = load_extractor(model, SETTINGS)
    sources = [str(clips / "b.mp4")]
    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractor, "__call__", extracted)
        (row,) = extract_features(sources, clips / "out", extractor)
    assert row.error == f"{clips / 'b.mp4'}: {CHANGED}"
    assert not (clips / "out").exists()
    (row,) = extract_features(sources, clips / "out", extractor)
    assert row.num_rows


def test_arrays_of_others_beside_features_stay(clips, model):
    """Of another format, when features are extracted again."""
    extractor, path = load_extractor(model, SETTINGS), clips / "a.mp4"
    list(extract_features([str(path)], clips / "out", extractor))
    for suffix in ("h5", "npz", "parquet"):
        (clips / "out" / f"a.{suffix}").write_bytes(b"mine")
    append(path)
    (row,) = extract_features([str(path)], clips / "out", extractor)
    assert row.num_rows
    assert {(clips / "out" / f"a.{suffix}").read_bytes() for suffix in ("h5", "npz", "parquet")} == {b"mine"}
    (row,) = extract_features([str(path)], clips / "out", extractor, file_format="npz", force=True)
    assert not (clips / "out" / "a.npy").exists()  # our own in another format


def exchange(path, *, num_frames=12):
    """Another video of the same size, name and time."""
    before = path.stat()
    frames = [numbered_frame(k, height=48, width=64) for k in range(num_frames)]
    encode(path, frames[::-1], codec="rawvideo", pix_fmt="yuv420p")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


COMMANDS = {  # words, and what is printed when only a.avi is done again
    "predict": ("a.avi b.avi bad.avi --out r.json", "a.avi"),
    "test": ("MODEL --data l.csv --out r.json --workers 0 --max-bad 40%", "1 of 3 clips were done before"),
    "features": ("a.avi b.avi --out out --window 8 --stride 8", "2 videos, 1 reused"),
    "flow": ("a.avi b.avi --out out --flow-method dis", "1 reused"),
    "data extract-frames": ("l.csv --out out", "1 reused"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_another_video_of_the_same_size_and_time_is_not_taken_for_the_first(tmp_path, model, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for name in ("a.avi", "b.avi"):
        render(tmp_path / name, num_frames=12, codec="rawvideo", pix_fmt="yuv420p")
    (tmp_path / "bad.avi").write_bytes(b"x")  # the logs of results stay
    (tmp_path / "l.csv").write_text("path,label\na.avi,a\nb.avi,b\nbad.avi,b\n")
    words = [*command.split(), *COMMANDS[command][0].replace("MODEL", str(model)).split()]
    words += {"predict": ["--model", model], "features": ["--model", model]}.get(command, [])
    run(*words)
    first = files_of(tmp_path)
    os.utime(tmp_path / "b.avi", (1, 1))  # the same content
    exchange(tmp_path / "a.avi")
    result = run(*words)
    changed = {path for path, content in files_of(tmp_path).items() if first[path] != content}
    assert COMMANDS[command][1] in result.output
    assert {path.relative_to(tmp_path).parts[0] for path in changed} >= {"a.avi"}
    assert any("b" not in path.parts and path.name != "a.avi" for path in changed), changed
    assert not [path for path in changed if path.stem == "b" or path.parent.name == "b"]


def files_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("flow", [None, "dis"])
def test_frames_and_flow_are_not_written(clips, monkeypatch, flow):
    name = "_write_images" if flow is None else "_write_flow"
    real = getattr(jobs, name)

    def written(*arguments):
        result = real(*arguments)
        append(clips / "b.mp4")
        return result

    settings = FrameSettings(flow=None if flow is None else jobs.FlowSettings(flow))
    annotations = read_annotations(clips / "l.csv").select([1])
    with monkeypatch.context() as patch:
        patch.setattr(jobs, name, written)
        result = extract_frames(annotations, clips / "out", settings, num_workers=0)
    assert [bad.reason for bad in result.bad] == [f"{clips / 'b.mp4'}: {CHANGED}"]
    assert not (clips / "out" / "b").exists()
    assert extract_frames(annotations, clips / "out", settings, num_workers=0).num_written == 1


def test_flow_is_not_cached(clips, monkeypatch):
    flow, path = ClipFlow("dis", 32, Cache(clips / "cache")), clips / "a.mp4"
    real = ClipFlow._write

    def written(self, *arguments):
        real(self, *arguments)
        append(path)

    content = content_digest(path)
    with monkeypatch.context() as patch, open_video(path) as video:
        patch.setattr(ClipFlow, "_write", written)
        with pytest.raises(VideoError, match=CHANGED):
            list(flow.stream(video, content, fps=25))
    assert not [one for one in (clips / "cache").rglob("*") if one.is_file()]
    with open_video(path) as video:
        assert len(list(flow.stream(video, content_digest(path), fps=25))) == 12
    pack_dataset(read_annotations(clips / "l.csv"), clips / "packed")
    packed = read_annotations(clips / "packed")
    assert content_digest(packed.readable(0)) == content_digest(path)


def test_two_runs_write_features_of_one_video(clips, model, monkeypatch):
    """The second to finish reuses the same features, and does not replace those of other settings."""
    sources, extractor = [str(clips / "a.mp4")], load_extractor(model, SETTINGS)
    real = FeatureExtractor.__call__

    def beside(settings):
        def extracted(self, video, **options):
            features = real(self, video, **options)
            with monkeypatch.context() as patch:
                patch.setattr(FeatureExtractor, "__call__", real)
                other = load_extractor(model, settings)
                process = Process(target=lambda: list(extract_features(sources, clips / "out", other)))
                process.start()
                process.join(60)
                assert process.exitcode == 0
            return features

        return extracted

    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractor, "__call__", beside(SETTINGS))
        (row,) = extract_features(sources, clips / "out", extractor)
    assert row.reused
    (clips / "out" / "a.json").unlink()
    (clips / "out" / "a.npy").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractor, "__call__", beside(replace_window(SETTINGS, 6)))
        with pytest.raises(extract.InputError, match=r"made with other settings \(settings.window was 6, now 8"):
            list(extract_features(sources, clips / "out", extractor))
    assert json.loads((clips / "out" / "a.json").read_text())["made_with"]["settings"]["window"] == 6


def replace_window(settings, window):
    return settings.model_copy(update={"window": window, "stride": window})
