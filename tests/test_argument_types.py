"""Arguments of wrong types from Python: one line that names the argument; no other kind of error, no guess."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import i3d
from i3d.data import read_annotations
from i3d.data.check.dataset import check_dataset
from i3d.errors import I3DError, InputError
from i3d.evaluation import EvaluationOptions
from i3d.finetuning import FinetuneOptions
from i3d.video import open_video
from support.finetuning_runs import make_clip, save_tiny

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
    }


NAMES = ("predict", "predict_many", "Predictor", "load_model", "convert", "evaluate", "finetune", "train",
         "read_annotations", "check_dataset", "open_video", "ComputeConfig", "FinetuneOptions")  # fmt: skip


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


def test_numbers_of_numpy_and_lists_of_names_are_right(place):
    model = place / "tiny.safetensors"
    prediction = i3d.predict(
        place / "clips/a/0.mp4", model=Path(model), labels=["a", "b", "c"], top_k=np.int64(2), time_limit=np.float32(9)
    )
    assert len(prediction.predictions) == 2
    assert read_annotations(place / "clips", classes=("a", "b")).classes == ("a", "b")
    assert EvaluationOptions().protocols == ()
