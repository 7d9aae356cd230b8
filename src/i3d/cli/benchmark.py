"""`i3d benchmark ...`: how fast data is loaded, and how fast a network runs."""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import App, Parameter

from i3d import diagnostics
from i3d.cli import options as shared
from i3d.cli import output, run
from i3d.cli.checks import accepted, check_network, check_protocols, choices, exists, numbers
from i3d.cli.limits import BATCH, WEEK, WORKERS, Within
from i3d.cli.messages import if_interrupted, log
from i3d.cli.usage import command
from i3d.utils.atomic_files import write_atomically

app = App(name="benchmark", help="Measure the speed of data loading or of a network.")


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True)
class LoadingOptions:
    """Which clips are loaded, and how."""

    num_clips: Annotated[int, shared.COUNT] = 64
    """Clips to load."""

    phase: Literal["train", "test"] = "train"
    """Random clips (train), or all views of a test."""

    recipe: shared.ClipRecipe = shared.DEFAULT_RECIPE

    batch_size: Annotated[int, Parameter(group=shared.SPEED), shared.whole(1, 65_536)] = 8
    """Clips of a batch."""

    workers: Annotated[str, Parameter(group=shared.SPEED)] = "1,2"
    """Numbers of worker processes to measure, with commas."""

    dataset: shared.DatasetOptions = shared.DatasetOptions()
    frames: shared.ModalityOptions = shared.ModalityOptions()
    json: shared.Json = False


def data(source: shared.Dataset, /, *, options: LoadingOptions = LoadingOptions()) -> None:
    """Measure how fast clips are loaded, and which stage limits it.

    Examples:
      i3d benchmark data train.csv --workers 1,4
    """
    workers = tuple(numbers("--workers", options.workers, int, WORKERS))
    annotations = run.setup.read_dataset(source, options.dataset, need_labels=False)
    clips = run.setup.clip_dataset(annotations, options.phase, options.recipe, options.frames)
    batch_size = options.batch_size if options.phase == "train" else 1
    with if_interrupted("nothing is saved", resumes=False), output.ProgressBar("load clips") as bar:
        speed = diagnostics.measure_data(
            clips, num_clips=options.num_clips, batch_size=batch_size, workers=workers, on_progress=bar
        )
    for reason in speed.bad:
        log.warning(reason)
    output.print_result(speed, output.print_data_speed, json=options.json)


@Parameter(name="*", group=shared.SPEED)
@dataclass(frozen=True)
class ModelSpeedOptions:
    """What is measured; several values with commas are measured in turn."""

    recipe: shared.ModelRecipe = None

    protocol: Annotated[
        str | None, Parameter(group=shared.COMPUTED, validator=accepted(check_protocols, "--protocol"))
    ] = None
    """Clips x crops of a video, e.g. 10x3 (default: the recipe's)."""

    video: Annotated[Path | None, Parameter(group=shared.INPUT, validator=exists("--video"))] = None
    """Video to decode (default: 10 s of 340 x 256, rendered)."""

    precision: str = "fp32"
    """fp32, bf16, fp16 or auto, with commas."""

    batch_size: str = "1"
    """Views that run at once, with commas."""

    threads: str = "0"
    """Threads of the processor, with commas (0: all cores)."""

    runtime: str = "torch"
    """torch, compile or openvino, with commas."""

    rounds: Annotated[int, shared.COUNT] = 10
    """Measurements of each, after a warm-up."""

    max_seconds: Annotated[float, Parameter(validator=Within(0, WEEK))] = 60.0
    """Stop after so long, but not before 3 rounds."""

    device: shared.Device = "auto"

    out: Annotated[Path | None, shared.out_file(".json")] = None
    """Write the result to this .json too."""

    force: shared.Force = False
    json: shared.Json = False


def model(
    name: Annotated[
        shared.FileOrName,
        Parameter(group=shared.MODEL, help="A network, a recipe, weights by name or file, or the folder of a run."),
    ],
    /,
    *,
    options: ModelSpeedOptions = ModelSpeedOptions(),
) -> None:
    """Measure the cost, latency and throughput of a network.

    Several precisions, batch sizes, threads and runtimes are measured in turn, round by round, so that they compare.

    Examples:
      i3d benchmark model r50 --precision fp32,auto --batch-size 1,4
    """
    check_network(name, options.recipe)
    axes = [
        choices("--precision", options.precision, get_args(shared.InferencePrecision)),
        numbers("--batch-size", options.batch_size, int, BATCH),
        numbers("--threads", options.threads, int, WORKERS),
        choices("--runtime", options.runtime, get_args(shared.Runtime)),
    ]
    configurations = [diagnostics.Configuration(*values) for values in product(*axes)]
    with if_interrupted("nothing is saved", resumes=False), output.ProgressBar("build networks") as bar:
        speed = diagnostics.measure_model(
            name,
            configurations,
            recipe=options.recipe,
            protocol=options.protocol,
            video=options.video,
            device=options.device,
            rounds=options.rounds,
            max_seconds=options.max_seconds,
            on_progress=bar,
        )
    if options.out is not None:
        write_atomically(options.out, f"{json.dumps(speed.as_dict(), indent=2)}\n".encode())
    output.print_result(speed, output.print_model_speed, json=options.json)


for _function in (data, model):
    app.command(command(_function, _function.__name__))
