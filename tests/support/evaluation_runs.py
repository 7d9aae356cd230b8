"""Tiny networks and clips to test them on."""

import torch

from i3d.models.factory import build_network
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Preprocessing, ResNetSettings, WindowProtocol
from i3d.weights.checkpoint import Card, save_checkpoint
from support.rendering import render_tinted

CLIPS = ClipProtocol(clip_len=6, frame_interval=2, num_clips=3, crops="three")
WINDOWS = WindowProtocol(fps=20.0, max_window_frames=8)


def save_model(
    path,
    *,
    labels=("a", "b", "c"),
    protocol=CLIPS,
    channels=3,
    crop=32,
    multi_label=False,
    flow=None,
    network=None,
    change=None,
):
    """Save a tiny network with random weights; `change` edits its state dict before."""
    torch.manual_seed(3)
    network = network or ResNetSettings(depth=18, base_channels=4, in_channels=channels, num_classes=len(labels))
    pre = Preprocessing(
        short_side=max(32, crop), crop=crop, mean=(127.5,) * channels, std=(60.0,) * channels, flow=flow
    )
    recipe = Recipe(
        name="tiny", network=network, preprocessing=pre, protocol=protocol, dataset="", multi_label=multi_label
    )
    net = build_network(network)
    state = net.state_dict()
    if "fc.weight" in state:
        state["fc.weight"] *= 100  # else all scores are alike
    if change is not None:
        change(state)
    card = Card(recipe=recipe, labels=labels, licence="none", origin={"source": "a test"})
    save_checkpoint(path, state, card, force=True)
    return path


def make_clips(root):
    """Six videos of three classes and two frame rates, and lists of them."""
    lines = []
    for i in range(6):
        render_tinted(root / f"{i}.mp4", first=10 * i, num_frames=26 + i, channel=i % 3, fps=(25, 12)[i % 2])
        lines.append(f"{i}.mp4,{'abc'[i % 3]}")
    (root / "clips.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    splits = ("train", "train", "val", "val", "test", "test")
    rows = [f"{line},{split}" for line, split in zip(lines, splits, strict=True)]
    (root / "splits.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    return root


def save_models(root):
    """Save one network that scores clips and one that scores windows."""
    return {
        "clips": save_model(root / "clips.safetensors"),
        "windows": save_model(root / "windows.safetensors", protocol=WINDOWS),
    }
