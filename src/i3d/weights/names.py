"""What names weights: shipped ones, a file, the folder of a run, a TensorFlow checkpoint, an address, a hub model."""

import re
from pathlib import Path
from typing import Final

from i3d.errors import InputError, abridged, check_not_empty
from i3d.recipes.names import network_names, published_files, recipe_names
from i3d.utils.folders import is_folder
from i3d.weights.addresses import check_address, find_weights, is_address
from i3d.weights.hub import fetch_from_hub, is_hub_name
from i3d.weights.pretrained import PRETRAINED
from i3d.weights.runs import log_run_weights, run_weights

_MEMBER: Final = re.compile(r"^(?P<prefix>.*)\.(index|data-\d{5}-of-\d{5})$", re.DOTALL)


def check_weights_name(name: str) -> None:
    """A name that is neither shipped, nor a file, nor of the hub is an InputError that lists the possible ones."""
    check_not_empty(weights=name)
    if is_address(name):
        check_address(name)
        return
    if name not in PRETRAINED and is_folder(name):
        run_weights(Path(name))
        return
    try:
        if is_local(name) or is_hub_name(name):
            return
    except OSError as error:  # a name that no file can have
        raise InputError(f"{name[:100]}: cannot be a file ({error.strerror}); check the path") from error
    if name in (*recipe_names(), *network_names()):
        files = published_files(name)
        where = f"; others published {abridged(files, 2)}" if files else ""
        todo = f"`i3d models show {name}` has the addresses" if files else "train it, or give a file of yours"
        raise InputError(f"{name}: no weights of it come with i3d, only {', '.join(PRETRAINED)}{where}; {todo}")
    raise InputError(f"{name}: no such file, and no shipped weights ({', '.join(PRETRAINED)}) of that name")


def weights_file(name: str) -> Path:
    """The file that a name stands for: a path, the folder of a run, an address, or a repository of the model hub."""
    if is_address(name):
        return find_weights(name)
    if is_hub_name(name):
        return fetch_from_hub(name)
    path = Path(name)
    if not is_folder(path):
        return path
    weights = run_weights(path)
    log_run_weights(path, weights)
    return weights


def without_folder(name: str) -> str:
    """What a checkpoint records of the weights that it started from: of a file its name, not the folders of its author.

    >>> without_folder("home/ann/i3d.pth"), without_folder("timm/resnet50.tv_in1k")
    ('i3d.pth', 'timm/resnet50.tv_in1k')
    """
    return name if name in PRETRAINED or is_address(name) or is_hub_name(name) else Path(name).name


def is_local(name: str) -> bool:
    return name in PRETRAINED or Path(name).exists() or checkpoint_prefix(Path(name)) is not None


def checkpoint_prefix(path: Path) -> Path | None:
    """`model.ckpt` for model.ckpt itself, its index or a data file of it; None if there is no such checkpoint."""
    matched = _MEMBER.match(path.name)
    if not path.name or (matched is None and path.exists()):
        return None  # a file of that very name is what it is, whatever lies beside it
    prefix = path.with_name(matched["prefix"]) if matched and matched["prefix"] else path
    return prefix if index_of(prefix).is_file() else None


def index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")
