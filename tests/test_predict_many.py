"""From Python: every kind of video, lists, folders and iterators; results as tables, files and plots."""

import csv
import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

import i3d
from support.evaluation_runs import save_model
from support.rendering import numbered_frame, render


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("python")
    save_model(root / "m.safetensors")
    (root / "clips").mkdir()
    for name in ("b.mp4", "a10.mp4", "a2.mp4"):
        render(root / "clips" / name, num_frames=12)
    (root / "clips" / "broken.mp4").write_bytes(b"")
    (root / "frames").mkdir()
    for k in range(12):
        cv2.imwrite(str(root / "frames" / f"{k:03}.png"), numbered_frame(k)[..., ::-1])
    return root


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


MODEL = {"model": "m.safetensors", "device": "cpu", "top_k": 2}
FRAMES = np.stack([numbered_frame(k) for k in range(12)])


def test_every_kind_of_video_in_one_list(folder):
    """Frames are one video in whatever form they come, with bit-identical scores."""
    tensor = torch.from_numpy(FRAMES)
    images = sorted(map(str, (folder / "frames").iterdir()))
    same = [FRAMES, tensor, tensor.permute(0, 3, 1, 2), list(FRAMES), list(tensor), images, "frames"]
    content = (folder / "clips" / "b.mp4").read_bytes()
    files = ["clips/b.mp4", folder / "clips" / "b.mp4", content, bytearray(content), io.BytesIO(content)]
    predictions = i3d.predict([*same, *files], **MODEL)
    assert isinstance(predictions, i3d.Predictions)
    assert len({row.predictions for row in predictions[: len(same)]}) == 1
    assert len({row.predictions for row in predictions[len(same) :]}) == 1
    assert [i3d.predict(video, **MODEL).predictions for video in (FRAMES, tensor, "frames")] == [
        predictions[0].predictions
    ] * 3
    assert i3d.predict(io.BytesIO(content), **MODEL).predictions == predictions[-1].predictions


def test_arrays_of_a_list_are_named_by_their_place():
    predictions = i3d.predict([FRAMES, "clips/b.mp4", list(FRAMES), torch.from_numpy(FRAMES)], **MODEL)
    assert [row.path for row in predictions] == ["(ndarray 0)", "clips/b.mp4", "(ndarray 2)", "(ndarray 3)"]
    assert [row.path for row in i3d.predict_many([b"x", FRAMES], **MODEL)] == ["(bytes 0)", "(ndarray 1)"]
    assert i3d.predict(FRAMES, **MODEL).path == "(ndarray)"


def test_a_binary_file_at_its_end_is_an_error_with_the_next_step(folder):
    file = io.BytesIO((folder / "clips" / "b.mp4").read_bytes())
    file.seek(0, io.SEEK_END)
    with pytest.raises(i3d.InputError, match=r"^BytesIO: is at its end, so that nothing can be read; call seek\(0\)"):
        i3d.predict(file, **MODEL)
    with pytest.raises(i3d.VideoError, match="empty"):
        i3d.predict(io.BytesIO(), **MODEL)


def test_one_prediction_has_the_table_and_the_plot_of_many(tmp_path):
    one = i3d.predict("clips/b.mp4", **MODEL)
    many = i3d.predict(["clips/b.mp4"], **MODEL)
    assert one.to_csv(tmp_path / "one.csv") == many.to_csv() == (tmp_path / "one.csv").read_text()
    assert len(one.plot(tmp_path / "one.png").axes) == 1
    assert (tmp_path / "one.png").stat().st_size


def test_lists_of_predictions_stay_predictions():
    many = i3d.predict(["clips/b.mp4", "clips/broken.mp4"], **MODEL)
    for joined in (many + many[:1], many + [many[0]], many.copy() + [many[0]]):  # noqa: RUF005
        assert isinstance(joined, i3d.Predictions)
        assert list(joined) == [*many, many[0]]
    many += many[:1]
    assert isinstance(many, i3d.Predictions)


def test_a_folder_a_pattern_and_a_list_file_are_many_videos(folder):
    (folder / "list.txt").write_text("clips/a2.mp4\nclips/a10.mp4\nclips/b.mp4\nclips/broken.mp4\n")
    expected = ["a2.mp4", "a10.mp4", "b.mp4", "broken.mp4"]
    for many in ("clips", folder / "clips", "clips/*.mp4", "clips/[ab]*.mp4", "list.txt", ["clips"]):
        predictions = i3d.predict(many, **MODEL)
        assert [row.path.rpartition("/")[2] for row in predictions] == expected
        assert [row.status for row in predictions] == ["ok", "ok", "ok", "error"]
    assert isinstance(i3d.predict("frames", **MODEL), i3d.Prediction)
    with pytest.raises(i3d.VideoError, match=r"clips/broken.mp4: the file is empty"):
        i3d.predict("clips/broken.mp4", **MODEL)
    assert len(i3d.predict([], **MODEL)) == 0


