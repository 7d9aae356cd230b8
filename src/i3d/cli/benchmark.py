"""`i3d benchmark ...`: how fast data is loaded, and how fast a network runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import App, Parameter

from i3d.cli import run
from i3d.cli.checks import check_dataset, check_output, choices, numbers
from i3d.cli.help import command
from i3d.cli.options import (
    AT_LEAST_0,
    AT_LEAST_1,
    COMPUTED,
    DEFAULT_RECIPE,
    INPUT,
    MODEL,
    OUTPUT,
    SPEED,
    ClipRecipe,
    Dataset,
    DatasetOptions,
    Device,
    Json,
    ModalityOptions,
    ModelRecipe,
    Precision,
    Runtime,
)

app = App(name="benchmark", help="Measure the speed of data loading or of a network.")


def data(
    source: Dataset,
    /,
    *,
    num_clips: Annotated[int, Parameter(group=COMPUTED, validator=AT_LEAST_1, help="Clips to load.")] = 64,
    phase: Annotated[
        Literal["train", "test"], Parameter(group=COMPUTED, help="Random clips (train), or all views of a test.")
    ] = "train",
    recipe: ClipRecipe = DEFAULT_RECIPE,
    batch_size: Annotated[int, Parameter(group=SPEED, validator=AT_LEAST_1, help="Clips of a batch.")] = 8,
    workers: Annotated[
        str, Parameter(group=SPEED, help="Numbers of worker processes to measure, with commas.")
    ] = "1,2",
    dataset: DatasetOptions = DatasetOptions(),
    frames: ModalityOptions = ModalityOptions(),
    json: Json = False,
) -> None:
    """Measure how fast clips are loaded, and which stage limits it.

    Examples:
      i3d benchmark data train.csv --workers 1,4
    """
    check_dataset(source)
    counts = numbers("--workers", workers, int)
    run.benchmark.run_data(
        source,
        dataset,
        frames,
        num_clips=num_clips,
        phase=phase,
        recipe=recipe,
        batch_size=batch_size,
        workers=counts,
        json=json,
    )


@Parameter(name="*", group=SPEED)
@dataclass(frozen=True)
class Configurations:
    """What is measured; several values with commas are measured in turn."""

    precision: str = "fp32"
    """fp32, bf16, fp16 or auto, with commas."""

    batch_size: str = "1"
    """Views that run at once, with commas."""

    threads: str = "0"
    """Threads of the processor, with commas (0: all cores)."""

    runtime: str = "torch"
    """torch, compile or openvino, with commas."""

    rounds: Annotated[int, Parameter(validator=AT_LEAST_1)] = 10
    """Measurements of each, after a warm-up."""

    max_seconds: Annotated[float, Parameter(validator=AT_LEAST_0)] = 60.0
    """Stop after so long, but not before 3 rounds."""

    device: Device = "auto"
    """auto, cpu, cuda, cuda:N, mps or npu."""

    @property
    def axes(self) -> tuple[list[Precision], list[int], list[int], list[Runtime]]:
        """The values of precision, batch size, threads and runtime."""
        return (
            choices("--precision", self.precision, get_args(Precision)),
            numbers("--batch-size", self.batch_size, int),
            numbers("--threads", self.threads, int),
            choices("--runtime", self.runtime, get_args(Runtime)),
        )


def model(
    name: Annotated[str, Parameter(group=MODEL, help="A network, a recipe, shipped weights or a weights file.")],
    /,
    *,
    recipe: ModelRecipe = None,
    protocol: Annotated[
        str | None, Parameter(group=COMPUTED, help="Clips x crops of a video, e.g. 10x3 (default: the recipe's).")
    ] = None,
    video: Annotated[
        Path | None, Parameter(group=INPUT, help="Video to decode (default: 10 s of 340 x 256, rendered).")
    ] = None,
    configurations: Configurations = Configurations(),
    out: Annotated[Path | None, Parameter(group=OUTPUT, alias="-o", help="Write the result to this .json too.")] = None,
    json: Json = False,
) -> None:
    """Measure the cost, latency and throughput of a network.

    Several precisions, batch sizes, threads and runtimes are measured in turn, round by round, so that they compare.

    Examples:
      i3d benchmark model r50 --precision fp32,auto --batch-size 1,4
    """
    check_output("--out", out, (".json",))
    _ = configurations.axes
    if video is not None:
        check_dataset(video, "--video ")
    run.benchmark.run_model(name, configurations, recipe=recipe, protocol=protocol, video=video, out=out, json=json)


for _function in (data, model):
    app.command(command(_function, _function.__name__))
