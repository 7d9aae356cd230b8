"""Convert a checkpoint of any source to a self-describing safetensors file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from i3d.utils.arguments import checks_types
from i3d.utils.outputs import new_file
from i3d.weights.checkpoint import save_checkpoint
from i3d.weights.load import LoadReport, load_weights

SUFFIX = ".safetensors"


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
    file, `state` chooses one by its key, or "ema" the averaged one. Raises WeightsError for a file that
    is damaged, hostile or of another network, InputError for a bad option.
    """
    path = new_file(target, (SUFFIX,), force=force)
    weights = load_weights(
        source, recipe=recipe, labels=labels, in_channels=in_channels, state_key=state, partial=partial
    )
    save_checkpoint(path, weights.state, weights.card, force=True)
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
