"""A network at rest, made ready to run: batch norms folded, channels last in memory, in one arithmetic.

    engine = Engine.of(net, device=torch.device("cpu"), precision="fast")
    forward(engine, clips_VTHWC, preprocessing)         # logits (V, K) float32

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from i3d.errors import InputError
from i3d.models.engine.fold import fold_norms
from i3d.models.engine.runtimes import choice
from i3d.models.engine.runtimes.task import LOGITS, POOLED, Function, Run, Task, one_by_one
from i3d.models.factory import I3D
from i3d.models.packed import prepack
from i3d.utils.cache import Cache
from i3d.utils.device import RUNTIMES, Arithmetic, Precision, Runtime, arithmetic_of, use_cores

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class Engine:
    """A network that answers and does not learn. In PyTorch its classifier is in float32 whatever the arithmetic."""

    net: I3D = field(repr=False)
    device: torch.device
    arithmetic: Arithmetic
    runtime: Runtime
    _runs: Runs = field(repr=False)

    @classmethod
    def of(
        cls,
        net: I3D,
        *,
        device: torch.device,
        precision: Precision,
        runtime: Runtime = "torch",
        clip_CTHW: tuple[int, ...] | None = None,
        cache: Cache | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Engine:
        """The network itself is changed: it is in evaluation mode, folded, on the device.

        `clip_CTHW`: the shape that other runtimes are made for (else that of the first clip); clips of another run in
        PyTorch. What is made is kept in the cache. A runtime that is not here, or cannot do it, is an InputError.
        """
        if runtime not in RUNTIMES:
            raise InputError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
        arithmetic, cache = arithmetic_of(precision, device), cache or Cache.usual()
        use_cores()
        choice.check(runtime, arithmetic, device)
        fold_norms(net.eval())
        plain = net if runtime == "torch" else copy.deepcopy(net)
        net = on_device(net, device, arithmetic)
        if device.type == "cpu":
            prepack(net)
        runs = Runs(net, plain, arithmetic, runtime, clip_CTHW, cache, tell)
        return cls(net, device, arithmetic, runtime, runs)

    @property
    def asked(self) -> str:
        """The arithmetic, and the runtime if another than PyTorch was asked for."""
        return self.arithmetic + ("" if self.runtime == "torch" else f", --runtime {self.runtime}")

    @property
    def how(self) -> str:
        """The arithmetic, and what has run since `begin` (before that: what was asked for) if not PyTorch alone."""
        ran = [name for name in RUNTIMES if name in self.ran] or [self.runtime]
        return self.arithmetic + ("" if ran == ["torch"] else f", {' and '.join(ran)}")

    @property
    def ran(self) -> frozenset[Runtime]:
        """The runtimes that have answered since `begin`."""
        return frozenset(self._runs.ran)

    def begin(self) -> None:
        """From here on `how` and `ran` tell of what follows."""
        self._runs.ran.clear()

    @property
    def dtype(self) -> torch.dtype:
        """Of all activations before the classifier."""
        return DTYPES[self.arithmetic]

    @property
    def min_frames(self) -> int:
        """The shortest clip that can be classified."""
        return self.net.min_frames

    @torch.inference_mode()
    def __call__(self, clips_NCTHW: Tensor) -> Tensor:
        """Logits (N, K) float32 of float clips."""
        return self._runs.of(LOGITS, clips_NCTHW)

    @torch.inference_mode()
    def features(self, clips_NCTHW: Tensor, *, endpoint: str) -> Tensor:
        """The feature map (N, C', T', H', W') after an endpoint of the network."""
        return self._runs.of(endpoint, clips_NCTHW)

    @torch.inference_mode()
    def pooled(self, clips_NCTHW: Tensor) -> Tensor:
        """What the classifier sees of each clip, averaged over time and space: (N, C) float32."""
        return self._runs.of(POOLED, clips_NCTHW)


def on_device(net: I3D, device: torch.device, arithmetic: Arithmetic) -> I3D:
    """A network, moved to a device and into an arithmetic."""
    net = net.to(device, DTYPES[arithmetic], memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    net.classifier.float()
    return net


def full_float32(device: torch.device) -> AbstractContextManager[None]:
    """Float32 that is float32: cuDNN would otherwise round the factors of convolutions to 10 bits (TF32)."""
    if device.type != "cuda":
        return nullcontext()
    cudnn = torch.backends.cudnn
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )
    return flags


class Runs:
    """The functions of a network, each made ready when it is first asked for."""

    def __init__(
        self,
        net: I3D,
        plain: I3D,
        arithmetic: Arithmetic,
        runtime: Runtime,
        clip_CTHW: tuple[int, ...] | None,
        cache: Cache,
        tell: Callable[[str], None],
    ) -> None:
        self._net, self._plain, self._arithmetic, self._runtime = net, plain, arithmetic, runtime
        self._clip_CTHW, self._cache, self._tell = clip_CTHW, cache, lru_cache(tell)  # each line once
        self.ran: set[Runtime] = set()
        self._made: dict[str, tuple[Runtime, Run]] = {}

    def of(self, what: str, clips_NCTHW: Tensor) -> Tensor:
        """A function of clips."""
        shape = tuple(clips_NCTHW.shape[1:])
        self._clip_CTHW = self._clip_CTHW or shape
        with full_float32(clips_NCTHW.device):
            return self._of(what, clips_NCTHW, shape)

    def _of(self, what: str, clips_NCTHW: Tensor, shape: tuple[int, ...]) -> Tensor:
        if self._runtime == "torch" or shape != self._clip_CTHW:
            self._tell_of(shape)
            self.ran.add("torch")
            return self._by_torch(what)(clips_NCTHW)
        if what not in self._made:
            self._made[what] = self._make(what, clips_NCTHW[:1])
        runtime, run = self._made[what]
        self.ran.add(runtime)
        with choice.failing(runtime):
            return run(clips_NCTHW)

    def _by_torch(self, what: str) -> Run:
        function, dtype = Function(self._net, what), DTYPES[self._arithmetic]
        return lambda clips_NCTHW: function(clips_NCTHW.to(dtype))

    def _compiled(self, task: Task, device: torch.device) -> Run:
        # PyTorch's own cache is safe across processes, and knows machine and versions.
        task.tell("compiling the network, which may take a minute or two; it is kept for later")
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(self._cache.folder / "inductor"))
        net = on_device(copy.deepcopy(self._plain), device, self._arithmetic)
        function, dtype = Function(net, task.what), DTYPES[self._arithmetic]
        compiled = torch.compile(function, fullgraph=True, dynamic=False, options={"freezing": True})
        run: Run = lambda clips_NCTHW: compiled(clips_NCTHW.to(dtype))  # noqa: E731
        return choice.agreeing("compile", task, one_by_one(run) if device.type == "cpu" else run, device)

    def _make(self, what: str, example_1CTHW: Tensor) -> tuple[Runtime, Run]:
        """The runtime that was asked for, or the fastest, and what it runs."""
        assert self._clip_CTHW is not None
        threads = torch.get_num_threads()
        task = Task(self._plain, what, self._clip_CTHW, self._arithmetic, threads, self._cache, self._tell)
        makers: dict[Runtime, Callable[[], Run]] = {
            "torch": lambda: self._by_torch(what),
            "compile": lambda: self._compiled(task, example_1CTHW.device),
            "openvino": lambda: choice.exported("openvino", task),
            "onnxruntime": lambda: choice.exported("onnxruntime", task),
        }
        if self._runtime != "auto":
            with choice.failing(self._runtime):
                return self._runtime, makers[self._runtime]()
        among = choice.candidates(self._arithmetic, example_1CTHW.device)
        return choice.pick(task, {name: makers[name] for name in among}, example_1CTHW)

    def _tell_of(self, shape: tuple[int, ...]) -> None:
        if self._runtime != "torch":
            sizes = ["x".join(map(str, one)) for one in (shape, self._clip_CTHW or ())]
            self._tell(f"runtime {self._runtime}: a clip of {sizes[0]} runs in PyTorch; the runtime is for {sizes[1]}")
