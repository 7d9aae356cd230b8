"""What a run needs to go on exactly where it was: one safetensors file, written whole or not at all.

    step-00001200.safetensors     model.*, ema.*, optimizer.ENTRY.KEY, and as JSON `TrainerState`

Nothing random is in it: `training.step` draws from (seed, step, rank), the loader from (seed, epoch, index).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from i3d.errors import InputError, first_line, printable
from i3d.recipes.settings import Settings, first_fault
from i3d.training.step import TrainState
from i3d.utils.atomic_files import replacing
from i3d.weights.initialize import STATE_KEY

METADATA_KEY: Final = STATE_KEY
NAME: Final = re.compile(r"step-(\d{8})\.safetensors")
KEPT: Final = 2


class MetricSums(Settings):
    """Of the steps that are not in the log yet, on one rank."""

    loss: float = 0.0
    num_right: int = 0
    num_clips: int = 0


class TrainerState(Settings):
    """Where a run is, besides its tensors. Nothing in a file may be missing."""

    step: int  # steps done
    contract: str  # a hash of the settings and clips
    best: float | None  # the best validation so far
    best_step: int
    num_worse: int  # validations since then
    validated: int  # the step of the last validation
    figures: tuple[tuple[str, float], ...]  # of that
    bad: tuple[tuple[int, str], ...]  # clips that could not be read: index, reason
    sums_R: tuple[MetricSums, ...]  # of each rank
    num_steps: int  # that these are of
    scale: tuple[float, int] | None  # fp16: the scale of the loss, and steps since it grew
    entries: tuple[str, ...]  # of the file

    @classmethod
    def first(cls, contract: str = "") -> Self:
        """Before the first step."""
        return cls(
            step=0, contract=contract, best=None, best_step=0, num_worse=0, validated=0, figures=(), bad=(), sums_R=(),
            num_steps=0, scale=None, entries=(),
        )  # fmt: skip


def save_state(folder: Path, parts: TrainState, position: TrainerState) -> Path | None:
    """Write the state of a run, and remove all but the last two. All ranks call it, the first writes."""
    tensors = dict(sorted(_tensors(parts)))
    if not parts.accelerator.is_main_process:
        return None
    position = position.model_copy(update={"entries": tuple(tensors)})
    path = folder / f"step-{position.step:08d}.safetensors"
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: position.model_dump_json()})
    for old in states_in(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def states_in(folder: Path) -> list[Path]:
    """The states in a folder, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if NAME.fullmatch(p.name)), reverse=True)


def load_newest(folder: Path, parts: TrainState) -> tuple[TrainerState | None, list[str]]:
    """Put the newest state that can be read into `parts`; (where it is, what was wrong with newer ones).

    Without any state, (None, []). With some, of which none can be read, an InputError: starting anew would be silent
    loss.
    """
    faults: list[str] = []
    for path in states_in(folder):
        try:
            return _load(path, parts), faults
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            reason = first_fault(error) if isinstance(error, ValidationError) else first_line(error)
            faults.append(f"{printable(str(path))}: cannot be read ({reason})")
    if faults:
        raise InputError(f"{faults[0]}, nor any other state; restore one, or start anew in another --work-dir")
    return None, []


def _load(path: Path, parts: TrainState) -> TrainerState:
    with safe_open(path, "pt", device="cpu") as file:
        metadata = file.metadata() or {}
        position = TrainerState.model_validate_json(metadata[METADATA_KEY])
        entries = dict.fromkeys(file.keys())
        if lacking := [name for name in position.entries if name not in entries]:
            raise ValueError(f"{lacking[0]} is missing")
        tensors = {name: file.get_tensor(name) for name in entries}
    _put_back(parts, tensors)
    if parts.accelerator.scaler is not None and position.scale is not None:
        scaler = parts.accelerator.scaler
        scaler.load_state_dict({
            **scaler.state_dict(), "scale": position.scale[0], "_growth_tracker": position.scale[1],
        })  # fmt: skip
    return position


def _tensors(parts: TrainState) -> Iterator[tuple[str, Tensor]]:
    for name, value in parts.net.state_dict().items():
        yield f"model.{name}", full_tensor(value)
    if parts.ema is not None:
        for name, value in parts.ema.state.items():
            yield f"ema.{name}", full_tensor(value)
    for name, values in _optimizer_state(parts):
        for key, value in values.items():
            if isinstance(value, Tensor):
                yield f"optimizer.{name}.{key}", full_tensor(value)


def _put_back(parts: TrainState, tensors: dict[str, Tensor]) -> None:
    """Every entry goes to where it came from; a missing or strange one is a ValueError."""
    places: dict[str, Tensor] = {f"model.{name}": value for name, value in parts.net.state_dict().items()}
    if parts.ema is not None:
        places |= {f"ema.{name}": value for name, value in parts.ema.state.items()}
    if lacking := places.keys() - tensors.keys():
        raise ValueError(f"{min(lacking)} is missing")
    rest = {name: tensor for name, tensor in tensors.items() if name not in places}
    if strange := [name for name in rest if not name.startswith("optimizer.")]:
        raise ValueError(f"{strange[0]} belongs to no part of this run")
    with torch.no_grad():
        for name, place in places.items():
            if place.shape != tensors[name].shape:
                raise ValueError(f"{name} has the shape {tuple(tensors[name].shape)}, not {tuple(place.shape)}")
            place.copy_(_like(tensors[name], place))
    _put_optimizer_back(parts, rest)


def _put_optimizer_back(parts: TrainState, tensors: dict[str, Tensor]) -> None:
    parameters = dict(parts.net.named_parameters())
    state = _plain(parts.optimizer).state
    state.clear()
    for name, tensor in tensors.items():
        entry, _, key = name.removeprefix("optimizer.").rpartition(".")
        if entry not in parameters:
            raise ValueError(f"{name} belongs to no entry of the network")
        parameter = parameters[entry]
        value = _like(tensor, parameter) if tensor.shape == parameter.shape else tensor
        state[parameter][key] = value.clone()


def _optimizer_state(parts: TrainState) -> Iterator[tuple[str, dict[str, Any]]]:
    state = _plain(parts.optimizer).state
    for name, parameter in parts.net.named_parameters():
        if parameter in state:
            yield name, state[parameter]


def _plain(optimizer: Any) -> Any:
    return getattr(optimizer, "optimizer", optimizer)


def full_tensor(value: Tensor) -> Tensor:
    """On the CPU, whole if the ranks share it, in plain memory order."""
    if hasattr(value, "full_tensor"):
        value = value.full_tensor()
    return value.detach().cpu().contiguous()


def _like(value: Tensor, place: Tensor) -> Tensor:
    """On the device of `place`, shared out among the ranks if it is, in its memory order."""

    if isinstance(place, DTensor):
        return distribute_tensor(value.to(place.device), place.device_mesh, place.placements)
    return torch.empty_like(place).copy_(value)


def scale_of(scaler: Any) -> tuple[float, int] | None:
    """The scale of the loss, if there is one."""
    if scaler is None:
        return None
    found = scaler.state_dict()
    return (float(found["scale"]), int(found["_growth_tracker"])) if found else None


def position_of(path: Path) -> TrainerState:
    """Where the run was that wrote a state, without its tensors."""
    with safe_open(path, "pt") as file:
        return TrainerState.model_validate_json((file.metadata() or {})[METADATA_KEY])
