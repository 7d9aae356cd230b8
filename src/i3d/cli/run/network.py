"""The one network of a command."""

from i3d.cli.options import ComputeOptions, ModelOptions
from i3d.cli.run.setup import compute_config, warn_if_incomplete
from i3d.data.class_files import class_names
from i3d.errors import InputError
from i3d.inference.predictor import Predictor
from i3d.recipes.settings import FlowMethod
from i3d.weights.pretrained import DEFAULT


def one_network(
    model: ModelOptions, classes: str | None, flow_method: FlowMethod | None, compute: ComputeOptions
) -> Predictor:
    """The network of these options. A method of flow for a network of RGB is an InputError."""
    predictor = Predictor(
        model.model or DEFAULT,
        recipe=model.recipe,
        labels=None if classes is None else class_names(classes),
        compute=compute_config(compute),
        flow=flow_method,
    )
    if flow_method is not None and predictor.flow is None:
        raise InputError(f"--flow-method {flow_method}: the network takes RGB; leave it out")
    warn_if_incomplete(predictor.weights)
    return predictor
