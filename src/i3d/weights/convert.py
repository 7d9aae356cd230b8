"""Convert a checkpoint of any source to a self-describing safetensors file, or to one of the MindSpore port."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from i3d.errors import InputError
from i3d.recipes.settings import InceptionSettings
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically
from i3d.utils.outputs import new_file
from i3d.weights.checkpoint import save_checkpoint
from i3d.weights.foreign.mindspore import mindspore_bytes
from i3d.weights.foreign.names import mindspore_key
from i3d.weights.load import LoadReport, Weights, load_weights, state_shapes

MINDSPORE: Final = ".ckpt"
SUFFIXES: Final = (".safetensors", MINDSPORE)
PORT_BN_EPS: Final = 1e-5  # of the MindSpore port's batch norms


@dataclass(frozen=True)
class Conversion:
    """What was detected in a file, and how it was converted."""

    source: str
    target: str
    format: str
    network: str
    recipe: str
    recipe_from: str
    labels_from: str
    report: LoadReport
    num_bytes: int


@checks_types
def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int | None = None,
    state: str | None = None,
    partial: bool = False,
    force: bool = False,
) -> Conversion:
    """Load the weights `source` (a file, or `owner/name` of the model hub) and write them to `target`.

    Every state-dict key of the file and of the network must match, unless `partial` is set: then keys that do not fit
    are left out, and missing weights are random. The card in `target` records it. Of several state dicts in a PyTorch
    file, `state` chooses one by its key, or "ema" the averaged one. A `target` that ends in .ckpt is a checkpoint of
    the MindSpore port, which has no card: class names are lost. Raises WeightsError for a file that is damaged,
    hostile or of another network, InputError for a bad option.
    """
    path = new_file(target, SUFFIXES, force=force)
    weights = load_weights(
        source, recipe=recipe, labels=labels, in_channels=in_channels, state_key=state, partial=partial
    )
    if path.suffix.lower() == MINDSPORE:
        write_atomically(path, as_mindspore(weights, source=str(source)))
        lost = "neither class names nor recipe" + ", nor features of training clips" * bool(weights.familiarity)
        logging.getLogger("i3d").info("%s: a checkpoint of MindSpore, which holds %s", path, lost)
    else:
        save_checkpoint(path, weights.state, weights.card, familiarity=weights.familiarity, force=True)
    return Conversion(
        source=str(source),
        target=str(target),
        format=weights.format,
        network=weights.card.recipe.network.description,
        recipe=weights.card.recipe.name,
        recipe_from=weights.recipe_from,
        labels_from=weights.labels_from,
        report=weights.report,
        num_bytes=path.stat().st_size,
    )


def as_mindspore(weights: Weights, *, source: str) -> bytes:
    """The weights as a checkpoint of the MindSpore port. InputError for a network that the port does not have.

    Batch norms of another epsilon than the port's are rescaled: `gamma / sqrt(var + eps)` is what counts, and `var`
    becomes `var + eps - 1e-5`, so that the port computes the same.
    """
    network = weights.card.recipe.network
    if isinstance(network, InceptionSettings) and network.head_pooling != "mean":
        what = "its classifier reads maxima of two maps, which the port cannot (`--set network.head_pooling=mean`)"
        raise InputError(f"{source}: {what}; write a .safetensors, or train one whose classifier reads the mean")
    if not isinstance(network, InceptionSettings) or network.bn_eps < PORT_BN_EPS:
        what = (
            f"is {network.description}; a .ckpt of MindSpore holds Inception-I3D with bn_eps of at least {PORT_BN_EPS}"
        )
        raise InputError(f"{source}: {what}; write a .safetensors")
    keys = state_shapes(network)  # in the order of the network: safetensors has none
    arrays = {port: weights.state[key].float().numpy() for key in keys if (port := mindspore_key(key))}
    shift = network.bn_eps - PORT_BN_EPS
    return mindspore_bytes(
        {name: array + shift if shift and name.endswith("moving_variance") else array for name, array in arrays.items()}
    )
