"""`i3d test`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import accepted, check_protocols, choices, refuse
from i3d.cli.streams import parse_fusion
from i3d.cli.usage import command
from i3d.errors import InputError
from i3d.recipes.names import MINDSPORE

FRAME_ORDERS: Final = ("shuffled", "reversed", "frozen", "occluded")


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """What is tested by which protocol, and where it is written."""

    data: Annotated[Path | None, shared.DATA] = None
    dataset: shared.DatasetOptions = shared.DatasetOptions()
    frames: shared.FrameOptions = shared.FrameOptions()

    recipe: shared.ModelRecipe = None

    protocols: Annotated[
        str | None, Parameter(alias="--protocol", validator=accepted(check_protocols, "--protocols"))
    ] = None
    """Clips x crops, e.g. 1x1,3x1,10x3, or mindspore, from one pass (default: the recipe's)."""

    average_clips: Literal["prob", "score", "none"] | None = None
    """Average probabilities (prob) or logits (score) of views; none saves each view's."""

    frame_order: str | None = None
    """Test motion use: shuffled, reversed, frozen, occluded, with commas."""

    settings: Annotated[list[str] | None, Parameter(name="--set")] = None
    """Setting of the recipe, e.g. protocol.clip_len=16. Repeatable."""

    max_bad: shared.Fraction = 0.01
    """Fraction of clips that may be unreadable: 5%, or 0."""

    bad_as_wrong: bool = False
    """Count unreadable clips as wrong."""

    out: Annotated[Path | None, shared.out_file(".json", ".yaml", ".yml", ".csv", resumes=True)] = None
    """Write scores and metrics to this .json, .yaml or .csv; resumes a test."""

    out_format: Annotated[Literal["i3d", "mmaction2"], Parameter(group=shared.OUTPUT)] = "i3d"
    """mmaction2: a list of score vectors in the order of the list."""

    report: shared.Report = None

    max_views: Annotated[int | None, Parameter(group=shared.SPEED), shared.COUNT] = None
    """Views that run at once (default: 256 frames); fewer take less memory."""

    streams: shared.StreamOptions = shared.StreamOptions()
    fusion: shared.FusionOptions = shared.FusionOptions()
    compute: shared.ComputeOptions = shared.ComputeOptions()
    workers: shared.Workers = 2
    seed: shared.Seed = 0
    force: shared.Force = False
    json: shared.Json = False

    @property
    def saves_views(self) -> bool:
        return self.average_clips == "none"

    @property
    def protocol_names(self) -> list[str]:
        return [name.strip() for name in self.protocols.split(",")] if self.protocols is not None else []

    @property
    def frame_orders(self) -> list[Literal["shuffled", "reversed", "frozen", "occluded"]]:
        return choices("--frame-order", self.frame_order, FRAME_ORDERS) if self.frame_order is not None else []


def evaluate(
    model: Annotated[
        shared.FileOrName,
        shared.WEIGHTS,
        Parameter(help="Shipped weights by name, a weights file, or the folder of a run."),
    ],
    /,
    *,
    options: TestOptions = TestOptions(),
) -> int:
    """Test a model on labelled clips.

    Every clip is scored as `i3d predict` scores it. Without --split, the split test is used, else val, else all. Under
    torchrun each process scores a part. With --flow-model, the scores of RGB and flow are fused, and those of each
    are saved beside --out. --frame-order repeats the test with the frames of each view shuffled (by --seed), reversed,
    or the middle one repeated. The accuracy that is lost comes from frame order, direction of time, and motion.
    "occluded" hides one part of the middle view after the other. Exit code 3: some clip could not be read (under
    torchrun 0, with a warning).

    Without --data, the folder of a fine-tuning is tested on its held-out clips; --root gives their new folder.

    Examples:
      i3d test my
      i3d test run --data actions/clips.csv --out result.json --report report.html
      i3d test run/best.safetensors --data actions/clips.csv --protocols 1x1,3x1,10x1
      i3d test run/best.safetensors --data actions/clips.csv --frame-order shuffled,reversed,frozen
      i3d test epoch_100.pth --recipe i3d_r50_32x2x1_100e_kinetics400_rgb --data val.txt --classes kinetics400
    """
    if options.settings is not None:
        from i3d.recipes.io import check_settings  # with all recipes, which takes a moment

        check_settings(options.settings)
    fusion = parse_fusion(options.fusion, options.streams, may_sweep=True)
    if options.saves_views and (options.out is None or options.report is not None):
        raise InputError("--average-clips none: saves the logits of every view; give --out, and leave --report out")
    if options.frame_orders:
        _check_frame_orders(options)
        return run.test.run_frame_orders(model, run.test.with_data_of_run(model, options))
    if options.seed and MINDSPORE not in options.protocol_names:
        drawn = f"--frame-order shuffled and --protocols {MINDSPORE}"
        raise InputError(f"--seed: is for {drawn}; a test draws nothing else")
    return run.test.run_test(model, run.test.with_data_of_run(model, options), fusion)


def _check_frame_orders(options: TestOptions) -> None:
    saved = {"--out": options.out, "--report": options.report}
    refuse(saved, ": does not go with --frame-order; leave it out, and save what --json prints")
    given = {
        "--out-format": options.out_format != "i3d",
        "--average-clips": options.average_clips,
        "--set": options.settings,
        "--streams": options.streams.streams,
        "--flow-model": options.streams.flow_model,
        "--flow-method": options.streams.flow_method,
        "--bad-as-wrong": options.bad_as_wrong,
    }
    refuse(given, ": does not go with --frame-order; leave it out")
    if len(options.protocol_names) > 1:
        raise InputError("--protocols: --frame-order takes one protocol; name one")


app = command(evaluate, "test")
