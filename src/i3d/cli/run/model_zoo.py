"""`i3d models`: without PyTorch, from stored costs."""

from i3d.cli.output import print_catalogue as print_catalogue
from i3d.diagnostics.model_zoo import list_models as list_models

__all__ = ["list_models", "print_catalogue"]
