"""Weights by their public address: found by file name in folders of this machine. Nothing is ever fetched.

    https://download.openmmlab.com/.../i3d_r50_..._20200614-c25ef9a4.pth    the file of that name
    torchvision://resnet50                                                   resnet50-0676ba61.pth or -19c8e357.pth
    open-mmlab://NAME                                                        NAME.pth, or NAME-<digest>.pth

The folders are that of --checkpoints, those of $I3D_CHECKPOINTS, and the caches of torch, MMEngine, MMCV and OpenMIM.
Where a file name ends in the first digits of its SHA-256, as those of MMAction2 and torchvision do, they are compared.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from i3d.errors import InputError, printable
from i3d.utils.outputs import file_sha256

VARIABLE: Final = "I3D_CHECKPOINTS"  # environment variable: folders, separated as in PATH
OPTION: Final = "--checkpoints"
SUFFIXES: Final = (".pth", ".pt", ".pyth", ".ckpt", ".safetensors", ".bin")
TORCHVISION: Final[Mapping[str, tuple[str, ...]]] = {  # of each name, both uploads of the same weights (IMAGENET1K_V1)
    "resnet18": ("resnet18-f37072fd.pth", "resnet18-5c106cde.pth"),
    "resnet34": ("resnet34-b627a593.pth", "resnet34-333f7ec4.pth"),
    "resnet50": ("resnet50-0676ba61.pth", "resnet50-19c8e357.pth"),
    "resnet101": ("resnet101-63fe2227.pth", "resnet101-5d3b4d8f.pth"),
}
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+-]+)://.*", re.IGNORECASE | re.DOTALL)
_SCHEMES: Final = ("http", "https", "torchvision", "modelzoo", "open-mmlab", "openmmlab", "mmcls")
# `_20200614-c25ef9a4.pth` of MMAction2; `-0676ba61.pth` of torchvision, unless that is a date.
_DIGEST: Final = re.compile(r"(?:.*_\d{8}-|.*-(?!\d{8}\.))([0-9a-f]{8})\.\w+")

log = logging.getLogger("i3d")
_given: list[Path] = []  # the folder of --checkpoints


def is_address(name: str) -> bool:
    return _ADDRESS.fullmatch(name) is not None


@contextmanager
def checkpoints_in(folder: Path | None) -> Iterator[None]:
    """Look into this folder first. None: only into the others."""
    if folder is not None and not folder.is_dir():
        what = "is a file; name its folder" if folder.exists() else "no such folder; check the path"
        raise InputError(f"{OPTION} {printable(str(folder))}: {what}")
    before = _given[:]
    _given[:] = [] if folder is None else [folder]
    try:
        yield
    finally:
        _given[:] = before


def checkpoint_folders() -> list[Path]:
    """The folders that are searched, in their order; some may not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    of_mmlab = [Path(os.environ.get(f"{name.upper()}_HOME") or cache / name) for name in ("mmengine", "mmcv")]
    return [*_named(), torch_home / "hub" / "checkpoints", torch_home / "checkpoints", *of_mmlab, cache / "mim"]


def check_address(address: str) -> None:
    """An InputError if no intact file of this address is on this machine."""
    _search(address)


def find_weights(address: str) -> Path:
    """The file of an address, which the log names; an InputError if there is none, or only damaged ones."""
    intact, damaged = _search(address)
    for path in damaged:
        log.warning("%s: passed over; %s", path, _damage(path))
    taken = intact[0]
    log.info("%s: taken from %s", printable(address), taken)
    for other in intact[1:]:
        if _sha256_of(other) != _sha256_of(taken):
            log.warning("%s: is another file of that name; not taken, as %s comes before it", other, taken.parent)
    return taken


def find_torchvision(name: str) -> Path | None:
    """torchvision's file of a network such as resnet50, if it is on this machine."""
    address = f"torchvision://{name}"
    return find_weights(address) if any(_files(folder, address) for folder in checkpoint_folders()) else None


def digest_in_name(path: Path) -> str:
    """The first digits of the SHA-256 that a published file has in its name; "" if it has none."""
    match = _DIGEST.fullmatch(path.name)
    return match[1] if match is not None else ""


def _search(address: str) -> tuple[list[Path], list[Path]]:
    """(intact files, damaged files) of an address, in the order of the folders; there is an intact one."""
    folders = checkpoint_folders()
    files = [path for folder in folders for path in _files(folder, address)]
    damaged = [path for path in files if _damage(path)]
    if len(damaged) < len(files):
        return [path for path in files if path not in damaged], damaged
    where = printable(address)
    todo = f"name its folder with {OPTION} DIR or ${VARIABLE}"
    if files:
        raise InputError(f"{where}: {files[0]}: {_damage(files[0])}; download it again, or {todo}")
    places = ", ".join(f"{folder}{'' if folder.is_dir() else ' (no such folder)'}" for folder in _named())
    caches = "the caches of torch, MMEngine, MMCV and OpenMIM"
    raise InputError(
        f"{where}: no file {printable(_names(address)[0])} in {f'{places}, or ' if places else ''}{caches}, "
        f"and nothing is fetched from a network; download it, and {todo}"
    )


def _named() -> list[Path]:
    """The folders that the user named. An InputError if the variable is set, and is empty."""
    text = os.environ.get(VARIABLE)
    if text is not None and not text.strip(f"{os.pathsep} "):
        raise InputError(f"${VARIABLE}: is empty; name folders in it, or unset it")
    return [*_given, *(Path(folder) for folder in (text or "").split(os.pathsep) if folder.strip())]


def _names(address: str) -> tuple[str, re.Pattern[str]]:
    """The file names of an address, for people and as a pattern."""
    parts = urlsplit(address)
    if parts.scheme not in _SCHEMES:
        raise InputError(f"{printable(address)}: an address of {parts.scheme} is not known; give the path of the file")
    is_http = parts.scheme in ("http", "https")
    name = unquote(parts.path.rsplit("/", 1)[-1]) if is_http else address.split("://", 1)[1].rsplit("/", 1)[-1]
    if not re.fullmatch(r"[^./\\\0][^/\\\0]*", name):
        raise InputError(f"{printable(address)}: this address names no file; give the path of the file")
    names = TORCHVISION.get(name, ()) if parts.scheme in ("torchvision", "modelzoo") else ()
    if names or is_http or name.endswith(SUFFIXES):
        names = names or (name,)
        return " or ".join(names), re.compile("|".join(map(re.escape, names)))
    suffixes = "|".join(map(re.escape, SUFFIXES))
    form = rf"{re.escape(name)}|{re.escape(name)}((_\d{{8}})?-[0-9a-f]{{8}})?({suffixes})"
    return f"{name}.pth or {name}-<digest>.pth", re.compile(form)


def _files(folder: Path, address: str) -> list[Path]:
    """The files of an address in a folder, not below it."""
    _, form = _names(address)
    names = sorted(path for path in folder.iterdir() if form.fullmatch(path.name)) if folder.is_dir() else []
    return [path for path in names if path.is_file()]


def _damage(path: Path) -> str:
    """What is wrong with a file, as far as its size and its name show; "" if nothing is."""
    digest = digest_in_name(path)
    try:
        if not path.stat().st_size:
            return "is empty"
        computed = _sha256_of(path) if digest else ""
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if computed.startswith(digest):
        return ""
    return f"its SHA-256 begins with {computed[:8]}, not with {digest} as in its name: damaged, or another file"


def _sha256_of(path: Path) -> str:
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 (a changed file is another key)
    return file_sha256(path)
