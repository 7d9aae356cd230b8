"""From an exported float32 graph to an int8 one: calibrate, compare with float32, return layers to float32 if needed.

Letters in names: N windows, K classes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch

from i3d.errors import InputError, counted
from i3d.exporting.calibrate import calibrate
from i3d.exporting.formats import save_ir
from i3d.exporting.layer_errors import rank_layers
from i3d.exporting.quantized import Calibration, layers_of, quantize_graph
from i3d.exporting.windows import Windows, WindowSets, choose_windows
from i3d.models.engine.runtimes.exports import RunGraph, compile_graph
from i3d.models.engine.runtimes.openvino import shared_core
from i3d.models.engine.runtimes.task import LOGITS
from i3d.utils.device import has_bf16
from i3d.utils.progress import Progress, ProgressCallback
from i3d.weights.exported import ExportRecord, Int8Record, weights_of

if TYPE_CHECKING:
    import openvino

SEARCH_SECONDS: Final = 1200.0  # no layer returns to float32 after so long
ROUNDS: Final = 5  # of the measurement of speed, after one that warms up
Floats = npt.NDArray[np.float32]

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class Int8Options:
    """On what an int8 graph is calibrated and checked."""

    videos: str | os.PathLike[str]
    num_windows: int = 300  # a third calibrates, the others check
    min_agreement: float = 0.98
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.num_windows <= 10_000:
            raise InputError(f"calibration windows {self.num_windows}: write 2 to 10000")
        if not 0 <= self.min_agreement <= 1:
            raise InputError(f"min_agreement {self.min_agreement:g}: is not a fraction; write 0.98")


@dataclass(frozen=True)
class Comparison:
    """How far logits are from those of float32."""

    agreement: float
    mean_change: float
    largest_change: float


def make_int8(
    path: Path,
    record: ExportRecord,
    options: Int8Options,
    *,
    head_prefix: str,
    name: str,
    on_progress: ProgressCallback,
) -> ExportRecord:
    """Replace the float32 graph in an .xml by an int8 one, and return its record.

    An agreement with float32 below `min_agreement` is an InputError with the numbers, which `name` begins.
    """
    model = shared_core().read_model(path)
    recipe = record.card.recipe
    sets = choose_windows(options.videos, recipe, record.input, number=options.num_windows, seed=options.seed)
    classifier = classifier_of(model, head_prefix)
    calibration, number = calibrate(
        model, sets.calibrating, sets.calibrating.number, classifier=classifier, on_progress=on_progress
    )
    _report_missing(sets.calibrating, number, "calibrate")
    search = Search(model, calibration, sets, options, recipe.multi_label, on_progress)
    quantized, float_layers, result = search.run(name)
    check_agreement(result, options.min_agreement, len(search.reference_NK), name)
    speeds = measure_speeds(model, quantized, sets.checking, on_progress)
    int8 = Int8Record(
        layers=len(calibration.layers) - len(float_layers),
        float_layers=float_layers,
        windows_calibrating=number,
        windows_checking=len(search.reference_NK),
        frames=record.input.frames or sets.checking.sampler.protocol.clip_len,  # type: ignore[union-attr]
        is_held_out=sets.is_held_out,
        agreement=result.agreement,
        mean_change=result.mean_change,
        largest_change=result.largest_change,
        times_fp32=speeds["int8"] / speeds["fp32"],
        times_bf16=speeds["int8"] / speeds["bf16"] if "bf16" in speeds else None,
        seed=options.seed,
    )
    record = record.model_copy(update={"precision": "int8", "int8": int8})
    for file in (path, weights_of(path)):  # the float32 graph may be read from them still: no file is written over
        file.unlink()
    save_ir(quantized, path, record.metadata())
    return record


class Search:
    """The int8 graph with the fewest layers in float32 that agrees with float32 on the checking windows."""

    def __init__(
        self,
        model: openvino.Model,
        calibration: Calibration,
        sets: WindowSets,
        options: Int8Options,
        multi_label: bool,
        on_progress: ProgressCallback,
    ) -> None:
        self.model, self.calibration, self.sets, self.options = model, calibration, sets, options
        self.multi_label, self.on_progress = multi_label, on_progress
        self.reference_NK: Floats = np.zeros((0, 0), np.float32)

    def run(self, name: str) -> tuple[openvino.Model, tuple[str, ...], Comparison]:
        """The graph, the weights of its layers that stay in float32, and its comparison.

        If the agreement is too low, the layers that add most to the error return to float32: 1, 2, 4 and so on, until
        it is high enough, a quarter of the layers is left, or `SEARCH_SECONDS` have passed.
        """
        order: list[str] = []
        start, float_layers, layers = time.monotonic(), tuple[str, ...](), self.calibration.layers
        if not layers:
            raise InputError(f"{name}: NNCF finds no layer that can be int8; export it without --int8")
        for number in (2**power for power in count()):
            quantized = quantize_graph(self.model, self.calibration, float_layers=float_layers, name=name)
            result = self.compare(quantized)
            is_good = result.agreement >= self.options.min_agreement
            if is_good or number > 0.75 * len(layers) or time.monotonic() - start > SEARCH_SECONDS:
                return quantized, float_layers, result
            if not order:
                order = rank_layers(self.model, quantized, layers, self.sets.calibrating, self.on_progress)
            float_layers = tuple(order[:number])
            what = counted(number, "layer")
            log.info("agreement %.3f in int8: the %s with the largest error stay in float32", result.agreement, what)
        raise AssertionError

    def compare(self, quantized: openvino.Model) -> Comparison:
        """The comparison of an int8 graph with float32, whose logits are computed in the first one."""
        runs = {"int8": compile_graph(quantized, "int8")}
        if not len(self.reference_NK):
            runs["fp32"] = compile_graph(self.model, "fp32")
        logits = run_windows(runs, self.sets.checking, self.on_progress)
        if "fp32" in logits:
            self.reference_NK = logits["fp32"]
            _report_missing(self.sets.checking, len(self.reference_NK), "check")
        return compare_logits(logits["int8"], self.reference_NK, multi_label=self.multi_label)


def classifier_of(model: openvino.Model, head_prefix: str) -> str:
    """The name of the classifier's weights in a graph."""
    names = [name for name in layers_of(model) if name.startswith(f"net.{head_prefix}")]
    if len(names) != 1:
        raise InputError(f"the graph has {len(names)} classifiers, not 1; file an issue with this line")
    return names[0]


