"""The shipped weights: their record, their numbers, and what happens to damaged and hostile files."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from i3d.errors import WeightsError
from i3d.models.factory import build_network
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import InceptionSettings, Preprocessing
from i3d.weights.checkpoint import Card, load_checkpoint, save_checkpoint
from i3d.weights.load import load_model, load_weights
from i3d.weights.pretrained import DEFAULT, PRETRAINED

GOLDEN = np.load(Path(__file__).parent / "golden" / "jax_i3d_rgb_kinetics400.npz")


def test_logits_equal_the_jax_implementation():
    model = load_model()
    clip_NTHWC = np.random.RandomState(0).uniform(-1, 1, (1, 16, 224, 224, 3)).astype(np.float32)
    with torch.inference_mode():
        logits = model(torch.from_numpy(clip_NTHWC).permute(0, 4, 1, 2, 3)).numpy()
    golden = GOLDEN["random_logits"]
    assert np.abs(logits - golden).max() < 1e-3 * np.abs(golden).max()


def test_the_record():
    content = PRETRAINED[DEFAULT].path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == PRETRAINED[DEFAULT].sha256
    assert 24e6 < len(content) < 27e6
    state, card = load_checkpoint(PRETRAINED[DEFAULT].path)
    assert {str(a.dtype) for name, a in state.items() if name.endswith("conv3d.weight")} == {"float16"}
    assert card.licence == "Apache-2.0"
    assert len(card.labels) == len(set(card.labels)) == 400
    assert card.recipe.preprocessing == Preprocessing(short_side=256, crop=224)
    assert card.recipe.protocol.fps == 25
    assert "i3d-kinetics-400" in card.origin["source"]
    assert "not measured on this file" in next(iter(card.published))


def card(num_classes=2):
    network = InceptionSettings(num_classes=num_classes)
    return Card(recipe=Recipe(name="tiny", network=network), labels=("a", "b"), licence="x", origin={})


def test_a_card_needs_a_label_per_class():
    with pytest.raises(ValueError, match="2 labels for 3 classes"):
        card(num_classes=3)


def test_save_and_load_are_inverse(tmp_path):
    path = tmp_path / "w.safetensors"
    state = {"x": torch.arange(6.0).reshape(2, 3)}
    save_checkpoint(path, state, card())
    loaded, loaded_card = load_checkpoint(path)
    assert np.array_equal(loaded["x"], state["x"])
    assert loaded_card == card()
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize("cut", [0, 4, 8, 50, -1])
def test_a_cut_file_is_refused_in_one_line(tmp_path, cut):
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, {"x": torch.zeros(3)}, card())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match="w.safetensors: ") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_foreign_safetensors_and_other_hashes_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"x": torch.zeros(3)}))
    with pytest.raises(WeightsError, match="not an i3d checkpoint"):
        load_checkpoint(path)
    with pytest.raises(WeightsError, match="damaged"):
        load_checkpoint(path, sha256="0" * 64)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_checkpoint(tmp_path / "absent.safetensors")


def test_class_names_that_replace_others_are_reported(tmp_path, caplog):
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, build_network(card().recipe.network).state_dict(), card())
    assert load_weights(path, labels=("a", "b")).card.labels == ("a", "b")
    assert not caplog.messages
    assert load_weights(path, labels=("b", "a")).card.labels == ("b", "a")
    assert caplog.messages == ["w.safetensors: its class names are replaced: 'a' is now 'b', 'b' is now 'a'"]


def test_unknown_keys_in_a_card_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    text = json.dumps({**json.loads(card().model_dump_json()), "run": "rm -rf"})
    path.write_bytes(save({"x": torch.zeros(3)}, metadata={"i3d": text}))
    with pytest.raises(WeightsError, match="run: Extra inputs are not permitted"):
        load_checkpoint(path)
