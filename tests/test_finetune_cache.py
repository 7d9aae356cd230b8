"""Features are computed once: cached by content and settings, whatever the name of a clip and of a run."""

import hashlib
import io
import os
import shutil

import numpy as np
import pytest

import i3d.data.check.clip
import i3d.data.check.dataset
import i3d.data.loading.dataset
import i3d.data.preview
import i3d.finetuning.finetune
from i3d.errors import VideoError
from i3d.utils.cache import Cache, cache_key
from support.finetuning_runs import make_clip, make_folder, save_tiny, state_of, train


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Clips, and a run that computes their features."""
    first = tmp_path_factory.mktemp("first")
    make_folder(first / "clips", ("a", "b"), 3)
    save_tiny(first / "tiny.safetensors")
    assert start(first, "one") == 18  # 6 clips with the two views of the test and a random one
    return first


@pytest.fixture
def root(first, tmp_path):
    """A copy with the cache and the run."""
    return shutil.copytree(first, tmp_path / "root")


@pytest.fixture
def clean(root):
    """Without the cache and the run."""
    shutil.rmtree(root / "cache")
    shutil.rmtree(root / "one")
    return root


def start(root, work_dir, *more, data="clips"):
    """How many views were computed."""
    common = ["--views", 2, "--head", "prototype", "--precision", "fp32", "--no-overfit-check"]
    output = train(root / data, root / work_dir, root / "tiny.safetensors", *common, *more)
    (line,) = (line for line in output.splitlines() if line.startswith("features: ") and "computed" in line)
    return int(line.split()[1])


@pytest.mark.slow
def test_a_clip_of_the_same_size_and_time_is_another(root):
    clip = sorted((root / "clips").rglob("*.mp4"))[0]
    before, content = clip.stat(), bytearray(clip.read_bytes())
    content[-1] ^= 1  # in the index, where nothing depends on it
    clip.write_bytes(content)
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert start(root, "two") == 3  # the views of this clip


@pytest.mark.slow
def test_a_clip_that_is_replaced_after_the_inspection_is_lost_and_not_cached(clean, monkeypatch):
    """In the middle of the run, as another program does it."""
    clips, real = sorted((clean / "clips").rglob("*.mp4")), i3d.finetuning.finetune.divide
    before = clips[0].read_bytes()

    def replaced(*arguments, **options):
        clips[0].write_bytes(clips[1].read_bytes())
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(i3d.finetuning.finetune, "divide", replaced)
        common = ["--views", 2, "--head", "prototype", "--precision", "fp32", "--no-overfit-check", "--max-bad", "50%"]
        output = train(clean / "clips", clean / "one", clean / "tiny.safetensors", *common)
    assert f"{clips[0]}: it changed while it was read; run again when it is complete" in output
    clips[0].write_bytes(before)
    assert start(clean, "two") == 3  # nothing was cached under the content that it had at the inspection


def best(root, work_dir):
    return (root / work_dir / "best.safetensors").read_bytes()


@pytest.mark.slow
def test_a_second_run_decodes_nothing_and_gives_the_same_bits(clean, monkeypatch):
    """18 views: 6 clips with the two views of a test, and one random view of each, as all are training clips.

    Nothing is opened but for the stills of the report, which is not written here.
    """
    assert start(clean, "one", "--cv-folds", 2) == 18
    before = best(clean, "one")

    def refuse(*_, **__):
        raise VideoError("a video was opened")

    for module in (i3d.data.loading.dataset, i3d.data.check.clip):
        for name in ("open_video", "open_frames"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr("i3d.video.base.Video.__init__", refuse)
    monkeypatch.setattr("i3d.finetuning.inspect_data.check_annotations", refuse)
    assert start(clean, "one", "--cv-folds", 2) == 0
    assert best(clean, "one") == before


@pytest.mark.slow
def test_other_settings_give_other_features(root):
    drawn = 6
    assert start(root, "seed", "--seed", 1) == drawn  # of other random views; the test's views are the same
    assert start(root, "precision", "--precision", "bf16") == 12 + drawn
    assert start(root, "two", "--test-clips", 2) == 24
    assert start(root, "colours", "--set", "training.augmentation.brightness=0.3") == drawn
    save_tiny(root / "tiny.safetensors", labels=("other", "class", "names"), name="another")
    assert start(root, "labels") == 0  # the network below the classifier is the same
    assert start(root, "again") == 0


@pytest.mark.slow
def test_a_clip_is_identified_by_its_content(clean):
    folds = ("--cv-folds", 2, "--views", 1)
    assert start(clean, "one", *folds) == 12
    (clean / "clips" / "a" / "0.mp4").rename(clean / "clips" / "a" / "renamed.mp4")
    assert start(clean, "renamed", *folds) == 0
    shutil.copytree(clean / "clips", clean / "elsewhere")
    assert start(clean, "moved", *folds, data="elsewhere") == 0
    make_clip(clean / "clips" / "b" / "new.mp4", 1)
    assert start(clean, "added", *folds) == 2
    make_clip(clean / "clips" / "b" / "new.mp4", 1, number=99)
    assert start(clean, "changed", *folds) == 2


def npy(values):
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def write_cached(path, content):
    path.write_bytes(hashlib.sha256(content).digest() + content)


@pytest.mark.slow
def test_damaged_cache_files_are_computed_again(root):
    """One cut short, one with values that are not finite, one whole and finite but of another shape."""
    files = sorted((root / "cache").rglob("*.array"))
    whole = [file.read_bytes() for file in files]
    files[0].write_bytes(whole[0][:-7])
    write_cached(files[1], npy(np.full((1, 513), np.nan, np.float32)))
    write_cached(files[2], npy(np.zeros((1, 5), np.float32)))
    for record in (root / "cache").rglob("*.record"):
        record.write_text("{")
    num_views = sum(len(np.load(io.BytesIO(content[32:]))) for content in whole[:3])
    assert start(root, "two") == num_views
    assert [file.read_bytes() for file in files] == whole
    one, two = (state_of(root / work_dir / "best.safetensors") for work_dir in ("one", "two"))
    assert all(np.array_equal(value, two[name]) for name, value in one.items())


@pytest.mark.slow
def test_a_record_of_another_form_is_written_again(root):
    for record in (root / "cache").rglob("*.record"):
        write_cached(record, b'{"rows": [{"path": 1}], "counts": {}}')
    assert start(root, "two") == 0


def test_the_environment_sets_the_cache_folder(root, monkeypatch, tmp_path):
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "set"))
    assert Cache.default().folder == tmp_path / "set"
    monkeypatch.delenv("I3D_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Cache.default().folder == tmp_path / "xdg" / "i3d"


def test_keys_distinguish_all_parts():
    assert cache_key(a=1, b=2) == cache_key(b=2, a=1)
    assert len({cache_key(a=1), cache_key(a="1"), cache_key(b=1), cache_key(a=[1]), cache_key(a=1, b=None)}) == 5


def test_cached_values_are_loaded(tmp_path):
    cache, key = Cache(tmp_path), cache_key(a=1)
    assert cache.load_array(key) is None
    assert cache.load_json(key) is None
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.save_array(key, values)
    cache.save_json(key, {"a": [1]})
    assert np.array_equal(cache.load_array(key), values)
    assert cache.load_json(key) == {"a": [1]}
    assert not list(tmp_path.rglob(".*"))
