"""The unit that a runtime compiles: one output of a network for clips of one shape. Its output must match PyTorch's.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

import hashlib
import importlib.metadata
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import torch
from torch import Tensor, nn

from i3d.errors import InputError, first_line
from i3d.models.network import VideoNetwork
from i3d.utils.cache import Cache, cache_key
from i3d.utils.device import Arithmetic, EngineRuntime, instructions, processor

LOGITS: Final = "logits"
POOLED: Final = "pooled"
CLASSIFIER_INPUT: Final = "classifier_input"
PACKAGES: Final = ("openvino", "onnx", "onnxscript")  # of the runtime openvino
# The largest allowed difference from PyTorch's output, relative to its largest value. Tests are stricter for logits.
TOLERANCE: Final[dict[Arithmetic, float]] = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}

RunClips = Callable[[Tensor], Tensor]  # float clips (N, C, T, H, W) -> one output of a network

log = logging.getLogger("i3d")


class NetworkOutput(nn.Module):
    """A network as a function of one output: `LOGITS`, `POOLED`, `CLASSIFIER_INPUT` or the name of an endpoint."""

    def __init__(self, net: VideoNetwork, output: str) -> None:
        super().__init__()
        self.net, self.output = net, output

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        if self.output == LOGITS:
            logits_NK: Tensor = self.net(clips_NCTHW)
            return logits_NK
        if self.output == POOLED:
            return self.net.pooled(clips_NCTHW)
        if self.output == CLASSIFIER_INPUT:
            return self.net.classifier_input(clips_NCTHW)
        return self.net.features(clips_NCTHW, endpoint=self.output)


@dataclass(eq=False)
class CompileTask:
    """One output of a network for clips of one shape."""

    net: VideoNetwork = field(repr=False)  # in evaluation mode, folded, float32, on the CPU
    output: str
    clip_CTHW: tuple[int, ...]
    arithmetic: Arithmetic
    threads: int
    cache: Cache

    @cached_property
    def weights(self) -> str:
        """A hash of all weights of the network and of its settings."""
        digest = hashlib.sha256(f"{type(self.net).__name__} {self.net.settings!r}".encode())
        for name, tensor in self.net.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def key(self, *packages: str, **more: object) -> str:
        """The cache key of this task as compiled by these packages on this machine."""
        versions = package_versions(*packages)
        return cache_key(
            what=self.output, clip=self.clip_CTHW, machine=[processor(), instructions()], versions=versions, **more
        )

    def cached(self, key: str, compile_: Callable[[], bytes]) -> bytes:
        """The cached bytes under a key. Missing ones are compiled, and cached if the cache is writable."""
        blob = self.cache.load_bytes(key)
        if blob is None:
            log.info("compiling the network for clips of %s; it is cached", "x".join(map(str, self.clip_CTHW)))
            blob = compile_()
            with warn_if_unwritable():
                self.cache.save_bytes(key, blob)
        return blob


def package_versions(*packages: str) -> dict[str, str]:
    """The versions of i3d, PyTorch and these packages."""
    return {name: importlib.metadata.version(name) for name in ("i3d", "torch", *packages)}


@contextmanager
def warn_if_unwritable() -> Iterator[None]:
    """Turn the error of a cache that cannot be written into a warning."""
    try:
        yield
    except InputError as error:
        log.warning("%s", error)


def run_one_by_one(run: RunClips) -> RunClips:
    """Run a batch clip by clip, with a function for one clip."""

    return lambda clips_NCTHW: torch.cat([run(clip_1CTHW) for clip_1CTHW in torch.split(clips_NCTHW, 1)])


def check_output(runtime: EngineRuntime, task: CompileTask, run: RunClips, device: torch.device) -> RunClips:
    """Compare the output of `run` with PyTorch's, once per machine, and return `run`.

    A difference above `TOLERANCE` is an InputError.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    packages = PACKAGES if runtime == "openvino" else ()
    more = {"kind": "agrees", "runtime": runtime, "weights": task.weights, "arithmetic": task.arithmetic}
    key = task.key(*packages, **more, device=name)
    if task.cache.load_json(key) is None:
        difference = _difference(run, task, device)
        if not difference <= TOLERANCE[task.arithmetic]:
            what = f"{100 * difference:.2g} % from PyTorch's, {100 * TOLERANCE[task.arithmetic]:g} % are allowed"
            raise InputError(f"runtime {runtime}: its output for this network is {what}; use --runtime torch")
        with warn_if_unwritable():
            task.cache.save_json(key, {"difference": difference})
    return run


def _difference(run: RunClips, task: CompileTask, device: torch.device) -> float:
    """The largest difference from PyTorch's float32 output on the CPU for noise, relative to the largest value."""
    noise_1CTHW = torch.randn(1, *task.clip_CTHW, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = NetworkOutput(task.net, task.output)(noise_1CTHW)
        actual = run(noise_1CTHW.to(device)).float().cpu()
    return float((actual - expected).abs().max() / expected.abs().max())


@contextmanager
def runtime_errors(runtime: EngineRuntime, *, todo: str = "use --runtime torch") -> Iterator[None]:
    """Turn an error inside another runtime than PyTorch into an InputError that names the runtime."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(f"runtime {runtime}: does not work here ({first_line(error)}); {todo}") from error
