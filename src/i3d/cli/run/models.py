"""`i3d models show`, `i3d convert` and `i3d doctor`."""

from pathlib import Path

from i3d.cli.output import print_conversion as print_conversion
from i3d.cli.output import print_description as print_description
from i3d.data.labels import read_labels
from i3d.diagnostics.doctor import check_installation
from i3d.diagnostics.model_description import describe_model
from i3d.weights.convert import Conversion, convert

__all__ = ["check_installation", "convert_weights", "describe_model", "print_conversion", "print_description"]


def convert_weights(
    source: str,
    target: Path,
    *,
    recipe: str | None,
    labels: Path | None,
    in_channels: int | None,
    partial: bool,
    force: bool,
) -> Conversion:
    """Convert a checkpoint, with the class names of a file."""
    names = None if labels is None else read_labels(labels)
    return convert(source, target, recipe=recipe, labels=names, in_channels=in_channels, partial=partial, force=force)
