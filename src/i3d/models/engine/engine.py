"""A network prepared for inference: batch norms folded, channels-last memory, one floating-point format.

    engine = Engine.create(net, ComputeConfig(precision="auto"))
    forward(engine, clips_VTHWC, preprocessing)         # logits (V, K) float32

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

import copy
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from i3d.models.engine.runtimes import openvino
from i3d.models.engine.runtimes.task import (
    CLASSIFIER_INPUT,
    LOGITS,
    POOLED,
    CompileTask,
    NetworkOutput,
    RunClips,
    check_output,
    run_one_by_one,
    runtime_errors,
)
from i3d.models.network import VideoNetwork
from i3d.models.prepack import fold_norms, prepack
from i3d.utils.cache import Cache, use_inductor_cache
from i3d.utils.device import Arithmetic, ComputeConfig, EngineRuntime, arithmetic_of, pick_device, use_cores

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

log = logging.getLogger("i3d")


@dataclass(eq=False)
class Engine:
    """A network prepared for inference. In PyTorch its classifier runs in float32 at every precision."""

    net: VideoNetwork = field(repr=False)
    device: torch.device
    arithmetic: Arithmetic
    runtime: EngineRuntime
    _plain: VideoNetwork = field(repr=False)  # float32, on the CPU: the source for compiling runtimes
    _cache: Cache = field(repr=False)
    _clip_CTHW: tuple[int, ...] | None = field(repr=False)
    _used: set[EngineRuntime] = field(default_factory=set, repr=False)
    _compiled: dict[str, RunClips] = field(default_factory=dict, repr=False)  # by output, each at its first use
    _other_shapes: set[tuple[int, ...]] = field(default_factory=set, repr=False)  # each is logged once

    @classmethod
    def create(
        cls,
        net: VideoNetwork,
        compute: ComputeConfig,
        *,
        device: torch.device | None = None,
        clip_CTHW: tuple[int, ...] | None = None,
    ) -> "Engine":
        """Prepare a network for inference, in place: fold its batch norms and move it to the device.

        `device` replaces that of `compute`. `clip_CTHW` is the shape that a compiling runtime compiles for (default:
        that of the first clip). Clips of another shape run in PyTorch, which is logged. A runtime that is not
        installed, or lacks the precision, is an InputError.
        """
        device = device or pick_device(compute.device)
        arithmetic = arithmetic_of(compute.precision, device)
        use_cores()
        if compute.runtime == "openvino":
            openvino.check(arithmetic, device)
        fold_norms(net.eval())
        plain = net if compute.runtime == "torch" else copy.deepcopy(net)
        net = to_device(net, device, arithmetic)
        if device.type == "cpu":
            prepack(net)
        log.debug(
            "network on %s, %s, runtime %s, %d threads", device, arithmetic, compute.runtime, torch.get_num_threads()
        )
        return cls(net, device, arithmetic, compute.runtime, plain, compute.cache, clip_CTHW)

    @property
    def number_format(self) -> str:
        """The number format of the convolutions: the arithmetic, or int8."""
        return self.arithmetic

    @property
    def requested(self) -> str:
        """The arithmetic, and the requested runtime if it is not PyTorch."""
        return self.number_format + ("" if self.runtime == "torch" else f", --runtime {self.runtime}")

    @property
    def description(self) -> str:
        """The arithmetic, and the runtimes used since `reset_used_runtimes` if not PyTorch alone."""
        used = sorted(self.used_runtimes, reverse=True) or [self.runtime]
        return self.number_format + ("" if used == ["torch"] else f", {' and '.join(used)}")

    @property
    def used_runtimes(self) -> frozenset[EngineRuntime]:
        """The runtimes that have run clips since `reset_used_runtimes`."""
        return frozenset(self._used)

    def reset_used_runtimes(self) -> None:
        """Let `description` and `used_runtimes` describe the clips from here on."""
        self._used.clear()

    def build_for(self, clip_CTHW: tuple[int, ...]) -> None:
        """Compile the runtime for clips of this shape from here on; shorter ones than the network takes are looped."""
        channels, frames, *sides = clip_CTHW
        shape = (channels, max(frames, self.min_frames), *sides)
        if shape != self._clip_CTHW:
            self._clip_CTHW = shape
            self._compiled.clear()
            self._other_shapes.clear()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of all activations before the classifier."""
        return DTYPES[self.arithmetic]

    @property
    def normalizes(self) -> bool:
        """Whether it takes uint8 clips (N, C, T, H, W) and normalises them itself."""
        return False

    @property
    def has_maps(self) -> bool:
        """Whether `features` has the maps of all endpoints."""
        return True

    @property
    def min_frames(self) -> int:
        """The shortest clip that can be classified."""
        return self.net.min_frames

    @torch.inference_mode()
    def __call__(self, clips_NCTHW: Tensor) -> Tensor:
        """Logits (N, K) float32 of float clips."""
        return self._run(LOGITS, clips_NCTHW)

    @torch.inference_mode()
    def features(self, clips_NCTHW: Tensor, *, endpoint: str) -> Tensor:
        """The feature map (N, C', T', H', W') after an endpoint of the network."""
        return self._run(endpoint, clips_NCTHW)

    @torch.inference_mode()
    def pooled(self, clips_NCTHW: Tensor) -> Tensor:
        """The map of the last endpoint, averaged over time and space: (N, C) float32."""
        return self._run(POOLED, clips_NCTHW)

    @torch.inference_mode()
    def classifier_input(self, clips_NCTHW: Tensor) -> Tensor:
        """What the classifier takes of each clip: (N, C) float32."""
        return self._run(CLASSIFIER_INPUT, clips_NCTHW)

    @torch.inference_mode()
    def classify(self, inputs_NC: Tensor) -> Tensor:
        """Logits (N, K) float32 of `classifier_input`. The classifier runs in PyTorch, whatever the runtime."""
        return self.net.classify(inputs_NC).float()

    def _run(self, output: str, clips_NCTHW: Tensor) -> Tensor:
        """One output for float clips."""
        shape = tuple(clips_NCTHW.shape[1:])
        self._clip_CTHW = self._clip_CTHW or shape
        with full_float32(clips_NCTHW.device):
            if self.runtime == "torch" or shape != self._clip_CTHW:
                if self.runtime != "torch" and shape not in self._other_shapes:
                    self._other_shapes.add(shape)
                    this, that = ("x".join(map(str, sizes)) for sizes in (shape, self._clip_CTHW or ()))
                    log.info(f"runtime {self.runtime}: a clip of {this} runs in PyTorch; the runtime is for {that}")
                self._used.add("torch")
                values: Tensor = NetworkOutput(self.net, output)(clips_NCTHW.to(self.dtype))
                return values
            with runtime_errors(self.runtime):
                if output not in self._compiled:
                    self._compiled[output] = self._compile(output, self._clip_CTHW)
                self._used.add(self.runtime)
                return self._compiled[output](clips_NCTHW)

    def _compile(self, output: str, clip_CTHW: tuple[int, ...]) -> RunClips:
        task = CompileTask(self._plain, output, clip_CTHW, self.arithmetic, torch.get_num_threads(), self._cache)
        if self.runtime == "openvino":
            return check_output("openvino", task, openvino.compile_task(task), self.device)
        log.info("compiling the network, which may take a minute or two; it is cached")
        use_inductor_cache(self._cache)
        net = to_device(copy.deepcopy(self._plain), self.device, self.arithmetic)
        function = NetworkOutput(net, output)
        compiled = torch.compile(function, fullgraph=True, dynamic=False, options={"freezing": True})
        run: RunClips = lambda clips_NCTHW: compiled(clips_NCTHW.to(self.dtype))  # noqa: E731
        return check_output("compile", task, run_one_by_one(run) if self.device.type == "cpu" else run, self.device)


def to_device(net: VideoNetwork, device: torch.device, arithmetic: Arithmetic) -> VideoNetwork:
    """Move a network to a device and a dtype; the classifier stays in float32."""
    net = net.to(device, DTYPES[arithmetic], memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    net.classifier.float()
    return net


def full_float32(device: torch.device) -> AbstractContextManager[None]:
    """Disable TF32 on GPUs: with it, cuDNN rounds the factors of float32 convolutions to 10 bits."""
    if device.type != "cuda":
        return nullcontext()
    cudnn = torch.backends.cudnn
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )
    return flags
