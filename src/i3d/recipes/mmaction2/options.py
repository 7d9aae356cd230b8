"""`--cfg-options key.path=value` with the key paths of MMAction2."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

from i3d.errors import InputError, printable, quoted
from i3d.recipes.mmaction2.from_config import HARMLESS, TOP_KEYS, version_of
from i3d.recipes.mmaction2.table import Table

FLAG: Final = "--cfg-options"
SPLITS: Final = ("train", "val", "test")
SPELLINGS: Final = (  # the key paths of one setting in 0.x and in 1.x
    ("seed", "randomness.seed"),
    ("deterministic", "randomness.deterministic"),
    ("total_epochs", "train_cfg.max_epochs"),
    ("runner.max_epochs", "train_cfg.max_epochs"),
    ("evaluation.interval", "train_cfg.val_interval"),
    ("evaluation.save_best", "default_hooks.checkpoint.save_best"),
    ("data.videos_per_gpu", "train_dataloader.batch_size"),
    ("data.workers_per_gpu", "train_dataloader.num_workers"),
    *((f"data.{one}.data_prefix", f"{one}_dataloader.dataset.data_prefix.{kind}") for one in SPLITS
      for kind in ("video", "img")),
    *((f"data.{one}", f"{one}_dataloader.dataset") for one in SPLITS),
    *((f"data.{one}_dataloader.videos_per_gpu", f"{one}_dataloader.batch_size") for one in SPLITS),
    *((f"data.{one}_dataloader.workers_per_gpu", f"{one}_dataloader.num_workers") for one in SPLITS),
    ("optimizer_config.grad_clip", "optim_wrapper.clip_grad"),
    ("optimizer", "optim_wrapper.optimizer"),
    ("lr_config.step", "param_scheduler.0.milestones"),
    ("lr_config.gamma", "param_scheduler.0.gamma"),
    ("lr_config.min_lr", "param_scheduler.0.eta_min"),
    ("fp16", "optim_wrapper"),
)  # fmt: skip
SCHEDULES: Final = ("lr_config.step=40,80", "param_scheduler.0.milestones=40,80")  # other keys of these have no other
ANN_FILES: Final = ("data.train.ann_file", "train_dataloader.dataset.ann_file")
LR_KEYS: Final = ("optimizer.lr", "optim_wrapper.optimizer.lr")


def with_options(table: Table, options: Sequence[str]) -> Table:
    """The config with `key.path=value` options; numbers in a path count the items of a list."""
    version = version_of(table)
    for option in options:
        path, sign, text = option.partition("=")
        keys = path.strip().split(".")
        if not sign or not all(keys):
            raise InputError(f"{FLAG} {quoted(option)}: write key.path=value, such as {LR_KEYS[version]}=0.01")
        if not text.strip():
            raise InputError(f"{FLAG} {quoted(option)}: has no value; write {path.strip()}=None for none")
        _check_top(table, path.strip(), version, option)
        table = _put(table, keys, parse_value(text.strip()), option)
    return table


def version_of_options(options: Sequence[str]) -> int | None:
    """The MMAction2 version whose key paths the options have; None if they fit both."""
    for option in options:
        top = option.split("=")[0].split(".")[0].strip()
        if (top in TOP_KEYS[0]) != (top in TOP_KEYS[1]):
            return int(top in TOP_KEYS[1])
    return 1 if any(option.startswith("train_cfg.") for option in options) else None


def sets_lr(options: Sequence[str]) -> bool:
    """Whether the options set the learning rate, which is then not scaled."""
    return any(option.split("=")[0].strip() in LR_KEYS for option in options)


def parse_value(text: str) -> Any:
    """Parse a value as MMCV does: number, true, false, None, string, or a list as `[a,b]`, `(a,b)` or `a,b`."""
    parts = _split(text)
    if len(parts) > 1:
        return [parse_value(part) for part in parts if part]
    if text[:1] + text[-1:] in ("[]", "()"):
        inner = text[1:-1].strip()
        return [parse_value(part) for part in _split(inner) if part]
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text in ("None", "none", "null"):
        return None
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE):
        return float(text)
    return text


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _check_top(table: Table, path: str, version: int, option: str) -> None:
    top = path.split(".")[0]
    if top in TOP_KEYS[version] or top in HARMLESS:
        return
    for spelling in SPELLINGS:
        ours, theirs = spelling[version], spelling[1 - version]
        if path == theirs or path.startswith(f"{theirs}."):
            our_key = f"{ours}{path.removeprefix(theirs)}"
            raise InputError(f"{FLAG} {quoted(option)}: this is a {version}.x config; write {our_key}=...")
    if top == SCHEDULES[1 - version].split(".")[0]:
        raise InputError(
            f"{FLAG} {quoted(option)}: this is a {version}.x config; write its schedule, such as {SCHEDULES[version]}"
        )
    if top in table:
        raise InputError(
            f"{FLAG} {quoted(option)}: {printable(top)} is a variable, used already where the config was read; "
            f"give the key that it is used for, such as {ANN_FILES[version]}"
        )
    near = get_close_matches(top, TOP_KEYS[version], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(TOP_KEYS[version]))}"
    raise InputError(f"{FLAG} {quoted(option)}: there is no key {quoted(top)}; {hint}")


def _put(place: Any, keys: list[str], value: Any, option: str) -> Any:
    """A copy of a dict or list of the config with a value in it. New keys are checked where the config is read."""
    key, rest = keys[0], keys[1:]
    if isinstance(place, list):
        if not key.isdigit() or int(key) >= len(place):
            raise InputError(f"{FLAG} {quoted(option)}: {quoted(key)} is no item of a list of {len(place)}, from 0")
        items = list(place)
        items[int(key)] = _put(items[int(key)], rest, value, option) if rest else value
        return items
    if not isinstance(place, Table):
        raise InputError(f"{FLAG} {quoted(option)}: {quoted(key)} would lie in {quoted(place)}, which is no dict")
    copy = Table(place, place.places)
    before = copy.get(key)
    copy[key] = _put(Table() if before is None else before, rest, value, option) if rest else value
    copy.places[key] = f"{FLAG} {quoted(option)}" if not rest else copy.places.get(key, f"{FLAG} {quoted(option)}")
    return copy
