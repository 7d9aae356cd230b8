"""The first weights of a training run: fresh, or from any weights file, with a new classifier where classes differ."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from i3d.errors import WeightsError, printable
from i3d.models.network import VideoNetwork
from i3d.recipes.recipe import Recipe
from i3d.weights.checkpoint import is_checkpoint
from i3d.weights.foreign.files import safetensors_metadata
from i3d.weights.hub import is_hub_name
from i3d.weights.load import Weights, load_weights
from i3d.weights.pretrained import PRETRAINED

STATE_KEY: Final = "i3d_training"  # in the metadata of the state of a run


def start_from(source: str, net: VideoNetwork, recipe: Recipe) -> str:
    """Put weights into a network; what was done, in a line.

    `source`: a shipped name, a file of ours or anybody's (`load_weights`), a 2D network of the hub, or "" for the
    fresh ones that the network has. The classifier stays fresh if the source has other classes or is a 2D network.
    Anything else that is missing or does not fit is a WeightsError.
    """
    if source in ("", "none"):
        return "weights: fresh"
    found = _load(source, recipe)
    images = "inflated" in found.card.origin.get("changes", "")
    expected = net.state_dict()
    kept = {
        name: tensor
        for name, tensor in found.state.items()
        if name in expected
        and tensor.shape == expected[name].shape
        and not (images and name.startswith(net.head_prefix))
    }
    lacking = [name for name in expected if name not in kept and not name.startswith(net.head_prefix)]
    if lacking:
        raise WeightsError(
            f"{printable(source)}: does not fit the network of {recipe.name}: {len(lacking)} entries are missing or of "
            f"another shape, {lacking[0]} for one; give weights of this network, or --init none"
        )
    with torch.no_grad():
        for name, tensor in kept.items():
            expected[name].copy_(tensor)
    fresh = sum(name not in kept for name in expected)
    head = f", the classifier of {recipe.network.num_classes} classes fresh" if fresh else ""
    return f"weights: {printable(source)} ({found.kind}, {found.card.recipe.name}), {len(kept)} entries{head}"


def _load(source: str, recipe: Recipe) -> Weights:

    path = Path(source)
    if path.is_file() and STATE_KEY in safetensors_metadata(path):
        raise WeightsError(
            f"{printable(source)}: is the state of a run, to go on from; give its last.safetensors or best.safetensors"
        )
    if source in PRETRAINED or (not is_hub_name(source) and path.is_file() and is_checkpoint(path)):
        return load_weights(source)
    return load_weights(source, recipe=recipe, partial=True)
