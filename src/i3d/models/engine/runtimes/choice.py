"""The fastest of several runtimes for a task: measured once, and remembered."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch

from i3d.errors import InputError, first_line
from i3d.models.engine.runtimes.task import Function, Run, Task
from i3d.utils.device import Arithmetic, Runtime

ROUNDS: Final = 3
PACKAGES: Final[dict[Runtime, tuple[str, ...]]] = {
    "openvino": ("openvino", "onnx", "onnxscript"),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
}
ARITHMETICS: Final[dict[Runtime, tuple[Arithmetic, ...]]] = {"openvino": ("fp32", "bf16"), "onnxruntime": ("fp32",)}
TOLERANCE: Final[dict[Arithmetic, float]] = {
    "fp32": 1e-4,
    "bf16": 5e-2,
    "fp16": 1e-2,
}  # of any map; tests ask for more of logits


def exported(runtime: Runtime, task: Task) -> Run:
    """A task by a runtime that reads ONNX models."""
    if runtime == "openvino":
        from i3d.models.engine.runtimes.openvino import run_of
    else:
        from i3d.models.engine.runtimes.onnxruntime import run_of
    return agreeing(runtime, task, run_of(task), torch.device("cpu"))


def agreeing(runtime: Runtime, task: Task, run: Run, device: torch.device) -> Run:
    """The same, after its answer was held against PyTorch's, the first time; one that is off is an InputError."""
    key = task.key(
        *PACKAGES.get(runtime, ()), kind="agrees", runtime=runtime, weights=task.weights, arithmetic=task.arithmetic,
        device=_name_of(device),
    )  # fmt: skip
    if task.cache.record(key) is None:
        off = difference(run, task, device)
        if not off <= TOLERANCE[task.arithmetic]:
            what = f"{100 * off:.2g} % from PyTorch's, {100 * TOLERANCE[task.arithmetic]:g} % are allowed"
            raise InputError(f"runtime {runtime}: its answer for this network is {what}; use --runtime torch")
        task.keep_record(key, {"off": off})
    return run


def difference(run: Run, task: Task, device: torch.device) -> float:
    """How far answers are from PyTorch's in float32 on the CPU, as a share of the largest, for a clip of noise."""
    noise_1CTHW = torch.randn(1, *task.clip_CTHW, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = Function(task.net, task.what)(noise_1CTHW)
        found = run(noise_1CTHW.to(device)).float().cpu()
    return float((found - expected).abs().max() / expected.abs().max())


def check(runtime: Runtime, arithmetic: Arithmetic, device: torch.device) -> None:
    """An InputError where a runtime that is asked for by name is not here, or cannot do it."""
    if runtime not in PACKAGES:
        return
    missing = [name for name in PACKAGES[runtime] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"runtime {runtime}: needs {', '.join(missing)}; pip install 'i3d[export]'")
    if device.type != "cpu":
        raise InputError(f"runtime {runtime}: runs on CPUs here, not on {device.type}; use --device cpu")
    if arithmetic not in ARITHMETICS[runtime]:
        raise InputError(f"runtime {runtime}: has no {arithmetic} on a CPU; use --precision exact, or another runtime")


def candidates(arithmetic: Arithmetic, device: torch.device) -> tuple[Runtime, ...]:
    """What may be picked. Compiling takes a minute or two on a CPU, and a compiler: by name only."""
    if device.type != "cpu":
        return "torch", "compile"
    here: list[Runtime] = ["torch"]
    for runtime in PACKAGES:
        try:
            check(runtime, arithmetic, device)
        except InputError:
            continue
        here.append(runtime)
    return tuple(here)


def pick(task: Task, makers: Mapping[Runtime, Callable[[], Run]], example: torch.Tensor) -> tuple[Runtime, Run]:
    """The runtime that is fastest for the example, by its name and made ready."""
    versions = {name: importlib.metadata.version(name) for runtime in makers for name in PACKAGES.get(runtime, ())}
    key = task.key(
        kind="fastest", network=repr(task.net.settings), among=list(makers), versions_of=versions,
        arithmetic=task.arithmetic, threads=task.threads, device=_name_of(example.device),
    )  # fmt: skip
    known = task.cache.record(key)
    if isinstance(known, dict) and known.get("picked") in makers and isinstance(known.get("milliseconds"), dict):
        picked: Runtime = known["picked"]
        made = _made(task, {picked: makers[picked]})
        if made:
            task.tell(f"runtime {picked}: {_figures(known['milliseconds'])}, measured before")
            return picked, made[picked]
    task.tell(f"measuring once which is the fastest of {', '.join(makers)}")
    found = _made(task, makers, warm_up=example)
    seconds = measured(found, example)
    picked = min(seconds, key=lambda runtime: seconds[runtime])
    milliseconds = {runtime: round(1000 * value, 1) for runtime, value in seconds.items()}
    task.tell(f"runtime {picked}: {_figures(milliseconds)}, measured now")
    task.keep_record(key, {"picked": picked, "milliseconds": milliseconds})
    return picked, found[picked]


def _made(
    task: Task, makers: Mapping[Runtime, Callable[[], Run]], *, warm_up: torch.Tensor | None = None
) -> dict[Runtime, Run]:
    """Those that can be made, and run; of others it is told why not. PyTorch itself must."""
    found: dict[Runtime, Run] = {}
    for runtime, make in makers.items():
        try:
            with failing(runtime):
                run = make()
                if warm_up is not None:
                    run(warm_up)
        except InputError as error:
            if runtime == "torch":
                raise
            task.tell(f"warning: {error}")
            continue
        found[runtime] = run
    return found


@contextmanager
def failing(runtime: Runtime) -> Iterator[None]:
    """What goes wrong inside another runtime than PyTorch is an InputError that names it."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if runtime == "torch":
            raise
        raise InputError(f"runtime {runtime}: does not work here ({first_line(error)}); use --runtime torch") from error


def measured(runs: Mapping[Runtime, Run], example: torch.Tensor) -> dict[Runtime, float]:
    """Seconds of each, which has run before: the least of several rounds in turns."""
    least: dict[Runtime, float] = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for runtime, run in runs.items():
            start = time.perf_counter()
            run(example).cpu()
            least[runtime] = min(least[runtime], time.perf_counter() - start)
    return least


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _figures(milliseconds: Mapping[Runtime, float]) -> str:
    return "a clip takes " + ", ".join(f"{name} {value:g} ms" for name, value in milliseconds.items())
