"""Arguments of wrong types from Python: one line that names the argument; no other kind of error, no guess."""

import inspect
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import i3d
from i3d.data import check_annotations, read_annotations, write_annotations
from i3d.data.check.dataset import check_dataset
from i3d.errors import I3DError, InputError
from i3d.evaluation import EvaluationOptions, write_report
from i3d.finetuning import FinetuneOptions
from i3d.inference import annotate_video
from i3d.timelines import annotate_timeline
from i3d.training import draw_curves
from i3d.video import open_video, write_video
from i3d.weights import save_checkpoint
from support.evaluations import make_evaluation
from support.finetuning_runs import make_clip, save_tiny

TAKE_ARRAYS = (
    "i3d.evaluation.confusion_matrix", "i3d.evaluation.mean_class_accuracy", "i3d.video_distance.kernel_distance"
)  # fmt: skip
VIDEOS = np.zeros((2, 16, 8, 8, 3), np.uint8)
ODD = (3, None, "abcd", [1, 2], {"a": 1}, True, -1, "3", b"x", float("nan"), "", 1.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("types")
    for k, name in enumerate("ab"):
        make_clip(place / "clips" / name / "0.mp4", k, num_frames=4)
    save_tiny(place / "tiny.safetensors")
    return place


def calls(place):
    """Public functions with arguments that are right, as far as they are cheap: a wrong one ends before any work."""
    compute = i3d.ComputeConfig("cpu", "fp32", num_workers=0)
    annotations = read_annotations(place / "clips")
    model, clip = str(place / "tiny.safetensors"), str(place / "clips/a/0.mp4")
    absent = {"recipe": "i3d_rgb", "work_dir": place / "W"}
    return {
        i3d.predict: {"videos": clip, "model": model, "device": "cpu"},
        i3d.predict_many: {"videos": [clip], "model": model, "device": "cpu"},
        i3d.stream: {"sources": clip, "model": model},
        i3d.Predictor: {"model": model, "compute": compute},
        i3d.load_model: {"source": model},
        i3d.convert: {"source": model, "target": place / "x.pt"},
        i3d.evaluate: {"model": model, "annotations": annotations, "compute": compute},
        i3d.finetune: {"annotations": annotations, "work_dir": place / "F", "settings": ["training.nonsense=1"]},
        i3d.train: {"annotations": annotations, **absent},
        read_annotations: {"source": place / "clips"},
        check_dataset: {"source": place / "absent"},
        open_video: {"source": clip},
        i3d.ComputeConfig: {},
        FinetuneOptions: {},
        i3d.fvd: {"real": VIDEOS, "generated": VIDEOS, "model": model, "device": "cpu"},
    }


NAMES = ("predict", "predict_many", "stream", "Predictor", "load_model", "convert", "evaluate", "finetune", "train",
         "read_annotations", "check_dataset", "open_video", "ComputeConfig", "FinetuneOptions", "fvd")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_odd_values_of_every_argument_are_one_line_or_work(place, name):
    (function,) = (function for function in calls(place) if function.__name__ == name)
    right = calls(place)[function]
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name.startswith("on_") or parameter.kind.name.startswith("VAR"):
            continue
        for value in ODD:
            try:
                result = function(**{**right, parameter.name: value})
                if function is open_video:
                    result.close()
            except I3DError as error:
                assert str(error)
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("function", "changes", "message"),
    [
        (i3d.predict, {"model": 3}, "model: '3' is of type int; give a text or a path"),
        (i3d.predict, {"top_k": "3"}, "top_k: '3' is of type str; give an integer"),
        (i3d.predict, {"frames_fps": "30"}, "frames_fps: '30' is of type str; give a number or None"),
        (i3d.predict, {"labels": [1, 2]}, "labels: '[1, 2]' is of type list; give a sequence of texts or None"),
        (i3d.load_model, {"labels": "xyz"}, "labels: 'xyz' is of type str; give a sequence of texts or None"),
        (i3d.load_model, {"recipe": 3}, "recipe: '3' is of type int"),
        (i3d.Predictor, {"flow": "fast"}, "flow 'fast': is not one of tvl1, dis, farneback"),
        (read_annotations, {"classes": "ab"}, "classes: 'ab' is of type str; give a sequence of texts or None"),
        (read_annotations, {"multi_label": "no"}, "multi_label: 'no' is of type str; give True or False"),
        (i3d.finetune, {"work_dir": "my"}, "work_dir: 'my' is of type str; give one of type Path"),
        (i3d.finetune, {"annotations": "clips"}, "annotations: 'clips' is of type str; give one of type Annotations"),
        (i3d.finetune, {"seed": -1}, "seed -1: must be at least 0"),
        (i3d.ComputeConfig, {"num_workers": "2"}, "num_workers: '2' is of type str; give an integer"),
        (i3d.ComputeConfig, {"num_workers": -1}, "num_workers -1: must be at least 0"),
        (FinetuneOptions, {"epochs": 0}, "--epochs 0: must be at least 1"),
        (FinetuneOptions, {"lr": float("nan")}, "--lr nan: must be above 0"),
        (open_video, {"source": 3}, "source: type int is no video"),
    ],
)
def test_wrong_types_are_refused_by_name(place, function, changes, message):
    right = next(arguments for each, arguments in calls(place).items() if each.__name__ == function.__name__)
    with pytest.raises(InputError) as error:
        function(**{**right, **changes})
    assert str(error.value).startswith(message)


