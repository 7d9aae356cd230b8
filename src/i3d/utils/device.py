"""Where networks run, and in which arithmetic."""

import importlib
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

import torch

from i3d.errors import InputError, first_line
from i3d.utils.arguments import check_fields
from i3d.utils.cache import Cache
from i3d.utils.cores import num_cores
from i3d.utils.device_names import check_device_name

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Arithmetic = Literal["fp32", "bf16", "fp16"]
EngineArithmetic = Literal["fp32", "bf16", "fp16", "int8"]  # int8: of graphs of OpenVINO; what is not int8 is fp32
Runtime = Literal["torch", "compile", "openvino"]
EngineRuntime = Literal["torch", "compile", "openvino", "onnxruntime"]  # the last runs exported files only
RUNTIMES: Final[tuple[Runtime, ...]] = get_args(Runtime)
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class ComputeConfig:
    """Where and how a network runs. None of it changes a result beyond rounding."""

    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps, npu
    precision: Precision | None = None  # None: fp32 to predict and test; to train, as the recipe sets
    runtime: Runtime = "torch"
    num_workers: int = 2  # processes that load clips
    cache: Cache = field(default_factory=Cache.default)  # of computed flow and compiled networks

    def __post_init__(self) -> None:
        check_fields(self)
        if self.precision is not None and self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r}: is not one of {', '.join(PRECISIONS)}")
        if self.num_workers < 0:
            raise InputError(f"num_workers {self.num_workers}: must be at least 0")
        if self.runtime not in RUNTIMES:
            raise InputError(f"runtime {self.runtime!r}: is not one of {', '.join(RUNTIMES)}")


def pick_device(device: str) -> torch.device:
    """ "auto" is CUDA, else Apple's MPS, else the CPU. A device that does not exist is an InputError."""
    check_device_name(device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.split(":")[0] == "npu":
        _import_torch_npu(device)
    try:
        picked = torch.device(device)
        torch.empty(1, device=picked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        what = f"device {device!r} cannot be used ({first_line(error).split('. ')[0]})"
        raise InputError(f"{what}; `i3d doctor` lists the devices") from error
    return picked


def _import_torch_npu(device: str) -> None:
    """Import Ascend's PyTorch plugin, which the user installs; it was never run with i3d."""
    try:
        importlib.import_module("torch_npu")
    except (ImportError, OSError, RuntimeError) as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == "torch_npu"
        why = "torch_npu is not installed" if is_missing else f"torch_npu cannot be imported ({first_line(error)})"
        todo = f"install the torch_npu for your CANN and PyTorch {torch.__version__.split('+')[0]}"
        raise InputError(f"device {device!r}: {why}; {todo}, or use --device auto") from error


def arithmetic_of(precision: Precision | None, device: torch.device) -> Arithmetic:
    """The number format that a precision means on a device.

    "auto" is bfloat16 where the device has instructions for it (CUDA since Ampere, CPUs with AMX or AVX512-BF16),
    float16 on older CUDA, MPS and NPU, and float32 on other CPUs, where bfloat16 takes many times as long. A format
    that the device does not have is an InputError.
    """
    if precision is None:
        return "fp32"
    if precision == "auto":
        if device.type == "cpu":
            return "bf16" if has_bf16() else "fp32"
        return "bf16" if _cuda_has_bf16(device) else "fp16"
    if precision == "int8":
        what = "is to predict, test, and extract features and timelines with networks that are calibrated"
        raise InputError(f"precision int8: {what}; use --precision fp32, bf16 or auto here")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16: a CPU has no fast float16; use --precision bf16, fp32 or auto")
    if precision == "bf16" and device.type == "cuda" and not _cuda_has_bf16(device):
        raise InputError("precision bf16: this GPU has no bfloat16; use --precision fp16, fp32 or auto")
    if precision == "bf16" and device.type == "cpu" and not has_bf16():
        log.warning("precision bf16: this processor has no bfloat16 instructions; fp32 is faster")
    return precision


def _cuda_has_bf16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def has_bf16() -> bool:
    """Whether this processor has instructions for products of bfloat16: AMX, or AVX512-BF16."""
    return bool(_capabilities().get("amx_bf16") or _capabilities().get("avx512_bf16"))


def has_int8() -> bool:
    """Whether this processor has fast and exact products of int8: x86 with VNNI, or another architecture."""
    has = _capabilities()
    return not has.get("avx2") or bool(has.get("avx512_vnni") or has.get("avx_vnni") or has.get("amx_int8"))


def has_amx() -> bool:
    """Whether this processor multiplies matrices of bfloat16 in tiles."""
    return bool(_capabilities().get("amx_bf16"))


def instructions() -> list[str]:
    """The instruction sets of the processor that PyTorch detects: a virtual machine may hide some."""
    return sorted(name for name, value in _capabilities().items() if value is True)


def use_cores() -> None:
    """Limit PyTorch to the cores of this process, if the machine has more."""
    if torch.get_num_threads() > num_cores():
        torch.set_num_threads(num_cores())


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside the block, PyTorch computes in the calling thread alone."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _capabilities() -> dict[str, object]:
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def processor() -> str:
    """The name of the processor, from the operating system."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()
