"""One flipped bit anywhere in a file of weights, a training state, a cached value or a packed dataset is detected."""

import os
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from i3d.data.formats.read import read_annotations
from i3d.data.pack import pack_dataset
from i3d.data.shards import INDEX, LIST, SUMS, Shards
from i3d.errors import InputError, VideoError, WeightsError
from i3d.models.factory import build_network
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ResNetSettings
from i3d.training.state import TrainerState, load_newest, save_state
from i3d.utils.cache import Cache, cache_key
from i3d.weights.checkpoint import Card, load_checkpoint, save_checkpoint
from i3d.weights.foreign.files import read_weights_file
from i3d.weights.load import load_weights
from support.rendering import render
from support.training_states import make_parts

TRIALS = 60


def flipped(whole):
    """The content with one flipped bit, at 60 places of a fixed seed: half of them in its first 5000 bytes."""
    rng = random.Random(19)
    for trial in range(TRIALS):
        content = bytearray(whole)
        content[rng.randrange(len(whole) if trial % 2 else min(len(whole), 5000))] ^= 1 << rng.randrange(8)
        yield bytes(content)


def save_own(path):
    torch.manual_seed(0)
    recipe = named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb")
    settings = ResNetSettings(depth=18, base_channels=2, num_classes=3)
    recipe = recipe.model_copy(update={"network": settings, "dataset": "", "training": None})
    card = Card(recipe=recipe, labels=("a", "b", 'c "file_crc32c":"00000000"'), licence="none", origin={})
    save_checkpoint(path, build_network(settings).state_dict(), card)
    return card


def test_weights(tmp_path):
    path = tmp_path / "own.safetensors"
    card = save_own(path)
    assert load_weights(path).card == load_checkpoint(path)[1] == card
    for content in flipped(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="own.safetensors: "):
            load_weights(path)


def test_the_same_weights_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_own(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_weights_and_states_have_the_rights_that_the_user_sets(tmp_path):
    """Others may read them if the umask permits; nothing else is left beside them."""
    before = os.umask(0o022)
    try:
        save_own(tmp_path / "own.safetensors")
        state = save_state(tmp_path, make_parts(), TrainerState.initial("run").model_copy(update={"step": 1}))
    finally:
        os.umask(before)
    for path in (tmp_path / "own.safetensors", state):
        assert path.stat().st_mode & 0o777 == 0o644
    assert len(list(tmp_path.iterdir())) == 2


def test_training_states(tmp_path):
    """The state before it is taken, and a fault names the damaged one."""
    parts = make_parts()
    for step in (1, 2):
        path = save_state(tmp_path, parts, TrainerState.initial("run").model_copy(update={"step": step}))
    assert load_newest(tmp_path, parts)[0].step == 2
    for content in flipped(path.read_bytes()):
        path.write_bytes(content)
        loaded, faults = load_newest(tmp_path, parts)
        assert loaded.step == 1
        assert len(faults) == 1
        assert "step-00000002.safetensors: cannot be read (" in faults[0]


@pytest.mark.parametrize("kind", ["array", "json", "bytes"])
def test_cached_values(tmp_path, caplog, kind):
    """A warning names the file, and the value counts as missing."""
    cache, key = Cache(tmp_path), cache_key(a=1)
    value = {"array": np.ones((3, 700), np.float32), "json": {"a": [1] * 500}, "bytes": bytes(2000)}[kind]
    getattr(cache, f"save_{kind}")(key, value)
    (path,) = (file for file in tmp_path.rglob("*") if file.is_file())
    assert np.array_equal(getattr(cache, f"load_{kind}")(key), value)
    assert not caplog.messages
    for content in flipped(path.read_bytes()):
        path.write_bytes(content)
        caplog.clear()
        assert getattr(cache, f"load_{kind}")(key) is None
        assert f"{path}: damaged since it was cached" in caplog.text
        assert "it is computed again" in caplog.text


def test_a_cached_file_that_cannot_be_read_is_reported(tmp_path, caplog):
    cache, key = Cache(tmp_path), cache_key(a=1)
    cache.path(key, ".record").mkdir(parents=True)
    assert cache.load_json(key) is None
    assert "cannot be read" in caplog.text
    assert cache.load_json(cache_key(a=2)) is None
    assert len(caplog.messages) == 1


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    for i in range(5):
        (root / "clips" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        render(root / "clips" / "ab"[i % 2] / f"{i}.mp4", num_frames=3 + i)
    pack_dataset(read_annotations(root / "clips"), root / "packed", shard_bytes=4000)
    return root / "packed"


@pytest.mark.parametrize("shard", ["shard-00000.tar", "shard-00001.tar"])
def test_shards(packed, tmp_path, shard):
    """Each byte of a shard, its headers and padding too, is verified when the file of that place is read."""
    root = shutil.copytree(packed, tmp_path / "packed")
    annotations = read_annotations(root)
    names = [annotations.path(number) for number in range(len(annotations))]
    whole = {name: Shards(root).read(name) for name in names}
    for content in flipped((packed / shard).read_bytes()):
        (root / shard).write_bytes(content)
        damaged = []
        for name in names:
            try:
                assert Shards(root).read(name) == whole[name]
            except VideoError as error:
                assert f"{shard} is damaged at bytes" in str(error)
                damaged.append(name)
        assert len(damaged) == 1


@pytest.mark.parametrize("name", [INDEX, SUMS, LIST])
def test_the_index_and_the_list_of_shards(packed, tmp_path, name):
    """A damaged index is an error. A list may be edited: a warning reports that it has changed, if it can be read."""
    root = shutil.copytree(packed, tmp_path / "packed")
    assert not read_annotations(root).warnings
    for content in flipped((packed / name).read_bytes()):
        (root / name).write_bytes(content)
        try:
            warnings = read_annotations(root).warnings
        except InputError as error:
            assert str(root) in str(error)
            continue
        assert name != INDEX
        assert any("has changed since it was packed" in line for line in warnings)


def test_shards_without_checksums_are_refused(packed, tmp_path):
    root = shutil.copytree(packed, tmp_path / "packed")
    (root / SUMS).unlink()
    with pytest.raises(InputError, match=f"no {SUMS} is beside it, as an older version of i3d packed it.*pack the"):
        read_annotations(root)


def test_weights_without_a_checksum_load_as_before(tmp_path):
    """Of i3d before checksums, and of other projects."""
    path = tmp_path / "own.safetensors"
    card = save_own(path)
    content = path.read_bytes()
    record = card.model_dump_json(exclude={"file_crc32c"})
    path.write_bytes(save(load(content), metadata={"i3d": record}))
    assert load_weights(path).card == card
    path.write_bytes(save(load(content)))
    assert read_weights_file(path).arrays.keys() == load(content).keys()
