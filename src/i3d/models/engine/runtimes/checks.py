"""Checks of a runtime: it must be able to run here, and its output must match PyTorch's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from i3d.errors import InputError, first_line
from i3d.models.engine.runtimes.task import CompileTask, NetworkOutput, RunClips
from i3d.utils.device import Arithmetic, Runtime

PACKAGES: Final[dict[Runtime, tuple[str, ...]]] = {"openvino": ("openvino", "onnx", "onnxscript")}
ARITHMETICS: Final[dict[Runtime, tuple[Arithmetic, ...]]] = {"openvino": ("fp32", "bf16")}
# The largest allowed difference from PyTorch's output, relative to its largest value. Tests are stricter for logits.
TOLERANCE: Final[dict[Arithmetic, float]] = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}


def check_runtime(runtime: Runtime, arithmetic: Arithmetic, device: torch.device) -> None:
    """Raise InputError if a runtime is not installed, or cannot run this arithmetic on this device."""
    if runtime not in PACKAGES:
        return
    missing = [name for name in PACKAGES[runtime] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"runtime {runtime}: needs {', '.join(missing)}; pip install 'i3d[export]'")
    if device.type != "cpu":
        raise InputError(f"runtime {runtime}: runs on CPUs, not on {device.type}; use --device cpu")
    if arithmetic not in ARITHMETICS[runtime]:
        raise InputError(f"runtime {runtime}: has no {arithmetic} on a CPU; use --precision fp32, or another runtime")


def check_output(runtime: Runtime, task: CompileTask, run: RunClips, device: torch.device) -> RunClips:
    """Compare the output of `run` with PyTorch's, once per machine, and return `run`.

    A difference above `TOLERANCE` is an InputError.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    key = task.key(
        *PACKAGES.get(runtime, ()), kind="agrees", runtime=runtime, weights=task.weights, arithmetic=task.arithmetic,
        device=name,
    )  # fmt: skip
    if task.cache.load_json(key) is None:
        difference = _difference(run, task, device)
        if not difference <= TOLERANCE[task.arithmetic]:
            what = f"{100 * difference:.2g} % from PyTorch's, {100 * TOLERANCE[task.arithmetic]:g} % are allowed"
            raise InputError(f"runtime {runtime}: its output for this network is {what}; use --runtime torch")
        task.cache_record(key, {"difference": difference})
    return run


def _difference(run: RunClips, task: CompileTask, device: torch.device) -> float:
    """The largest difference from PyTorch's float32 output on the CPU for noise, relative to the largest value."""
    noise_1CTHW = torch.randn(1, *task.clip_CTHW, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = NetworkOutput(task.net, task.output)(noise_1CTHW)
        actual = run(noise_1CTHW.to(device)).float().cpu()
    return float((actual - expected).abs().max() / expected.abs().max())


@contextmanager
def runtime_errors(runtime: Runtime) -> Iterator[None]:
    """Turn an error inside another runtime than PyTorch into an InputError that names the runtime."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(f"runtime {runtime}: does not work here ({first_line(error)}); use --runtime torch") from error
