"""The initial weights of a training run: random, or of any source, with a random classifier where classes differ."""

from pathlib import Path
from typing import Final

import torch

from i3d.data.labels import clean_label
from i3d.errors import WeightsError, printable
from i3d.models.network import VideoNetwork
from i3d.recipes.recipe import Recipe
from i3d.weights.checkpoint import is_checkpoint
from i3d.weights.foreign.files import safetensors_metadata
from i3d.weights.hub import is_hub_name
from i3d.weights.load import Weights, load_weights
from i3d.weights.names import weights_file
from i3d.weights.pretrained import PRETRAINED

STATE_KEY: Final = "i3d_training"  # in the metadata of the state of a run


def load_initial_weights(
    net: VideoNetwork, source: str, recipe: Recipe, classes: tuple[str, ...] = ()
) -> tuple[str, str]:
    """Load weights into a network; returns a line for the log, and the SHA-256 of the file ("": random weights).

    `source`: whatever `load_weights` takes, or "" to leave the network as it is. The classifier stays random if the
    source has another number of classes or is a 2D network. If the file names the same `classes` in another order, the
    classifier follows the names. Any other missing or mismatched weight is a WeightsError.
    """
    if source in ("", "none"):
        return "weights: random", ""
    weights = _load(source, recipe)
    is_2d = "inflated" in weights.card.origin.get("changes", "")
    expected, stored = net.state_dict(), set(weights.report.loaded)  # what a file lacks is random in the state
    loaded = {
        key: tensor
        for key, tensor in weights.state.items()
        if (not key.startswith(net.head_prefix) if is_2d else key in stored)
        if key in expected and tensor.shape == expected[key].shape
    }
    missing = [key for key in expected if key not in loaded and not key.startswith(net.head_prefix)]
    if missing:
        raise WeightsError(
            f"{source}: does not fit the network of {recipe.name}: {len(missing)} weights are missing or of "
            f"another shape, such as {missing[0]}; give weights of this network, or --init none"
        )
    order = _order_of_classes(weights, classes)
    if order is not None:
        loaded |= {key: tensor[order] for key, tensor in loaded.items() if key.startswith(net.head_prefix)}
    with torch.no_grad():
        for key, tensor in loaded.items():
            expected[key].copy_(tensor)
    is_whole = all(key in loaded for key in expected)
    head = "" if is_whole else f", random classifier of {recipe.network.num_classes} classes"
    head += "" if order is None else ", classifier in the order of the clips' classes"
    line = f"weights: {printable(source)} ({weights.format}, {weights.card.recipe.name}), {len(loaded)} tensors{head}"
    return line, weights.sha256


def _order_of_classes(weights: Weights, classes: tuple[str, ...]) -> list[int] | None:
    """The row of each class in the classifier of a file that names the same classes in another order; else None."""
    row_of = {clean_label(name): row for row, name in enumerate(weights.card.labels)}
    wanted = [clean_label(name) for name in classes]
    if weights.labels_from != "in the file" or row_of.keys() != set(wanted) or list(row_of) == wanted:
        return None
    return [row_of[name] for name in wanted]


def _load(source: str, recipe: Recipe) -> Weights:
    source = source if source in PRETRAINED or is_hub_name(source) else str(weights_file(source))
    path = Path(source)
    if path.is_file() and STATE_KEY in safetensors_metadata(path):
        raise WeightsError(f"{source}: is the training state of a run; give its last.safetensors or best.safetensors")
    if source in PRETRAINED or (not is_hub_name(source) and path.is_file() and is_checkpoint(path)):
        return load_weights(source)
    return load_weights(source, recipe=recipe, partial=True)
