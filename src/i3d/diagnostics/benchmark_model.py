"""`i3d benchmark model`: the cost, speed and memory of a network.

Each round runs every configuration once, so that a disturbance of the machine affects all of them.
Letters in names: V views, T frames, H rows, W columns, C channels.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from i3d.data.loading.view_stream import View, ViewSampler
from i3d.diagnostics.model_description import recipe_and_weights
from i3d.errors import InputError
from i3d.exporting.engines import create_engine
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import forward
from i3d.models.factory import build_network
from i3d.models.flops import network_cost, view_gflops, view_shape
from i3d.recipes.protocols import with_protocol
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol
from i3d.utils.arguments import checks_types
from i3d.utils.cores import num_cores
from i3d.utils.device import ComputeConfig, Precision, Runtime, arithmetic_of, pick_device, processor
from i3d.utils.process_pool import WorkerDied, run_jobs
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.writer import write_video
from i3d.weights.load import Weights

MIN_ROUNDS: Final = 3
CLIP_FRAMES: Final = 250  # of the rendered video to decode: 10 s at 25 fps
CLIP_HEIGHT, CLIP_WIDTH = 256, 340  # the usual size of Kinetics videos


@dataclass(frozen=True)
class Configuration:
    """One way to run the network."""

    precision: Precision = "fp32"
    batch: int = 1  # views that run at once
    threads: int = 0  # of the CPU; 0: PyTorch's default
    runtime: Runtime = "torch"

    @property
    def name(self) -> str:
        threads = f", {self.threads} threads" if self.threads else ""
        return f"{self.precision}, batch {self.batch}{threads}, {self.runtime}"


@dataclass(frozen=True)
class Speed:
    """The measurements of one configuration."""

    configuration: Configuration
    seconds: tuple[float, ...]  # of each round: one batch, from uint8 to logits
    times_the_first: float  # speed-up over the first configuration: the median over rounds
    peak_mib: float | None  # of a separate process (CUDA: of PyTorch's allocator); None: unknown on this system
    clips_per_second: float  # views per second
    gflops_per_second: float
    videos_per_second: float  # all views of the protocol, network alone
    videos_per_second_decoded: float | None  # with opening, decoding and resizing before, in sequence

    def quantile_ms(self, q: float) -> float:
        return float(1000 * np.quantile(self.seconds, q))


@dataclass(frozen=True)
class ModelSpeed:
    """The cost and the speeds of a network, and the machine that measured them."""

    name: str
    protocol: str
    parameters: int
    view_NCTHW: tuple[int, ...]
    gflops_per_view: float
    views_per_video: int
    gflops_per_video: float
    decode_ms: float | None  # of one video, all views: open, decode, resize; None for flow, which is not measured
    device: str
    cores: int
    torch: str
    speeds: tuple[Speed, ...]

    def as_dict(self) -> dict[str, Any]:
        """The measurements as JSON values."""
        values = asdict(self)
        for speed, row in zip(self.speeds, values["speeds"], strict=True):
            row |= {"p50_ms": speed.quantile_ms(0.5), "p95_ms": speed.quantile_ms(0.95)}
        return values


@checks_types
def measure_model(
    name: str,
    configurations: Sequence[Configuration],
    *,
    recipe: str | None = None,
    protocol: str | None = None,
    video: Path | None = None,
    device: str = "auto",
    rounds: int = 10,
    max_seconds: float = 60.0,
    on_progress: ProgressCallback = ignore_progress,
) -> ModelSpeed:
    """Measure a network, a recipe (with random weights), weights of the package or a weights file.

    `protocol`: a short name such as 10x3, by default the recipe's; `video`: the video to decode, by default a rendered
    one (10 s of 340 x 256). After a warm-up of each configuration there are `rounds`, or fewer (at least 3) after
    `max_seconds`. A configuration that this machine does not support is an InputError.
    """
    picked = pick_device(device)
    _check(configurations, picked, rounds)
    measured_recipe, weights = recipe_and_weights(name, recipe)
    measured_recipe = with_protocol(measured_recipe, protocol) if protocol else measured_recipe
    num_frames_V, decode_seconds = _decoding(measured_recipe, video)
    frames = max(num_frames_V)
    runs = [_Run(measured_recipe, weights, configuration, picked, frames) for configuration in configurations]
    _measure(runs, rounds, max_seconds, on_progress)
    per_view = view_gflops(measured_recipe, num_frames=frames)
    per_video = sum(view_gflops(measured_recipe, num_frames=number) for number in num_frames_V)
    batch, channels, _, height, width = view_shape(measured_recipe)
    return ModelSpeed(
        name=name,
        protocol=measured_recipe.protocol_line,
        parameters=network_cost(measured_recipe).parameters,
        view_NCTHW=(batch, channels, frames, height, width),
        gflops_per_view=per_view,
        views_per_video=len(num_frames_V),
        gflops_per_video=per_video,
        decode_ms=None if decode_seconds is None else 1000 * decode_seconds,
        device=torch.cuda.get_device_name(picked) if picked.type == "cuda" else f"{picked.type} ({processor()})",
        cores=num_cores(),
        torch=torch.__version__,
        speeds=_speeds(runs, gflops_per_view=per_view, gflops_per_video=per_video, decode_seconds=decode_seconds),
    )


class _Run:
    """A network in one configuration, with a batch of noise as input."""

    def __init__(
        self,
        recipe: Recipe,
        weights: Weights | None,
        configuration: Configuration,
        device: torch.device,
        num_frames: int,
    ) -> None:
        self.configuration, self.device, self.recipe, self.num_frames = configuration, device, recipe, num_frames
        self.seconds: list[float] = []  # of each round
        _, channels, _, height, width = view_shape(recipe)
        compute = ComputeConfig(precision=configuration.precision, runtime=configuration.runtime)
        torch.manual_seed(0)
        with _threads(configuration.threads):  # an exported file is opened with them
            if weights is None:
                self._engine = Engine.create(build_network(recipe.network).eval(), compute, device=device)
            else:
                self._engine = create_engine(weights, compute, device=device)
        if self._engine.number_format == "int8":  # a file in int8 runs so with any precision
            self.configuration = replace(configuration, precision="int8")
        needs_weights = weights is not None and (weights.exported is not None or self.configuration.precision == "int8")
        self.exported = weights if needs_weights else None
        shape = (configuration.batch, max(num_frames, self._engine.min_frames), height, width, channels)
        self._clips_VTHWC = torch.randint(0, 256, shape, dtype=torch.uint8, device=self._engine.device)

    def once(self) -> float:
        """The seconds of one batch, from uint8 to logits on the CPU."""
        with _threads(self.configuration.threads):
            start = time.perf_counter()
            try:
                forward(self._engine, self._clips_VTHWC, self.recipe.preprocessing).cpu()
            except torch.OutOfMemoryError as error:
                raise InputError(
                    f"{self.configuration.name}: out of memory on {self.device}; use a smaller --batch"
                ) from error
            return time.perf_counter() - start


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Inside the block, PyTorch computes in so many threads; 0: as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(number or threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _measure(runs: Sequence[_Run], rounds: int, max_seconds: float, on_progress: ProgressCallback) -> None:
    """Append the seconds of each round to each run, after a warm-up."""
    steps, total, start = count(1), len(runs) * (rounds + 1), 0.0
    on_progress(Progress("measure", 0, total, "run"))
    for number in range(rounds + 1):
        for run in runs:
            seconds = run.once()
            if number > 0:
                run.seconds.append(seconds)
            on_progress(Progress("measure", next(steps), total, "run"))
        if number == 0:
            start = time.perf_counter()
        elif number >= MIN_ROUNDS and time.perf_counter() - start > max_seconds:
            break


def _check(configurations: Sequence[Configuration], device: torch.device, rounds: int) -> None:
    if not configurations or rounds < 1:
        raise InputError("a benchmark needs at least one configuration and one round")
    for c in configurations:
        if c.precision != "int8":
            arithmetic_of(c.precision, device)
        if c.batch < 1 or c.threads < 0:
            raise InputError(f"batch {c.batch}, threads {c.threads}: must be at least 1 and 0")


def _decoding(recipe: Recipe, video: Path | None) -> tuple[tuple[int, ...], float | None]:
    """The frames of each view of a video, and the shortest of three decoding times in seconds; of flow None."""
    protocol = recipe.protocol
    if recipe.network.in_channels != 3:
        if isinstance(protocol, ClipProtocol):
            return (protocol.clip_len,) * protocol.num_views, None
        return (protocol.max_window_frames,), None
    with tempfile.TemporaryDirectory() as folder:
        path = video or render_clip(Path(folder) / "rendered.mp4")
        sampler, seconds = ViewSampler(protocol, recipe.preprocessing, None), []
        for _ in range(3):
            start = time.perf_counter()
            num_frames_V = tuple(len(view.clip_THWC) for view in sampler.views(path) if isinstance(view, View))
            seconds.append(time.perf_counter() - start)
    return num_frames_V, min(seconds)


def render_clip(path: Path) -> Path:
    """Render 10 s of a moving texture."""
    rng = np.random.default_rng(0)
    small_HWC = rng.integers(0, 256, (CLIP_HEIGHT // 8, CLIP_WIDTH // 8 + 1, 3), dtype=np.uint8)
    texture_HWC = small_HWC.repeat(8, axis=0).repeat(8, axis=1)[:, :CLIP_WIDTH]
    frames = (np.ascontiguousarray(np.roll(texture_HWC, 2 * t, axis=1)) for t in range(CLIP_FRAMES))
    write_video(path, frames, fps=Fraction(25))
    return path


def _speeds(
    runs: Sequence[_Run], *, gflops_per_view: float, gflops_per_video: float, decode_seconds: float | None
) -> tuple[Speed, ...]:
    """What follows from the seconds of each run."""
    first, speeds = runs[0], []
    for run in runs:
        batch, median = run.configuration.batch, float(np.median(run.seconds))
        per_video = gflops_per_video / gflops_per_view * median / batch
        faster = float(np.median(np.array(first.seconds) / np.array(run.seconds)))
        speed = Speed(
            configuration=run.configuration,
            seconds=tuple(run.seconds),
            times_the_first=faster * batch / first.configuration.batch,
            peak_mib=_peak_of_process(run),
            clips_per_second=batch / median,
            gflops_per_second=gflops_per_view * batch / median,
            videos_per_second=1 / per_video,
            videos_per_second_decoded=None if decode_seconds is None else 1 / (per_video + decode_seconds),
        )
        speeds.append(speed)
    return tuple(speeds)


def _peak_of_process(run: _Run) -> float | None:
    """The peak memory of a configuration in MiB: of a separate process with PyTorch and the network."""
    job = (run.recipe, run.exported, run.configuration, run.device, run.num_frames)
    ((_, answer),) = run_jobs(_peak, [job], num_workers=1)  # the peak of one process never falls
    if isinstance(answer, WorkerDied):
        raise InputError(f"{run.configuration.name}: its process died ({answer.cause}), perhaps for lack of memory")
    return answer


def _peak(job: tuple[Recipe, Weights | None, Configuration, torch.device, int]) -> float | None:
    run = _Run(*job)
    run.once()
    if run.device.type == "cuda":
        return torch.cuda.max_memory_allocated(run.device) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(kib) / 1024
