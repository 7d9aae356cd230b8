"""Weights by their public address: found by file name in folders of this machine, else refused before any list."""

import hashlib
import os
import re
import socket

import pytest
from safetensors.torch import save_file

import i3d
from i3d.errors import InputError
from i3d.models.factory import build_network
from i3d.recipes.io import load_recipe
from i3d.recipes.named import NON_LOCAL, RECIPES
from i3d.recipes.settings import ResNetSettings
from i3d.weights import load_weights
from i3d.weights.addresses import TORCHVISION, checkpoints_in, digest_in_name, find_weights, is_address
from i3d.weights.hub import fetch_from_hub
from support.commands import run_here
from support.golden_weights import state_dict
from support.mmaction2_configs import config_0
from support.mmaction2_runs import VIDEO, config, tiny_0, tiny_checkpoint, tiny_test
from support.paths import GOLDEN

HOST = "https://download.openmmlab.com/mmaction/recognition/i3d"
DOT, GAUSS = (f"i3d_nl_{mode}_r50_32x2x1_100e_kinetics400_rgb" for mode in ("dot_product", "embedded_gaussian"))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without a network and with empty caches, and a folder `weights` of its user."""
    for name in ("TORCH_HOME", "MMENGINE_HOME", "MMCV_HOME", "I3D_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words: pytest.fail(f"it asks for {words}"))
    monkeypatch.setattr("i3d.weights.hub._cached", lambda _: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    return tmp_path


def published(folder, stem="tiny_20200614", content=None, suffix=".pth"):
    """A file whose name ends in the digits of its content, as MMAction2 publishes them."""
    folder.mkdir(parents=True, exist_ok=True)
    content = tiny_checkpoint(folder / "made.pth").read_bytes() if content is None else content
    (folder / "made.pth").unlink(missing_ok=True)
    path = folder / f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    path.write_bytes(content)
    return path


def thin_state(name):
    return state_dict(GOLDEN / "keys" / f"{name}.json", thinner=16)


PLACES = [
    "weights",
    "cache/torch/hub/checkpoints",
    "cache/torch/checkpoints",
    "cache/mmengine",
    "cache/mmcv",
    "cache/mim",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ["", "?download=1", "#x"])
def test_a_file_is_found_by_the_name_in_its_address(machine, place, end, caplog):
    path = published(machine / place, content=b"x")
    with caplog.at_level("INFO"), checkpoints_in(machine / "weights"):
        assert find_weights(f"{HOST}/a/{path.name}{end}") == path
    assert f"taken from {path}" in caplog.text


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("torchvision://resnet50", "resnet50-0676ba61.pth"),
        ("torchvision://resnet50", "resnet50-19c8e357.pth"),
        ("modelzoo://resnet18", "resnet18-5c106cde.pth"),
        ("open-mmlab://my_i3d", "my_i3d.pth"),
        ("openmmlab://my_i3d", "my_i3d-0123abcd.pth"),
        ("open-mmlab://a/my_i3d", "my_i3d_20200614-0123abcd.pth"),
        (f"{HOST}/my%20file.pth", "my file.pth"),
    ],
)
def test_the_file_names_of_an_address(machine, monkeypatch, address, name):
    monkeypatch.setattr("i3d.weights.addresses._DIGEST", re.compile("(x)"))  # their content is not here
    (machine / "weights" / name).write_bytes(b"x")
    (machine / "weights" / "resnet50-11ad3fa6.pth").write_bytes(b"other weights of the same network")
    with checkpoints_in(machine / "weights"):
        assert find_weights(address).name == name


@pytest.mark.parametrize("folders", [None, "weights", "weights:gone"])
@pytest.mark.parametrize(
    ("address", "name"),
    [
        (f"{HOST}/a_20200614-c25ef9a4.pth", "a_20200614-c25ef9a4.pth"),
        ("torchvision://resnet50", " or ".join(TORCHVISION["resnet50"])),
        ("open-mmlab://i3d", "i3d.pth or i3d-<digest>.pth"),
    ],
)
def test_without_a_file_the_error_names_address_file_and_flag(machine, monkeypatch, folders, address, name):
    if folders is not None:
        monkeypatch.setenv("I3D_CHECKPOINTS", folders.replace(":", os.pathsep))
    with pytest.raises(InputError) as error:
        load_weights(address)
    message = str(error.value)
    assert message.startswith(f"{address}: no file {name} in ")
    assert "nothing is fetched from a network" in message
    assert "--checkpoints DIR or $I3D_CHECKPOINTS" in message
    assert ("gone (no such folder)" in message) is ("gone" in (folders or ""))


def test_a_web_address_without_a_suffix_is_no_prefix(machine):
    (machine / "weights" / "rgb_imagenet.pt").write_bytes(b"x")
    with checkpoints_in(machine / "weights"), pytest.raises(InputError, match="no file rgb_imagenet in"):
        find_weights("https://github.com/google-deepmind/kinetics-i3d/tree/master/data/checkpoints/rgb_imagenet")


@pytest.mark.parametrize("address", ["s3://bucket/a.pth", f"{HOST}/", "https://x/..", "file:///a.pth", "https://x/%00"])
def test_addresses_that_name_no_file_are_refused(machine, address):
    with pytest.raises(InputError, match=r"(is not known|names no file); give the path of the file"):
        load_weights(address)


def test_the_first_of_two_files_of_a_name_is_taken_and_named(machine, monkeypatch, caplog):
    for place in ("weights", "others"):
        (machine / place).mkdir(exist_ok=True)
        (machine / place / "a.pth").write_bytes(place.encode())
    monkeypatch.setenv("I3D_CHECKPOINTS", str(machine / "others"))
    with checkpoints_in(machine / "weights"):
        assert find_weights(f"{HOST}/a.pth") == machine / "weights" / "a.pth"
    assert f"{machine / 'others' / 'a.pth'}: is another file of that name; not taken" in caplog.text
    caplog.clear()
    (machine / "others" / "a.pth").write_bytes(b"weights")
    with checkpoints_in(machine / "weights"):
        find_weights(f"{HOST}/a.pth")
    assert not caplog.messages


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"cut"), lambda path: path.write_bytes(b"")])
def test_a_damaged_file_is_named_and_another_is_taken(machine, monkeypatch, caplog, change):
    bad, good = (published(machine / place, content=b"whole") for place in ("weights", "others"))
    change(bad)
    address = f"{HOST}/{bad.name}"
    with checkpoints_in(bad.parent), pytest.raises(InputError) as error:
        load_weights(address)
    assert str(error.value).startswith(f"{address}: {bad}: ")
    assert "download it again" in str(error.value)
    monkeypatch.setenv("I3D_CHECKPOINTS", str(good.parent))
    with checkpoints_in(bad.parent):
        assert find_weights(address) == good
    assert f"{bad}: passed over; " in caplog.text


def test_a_file_given_by_its_path_is_compared_with_its_name_too(machine, caplog):
    path = published(machine / "weights")
    load_weights(path)
    assert not caplog.messages
    other = path.rename(path.with_name("tiny_20200614-00000000.pth"))
    load_weights(other)
    assert f"{other}: its SHA-256 begins with" in caplog.text


def test_which_names_have_digits_of_their_content(tmp_path):
    digits = {"a_20200614-c25ef9a4.pth": "c25ef9a4", "a_20220811-31723200.pth": "31723200", "a-20200614.pth": "",
              "resnet50-0676ba61.pth": "0676ba61", "epoch_100.pth": "", "a-0676ba61": ""}  # fmt: skip
    assert {name: digest_in_name(tmp_path / name) for name in digits} == digits
    assert not any(map(is_address, ["a/b", "a.pth", "c:/a.pth", "timm/resnet50.tv_in1k", "clip://"[:4]]))


def test_a_model_by_its_address(machine, capsys):
    path = published(machine / "weights")
    address = f"{HOST}/{path.name}"
    result = run_here(["i3d", "convert", address, "a.safetensors", "--checkpoints", "weights"])
    assert result.returncode == 0, result.stderr
    assert f"{address}: taken from weights/{path.name}" in result.stderr
    assert i3d.load_model("a.safetensors").recipe.network.depth == 18
    assert load_weights("a.safetensors").card.origin["source"] == address
    trained = ["train", "--data", "a.mp4", "--work-dir", "w", "--init"]
    shown = ["models", "show"], ["benchmark", "model"], ["features", "a.mp4", "--out", "f", "--model"]
    for words in (["predict", "a.mp4", "--model"], ["test", "--data", "gone.txt"], trained, *shown):
        (machine / "a.mp4").touch()
        result = run_here(["i3d", *words, f"{HOST}/gone.pth"])
        assert result.returncode == 2
        assert "no file gone.pth" in result.stderr
    result = run_here(["i3d", "--checkpoints", "nowhere", "models"])
    assert (result.returncode, result.stderr) == (2, "error: --checkpoints nowhere: no such folder; check the path\n")
    (machine / "file.pth").touch()
    result = run_here(["i3d", "--checkpoints", "file.pth", "models"])
    assert (result.returncode, result.stderr) == (2, "error: --checkpoints file.pth: is a file; name its folder\n")


@pytest.mark.parametrize("value", ["", " ", os.pathsep])
def test_an_empty_variable_of_folders_is_refused(machine, monkeypatch, value):
    """As that of another variable that is not set: the caches alone would be searched."""
    monkeypatch.setenv("I3D_CHECKPOINTS", value)
    with pytest.raises(InputError, match=r"\$I3D_CHECKPOINTS: is empty; name folders in it, or unset it"):
        find_weights(f"{HOST}/{published(machine / 'weights').name}")


INITS = {  # key -> its place in a 0.x config
    "load_from": lambda text, value: text.replace("load_from = None", f"load_from = {value!r}"),
    "pretrained": lambda text, value: text.replace("'torchvision://resnet50'", repr(value)),
    "init_cfg": lambda text, value: text.replace(
        "pretrained='torchvision://resnet50'", f"init_cfg=dict(type='Pretrained', checkpoint={value!r})"
    ),
}


@pytest.mark.parametrize("key", INITS)
@pytest.mark.parametrize("value", [f"{HOST}/tiny_20200614-c25ef9a4.pth", "torchvision://resnet50", "open-mmlab://tiny"])
def test_initial_weights_that_are_nowhere_are_refused_before_any_list(machine, key, value):
    path = config(machine, INITS[key](config_0(), value))
    lists = ["data.train.ann_file=gone.txt"]
    result = run_here(["python", "tools/train.py", str(path), "--work-dir", "w", "--cfg-options", *lists])
    assert result.returncode == 2
    assert "gone.txt" not in result.stderr
    assert f"error: {path}: initial weights: {value}: no file " in result.stderr
    assert "--checkpoints DIR" in result.stderr
    if value.startswith("https"):
        (machine / "clips.txt").write_text("gone.mp4 0")
        result = run_here(["i3d", "train", "--recipe", str(path), "--data", "clips.txt", "--work-dir", "w"])
        assert result.returncode == 2
        assert f"error: {value}: no file " in result.stderr
    assert not (machine / "w").exists()


@pytest.mark.slow
def test_initial_weights_and_a_checkpoint_by_their_addresses(machine, kinetics):
    path = published(machine / "weights")
    address = f"{HOST}/{path.name}"
    options = ["--cfg-options", *tiny_0(videos=True), f"load_from={address}"]
    command = ["python", "tools/train.py", VIDEO, "--work-dir", "w", "--checkpoints", "weights", *options]
    result = run_here(command)
    assert result.returncode == 0, result.stderr
    assert f"{address}: taken from weights/{path.name}" in result.stderr
    assert load_recipe(str(machine / "w" / "recipe.json")).training.init == address
    command = ["python", "tools/test.py", VIDEO, address, "--checkpoints", "weights", "--eval", "top_k_accuracy"]
    result = run_here([*command, "--cfg-options", *tiny_test(VIDEO)])
    assert result.returncode == 0, result.stderr
    assert "top1_acc" in result.stdout


def test_torchvisions_file_stands_for_its_copy_on_the_hub(machine, monkeypatch):
    monkeypatch.setattr("i3d.weights.addresses._damage", lambda _: "")
    (machine / "weights" / "resnet50-0676ba61.pth").write_bytes(b"x")
    with checkpoints_in(machine / "weights"):
        assert fetch_from_hub("timm/resnet50.tv_in1k") == machine / "weights" / "resnet50-0676ba61.pth"


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        (f"{DOT}_20200814-x", DOT),
        (f"my_{GAUSS}", GAUSS),
        (f"{DOT}_or_{GAUSS}", None),
        ("epoch_100", None),
        ("i3d_nl_dot_product", None),
    ],
)
def test_a_file_name_decides_between_recipes_that_its_content_fits(tmp_path, caplog, name, recipe):
    save_file(thin_state("i3d_r50_nl_dot_product"), tmp_path / f"{name}.safetensors")
    if recipe is None:
        with pytest.raises(i3d.WeightsError, match="compute different things; choose one"):
            load_weights(tmp_path / f"{name}.safetensors")
        return
    with caplog.at_level("INFO"):
        weights = load_weights(tmp_path / f"{name}.safetensors")
    assert (weights.card.recipe.name, weights.recipe_from) == (recipe, "by the file name; --recipe names another")
    assert f"taken as {recipe}, which its name contains" in caplog.text
    assert load_weights(tmp_path / f"{name}.safetensors", recipe=GAUSS).card.recipe.name == GAUSS


@pytest.mark.parametrize("depth", [18, 34, 101])
def test_a_depth_of_no_published_recipe_has_no_name_of_one(tmp_path, depth):
    """A name that is printed and stored is one that `i3d models show` knows, or it reports that there is none."""
    settings = ResNetSettings(depth=depth, base_channels=2, num_classes=5)
    save_file(build_network(settings).state_dict(), tmp_path / "a.safetensors")
    name = load_weights(tmp_path / "a.safetensors").card.recipe.name
    is_published = depth == 34
    assert (name in RECIPES) is is_published
    assert name.endswith(f" with ResNet-{depth} (no published recipe)") is not is_published
    non_local = settings.model_copy(update={"non_local": NON_LOCAL, "non_local_mode": "dot_product"})
    save_file(build_network(non_local).state_dict(), tmp_path / "b.safetensors")
    with pytest.raises(i3d.WeightsError, match="compute different things") as error:
        load_weights(tmp_path / "b.safetensors")
    base, other = re.search(r"`base: (\S+)`, or another of (\S+)", str(error.value)).groups()
    assert {base, other} <= RECIPES.keys()
    (tmp_path / "b.yaml").write_text(f"base: {base}\nnetwork: {{depth: {depth}}}\n")
    assert load_weights(tmp_path / "b.safetensors", recipe=str(tmp_path / "b.yaml")).card.recipe.network.depth == depth


def test_older_and_longer_names_in_file_names(tmp_path):
    names = {"i3d_r50_fast_32x2x1_100e_kinetics400_rgb_20200612-x": "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb",
             f"{VIDEO}_o1": f"{VIDEO}_o1", "i3d_r50_256p_32x2x1_100e_kinetics400_rgb":
             "i3d_r50_32x2x1_100e_kinetics400_rgb"}  # fmt: skip
    for name, recipe in names.items():
        save_file(thin_state("i3d_r50"), tmp_path / f"{name}.safetensors")
        assert load_weights(tmp_path / f"{name}.safetensors").card.recipe.name == recipe
