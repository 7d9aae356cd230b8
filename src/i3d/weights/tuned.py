"""Write into a checkpoint how segments are found. Its weights stay as they are stored, bit by bit."""

import os
from pathlib import Path
from typing import Final

from safetensors.torch import load_file

from i3d.data.resume import read_record
from i3d.errors import InputError
from i3d.recipes.segments import TunedSegments
from i3d.utils.outputs import check_new, file_sha256, new_file, recorded, recorded_files
from i3d.weights.addresses import is_address
from i3d.weights.checkpoint import Card, is_checkpoint, save_checkpoint
from i3d.weights.load import Weights
from i3d.weights.names import is_local, weights_file
from i3d.weights.pretrained import PRETRAINED
from i3d.weights.runs import FINETUNE

SUFFIX: Final = ".safetensors"
TODO: Final = "name a copy to write (--tune-out my.safetensors; in Python, out=)"


def checkpoint_to_write(model: str | os.PathLike[str], *, recipe: str | None, has_labels: bool) -> Path:
    """The file that a name of weights stands for, if it can be written; else an InputError with the next step.

    With a `recipe` or labels of its own, the model is another one than in the file.
    """
    name = os.fspath(model)
    if name in PRETRAINED:
        raise InputError(f"{name}: comes with i3d and stays as it is; {TODO}")
    if is_address(name) or not is_local(name):
        raise InputError(f"{name}: is not a file of yours; {TODO}")
    path = weights_file(name)
    if not is_checkpoint(path):
        raise InputError(f"{path}: is not a checkpoint of i3d, which alone holds settings; {TODO}")
    if any(path.samefile(one.path) for one in PRETRAINED.values()):
        raise InputError(f"{path}: comes with i3d and stays as it is; {TODO}")
    if recipe is not None or has_labels:
        what = "a recipe" if recipe is not None else "class names"
        raise InputError(f"{path}: with {what} of the command, it is another model than in the file; {TODO}")
    check_new(str(path), path, force=True)
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: the folder cannot be written to; {TODO}")
    return path


def save_tuned(weights: Weights, tuned: TunedSegments, path: Path, *, in_place: bool) -> None:
    """Write the settings to `path`: into the card of this checkpoint, or of a new one with the same weights.

    A run records its files: it takes the new one as its own. A checkpoint that changed since it was read is an
    InputError.
    """
    card = Card.model_validate({**dict(weights.card), "timeline": tuned})
    if not in_place:
        save_checkpoint(path, weights.state, card, familiarity=weights.familiarity, force=True)
        return
    if file_sha256(path) != weights.sha256:
        raise InputError(f"{path}: was changed since it was read; run the command again")
    tensors, record = load_file(path), path.parent / FINETUNE
    if recorded(read_record(record), path.name):
        with recorded_files(path.parent, record) as folder:
            save_checkpoint(folder / path.name, tensors, card, force=True)
    else:
        save_checkpoint(path, tensors, card, force=True)


def new_checkpoint(out: str | os.PathLike[str], *, force: bool) -> Path:
    """The path of a checkpoint to write."""
    return new_file(out, (SUFFIX,), force=force)