def test_an_iterator_is_read_as_it_goes():
    """Not to its end before the first result: it may be endless."""
    taken = []

    def videos():
        for k in range(10_000):
            taken.append(k)
            yield FRAMES

    rows = i3d.predict_many(videos(), **MODEL)
    assert next(rows).top1 == next(rows).top1
    rows.close()
    assert len(taken) < 20


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (FRAMES.astype(np.float32) / 255, "frames are float32; pass uint8"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), "the shape"),
        (np.zeros((3, 8, 8, 4), np.uint8), r"the shape \(3, 8, 8, 4\)"),
        (io.StringIO("text"), "open the file in binary mode"),
        (7, "a video cannot be of type int"),
        ([[]], "a list without frames"),
        ([[1, 2]], "a list of int is no video"),
        ([[FRAMES[0], FRAMES[0, :5]]], "different sizes"),
        (
            ["frames/000.png", "frames/001.png"],
            r"these are images \(frames/000.png ...\); pass the frames of one video",
        ),
        (list(FRAMES), "these are images; pass the frames of one video as"),
    ],
)
def test_files_that_are_no_video_are_refused(video, message):
    with pytest.raises((i3d.InputError, i3d.VideoError), match=message):
        i3d.predict(video, **MODEL)


@pytest.mark.parametrize("options", [{"top_k": 0}, {"frames_fps": 0}, {"time_limit": -1}, {"device": "meta"}])
def test_bad_options_are_named(options):
    for predict in (i3d.predict, i3d.predict_many):
        with pytest.raises(i3d.InputError, match=next(iter(options))):
            predict(FRAMES, **{**MODEL, **options})


def test_results_as_text_tables_and_plots(folder, tmp_path):
    predictions = i3d.predict("clips", **MODEL)
    lines = repr(predictions).splitlines()
    assert lines[0] == "Predictions of 4 videos, 1 failed"
    assert lines[1].split()[0].endswith("a2.mp4")
    assert "the file is empty" in lines[4]
    assert max(map(len, lines)) < 200
    assert repr(predictions[0]) == f"Prediction({predictions[0].path}: {predictions[0]})"
    assert predictions.failed == (predictions[3],)
    assert json.loads(json.dumps(predictions.to_dicts()))[1]["predictions"][0]["label"] == predictions[1].top1.label
    assert predictions.to_csv(tmp_path / "r.csv") == (tmp_path / "r.csv").read_text()
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [row["top1"] for row in rows] == [*(row.top1.label for row in predictions[:3]), ""]
    page = predictions._repr_html_()
    assert page.count("<tr>") == 4
    assert "<script" not in i3d.Predictions([i3d.Prediction("<script>", "error", (), "", 0, "x")])._repr_html_()
    figure = predictions.plot(tmp_path / "r.png")
    predictions.plot(tmp_path / "r.png")  # our own drawing
    assert len(figure.axes) == 3
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


SCRIPT = """
import sys
import i3d
rows = i3d.predict(["clips/a2.mp4", "clips/b.mp4"], model="m.safetensors", device="cpu")
print(len(rows), [row.top1.label for row in i3d.predict_many("clips", model="m.safetensors")  if row.predictions])
assert "torch._dynamo" not in sys.modules  # PyTorch's compiler, a second of the start
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard(folder):
    """It runs once, from the standard input; as a file: `test_dataset.py`, where processes of workers start."""
    result = subprocess.run([sys.executable, "-"], input=SCRIPT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    assert result.stdout.startswith("2 [")


def test_a_path_of_no_file_is_a_row_everywhere(folder):
    row = i3d.predict(["nowhere.mp4"], **MODEL)[0]
    assert (row.status, row.error) == ("error", "nowhere.mp4: no such file; check the path")
    assert list(i3d.predict_many("nowhere.mp4", **MODEL)) == [row]


def test_an_iterator_is_for_predict_many():
    with pytest.raises(i3d.InputError, match="cannot be of type generator; .*; i3d.predict_many takes an iterator"):
        i3d.predict(path for path in ["a.mp4"])


def test_predictions_are_a_list(folder):
    rows = i3d.predict(["clips/a2.mp4", "nowhere.mp4"], **MODEL)
    assert rows == list(rows)
    assert isinstance(rows[:1], type(rows))
    assert repr(rows[1:]).startswith("Predictions of 1 video, 1 failed\n")


def test_files_of_others_are_not_replaced_from_python(tmp_path):
    predictions = i3d.predict(["clips/b.mp4"], **MODEL)
    for write, name in (("to_csv", "r.csv"), ("plot", "r.png"), ("plot", "r.pdf")):
        (tmp_path / name).write_text("mine")
        with pytest.raises(i3d.InputError, match="the file exists; choose another name, or replace it with force=True"):
            getattr(predictions, write)(tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
        getattr(predictions, write)(tmp_path / name, force=True)
        assert (tmp_path / name).read_bytes() != b"mine"
    for write in ("to_csv", "plot"):
        for name, why in (("clips/b.mp4", "the name must end in"), ("", "is empty"), ("r", "the name must end in")):
            with pytest.raises(i3d.InputError, match=why):
                getattr(predictions, write)(name)
