"""An int8 graph: a float32 graph of OpenVINO whose layers get int8 weights, and inputs rounded to 256 levels.

OpenVINO runs a layer in int8 where its weights are int8 and its input comes through a FakeQuantize operation. All other
layers stay in floating point.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from i3d.errors import InputError
from i3d.recipes.settings import Settings

if TYPE_CHECKING:
    import openvino

LEVELS: Final = 256
MAX_WEIGHT: Final = 127  # of symmetric int8
LAYERS: Final = ("Convolution", "MatMul")


class ActivationRange(Settings):
    """Where the values between two operations are rounded, and from which range."""

    source: str  # the operation whose output is rounded
    consumers: tuple[str, ...]  # the operations that take it rounded
    layers: tuple[str, ...]  # names of the weights of the layers that it reaches
    low: float
    high: float


class Calibration(Settings):
    """What makes an int8 graph of a float32 one."""

    classifier: str  # the name of its weights, which stay in float
    ranges: tuple[ActivationRange, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the weights of the layers that can run in int8."""
        reached = dict.fromkeys(layer for one in self.ranges for layer in one.layers)
        return tuple(layer for layer in reached if layer != self.classifier)


def layers_of(model: openvino.Model) -> dict[str, Any]:
    """The layers with weights, by the name of their weights, in the order of the graph."""
    return {name: op for op in model.get_ordered_ops() if (name := _weights_name(op))}


def reached_layers(consumers: Iterator[Any] | list[Any]) -> tuple[str, ...]:
    """The first layers with weights on every path from some operations on, sorted by name."""
    names, visited, todo = set[str](), set[str](), list(consumers)
    while todo:
        op = todo.pop(0)
        if op.get_friendly_name() in visited:
            continue
        visited.add(op.get_friendly_name())
        if name := _weights_name(op):
            names.add(name)
        elif op.get_type_name() not in (*LAYERS, "FakeQuantize", "ShapeOf"):
            todo += [target.get_node() for output in op.outputs() for target in output.get_target_inputs()]
    return tuple(sorted(names))


def quantize_graph(
    model: openvino.Model, calibration: Calibration, *, float_layers: Collection[str] = (), name: str
) -> openvino.Model:
    """A copy of a float32 graph in which the calibrated layers run in int8, except `float_layers`.

    A calibration of another graph is an InputError, which `name` begins.
    """

    model = model.clone()
    ops = {op.get_friendly_name(): op for op in model.get_ops()}
    layers = layers_of(model)
    for one in calibration.ranges:
        consumers = [ops.get(consumer) for consumer in one.consumers]
        if one.source not in ops or None in consumers or reached_layers(list(consumers)) != one.layers:
            what = f"its calibration is of another graph ({one.source} differs)"
            raise InputError(f"{name}: {what}; calibrate it here, with i3d export --int8 --calibrate")
    for one in calibration.ranges:
        if set(one.layers) <= {*float_layers, calibration.classifier}:
            continue
        _round(ops[one.source].output(0), one)
    for layer in calibration.layers:
        _fold_bias(layers[layer])
        if layer not in float_layers:
            layers[layer].input(1).replace_source_output(_int8_weights(layers[layer]).output(0))
    model.validate_nodes_and_infer_types()
    return model


def _round(values: Any, one: ActivationRange) -> None:
    """Round values on their way to the consumers of a range.

    Behind padding that depends on the number of frames, as OpenVINO moves no rounding through that.
    """
    from openvino import opset13

    def is_padding(op: Any) -> bool:
        pads = (op.input_value(k).get_node().get_type_name() for k in (1, 2)) if op.get_type_name() == "Pad" else ()
        return any(kind != "Constant" for kind in pads)

    places: dict[str, tuple[Any, list[Any]]] = {}
    for target in values.get_target_inputs():
        op = target.get_node()
        if op.get_friendly_name() not in one.consumers:
            continue
        if is_padding(op):
            places[op.get_friendly_name()] = op.output(0), list(op.output(0).get_target_inputs())
        else:
            places.setdefault("", (values, []))[1].append(target)
    for name, (place, targets) in places.items():
        limits = [np.float32(one.low), np.float32(one.high)] * 2
        rounded = opset13.fake_quantize(place, *limits, LEVELS)
        rounded.set_friendly_name(f"{name or one.source}/rounded")
        for target in targets:
            target.replace_source_output(rounded.output(0))


def _fold_bias(layer: Any) -> None:
    """Give the bias of a convolution its final shape (1, C, 1, 1, 1).

    ONNX leaves that to the graph, where it depends on the rank of the output. OpenVINO resolves it for inputs of fixed
    sizes alone, and else runs the sum and all behind it in float32.
    """
    from openvino import opset13

    for target in layer.output(0).get_target_inputs():
        add = target.get_node()
        if add.get_type_name() != "Add":
            continue
        (other,) = (add.input(k) for k in range(2) if add.input_value(k).get_node() != layer)
        shaped = other.get_source_output().get_node()
        if shaped.get_type_name() == "Reshape" and shaped.input_value(0).get_node().get_type_name() == "Constant":
            bias_K = shaped.input_value(0).get_node().data
            rank = layer.output(0).get_partial_shape().rank.get_length()
            other.replace_source_output(opset13.constant(bias_K.reshape(1, -1, *[1] * (rank - 2))).output(0))


def _int8_weights(layer: Any) -> Any:
    """Weights as int8 times a scale for each output channel, which the graph multiplies."""
    from openvino import opset13

    constant = layer.input_value(1).get_node()
    weights = constant.data
    axis = 0 if layer.get_type_name() == "Convolution" or layer.get_attributes().get("transpose_b") else 1
    others = tuple(k for k in range(weights.ndim) if k != axis)
    scale = np.maximum(np.abs(weights).max(axis=others, keepdims=True), np.finfo(np.float32).tiny) / MAX_WEIGHT
    rounded = np.clip(np.rint(weights / scale), -MAX_WEIGHT, MAX_WEIGHT).astype(np.int8)
    stored = opset13.constant(rounded, name=f"{constant.get_friendly_name()}/int8")
    return opset13.multiply(opset13.convert(stored, "f32"), opset13.constant(scale.astype(np.float32)))


def _weights_name(op: Any) -> str:
    """The name of the weights of a layer; of another operation, an empty text."""
    if op.get_type_name() not in LAYERS:
        return ""
    constant = op.input_value(1).get_node()
    return str(constant.get_friendly_name()) if constant.get_type_name() == "Constant" else ""
