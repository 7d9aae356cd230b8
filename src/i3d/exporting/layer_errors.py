"""Which layers add most to the error of an int8 graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from i3d.exporting.quantized import layers_of
from i3d.models.engine.runtimes.openvino import shared_core
from i3d.utils.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    import openvino

WINDOWS: Final = 4


def rank_layers(
    model: openvino.Model,
    quantized: openvino.Model,
    layers: Sequence[str],
    windows: Iterable[npt.NDArray[Any]],
    on_progress: ProgressCallback,
) -> list[str]:
    """The layers, by the names of their weights, from the one that adds most to the error to the one that adds least.

    What a layer adds is the relative error of its output less that of its input, averaged over a few windows.
    """
    ends = {name: (layer.input_value(0).get_node(), layer) for name, layer in layers_of(model).items()}
    ends = {name: ends[name] for name in layers}
    places = list(dict.fromkeys(op.get_friendly_name() for pair in ends.values() for op in pair))
    exact, rounded = (_with_outputs(graph, places) for graph in (model, quantized))
    errors: dict[str, list[float]] = {place: [] for place in places}
    on_progress(Progress("find the worst layers", 0, WINDOWS, "window"))
    for number, window in enumerate(islice(windows, WINDOWS), start=1):
        for place, one, other in zip(places, exact(window), rounded(window), strict=True):
            size = float(np.linalg.norm(one)) or 1.0
            errors[place].append(float(np.linalg.norm(other - one)) / size)
        on_progress(Progress("find the worst layers", number, WINDOWS, "window"))
    mean = {place: float(np.mean(values)) for place, values in errors.items()}

    def added(name: str) -> float:
        before, after = (mean[op.get_friendly_name()] for op in ends[name])
        return after - before

    return sorted(layers, key=added, reverse=True)


def _with_outputs(model: openvino.Model, places: Sequence[str]) -> Callable[[npt.NDArray[Any]], list[Any]]:
    """A graph that returns the outputs of some operations."""
    from openvino import Model

    copy = model.clone()
    ops = {op.get_friendly_name(): op for op in copy.get_ops()}
    outputs = Model([ops[place].output(0) for place in places], copy.get_parameters())
    request = shared_core().compile_model(outputs, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    return lambda window: [np.array(values) for values in request.infer([window]).to_tuple()]
