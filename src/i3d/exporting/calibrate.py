"""Calibration by NNCF: between which operations of a graph values are rounded, and from which ranges."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from i3d.errors import InputError
from i3d.exporting.quantized import ActivationRange, Calibration, layers_of, reached_layers
from i3d.models.engine.runtimes.openvino import shared_core
from i3d.utils.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    import openvino


def check_nncf(what: str) -> None:
    """An InputError if NNCF is not installed. `what` begins it."""
    if importlib.util.find_spec("nncf") is None:
        raise InputError(f"{what}: needs nncf; pip install 'i3d[int8]'")


def calibrate(
    model: openvino.Model, windows: Iterable[Any], number: int, *, classifier: str, on_progress: ProgressCallback
) -> tuple[Calibration, int]:
    """The ranges of the values of a float32 graph on some windows, and how many there were.

    The layer `classifier` (by the name of its weights) stays in float, as does all that leads to it alone.
    """
    shared_core()  # without the telemetry of OpenVINO, which NNCF would use
    import nncf

    nncf.set_log_level(logging.ERROR)
    source = _Counted(windows, number, on_progress)
    layers = layers_of(model)
    with contextlib.redirect_stdout(io.StringIO()):  # its own progress bars
        quantized = nncf.quantize(
            model.clone(),
            nncf.Dataset(source),
            subset_size=number,
            ignored_scope=nncf.IgnoredScope(names=[layers[classifier].get_friendly_name()]),
            target_device=nncf.TargetDevice.CPU,
            # Changed biases make the network of the package worse on real clips: only ranges are used.
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
        )
    ranges = tuple(_ranges(model, quantized, classifier))
    return Calibration(classifier=classifier, ranges=ranges), source.number


class _Counted:
    """The windows, with a report after each."""

    def __init__(self, windows: Iterable[Any], total: int, on_progress: ProgressCallback) -> None:
        self.windows, self.total, self.number = windows, total, 0
        self._on_progress, self._stdout = on_progress, sys.stdout

    def on_progress(self, progress: Progress) -> None:
        """Report with the standard output of the caller."""
        with contextlib.redirect_stdout(self._stdout):
            self._on_progress(progress)

    def __iter__(self) -> Iterator[Any]:
        self.on_progress(Progress("calibrate", 0, self.total, "window"))
        for number, window in enumerate(self.windows, start=1):
            self.number = max(self.number, number)
            yield window
            self.on_progress(Progress("calibrate", number, self.total, "window"))


def _ranges(model: openvino.Model, quantized: openvino.Model, classifier: str) -> Iterator[ActivationRange]:
    """The roundings of activations in NNCF's graph that lead to a layer other than the classifier."""
    ops = {op.get_friendly_name(): op for op in model.get_ops()}
    for op in quantized.get_ordered_ops():
        if op.get_type_name() != "FakeQuantize" or op.input_value(0).get_node().get_type_name() == "Constant":
            continue
        targets = op.output(0).get_target_inputs()
        consumers = tuple(sorted(name for t in targets if (name := t.get_node().get_friendly_name()) in ops))
        layers = reached_layers([ops[name] for name in consumers])
        if set(layers) <= {classifier}:
            continue
        low, high = (op.input_value(k).get_node().data for k in (1, 2))
        yield ActivationRange(
            source=op.input_value(0).get_node().get_friendly_name(),
            consumers=consumers,
            layers=layers,
            low=float(np.min(low)),
            high=float(np.max(high)),
        )