def public_functions():
    packages = [i3d, *(getattr(i3d, name) for name in i3d.__all__ if inspect.ismodule(getattr(i3d, name)))]
    named = {f"{package.__name__}.{name}": getattr(package, name) for package in packages for name in package.__all__}
    return {name: value for name, value in named.items() if inspect.isfunction(value)}


@pytest.mark.parametrize("name", sorted(public_functions()))
def test_every_public_function_refuses_what_it_cannot_take(name):
    """An object of no use in place of each argument: the first of a known type is named."""
    function = public_functions()[name]
    parameters = [one for one in inspect.signature(function).parameters.values() if not one.name.startswith("on_")]
    if not parameters or name in TAKE_ARRAYS or name == "i3d.models.build_network":
        return
    with pytest.raises(InputError) as error:
        function(**{one.name: object() for one in parameters if not one.kind.name.startswith("VAR")})
    assert str(error.value).split(":")[0] in [one.name for one in parameters]


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (EvaluationOptions, {"protocols": "10x3"}, "protocols: '10x3' is of type str; give a sequence of EvaluationPr"),
        (EvaluationOptions, {"seed": "3"}, "seed: '3' is of type str; give an integer"),
        (i3d.TwoStreams, {"rgb": "a", "flow": "b"}, "rgb: 'a' is of type str; give one of type Predictor"),
        (draw_curves, {"out": Path("x.png"), "logs": {"a": "log.jsonl"}}, "logs: "),
        (
            check_annotations,
            {"annotations": "clips.csv"},
            "annotations: 'clips.csv' is of type str; give one of type A",
        ),
    ],
)
def test_items_of_sequences_and_mappings_are_checked(function, arguments, message):
    with pytest.raises(InputError) as error:
        function(**arguments)
    assert str(error.value).startswith(message)


def writers(place):
    """Public functions that write a file, without its path; which parameter that is; its suffix."""
    annotations, clip = read_annotations(place / "clips"), str(place / "clips/a/0.mp4")
    weights = i3d.weights.load_weights(place / "tiny.safetensors")
    prediction = i3d.Prediction(clip, "ok", (i3d.LabelScore("a", 1.0),), "", 1)
    frames = [np.zeros((32, 32, 3), np.uint8)] * 3
    (place / "log.jsonl").write_text('{"step": 1, "epoch": 0, "loss": 1.0, "top1": 0.5, "lr": 0.1}\n')
    return {
        write_annotations: ({"annotations": annotations}, "out", ".csv"),
        annotate_video: ({"source": clip, "prediction": prediction}, "out", ".mp4"),
        annotate_timeline: ({"source": clip, "timeline": i3d.Timeline(clip, (), "")}, "out", ".mp4"),
        write_video: ({"frames": frames, "fps": 5}, "path", ".gif"),
        write_report: ({"evaluation": make_evaluation([[0.75, 0.25], [0.25, 0.75]], [0, 1])}, "out", ".html"),
        draw_curves: ({"logs": {"a": place / "log.jsonl"}}, "out", ".png"),
        save_checkpoint: ({"state": weights.state, "card": weights.card}, "path", ".safetensors"),
        i3d.convert: ({"source": place / "tiny.safetensors"}, "target", ".safetensors"),
        i3d.Predictions([prediction]).to_csv: ({}, "path", ".csv"),
        i3d.Predictions([prediction]).plot: ({}, "path", ".svg"),
    }


@pytest.mark.parametrize("number", range(10))
def test_a_function_replaces_a_file_only_with_force(place, tmp_path, number):
    function, (arguments, parameter, suffix) = list(writers(place).items())[number]
    out = tmp_path / f"o{suffix}"
    for kind in ("file", "link to nothing"):
        out.unlink(missing_ok=True)
        out.write_bytes(b"mine") if kind == "file" else out.symlink_to("nowhere")
        with pytest.raises(InputError) as error:
            function(**arguments, **{parameter: out})
        assert str(error.value) == f"{out}: the file exists; choose another name, or replace it with force=True"
        assert os.readlink(out) == "nowhere" if out.is_symlink() else out.read_bytes() == b"mine"
    out.unlink()
    out.write_bytes(b"mine")
    function(**arguments, **{parameter: out}, force=True)
    assert out.read_bytes() != b"mine"
    with pytest.raises(InputError, match="there is no folder"):
        function(**arguments, **{parameter: tmp_path / "absent" / out.name})
    with pytest.raises(InputError, match="is empty; give"):
        function(**arguments, **{parameter: ""})


def test_labels_are_never_drawn_over_the_video_itself(place, tmp_path):
    clip = tmp_path / "clip.mp4"
    shutil.copy(place / "clips/a/0.mp4", clip)
    prediction = i3d.Prediction(str(clip), "ok", (i3d.LabelScore("a", 1.0),), "", 1)
    with pytest.raises(InputError, match="is the video itself"):
        annotate_video(str(clip), prediction, clip, force=True)
    with pytest.raises(InputError, match="is the video itself"):
        annotate_timeline(str(clip), i3d.Timeline(str(clip), (), ""), clip, force=True)


def test_numbers_of_numpy_and_lists_of_names_are_right(place):
    model = place / "tiny.safetensors"
    prediction = i3d.predict(
        place / "clips/a/0.mp4", model=Path(model), labels=["a", "b", "c"], top_k=np.int64(2), time_limit=np.float32(9)
    )
    assert len(prediction.predictions) == 2
    assert read_annotations(place / "clips", classes=("a", "b")).classes == ("a", "b")
    assert EvaluationOptions().protocols == ()
