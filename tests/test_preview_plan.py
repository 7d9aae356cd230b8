"""`i3d data preview` draws what `i3d train` reads for the same clips, seed and options."""

import numpy as np
import pytest
from PIL import Image

from i3d.data.annotations import Annotations
from i3d.data.formats.read import read_annotations
from i3d.data.loading.dataset import ClipDataset, TrainView
from i3d.data.preview import preview_dataset
from i3d.recipes.io import load_recipe
from support.commands import run_here
from support.finetuning_runs import make_folder, save_tiny, write_csv
from support.training_runs import RECIPE

COMMON = ("--init", "tiny.safetensors", "--device", "cpu", "--workers", 0)
PLANS = {
    "head": ("--views", 1),
    "random views": ("--views", 2, "--seed", 5),
    "last": ("--train-layers", "last", "--flip", "off", "--set", "training.augmentation.brightness=0.5"),
    "folds": ("--cv-folds", 2, "--views", 2),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("plans")
    make_folder(root / "clips", ("a", "b"), 4)
    save_tiny(root / "tiny.safetensors")
    (root / "tiny.yaml").write_text(RECIPE)
    rows = [f"{name}/{i}.mp4,{name},{'val' if i == 3 else 'train'}" for name in "ab" for i in range(4)]
    write_csv(root / "clips/clips.csv", rows, "path,label,split")
    return root


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", PLANS)
def test_preview_and_train_draw_the_same_pixels(root, tmp_path, monkeypatch, name):
    monkeypatch.chdir(root)
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "cache"))
    words = [*COMMON, *PLANS[name]]
    drawn = run_here(["i3d", "data", "preview", "clips", "--out", tmp_path / "p", *words])
    assert drawn.returncode == 0, drawn.stderr
    assert "plan of `i3d train --data clips`" in drawn.stderr
    more = ("--epochs", 1) if name == "last" else ()
    trained = run_here(["i3d", "train", "--data", "clips", "--work-dir", tmp_path / "w", "--yes", *words, *more])
    assert trained.returncode == 0, trained.stderr
    for file in ("clips.png", "statistics.png"):
        np.testing.assert_array_equal(pixels(tmp_path / "p" / file), pixels(tmp_path / "w/preview" / file))


def test_other_seeds_and_options_draw_other_pixels(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "cache"))
    images = []
    for number, words in enumerate(((), ("--seed", 1), ("--train-layers", "last", "--flip", "off"))):
        out = tmp_path / str(number)
        assert (
            run_here(["i3d", "data", "preview", "clips", "--out", out, *COMMON, "--views", 2, *words]).returncode == 0
        )
        images.append(pixels(out / "clips.png").tobytes())
    assert len({*images}) == 3


def test_a_recipe_draws_its_own_training_clips(root, tmp_path, monkeypatch):
    """As its loader reads them, of the training split."""
    monkeypatch.chdir(root)
    result = run_here(["i3d", "data", "preview", "clips/clips.csv", "--out", tmp_path / "p", "--recipe", "tiny.yaml"])
    assert result.returncode == 0, result.stderr
    assert "training clips of the recipe tiny.yaml" in result.stderr
    clips: Annotations = read_annotations(root / "clips/clips.csv").select_split("train")
    training = load_recipe("tiny.yaml").training
    dataset = ClipDataset(clips, TrainView(training.sampling, training.augmentation), seed=0)
    preview_dataset(dataset, tmp_path / "own", plan="settings of the recipe tiny.yaml")
    own = pixels(tmp_path / "own/clips.png")
    drawn = pixels(tmp_path / "p/clips.png")
    assert drawn.shape[0] == own.shape[0]
    below = own.shape[0] // 3  # below the titles, which name the path of the list
    np.testing.assert_array_equal(drawn[below:], own[below:])


def test_options_of_the_plan_do_not_go_with_a_recipe(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    words = ["data", "preview", "clips", "--out", tmp_path / "p", "--recipe", "tiny.yaml", "--flip", "off"]
    result = run_here(["i3d", *words])
    assert (result.returncode, "--flip: changes the plan of `i3d train`" in result.stderr) == (2, True)
    assert not (tmp_path / "p").exists()
