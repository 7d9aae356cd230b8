"""Which device and how many processes a command of a port gets, and how it starts them."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import torch

from i3d.cli.main import app
from i3d.cli.messages import log, num_processes
from i3d.cli.mmaction2.arguments import ScriptParser
from i3d.errors import InputError
from i3d.utils.device import pick_device
from i3d.utils.distributed import is_distributed_launch, local_device

VISIBLE: Final = {"cuda": "CUDA_VISIBLE_DEVICES", "npu": "ASCEND_RT_VISIBLE_DEVICES"}
MAX_RANKS: Final = 1024


class PortParser(ScriptParser):
    """Bad usage is one line: what is wrong, and the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}; {' '.join(self.format_usage().split())}")

    def add_place(self) -> None:
        """The options that the ports do not have: where the command runs."""
        self.add_argument("--device", help="auto, cpu, cuda, mps or npu (default: that of the port, else what is here)")
        self.add_argument("--ranks", type=int, help="processes (default: one for each device that is here)")

    def parse(self, words: Sequence[str]) -> Any:
        """The options, of which `--ranks` is a possible number."""
        options = self.parse_args(list(words))
        if options.ranks is not None and not 1 <= options.ranks <= MAX_RANKS:
            self.error(f"--ranks {options.ranks}: must be from 1 to {MAX_RANKS}")
        return options


def choose_device(wanted: str, given: str | None) -> str:
    """The given device; else that of the port, or what is here if there is no such device, with a line for the log."""
    if given is not None:
        picked = pick_device(local_device(given))
        return picked.type if given == "auto" else given
    try:
        pick_device(local_device(wanted))
    except InputError as error:
        device = pick_device("auto").type
        log.info("note: %s; running on what is here: --device %s", str(error).split(";")[0], device)
        return device
    return wanted


def choose_ranks(wanted: int, device: str, *, given: int | None) -> int:
    """How many processes to start: as given, else one for each wanted device that is here, with a line if not all."""
    if given is not None:
        return given
    kind = device.split(":")[0]
    here = getattr(torch, kind).device_count() if kind in VISIBLE else 1
    if wanted > here:
        what = f"{wanted} devices are asked for, {here} of the kind {kind} {'is' if here == 1 else 'are'} here"
        log.info("note: %s: %d instead of %d processes, with as many clips each (--ranks %d starts %d)",
                 what, here, wanted, wanted, wanted)  # fmt: skip
    return min(wanted, here)


def check_visible(words: str, number: int, device: str) -> dict[str, str]:
    """The environment in which only the listed devices are visible."""
    if not all(word.isdecimal() for word in words.split(",")) or len(set(words.split(","))) != number:
        raise InputError(f"VISIBLE_DEVICES {words}: must be {number} different numbers with commas, as DEVICE_NUM is")
    return {VISIBLE[device]: words} if device in VISIBLE else {}


def torchrun(module: str, words: Sequence[str], ranks: int) -> list[str]:
    """The command that runs a module in several processes, or in one."""
    start = [sys.executable, "-m"]
    if ranks > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    return [*start, module, *words]


def restart(module: str, words: Sequence[str], ranks: int) -> None:
    """Become `ranks` processes, unless this is one of them already, or one is enough."""
    if ranks > 1 and not is_distributed_launch():
        sys.stderr.flush()
        sys.stdout.flush()
        command = torchrun(module, words, ranks)
        os.execv(command[0], command)  # noqa: S606 (no shell)


def run_i3d(words: Sequence[str]) -> int:
    """Run `i3d WORDS` in this process, after a line with it; the exit code."""
    log.info("%s", i3d_line(words, ranks=num_processes()))
    code = app.meta(list(words))
    return code if isinstance(code, int) else 0


def i3d_line(words: Sequence[str], *, ranks: int, variables: Mapping[str, str] | None = None) -> str:
    """The command line that runs `i3d WORDS` in so many processes, after a prompt."""
    start = "i3d" if ranks == 1 else shlex.join([*_typed_start(ranks), "-m", "i3d"])
    return f"$ {''.join(f'{name}={value} ' for name, value in (variables or {}).items())}{start} {shlex.join(words)}"


def tool_line(script: str, words: Sequence[str]) -> str:
    """The command line of `tools/SCRIPT` that does the same, with the path of the checkout that this runs from."""
    path = Path(__file__).resolve().parents[4] / "tools" / script
    shown = os.path.relpath(path) if path.is_file() else f"tools/{script}"
    return shlex.join([*_typed_start(num_processes()), shown, *words])


def place_flags(device: str) -> list[str]:
    """The flags of `tools/` for a device, which choose the GPU by default."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return ["--gpus", "0"]
    return ["--gpu-ids", number] if kind == "cuda" and number else []


def _typed_start(ranks: int) -> list[str]:
    return ["python"] if ranks == 1 else ["torchrun", "--standalone", f"--nproc-per-node={ranks}"]


def note_of(name: str, unused: Sequence[str]) -> None:
    """Log which keys of a config have no effect."""
    if unused:
        log.info("note: %s: without effect here: %s", name, ", ".join(unused))


def add_many(parser: argparse.ArgumentParser, *names: str, **more: Any) -> None:
    """An option with several values that may be repeated."""
    parser.add_argument(*names, nargs="+", action="extend", default=[], **more)
