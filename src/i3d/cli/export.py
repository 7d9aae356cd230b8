"""`i3d export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import i3d
from i3d.cli import options as shared
from i3d.cli import output
from i3d.cli.messages import if_interrupted
from i3d.cli.output_files import OutputFile
from i3d.cli.usage import command


@Parameter(name="*")
@dataclass(frozen=True)
class ExportOptions:
    """What the file takes and returns."""

    recipe: shared.ModelRecipe = None

    classes: Annotated[shared.Classes, Parameter(group=shared.MODEL)] = None
    """Class names: a file, kinetics400, kinetics600, ucf101 or hmdb51."""

    input_dtype: Annotated[Literal["float32", "uint8"], Parameter(name="--input", group=shared.COMPUTED)] = "float32"
    """float32: normalised clips (N, C, T, H, W); uint8: clips (N, T, H, W, C), normalised inside."""

    softmax: Annotated[bool, Parameter(group=shared.COMPUTED)] = False
    """Add the probabilities as the first output."""

    frames: Annotated[int | None, Parameter(group=shared.COMPUTED), shared.whole(1, 10_000)] = None
    """Frames of a clip (default: those of the recipe's clips, or 64)."""

    dynamic_frames: Annotated[bool, Parameter(group=shared.COMPUTED)] = False
    """Clips of any number of frames, as windows need."""

    int8: Annotated[bool, Parameter(group=shared.COMPUTED)] = False
    """Layers in int8, for an .xml; needs --calibrate and `pip install 'i3d[int8]'`."""

    calibrate: Annotated[shared.FileOrName | None, Parameter(group=shared.COMPUTED)] = None
    """Videos of your kind that calibrate and check int8: a folder, a pattern or a list."""

    calibration_windows: Annotated[int | None, Parameter(group=shared.COMPUTED), shared.whole(2, 10_000)] = None
    """Windows of these videos: a third calibrates, the others check (default: 300)."""

    min_agreement: Annotated[shared.Fraction | None, Parameter(group=shared.COMPUTED)] = None
    """Windows that must get the class of float32 in int8, else nothing is saved (default: 0.98)."""

    seed: Annotated[int | None, Parameter(group=shared.COMPUTED), shared.whole(0, 2**63 - 1)] = None
    """Random seed of the videos that calibrate (default: 0)."""

    force: shared.Force = False
    json: shared.Json = False


def export(
    model: Annotated[
        shared.FileOrName,
        shared.WEIGHTS,
        Parameter(help="Weights: shipped ones by name, a file, or the folder of a run."),
    ],
    out: Annotated[
        Path,
        Parameter(
            group=shared.OUTPUT,
            validator=OutputFile("", (".onnx", ".xml", ".pt2")),
            help="The file to write: .onnx, .xml (OpenVINO IR, with a .bin), or .pt2 (torch.export).",
        ),
    ],
    /,
    *,
    options: ExportOptions = ExportOptions(),
) -> None:
    """Export a network to ONNX, OpenVINO IR or torch.export.

    The batch is of any size. Outputs are logits and the features before the classifier. Class names, preprocessing,
    protocol, licence and the hash of the weights are in the metadata. The file is compared with PyTorch on random and
    rendered clips, and not saved if it differs. `predict`, `test`, `features`, `timeline` and `benchmark model` take an
    .onnx and an .xml as they take weights. It needs `pip install 'i3d[export]'`.

    Examples:
      i3d export my my.onnx --input uint8
      i3d export inception_rgb_kinetics400 i3d.xml --input uint8 --dynamic-frames
      i3d predict clip.mp4 --model i3d.xml
      i3d export my my.xml --input uint8 --int8 --calibrate clips/
    """
    from i3d.data.class_files import class_names  # with NumPy

    with if_interrupted("nothing is saved", resumes=False), output.ProgressBar("load the network") as bar:
        result = i3d.export(
            model,
            out,
            recipe=options.recipe,
            labels=None if options.classes is None else class_names(options.classes),
            input_dtype=options.input_dtype,
            softmax=options.softmax,
            frames=options.frames,
            dynamic_frames=options.dynamic_frames,
            int8=options.int8,
            calibrate=options.calibrate,
            calibration_windows=options.calibration_windows,
            min_agreement=options.min_agreement,
            seed=options.seed,
            force=options.force,
            on_progress=bar,
        )
    output.print_result(result, output.print_export, json=options.json)


app = command(export, "export")
