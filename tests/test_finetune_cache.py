"""Features are computed once: found again by content and settings, whatever a clip is called and whoever asks."""

import shutil

import numpy as np
import pytest

import i3d.data.check.clip
import i3d.data.check.dataset
import i3d.data.loading.dataset
import i3d.data.preview
from i3d.errors import VideoError
from i3d.utils.cache import Cache, cache_key
from support.finetuning_runs import make_clip, make_folder, save_tiny, train


@pytest.fixture
def root(tmp_path):
    make_folder(tmp_path / "clips", ("a", "b"), 3)
    save_tiny(tmp_path / "tiny.safetensors")
    return tmp_path


def start(root, work_dir, *more, data="clips"):
    """How many views were computed."""
    common = ["--views", 2, "--head", "prototype", "--precision", "fp32", "--no-overfit-check"]
    said = train(root / data, root / work_dir, root / "tiny.safetensors", *common, *more)
    (line,) = (line for line in said.splitlines() if line.startswith("features: ") and "computed" in line)
    return int(line.split()[1])


def best(root, work_dir):
    return (root / work_dir / "best.safetensors").read_bytes()


@pytest.mark.slow
def test_a_second_run_decodes_nothing_and_gives_the_same_bits(root, monkeypatch):
    """12 views: 6 clips as the test sees them, and one random view of each, as all are learnt.

    But for the stills in the report, nothing is opened.
    """
    assert start(root, "one", "--cv-folds", 2) == 12
    before = best(root, "one")

    def refuse(*_, **__):
        raise VideoError("a video was opened")

    for module in (i3d.data.loading.dataset, i3d.data.check.clip):
        for name in ("open_video", "open_frames"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr("i3d.video.base.Video.__init__", refuse)
    monkeypatch.setattr("i3d.finetuning.inspect_data.check_annotations", refuse)
    monkeypatch.setattr("i3d.evaluation.hardest_clips.read_stills", lambda *_, **__: "left out")
    assert start(root, "one", "--cv-folds", 2) == 0
    assert best(root, "one") == before


@pytest.mark.slow
def test_other_settings_give_other_features(root):
    first = start(root, "one")
    drawn = first - 6
    assert drawn > 0
    assert start(root, "seed", "--seed", 1) == drawn  # of other random views; what the test sees is as it was
    assert start(root, "precision", "--precision", "bf16") == first
    assert start(root, "two", "--test-clips", 2) == 6
    assert start(root, "colours", "--set", "training.augmentation.brightness=0.3") == drawn
    save_tiny(root / "tiny.safetensors", labels=("other", "class", "names"), name="another")
    assert start(root, "labels") == 0  # the network below the classifier is the same
    assert start(root, "again") == 0


@pytest.mark.slow
def test_a_clip_is_known_by_its_content(root):
    folds = ("--cv-folds", 2, "--views", 1)
    assert start(root, "one", *folds) == 6
    (root / "clips" / "a" / "0.mp4").rename(root / "clips" / "a" / "renamed.mp4")
    assert start(root, "renamed", *folds) == 0
    shutil.copytree(root / "clips", root / "elsewhere")
    assert start(root, "moved", *folds, data="elsewhere") == 0
    make_clip(root / "clips" / "b" / "new.mp4", 1)
    assert start(root, "added", *folds) == 1
    make_clip(root / "clips" / "b" / "new.mp4", 1, number=99)
    assert start(root, "changed", *folds) == 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "nan"])
def test_a_damaged_entry_is_computed_anew(root, damage):
    start(root, "one")
    entries = sorted((root / "cache").rglob("*.npy"))
    whole = entries[0].read_bytes()
    match damage:
        case "cut":
            entries[0].write_bytes(whole[:-7])
        case "nan":
            np.save(entries[0], np.full((1, 33), np.nan, np.float32))
    for record in (root / "cache").rglob("*.json"):
        record.write_text("{")
    assert start(root, "two") == 1
    assert entries[0].read_bytes() == whole
    assert best(root, "one") == best(root, "two")


@pytest.mark.slow
def test_entries_of_another_shape_are_computed_anew(root):
    """Whole and finite, and yet not what is wanted."""
    start(root, "one")
    entry = sorted((root / "cache").rglob("*.npy"))[0]
    whole = entry.read_bytes()
    np.save(entry, np.zeros((1, 5), np.float32))
    assert start(root, "two") == 1
    assert entry.read_bytes() == whole


@pytest.mark.slow
def test_a_record_of_another_form_is_made_anew(root):
    start(root, "one")
    for record in (root / "cache").rglob("*.json"):
        record.write_text('{"rows": [{"path": 1}], "counts": {}}')
    assert start(root, "two") == 0


def test_the_environment_says_where(root, monkeypatch, tmp_path):
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "told"))
    assert Cache.default().folder == tmp_path / "told"
    monkeypatch.delenv("I3D_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Cache.default().folder == tmp_path / "xdg" / "i3d"


def test_keys_tell_all_parts_apart():
    assert cache_key(a=1, b=2) == cache_key(b=2, a=1)
    assert len({cache_key(a=1), cache_key(a="1"), cache_key(b=1), cache_key(a=[1]), cache_key(a=1, b=None)}) == 5


def test_what_is_kept_is_found(tmp_path):
    cache, key = Cache(tmp_path), cache_key(a=1)
    assert cache.load_array(key) is None
    assert cache.load_json(key) is None
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.save_array(key, values)
    cache.save_json(key, {"a": [1]})
    assert np.array_equal(cache.load_array(key), values)
    assert cache.load_json(key) == {"a": [1]}
    assert not list(tmp_path.rglob(".*"))
