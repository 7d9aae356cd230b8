"""`i3d benchmark model`: what a network costs, how fast it is, and how much memory it takes.

Each round runs every configuration once, so that what disturbs the machine disturbs all of them.
Letters in names: V views, T frames, H rows, W columns, C channels.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from i3d.data.annotations import build_annotations
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.data.rows import Rows
from i3d.diagnostics.model_description import describe_model
from i3d.errors import InputError, printable
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import forward
from i3d.models.factory import build_network
from i3d.models.flops import network_cost, view_gflops, view_shape
from i3d.recipes.io import SUFFIXES, load_recipe
from i3d.recipes.protocols import with_protocol
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol
from i3d.utils.device import (
    RUNTIMES,
    ComputeConfig,
    Precision,
    Runtime,
    arithmetic_of,
    num_cores,
    pick_device,
    processor,
)
from i3d.utils.process_pool import WorkerDied, run_jobs
from i3d.video.writer import write_video
from i3d.weights.load import load_weights
from i3d.weights.pretrained import PRETRAINED

LEAST_ROUNDS: Final = 3
CLIP_FRAMES: Final = 250  # of the video that is rendered for the decoding: 10 s at 25 fps
CLIP_HEIGHT, CLIP_WIDTH = 256, 340  # what Kinetics is mostly stored at


@dataclass(frozen=True)
class Configuration:
    """One way to run the network."""

    precision: Precision = "fp32"
    batch: int = 1  # views that run at once
    threads: int = 0  # of the processor; 0: as PyTorch has it
    runtime: Runtime = "torch"

    @property
    def name(self) -> str:
        threads = f", {self.threads} threads" if self.threads else ""
        return f"{self.precision}, batch {self.batch}{threads}, {self.runtime}"


@dataclass(frozen=True)
class Speed:
    """What was measured of one configuration."""

    configuration: Configuration
    seconds: tuple[float, ...]  # of each round: one batch, from uint8 to logits
    times_the_first: float  # how many times as fast as the first configuration: the median of the rounds
    peak_mib: float | None  # of a process of its own (CUDA: what PyTorch took); None where the system does not tell
    clips_per_second: float  # views of one clip and one crop
    gflops_per_second: float
    videos_per_second: float  # all views of the protocol, also those that are there twice; network alone
    videos_per_second_decoded: float | None  # the same, with opening, decoding and resizing before, in turn

    def quantile_ms(self, share: float) -> float:
        return float(1000 * np.quantile(self.seconds, share))


@dataclass(frozen=True)
class ModelSpeed:
    """A network by its cost and its speeds, and where that was measured."""

    name: str
    protocol: str
    parameters: int
    view_NCTHW: tuple[int, ...]
    gflops_per_view: float
    views_per_video: int
    gflops_per_video: float
    decode_ms: float | None  # of one video, all views: open, decode, resize; of flow it is not measured
    device: str
    cores: int
    torch: str
    speeds: tuple[Speed, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""

        told = asdict(self)
        for speed, row in zip(self.speeds, told["speeds"], strict=True):
            row |= {"p50_ms": speed.quantile_ms(0.5), "p95_ms": speed.quantile_ms(0.95)}
        return told


def benchmark_model(
    name: str,
    configurations: Sequence[Configuration],
    *,
    recipe: str | None = None,
    protocol: str | None = None,
    video: Path | None = None,
    device: str = "auto",
    rounds: int = 10,
    max_seconds: float = 60.0,
    on_step: Callable[[], None] = lambda: None,
) -> ModelSpeed:
    """Measure a network, a recipe (with fresh weights), shipped weights or a weights file.

    `protocol`: a short name such as 10x3, else the recipe's; `video`: what is decoded, else one that is rendered here
    (10 s of 340 x 256). After a warm-up of each configuration there are `rounds`, fewer (but 3) once `max_seconds`
    are over. `on_step` is called after each run. What this machine cannot do is an
    InputError.
    """

    picked = pick_device(device)
    _check(configurations, picked, rounds)
    found, state = _recipe_and_state(name, recipe)
    found = with_protocol(found, protocol) if protocol else found
    num_frames_V, decode_seconds = _decoding(found, video)
    frames = max(num_frames_V)
    runs = [_Run(found, state, configuration, picked, frames) for configuration in configurations]
    seconds = _in_turn(runs, rounds, max_seconds, on_step)
    per_view = view_gflops(found, num_frames=frames)
    per_video = sum(view_gflops(found, num_frames=number) for number in num_frames_V)
    peaks = _peaks(found, configurations, picked, frames)
    speeds = tuple(
        _speed(
            run,
            measured,
            seconds[0],
            first_batch=configurations[0].batch,
            gflops_per_view=per_view,
            views_a_video=per_video / per_view,
            decode_seconds=decode_seconds,
            peak_mib=peak,
        )
        for run, measured, peak in zip(runs, seconds, peaks, strict=True)
    )
    batch, channels, _, height, width = view_shape(found)
    return ModelSpeed(
        name=name,
        protocol=found.protocol_line,
        parameters=network_cost(found).parameters,
        view_NCTHW=(batch, channels, frames, height, width),
        gflops_per_view=per_view,
        views_per_video=len(num_frames_V),
        gflops_per_video=per_video,
        decode_ms=None if decode_seconds is None else 1000 * decode_seconds,
        device=torch.cuda.get_device_name(picked) if picked.type == "cuda" else f"{picked.type} ({processor()})",
        cores=num_cores(),
        torch=torch.__version__,
        speeds=speeds,
    )


def _in_turn(runs: Sequence[_Run], rounds: int, max_seconds: float, on_step: Callable[[], None]) -> list[list[float]]:
    """The seconds of each run in each round, after a warm-up."""
    for run in runs:
        run.once()
        on_step()
    seconds: list[list[float]] = [[] for _ in runs]
    start = time.perf_counter()
    for number in range(rounds):
        for measured, run in zip(seconds, runs, strict=True):
            measured.append(run.once())
            on_step()
        if number + 1 >= LEAST_ROUNDS and time.perf_counter() - start > max_seconds:
            break
    return seconds


class _Run:
    """A network as one configuration has it, and a batch of noise to run it on."""

    def __init__(
        self,
        recipe: Recipe,
        state: dict[str, torch.Tensor] | None,
        configuration: Configuration,
        device: torch.device,
        num_frames: int,
    ) -> None:

        torch.manual_seed(0)
        net = build_network(recipe.network).eval()
        if state is not None:
            net.load_state_dict(state)
        how = configuration
        self.configuration, self.device, self.recipe = configuration, device, recipe
        _, channels, _, height, width = view_shape(recipe)
        shape = (configuration.batch, max(num_frames, net.min_frames), height, width, channels)
        compute = ComputeConfig(precision=how.precision, runtime=how.runtime)
        self._engine = Engine.create(net, compute, device=device)
        self._clips_VTHWC = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)

    def once(self) -> float:
        """Seconds for one batch, from uint8 to logits that are there."""

        pre, threads = self.recipe.preprocessing, torch.get_num_threads()
        torch.set_num_threads(self.configuration.threads or threads)
        start = time.perf_counter()
        try:
            forward(self._engine, self._clips_VTHWC, pre).cpu()
        except torch.OutOfMemoryError as error:
            raise InputError(f"{self.configuration.name}: too much for the memory of {self.device}") from error
        finally:
            torch.set_num_threads(threads)
        return time.perf_counter() - start


def _check(configurations: Sequence[Configuration], device: torch.device, rounds: int) -> None:
    if not configurations or rounds < 1:
        raise InputError("a benchmark needs a configuration and a round at the least")
    for c in configurations:
        arithmetic_of(c.precision, device)
        if c.batch < 1 or c.threads < 0:
            raise InputError(f"batch {c.batch}, threads {c.threads}: must be at least 1 and 0")
        if c.runtime not in RUNTIMES:
            raise InputError(f"runtime {c.runtime!r}: is none of {', '.join(RUNTIMES)}")


def _recipe_and_state(name: str, recipe: str | None) -> tuple[Recipe, dict[str, torch.Tensor] | None]:
    """What a name stands for; weights if it has any."""

    if Path(name).suffix.lower() in (*SUFFIXES, ".py"):
        return load_recipe(name), None
    if name in PRETRAINED or Path(name).exists():
        weights = load_weights(name, recipe=recipe)
        return weights.card.recipe, dict(weights.state)
    return describe_model(name).recipe, None


def _decoding(recipe: Recipe, video: Path | None) -> tuple[tuple[int, ...], float | None]:
    """The frames of each view of a video, and the seconds that they take to decode: the least of three times.

    Networks of flow see folders of frames, which are not measured here: None.
    """

    protocol = recipe.protocol
    if recipe.network.in_channels != 3:
        if isinstance(protocol, ClipProtocol):
            return (protocol.clip_len,) * protocol.num_views, None
        return (protocol.max_window_frames,), None
    with tempfile.TemporaryDirectory() as folder:
        path = video if video is not None else render_clip(Path(folder) / "rendered.mp4")
        if not path.is_file():
            raise InputError(f"--video {printable(str(path))}: no such file; check the path")
        rows = Rows()
        rows.add(str(path.resolve()), ("any",))
        clips = build_annotations(rows, source=path, root=path.parent, allow_outside=True)
        dataset, seconds = ClipDataset(clips, TestView(protocol, recipe.preprocessing)), []
        for _ in range(3):
            start = time.perf_counter()
            batch = dataset[0, 0]
            seconds.append(time.perf_counter() - start)
            for bad in batch.bad:
                raise InputError(bad.reason)
    views = batch.views_N[0]
    return tuple(views.num_frames_V[view] for view in views.groups[0]), min(seconds)


def render_clip(path: Path) -> Path:
    """10 seconds of a drifting texture."""

    rng = np.random.default_rng(0)
    small_HWC = rng.integers(0, 256, (CLIP_HEIGHT // 8, CLIP_WIDTH // 8 + 1, 3), dtype=np.uint8)
    texture_HWC = small_HWC.repeat(8, axis=0).repeat(8, axis=1)[:, :CLIP_WIDTH]
    frames = (np.ascontiguousarray(np.roll(texture_HWC, 2 * t, axis=1)) for t in range(CLIP_FRAMES))
    write_video(path, frames, fps=Fraction(25))
    return path


def _speed(
    run: _Run,
    seconds: list[float],
    of_the_first: list[float],
    *,
    first_batch: int,
    gflops_per_view: float,
    views_a_video: float,
    decode_seconds: float | None,
    peak_mib: float | None,
) -> Speed:
    batch, median = run.configuration.batch, float(np.median(seconds))
    per_video = views_a_video * median / batch
    return Speed(
        configuration=run.configuration,
        seconds=tuple(seconds),
        times_the_first=float(np.median(np.array(of_the_first) / np.array(seconds))) * batch / first_batch,
        peak_mib=peak_mib,
        clips_per_second=batch / median,
        gflops_per_second=gflops_per_view * batch / median,
        videos_per_second=1 / per_video,
        videos_per_second_decoded=None if decode_seconds is None else 1 / (per_video + decode_seconds),
    )


def _peaks(
    recipe: Recipe, configurations: Sequence[Configuration], device: torch.device, num_frames: int
) -> list[float | None]:
    """MiB at the most of each configuration, in a process of its own, with PyTorch and the network in it."""

    found: list[float | None] = []
    for configuration in configurations:
        job = (recipe, configuration, str(device), num_frames)
        ((_, answer),) = run_jobs(_peak, [job], num_workers=1)  # the largest memory of a process never falls
        if isinstance(answer, WorkerDied):
            raise InputError(f"{configuration.name}: its process died ({answer.cause}); is memory short?")
        found.append(answer)
    return found


def _peak(job: tuple[Recipe, Configuration, str, int]) -> float | None:

    recipe, configuration, name, num_frames = job
    device = torch.device(name)
    run = _Run(recipe, None, configuration, device, num_frames)
    run.once()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(kib) / 1024
