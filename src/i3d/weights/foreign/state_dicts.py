"""Which state dict of a PyTorch checkpoint holds the weights: trainers save averaged ones (EMA) beside the others."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch

from i3d.errors import WeightsError, abridged, printable

USUAL: Final = ("state_dict", "model_state_dict", "model_state", "model", "net")  # keys of the weights in checkpoints
AVERAGED: Final = "ema"
StateDict = Mapping[str, Any]


class ChosenState(NamedTuple):
    """A state dict of a file."""

    state: StateDict
    key: str = ""  # in the file, if there are others
    note: str = ""  # which others there are


def choose_state(tree: dict[Any, Any], key: str | None) -> ChosenState:
    """The state dict of the weights in the content of a file.

    `key`: a key of the file, or "ema" for the averaged weights. Without it: the first of the usual keys, else the only
    state dict, else the tree itself. Raises WeightsError if there is none, or several and none is usual.
    """
    states = {name: value for name, value in _flat(tree).items() if _has_kernels(value)}
    states = states or {name: tree[name] for name in USUAL if _is_state(tree.get(name))}
    usual: str | None = next((name for name in USUAL if name in states), None)
    if key is not None:
        usual = _key_of(key, states, is_mmengine="message_hub" in tree)
    elif usual is None and len(states) == 1 and not _has_kernels(tree):
        usual = next(iter(states))
    if usual is not None:
        note = _note(usual, states, is_mmengine="message_hub" in tree)
        return ChosenState(states[usual], usual if note else "", note)
    if states and not _has_kernels(tree):
        raise WeightsError(f"holds the state dicts {_names(states)}; choose one with `i3d convert --state KEY`")
    if not _is_state(tree):
        keys = ", ".join(printable(name[:40]) for name in list(tree)[:8] if isinstance(name, str))
        raise WeightsError(f"a PyTorch file, but no tensors under {' or '.join(USUAL)} (it holds: {keys})")
    return ChosenState(tree)


def _key_of(key: str, states: Mapping[str, StateDict], *, is_mmengine: bool) -> str:
    """The key in the file that `--state` names."""
    if key in states:
        return key
    if key == AVERAGED and is_mmengine and "ema_state_dict" in states:
        return "state_dict"  # MMEngine swaps the two when it saves
    averaged = [name for name in states if AVERAGED in name.lower()]
    if key == AVERAGED and len(averaged) == 1:
        return averaged[0]
    raise WeightsError(f"--state {printable(key)}: it holds the state dicts {_names(states) or 'of no key'}")


def _note(taken: str, states: Mapping[str, StateDict], *, is_mmengine: bool) -> str:
    others = [name for name in states if name != taken]
    if not others:
        return ""
    swapped = is_mmengine and "ema_state_dict" in states
    averaged = {"state_dict": " (the averaged weights)", "ema_state_dict": " (not averaged)"}.get(taken, "")
    todo = f"`i3d convert --state {printable(others[0])}` takes another"
    which = printable(taken) + averaged * swapped
    return f"holds {len(states)} state dicts: {which} is taken, not {_names(others)}; {todo}"


def _flat(tree: dict[Any, Any]) -> dict[str, Any]:
    """The values by key, and those one level deeper: {"ema": {"module": x}} -> {"ema": ..., "ema.module": x}."""
    outer = {name: value for name, value in tree.items() if isinstance(name, str) and isinstance(value, dict)}
    inner = {
        f"{name}.{key}": value
        for name, values in outer.items()
        for key, value in values.items()
        if isinstance(key, str)
    }
    return outer | inner


def _names(keys: Any) -> str:
    return abridged([printable(key[:60]) for key in keys], 5)


def _has_kernels(value: Any) -> bool:
    return _is_state(value) and any(isinstance(each, torch.Tensor) and each.dim() > 3 for each in value.values())


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(name, str) for name in value)
        and any(isinstance(tensor, torch.Tensor) for tensor in value.values())
    )
