"""500 damaged checkpoints of every format, by fixed seeds: an error in one line, or the same network.

Formats with a checksum never give other numbers. Those without one (`docs/weights.md`) may, under the same keys.
"""

import io
import pickle
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save

from i3d.errors import I3DError, InputError
from i3d.models.factory import build_network
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ResNetSettings
from i3d.training.state import TrainerState, load_newest, save_state
from i3d.weights.checkpoint import Card, save_checkpoint
from i3d.weights.foreign.files import read_weights_file
from i3d.weights.load import load_weights
from support import foreign_files
from support.fuzzing import rounds
from support.training_states import make_parts

pytestmark = pytest.mark.fuzz
MUTANTS = 500
RECIPE = named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb")


def mutated(content, rng):
    """Content with a few damaged places; half of them lie near its ends, where headers and directories are."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        size = len(out)
        if size < 2:
            break
        at = rng.randrange(size)
        if rng.random() < 0.5:
            at = rng.choice((at % min(size, 4000), size - 1 - at % min(size, 2000)))
        length = rng.choice((1, 1, 2, 4, 8, 64, 1000))
        match rng.randrange(8):
            case 0 | 1:
                out[at] ^= 1 << rng.randrange(8)
            case 2:
                out[at] = rng.randrange(256)
            case 3:
                out[at : at + length] = rng.randbytes(min(length, size - at))
            case 4:
                out[at : at + length] = bytes(min(length, size - at))
            case 5:
                del out[at : at + length]
            case 6:
                source = rng.randrange(size)
                out[at:at] = out[source : source + length]
            case 7:
                del out[rng.randrange(1, size) :]
    return bytes(out)


def small_state():
    torch.manual_seed(0)
    return build_network(ResNetSettings(depth=18, base_channels=2, num_classes=3)).state_dict()


def own_checkpoint(folder):
    settings = ResNetSettings(depth=18, base_channels=2, num_classes=3)
    recipe = RECIPE.model_copy(update={"network": settings, "dataset": "", "training": None})
    card = Card(recipe=recipe, labels=("a", "b", "c"), licence="none", origin={"source": "a test"})
    save_checkpoint(folder / "whole", small_state(), card)
    return (folder / "whole").read_bytes()


def tensorflow_checkpoint(folder, part):
    arrays = {f"RGB/v{i}": np.arange(6, dtype="f4").reshape(2, 3) + i for i in range(9)}
    foreign_files.write_tensorflow(folder / "m.ckpt", arrays)
    return (folder / f"m.ckpt.{part}").read_bytes()


def npz_archive(_):
    content = io.BytesIO()
    np.savez(content, w=np.ones((3, 4), "f4"))
    return content.getvalue()


def arrays_of(path):
    return dict(read_weights_file(path).arrays), None


def network_of(path):
    weights = load_weights(path, labels=("a", "b", "c"))
    return {key: tensor.numpy() for key, tensor in weights.state.items()}, weights.card.recipe


def card_of(path):
    weights = load_weights(path)
    return {key: tensor.numpy() for key, tensor in weights.state.items()}, weights.card


MINDSPORE = {f"backbone.conv{i}.features.0.weight": np.arange(8, dtype="f4") + i for i in range(9)}
NUMPY = {"params": {"a": {"kernel": np.ones((2, 3), "f4")}}, "batch_stats": {"b": np.zeros(5, "f4")}}
FORMATS = {  # (how it is written, its name, how it is read, what is compared: everything, keys and shapes, or nothing)
    "i3d": (own_checkpoint, "a.safetensors", card_of, "everything"),
    "safetensors": (lambda _: save(small_state()), "a.safetensors", network_of, "shapes"),
    "PyTorch zip": (
        lambda _: foreign_files.torch_bytes({"state_dict": small_state()}), "a.pth", network_of, "everything",
    ),
    "PyTorch legacy": (
        lambda _: foreign_files.torch_bytes({"state_dict": small_state()}, legacy=True), "a.pth", network_of, "shapes",
    ),
    "TensorFlow index": (
        lambda folder: tensorflow_checkpoint(folder, "index"), "m.ckpt.index", arrays_of, "everything",
    ),
    "TensorFlow data": (
        lambda folder: tensorflow_checkpoint(folder, "data-00000-of-00001"), "m.ckpt.data-00000-of-00001", arrays_of,
        "everything",
    ),
    "MindSpore": (lambda _: foreign_files.mindspore_bytes(MINDSPORE), "a.ckpt", arrays_of, "nothing"),
    "MindSpore with a checksum": (
        lambda _: foreign_files.mindspore_bytes(MINDSPORE, crc_check=True), "a.ckpt", arrays_of, "nothing",
    ),
    "pickle of NumPy arrays": (lambda _: pickle.dumps(NUMPY, protocol=4), "a.pkl", arrays_of, "nothing"),
    "npz": (npz_archive, "a.npz", arrays_of, "refused"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_checkpoint_is_an_error_or_the_same_network(tmp_path, kind):
    write, name, read, compared = FORMATS[kind]
    path, whole = tmp_path / name, write(tmp_path)
    path.write_bytes(whole)
    if compared != "refused":
        expected, expected_card = read(path)
    first = list(FORMATS).index(kind)
    for number in range(first, rounds(MUTANTS), len(FORMATS) + 1):
        content = mutated(whole, random.Random(number))
        path.write_bytes(content)
        try:
            arrays, card = read(path)
        except I3DError as error:
            assert str(error).isprintable(), number
            continue
        assert compared != "refused", number
        if compared == "nothing":
            continue
        assert card == expected_card, number
        assert arrays.keys() == expected.keys(), number
        for key, array in arrays.items():
            assert array.shape == expected[key].shape, number
            assert compared == "shapes" or np.array_equal(array, expected[key]), (number, key)


def test_a_damaged_training_state_is_not_loaded(tmp_path):
    parts = make_parts()
    path = save_state(tmp_path, parts, TrainerState.initial("run").model_copy(update={"step": 1}))
    whole = path.read_bytes()
    for number in range(len(FORMATS), rounds(MUTANTS), len(FORMATS) + 1):
        content = mutated(whole, random.Random(number))
        path.write_bytes(content)
        if content == whole:
            continue
        with pytest.raises(InputError, match=r"step-00000001\.safetensors: cannot be read \(") as error:
            load_newest(tmp_path, parts)
        assert str(error.value).isprintable()