def run_windows(
    runs: Mapping[str, RunGraph], windows: Iterable[npt.NDArray[Any]], on_progress: ProgressCallback
) -> dict[str, Floats]:
    """The logits (N, K) of several graphs for the same windows."""
    logits: dict[str, list[Floats]] = {name: [] for name in runs}
    total = windows.number if isinstance(windows, Windows) else None
    on_progress(Progress("check int8", 0, total, "window"))
    for number, window in enumerate(windows, start=1):
        for name, run in runs.items():
            logits[name].append(run(window)[LOGITS])
        on_progress(Progress("check int8", number, total, "window"))
    return {name: np.concatenate(rows) if rows else np.zeros((0, 0), np.float32) for name, rows in logits.items()}


def compare_logits(logits_NK: Floats, reference_NK: Floats, *, multi_label: bool) -> Comparison:
    """Logits compared with those of float32. Ones that are not finite agree with nothing."""
    if not np.isfinite(logits_NK).all():
        return Comparison(0.0, float("inf"), float("inf"))
    best_N = reference_NK.argmax(axis=1)
    to_probabilities: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid if multi_label else lambda x: x.softmax(1)
    one_NK, other_NK = (to_probabilities(torch.from_numpy(each)).numpy() for each in (logits_NK, reference_NK))
    change_NK = np.abs(one_NK - other_NK)
    return Comparison(
        float((logits_NK.argmax(axis=1) == best_N).mean()),
        float(change_NK[np.arange(len(best_N)), best_N].mean()),
        float(change_NK.max()),
    )


def check_agreement(result: Comparison, least: float, number: int, name: str) -> None:
    """An InputError with the numbers if too few windows have the same best class as in float32."""
    if result.agreement < least:
        share = f"in int8 {result.agreement:.3f} of {number} windows have the class of float32"
        change = f"a probability changes by up to {result.largest_change:.2f}"
        todo = "calibrate it on more videos of your own kind, or lower --min-agreement"
        raise InputError(f"{name}: {share}, {least:g} are required, and {change}; nothing is written; {todo}")


def measure_speeds(
    model: openvino.Model, quantized: openvino.Model, windows: Windows, on_progress: ProgressCallback
) -> dict[str, float]:
    """Windows per second in fp32, bf16 (where the processor has it) and int8, measured in turns: medians."""
    window = next(iter(windows))
    runs = {"fp32": compile_graph(model, "fp32"), "int8": compile_graph(quantized, "int8")}
    if has_bf16():
        runs["bf16"] = compile_graph(model, "bf16")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        on_progress(Progress("measure speed", number, ROUNDS + 1, "round"))
        for name, run in runs.items():
            start = time.perf_counter()
            run(window)
            seconds[name].append(time.perf_counter() - start)
    return {name: 1 / float(np.median(taken[1:])) for name, taken in seconds.items()}


def _report_missing(windows: Windows, number: int, what: str) -> None:
    """A warning where there are fewer windows than asked for; an InputError where there is none."""
    if number == 0:
        raise InputError(f"{what}: no video to {what} int8 with can be read; add videos")
    if number < windows.number:
        log.warning("%s: %s of %d windows; the videos have no more", what, number, windows.number)
