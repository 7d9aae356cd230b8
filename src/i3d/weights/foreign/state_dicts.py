"""Which state dict of a PyTorch checkpoint holds the weights: trainers save averaged ones (EMA) beside the others."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import torch

from i3d.errors import WeightsError, abridged, printable

USUAL: Final = ("state_dict", "model_state_dict", "model_state", "model", "net")  # keys of the weights in checkpoints
AVERAGED: Final = "ema"
MAX_DEPTH: Final = 4  # of nested dicts in a file
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
    states = {name: value for name, value in _nested(tree) if _has_kernels(value)}
    states = states or {name: tree[name] for name in USUAL if _is_state(tree.get(name))}
    usual: str | None = next((name for name in USUAL if name in states), None)
    if key is not None:
        usual = _key_of(key, states, tree)
    elif usual is None and len(states) == 1 and not _has_kernels(tree):
        usual = next(iter(states))
    if usual is not None:
        note = _note(usual, states, tree)
        return ChosenState(states[usual], usual if note else "", note)
    if states and not _has_kernels(tree):
        raise WeightsError(f"holds the state dicts {_names(states)}; choose one with `i3d convert --state KEY`")
    if not _is_state(tree):
        keys = ", ".join(printable(name[:40]) for name in list(tree)[:8] if isinstance(name, str))
        raise WeightsError(f"a PyTorch file, but no tensors under {' or '.join(USUAL)} (it holds: {keys})")
    return ChosenState(tree, note=_note("", states, tree))


def _key_of(key: str, states: Mapping[str, StateDict], tree: dict[Any, Any]) -> str:
    """The key in the file that `--state` names."""
    if key in states:
        return key
    if key == AVERAGED and _is_swapped(states, tree):
        return "state_dict"
    averaged = [name for name in states if AVERAGED in name.lower()]
    if key == AVERAGED and len(averaged) == 1:
        return averaged[0]
    nameless = "".join(f"; {where} has no names of its tensors, by which they are loaded" for where in _nameless(tree))
    raise WeightsError(f"--state {printable(key)}: it holds the state dicts {_names(states) or 'of no key'}{nameless}")


def _note(taken: str, states: Mapping[str, StateDict], tree: dict[Any, Any]) -> str:
    """Which weights of a file with several are taken; `taken` is "" for those of the file's own keys."""
    others, nameless = [name for name in states if name != taken], _nameless(tree)
    if not others and not nameless:
        return ""
    averaged = {"state_dict": " (the averaged weights)", "ema_state_dict": " (not averaged)"}.get(taken, "")
    which = f"{printable(taken) or 'that of its own keys'}{averaged * _is_swapped(states, tree)} is taken"
    if not others:
        return f"holds weights in {_names(nameless)} too: {which}, as they have no names there"
    todo = f"`i3d convert --state {printable(others[0])}` takes another"
    return f"holds {len(others) + 1} state dicts: {which}, not {_names(others)}; {todo}"


def _is_swapped(states: Mapping[str, StateDict], tree: dict[Any, Any]) -> bool:
    """Whether `state_dict` has the averaged weights: MMEngine swaps the two when it saves."""
    return "message_hub" in tree and "ema_state_dict" in states


def _nested(tree: dict[Any, Any], path: str = "", *, depth: int = MAX_DEPTH) -> Iterator[tuple[str, dict[Any, Any]]]:
    """All dicts in a file by their keys, {"ema": {"module": x}} as ema and ema.module, but not those of optimisers."""
    for name, value in tree.items():
        if isinstance(name, str) and isinstance(value, dict) and (path or "optim" not in name.lower()):
            yield f"{path}{name}", value
            if depth > 1:
                yield from _nested(value, f"{path}{name}.", depth=depth - 1)


def _nameless(tree: dict[Any, Any]) -> list[str]:
    """Lists of kernels, as pytorch_ema saves averaged weights."""
    return [
        f"{path}.{name}" if path else name
        for path, values in (("", tree), *_nested(tree))
        for name, value in values.items()
        if isinstance(value, list | tuple) and any(isinstance(one, torch.Tensor) and one.dim() > 3 for one in value)
    ]


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
