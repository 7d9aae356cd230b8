"""A contributor adds a network: one file, one settings class, one line in the factory, and every command works.

The steps are those of "Add a network" in CONTRIBUTING.md, on a copy of the package.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from support.paths import ROOT
from support.training_runs import RECIPE, make_clips

# models/toy.py
NETWORK = '''
"""A small 3D network. Letters in names: N clips, C channels, T frames, H rows, W columns, K classes."""

from torch import Tensor, nn

from i3d.models.conv import Conv3d
from i3d.models.network import VideoNetwork
from i3d.models.prepack import conv_bn_act
from i3d.recipes.settings import ToySettings


class ToyBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, *, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        return conv_bn_act(self.conv, self.bn, x_NCTHW)


class ToyNetwork(VideoNetwork):
    """Two convolutions, mean over time and space, linear."""

    endpoints = ("stem", "body")
    stages = ("stem.", "body.")
    head_prefix = "head."
    min_frames = 2
    fsdp_blocks = (ToyBlock,)

    def __init__(self, settings: ToySettings) -> None:
        super().__init__(settings)
        self.stem = ToyBlock(settings.in_channels, settings.width, stride=(1, 2, 2))
        self.body = ToyBlock(settings.width, 2 * settings.width, stride=(2, 2, 2))
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(2 * settings.width, settings.num_classes)

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        map_NCTHW = self.features(clips_NCTHW, endpoint="body")
        return self.classify(self.pool(map_NCTHW))

    def classify(self, inputs_NC: Tensor) -> Tensor:
        logits_NK: Tensor = self.head(self.dropout(inputs_NC.to(self.head.weight.dtype)))
        return logits_NK

    def features(self, clips_NCTHW: Tensor, *, endpoint: str) -> Tensor:
        if clips_NCTHW.shape[2] < self.min_frames:
            raise ValueError(f"the shortest clip has {self.min_frames} frames, got {clips_NCTHW.shape[2]}")
        x_NCTHW = clips_NCTHW
        for name in self.endpoints_up_to(endpoint):
            x_NCTHW = self.get_submodule(name)(x_NCTHW)
        return x_NCTHW

    def pool(self, map_NCTHW: Tensor) -> Tensor:
        return map_NCTHW.float().mean(dim=(2, 3, 4))
'''

# recipes/settings.py
SETTINGS = '''
class ToySettings(Settings):
    """A small 3D network."""

    kind: Literal["toy"] = "toy"
    in_channels: int = Field(default=3, ge=1)
    num_classes: int = Field(default=400, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    width: int = Field(default=8, ge=1)

    @property
    def name(self) -> str:
        return self.kind

    @property
    def description(self) -> str:
        return f"a toy network ({input_name(self.in_channels)}, {self.num_classes} classes)"


'''

# Runs every command of the list in one process, and checks the network that they train; the tests' `run_here` imports
# the copy of the package.
COMMANDS = """
import json, sys
from support.commands import run_here
import i3d
print(i3d.__file__)
for words in json.load(open(sys.argv[1])):
    result = run_here(["i3d", *words], env={"COLUMNS": "120"})
    print("$", *words, result.stdout, result.stderr, sep="\\n")
    assert result.returncode == 0, words

import torch
from i3d.recipes.settings import ToySettings
from i3d.weights.load import load_model

net = load_model("run/last.safetensors")
assert net.recipe.network == ToySettings(width=4, num_classes=3), net.recipe
assert net.labels == ("a", "b", "c")
assert net.stages[: -net.num_last_stages] == ("stem.",)
assert net(torch.zeros(1, 3, 6, 28, 28)).shape == (1, 3)
"""


def add_line(path, after, line):
    text = path.read_text()
    assert text.count(after) == 1, after
    path.write_text(text.replace(after, after + line))


def replace(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package with a third network."""
    root = tmp_path_factory.mktemp("third") / "src"
    shutil.copytree(ROOT / "src" / "i3d", root / "i3d", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    (root / "i3d" / "assets").symlink_to(ROOT / "src" / "i3d" / "assets")
    (root / "i3d" / "models" / "toy.py").write_text(NETWORK)
    settings, factory = root / "i3d" / "recipes" / "settings.py", root / "i3d" / "models" / "factory.py"
    replace(settings, "NetworkSettings = Annotated[", SETTINGS + "NetworkSettings = Annotated[")
    replace(settings, "InceptionSettings | ResNetSettings", "InceptionSettings | ResNetSettings | ToySettings")
    add_line(factory, "    ResNetSettings: ResNetI3D,\n", "    ToySettings: ToyNetwork,\n")
    add_line(factory, "from i3d.models.resnet import ResNetI3D\n", "from i3d.models.toy import ToyNetwork\n")
    replace(factory, "ResNetSettings, Settings", "ResNetSettings, Settings, ToySettings")
    return root


def run_python(package, code, *arguments, folder):
    environment = {**os.environ, "PYTHONPATH": f"{package}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_a_third_network_predicts_trains_tests_extracts_and_saves_its_card(package, tmp_path):
    make_clips(tmp_path, num_train=3, num_val=2)
    recipe = RECIPE.replace("network: {depth: 18, base_channels: 4}", "network: {kind: toy, width: 4}")
    assert "toy" in recipe
    (tmp_path / "toy.yaml").write_text(recipe)
    run = ["train", "--recipe", "toy.yaml", "--data", "clips.csv", "--device", "cpu", "--workers", "0"]
    run += ["--set", "training.epochs=1"]
    freeze_and_decay = ["--set", "training.freeze=[stem.]", "--set", "training.layer_decay=0.5"]
    model = "run/last.safetensors"
    commands = [
        [*run, "--work-dir", "run"],
        [*run, "--work-dir", "next", "--init", model, *freeze_and_decay],
        ["predict", "0.mp4", "--model", model, "--device", "cpu"],
        [
            "test",
            model,
            "--data",
            "clips.csv",
            "--split",
            "val",
            "--out",
            "test.json",
            "--device",
            "cpu",
            "--workers",
            "0",
        ],
        ["features", "0.mp4", "--model", model, "--out", "f", "--window", "4", "--stride", "2", "--device", "cpu"],
        ["features", "0.mp4", "--model", model, "--out", "g", "--window", "4", "--layer", "stem", "--device", "cpu"],
        ["convert", model, "copy.safetensors"],
        ["models", "show", model],
    ]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    out = run_python(package, COMMANDS, tmp_path / "commands.json", folder=tmp_path)
    assert out.startswith(str(package))
    assert "recipe toy: toy, 3 classes" in out
    assert "a toy network (RGB, 3 classes)" in out


def test_generic_code_does_not_name_the_networks():
    """Only what is about one network does: its own file, settings, recipes and foreign weights, shared windows."""
    words = ("InceptionI3D", "ResNetI3D", "InceptionSettings", "ResNetSettings", "BasicBlock", "Bottleneck", "Mixed(")
    package = ROOT / "src" / "i3d"
    naming = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    assert naming == {
        "weights/untrained.py",
        "weights/convert.py",  # MindSpore's port has Inception alone
        "models/__init__.py",
        "models/engine/overlap.py",
        "models/engine/overlap_layers.py",
        "models/factory.py",
        "models/inception.py",
        "models/resnet.py",
        "recipes/mmaction2/model.py",
        "recipes/mmaction2/to_config.py",
        "recipes/named.py",
        "recipes/settings.py",
        "weights/detect.py",
        "weights/foreign/mmaction2_config.py",
        "weights/foreign/shapes.py",
    }
