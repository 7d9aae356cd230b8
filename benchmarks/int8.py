"""int8 against float32 and bfloat16, with the network of the package, in OpenVINO.

    python benchmarks/int8.py benchmarks/results --speed               # windows of 64 frames, in turns
    python benchmarks/int8.py benchmarks/results --clips DIR --windows 300   # answers on real clips

The int8 graph is that of `--precision int8`: calibrated on rendered clips (`tools/make_int8.py`), none of which is in
DIR. `frames fixed` is the graph for windows of 64 frames alone, as `i3d export --frames 64 --int8` makes it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from result_files import result_path, write_csv

from i3d.data.formats.inputs import expand_inputs
from i3d.exporting.formats import GraphFile
from i3d.exporting.graph import build_graph, trace
from i3d.exporting.int8 import compare_logits
from i3d.exporting.quantized import quantize_graph
from i3d.exporting.shipped_int8 import graph_input, shipped_calibration
from i3d.exporting.windows import Windows, sampler_of
from i3d.models.engine.runtimes.exports import compile_graph
from i3d.models.engine.runtimes.task import LOGITS
from i3d.recipes.recipe import Recipe
from i3d.weights.load import build_model, load_weights
from i3d.weights.pretrained import DEFAULT

FRAMES: Final = 64
GFLOP: Final = 222.2  # of a window of 64 frames, by `i3d models show`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clips", nargs="*", default=[])
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--no-bf16", action="store_true")
    parser.add_argument("--name", default="clips")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, quantized, recipe, takes = graphs()
    if options.speed:
        path = result_path(options.out, "int8-speed", threads=options.threads).with_suffix(".csv")
        write_csv(path, speeds(model, quantized, options.rounds))
        print(path.read_text())
    if options.clips:
        path = result_path(options.out, f"int8-agreement-{options.name}", threads=options.threads).with_suffix(".csv")
        write_csv(path, agreement(model, quantized, recipe, takes, options))
        print(path.read_text())


def graphs() -> tuple[Any, Any, Recipe, Any]:
    """The float32 and the int8 graph, for any number of frames."""
    weights = load_weights(DEFAULT)
    net, recipe = build_model(weights), weights.card.recipe
    takes = graph_input(net, recipe)
    graph = build_graph(net, recipe.preprocessing, takes.dtype, softmax=False)
    with tempfile.TemporaryDirectory() as folder:
        file = GraphFile(trace(graph, takes), takes, graph.outputs)
        model = file.read_openvino(Path(folder) / "graph.onnx")
    return model, quantize_graph(model, shipped_calibration(weights), name="int8"), recipe, takes


def speeds(model: Any, quantized: Any, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds a window, and the median over the rounds of the ratio to bfloat16."""
    clip = np.random.default_rng(0).integers(0, 256, (1, FRAMES, 224, 224, 3), dtype=np.uint8)
    runs: dict[str, Callable[..., Any]] = {}
    for name, (graph, arithmetic, is_fixed) in {
        "bf16": (model, "bf16", False),
        "fp32": (model, "fp32", False),
        "int8": (quantized, "int8", False),
        "bf16, frames fixed": (model, "bf16", True),
        "int8, frames fixed": (quantized, "int8", True),
    }.items():
        copy = graph.clone()
        if is_fixed:
            copy.reshape({0: [-1, *clip.shape[1:]]})
        runs[name] = compile_graph(copy, arithmetic)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run(clip)
            seconds[name].append(time.perf_counter() - start)
    taken = {name: np.array(each[2:]) for name, each in seconds.items()}
    return [
        {
            "graph": name,
            "ms_median": round(1000 * float(np.median(each))),
            "ms_fastest": round(1000 * float(each.min())),
            "gops_fastest": round(GFLOP / float(each.min())),
            "times_bf16": round(float(np.median(taken["bf16"] / each)), 2),
            "times_fp32": round(float(np.median(taken["fp32"] / each)), 2),
        }
        for name, each in taken.items()
    ]


def agreement(
    model: Any, quantized: Any, recipe: Recipe, takes: Any, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """int8 and bfloat16 against float32, on windows of real clips."""
    videos = expand_inputs(options.clips)
    drawn = tuple(videos[k] for k in np.random.default_rng(0).permutation(len(videos)))
    per_video = min(10, -(-options.windows // len(drawn)))
    takes = takes.model_copy(update={"frames": options.frames})
    windows = Windows(drawn, options.windows, sampler_of(recipe, takes, per_video), takes, slice(None))
    names = {"fp32": (model, "fp32"), "int8": (quantized, "int8")}
    if not options.no_bf16:
        names["bf16"] = (model, "bf16")
    runs = {name: compile_graph(*each) for name, each in names.items()}
    logits: dict[str, list[Any]] = {name: [] for name in runs}
    for number, window in enumerate(windows, start=1):
        for name, run in runs.items():
            logits[name].append(run(window)[LOGITS])
        same = sum(int(one.argmax() == two.argmax()) for one, two in zip(logits["int8"], logits["fp32"], strict=True))
        print(f"{number} of {options.windows}: {same} the same", flush=True)
    reference_NK = np.concatenate(logits["fp32"])
    rows = []
    for name in [name for name in logits if name != "fp32"]:
        values_NK = np.concatenate(logits[name])
        result = compare_logits(values_NK, reference_NK, multi_label=False)
        relative_N = np.abs(values_NK - reference_NK).max(axis=1) / np.abs(reference_NK).max(axis=1)
        rows.append(
            {
                "precision": name,
                "videos": len(drawn),
                "windows": len(reference_NK),
                "frames": options.frames,
                "top1_the_same": round(result.agreement * len(reference_NK)),
                "agreement": round(result.agreement, 4),
                "logits_off_mean": round(float(relative_N.mean()), 4),
                "logits_off_largest": round(float(relative_N.max()), 4),
                "probability_change_mean": round(result.mean_change, 4),
                "probability_change_largest": round(result.largest_change, 4),
            }
        )
    return rows


if __name__ == "__main__":
    main()
