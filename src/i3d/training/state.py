"""The state of a run, from which it resumes exactly: one safetensors file, written atomically.

    step-00001200.safetensors     model.*, ema.*, optimizer.PARAMETER.KEY, and as JSON metadata `TrainerState`

It holds no random state: `training.step` seeds by (seed, step, rank), the loader by (seed, epoch, index).
"""

import re
from pathlib import Path
from typing import Any, Final, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from i3d.errors import InputError, first_line, printable
from i3d.recipes.settings import Settings, first_error
from i3d.training.step import TrainState
from i3d.utils.atomic_files import replacing
from i3d.weights.file_checksum import UNSET, FileChecksum, has_wrong_checksum, save_with_checksum
from i3d.weights.initialize import STATE_KEY

NUM_STATES: Final = 2  # on disk
STATE_NAME: Final = re.compile(r"step-\d{8}\.safetensors")


class MetricSums(Settings):
    """Sums over the steps of one rank since the last line of the log."""

    loss: float = 0.0
    num_right: int = 0
    num_clips: int = 0


class TrainerState(Settings, frozen=False):
    """The progress of a run, beside its tensors. Every field is required in a file."""

    step: int  # completed steps
    config_hash: str  # of the settings and clips
    best: float | None  # the best validation metric
    best_step: int
    num_worse: int  # validations since the best one
    validated_step: int  # of the last validation; -1: also the initial weights are to be validated
    validation: tuple[tuple[str, float], ...]  # its metrics
    bad_clips: tuple[tuple[int, str], ...]  # unreadable clips: index, reason
    sums_R: tuple[MetricSums, ...]  # of each rank
    num_unlogged_steps: int  # the steps in `sums_R`
    loss_scale: tuple[float, int] | None  # fp16: the scale, and the steps since it grew
    tensor_names: tuple[str, ...]  # of the file
    file_crc32c: FileChecksum

    @property
    def start_is_perfect(self) -> bool:
        """Whether the validated start has the best possible metric: no later weights would replace it."""
        return self.best_step == 0 and self.best == 1

    def ends_early(self, patience: int) -> bool:
        """Whether no validation can be better than the start, or `patience` validations were not (0: any number)."""
        return self.start_is_perfect or 0 < patience <= self.num_worse

    @classmethod
    def initial(cls, config_hash: str = "", *, is_validated: bool = True) -> Self:
        """Before the first step; `is_validated` False: the initial weights are still to be validated."""
        return cls(
            step=0, config_hash=config_hash, best=None, best_step=0, num_worse=0, validated_step=-(not is_validated),
            validation=(), bad_clips=(), sums_R=(), num_unlogged_steps=0, loss_scale=None, tensor_names=(),
            file_crc32c=UNSET,
        )  # fmt: skip


def save_state(folder: Path, state: TrainState, trainer_state: TrainerState) -> Path | None:
    """Write the state of a run, and remove all but the newest two. All ranks call it; the first one writes."""
    tensors = {name: full_tensor(value) for name, value in _tensors(state).items()}
    if not state.accelerator.is_main_process:
        return None
    trainer_state = trainer_state.model_copy(update={"tensor_names": tuple(sorted(tensors))})
    path = folder / f"step-{trainer_state.step:08d}.safetensors"
    with replacing(path) as temporary:
        save_with_checksum(temporary, dict(sorted(tensors.items())), key=STATE_KEY, record=trainer_state)
    for old in list_states(folder)[NUM_STATES:]:
        old.unlink(missing_ok=True)
    return path


def list_states(folder: Path) -> list[Path]:
    """The states in a folder, the newest first. A folder that cannot be listed is an OSError."""
    paths = folder.iterdir() if folder.exists() else ()
    return sorted((path for path in paths if STATE_NAME.fullmatch(path.name)), reverse=True)


def saved_steps(folder: Path) -> list[int]:
    """The steps of the states in a folder, the newest first."""
    return [int(path.stem.removeprefix("step-")) for path in list_states(folder)]


