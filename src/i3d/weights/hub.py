"""Files from the model hub, such as 2D ImageNet networks to inflate. Only names that the user gives are fetched."""

import re
from contextlib import suppress
from pathlib import Path

from i3d.errors import InputError, WeightsError, first_line
from i3d.weights.addresses import check_address, find_torchvision

FILE_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".index", ".bin", ".tar", ".pkl", ".txt")
FILE = "model.safetensors"
TIMEOUT_SECONDS = 10
TORCHVISION_COPY = re.compile(r"timm/(resnet\d+)\.tv_in1k")  # the same weights as torchvision's file


HUB = "hub:"  # before a name: it is of the hub, whatever files there are
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?")


def is_hub_name(source: str) -> bool:
    """`owner/name` or `owner/name@revision`, and no file or folder of that name: a mistyped path is never sent out.

    With `hub:` before it, it is always a name of the hub; one that no repository can have is an InputError.
    """
    if source.startswith(HUB):
        if not HUB_NAME.fullmatch(source.removeprefix(HUB)):
            raise InputError(f"{source}: no name of the model hub; write hub:owner/name, or hub:owner/name@revision")
        return True
    path = Path(source)
    if path.suffix in FILE_SUFFIXES or path.parent.is_dir():
        return False
    return HUB_NAME.fullmatch(source) is not None


def fetch_from_hub(source: str) -> Path:
    """The weights file of a hub repository, from the local cache if it is there.

    Without a network or such a repository, raises WeightsError, which explains how to give a local file.
    """
    from huggingface_hub import hf_hub_download, model_info

    source = source.removeprefix(HUB)
    copy = TORCHVISION_COPY.fullmatch(source)
    local = _cached(source) or (None if copy is None else find_torchvision(copy[1]))
    if local is not None:
        return local
    repository, _, named = source.partition("@")
    revision = named or None
    try:
        model_info(repository, revision=revision, timeout=TIMEOUT_SECONDS)  # fails at once where there is no network
        return Path(hf_hub_download(repository, FILE, revision=revision))
    except Exception as error:  # the client has errors of several libraries: no network, no such repository, no right
        reason = first_line(error).rstrip(".")
        raise WeightsError(
            f"{source}: there is no such file here, and it cannot be fetched from the model hub ({reason}); "
            f"where there is a network, download {FILE} of {repository}, copy it here and give its path"
        ) from error


def check_local(source: str) -> None:
    """An InputError if the weights of torchvision that a hub name stands for are not on this machine."""
    source = source.removeprefix(HUB)
    copy = TORCHVISION_COPY.fullmatch(source)
    if copy is not None and _cached(source) is None:
        check_address(f"torchvision://{copy[1]}")


def _cached(source: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, _, revision = source.partition("@")
    with suppress(LocalEntryNotFoundError, ValueError):  # not in the cache yet
        return Path(hf_hub_download(repository, FILE, revision=revision or None, local_files_only=True))
    return None