def load_newest(folder: Path, state: TrainState) -> tuple[TrainerState | None, list[str]]:
    """Load the newest readable state into `state`; its `TrainerState`, and the faults of newer states.

    An empty folder gives (None, []). If there are states and none is readable, it is an InputError: to start from
    scratch would lose the run in silence.
    """
    faults: list[str] = []
    for path in list_states(folder):
        try:
            return _load(path, state), faults
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            reason = first_error(error) if isinstance(error, ValidationError) else first_line(error)
            faults.append(f"{printable(str(path))}: cannot be read ({reason})")
    if faults:
        raise InputError(f"{faults[0]}, nor any other state; restore one, or train in another --work-dir")
    return None, []


def loss_scale_of(scaler: Any) -> tuple[float, int] | None:
    """The scale of the fp16 loss and the steps since it grew; None without a scaler."""
    values = {} if scaler is None else scaler.state_dict()
    return (float(values["scale"]), int(values["_growth_tracker"])) if values else None


def full_tensor(value: Tensor) -> Tensor:
    """On the CPU, contiguous, and gathered from all ranks if it is sharded."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu().contiguous()


def _load(path: Path, state: TrainState) -> TrainerState:
    with path.open("rb") as content:
        if has_wrong_checksum(content):
            raise ValueError("its checksum is wrong")
    with safe_open(path, "pt", device="cpu") as file:
        metadata = file.metadata() or {}
        trainer_state = TrainerState.model_validate_json(metadata[STATE_KEY])
        names = dict.fromkeys(file.keys())
        if missing := [name for name in trainer_state.tensor_names if name not in names]:
            raise ValueError(f"{missing[0]} is missing")
        tensors = {name: file.get_tensor(name) for name in names}
    _restore(state, tensors)
    scaler = state.accelerator.scaler
    if scaler is not None and trainer_state.loss_scale is not None:
        scale, growth_tracker = trainer_state.loss_scale
        scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": growth_tracker})
    return trainer_state.model_copy(update={"file_crc32c": UNSET})


def _tensors(state: TrainState) -> dict[str, Tensor]:
    """The tensors of the network, their averages and the optimiser, not copied."""
    tensors = {f"model.{name}": value for name, value in state.net.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema.{name}": value for name, value in state.ema.state.items()}
    optimizer_state = _unwrap(state.optimizer).state
    for name, parameter in state.net.named_parameters():
        values = optimizer_state.get(parameter, {})
        tensors |= {f"optimizer.{name}.{key}": v for key, v in values.items() if isinstance(v, Tensor)}
    return tensors


def _restore(state: TrainState, tensors: dict[str, Tensor]) -> None:
    """Copy every tensor to its place. A missing or unknown one of network and averages is a ValueError before that."""
    targets = {name: value for name, value in _tensors(state).items() if not name.startswith("optimizer.")}
    if missing := targets.keys() - tensors.keys():
        raise ValueError(f"{min(missing)} is missing")
    rest = {name: tensor for name, tensor in tensors.items() if name not in targets}
    if unknown := [name for name in rest if not name.startswith("optimizer.")]:
        raise ValueError(f"{unknown[0]} belongs to no part of this run")
    with torch.no_grad():
        for name, target in targets.items():
            if target.shape != tensors[name].shape:
                raise ValueError(f"{name} has the shape {tuple(tensors[name].shape)}, not {tuple(target.shape)}")
            target.copy_(_convert_like(tensors[name], target))
    parameters, optimizer_state = dict(state.net.named_parameters()), _unwrap(state.optimizer).state
    optimizer_state.clear()
    for name, tensor in rest.items():
        parameter_name, _, key = name.removeprefix("optimizer.").rpartition(".")
        if parameter_name not in parameters:
            raise ValueError(f"{name} belongs to no parameter of the network")
        parameter = parameters[parameter_name]
        value = _convert_like(tensor, parameter) if tensor.shape == parameter.shape else tensor
        optimizer_state[parameter][key] = value.clone()


def _unwrap(optimizer: Any) -> Any:
    return getattr(optimizer, "optimizer", optimizer)


def _convert_like(value: Tensor, target: Tensor) -> Tensor:
    """On the device and in the memory format of `target`, sharded like it."""
    if isinstance(target, DTensor):
        return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    return torch.empty_like(target).copy_(value)
