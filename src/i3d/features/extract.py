"""`i3d features`: from videos to rows of features that others can reproduce.

    extractor = extractor_of("inception_rgb_kinetics400", feature_preset("localisation-16-25fps"))
    with open_video("clip.mp4") as video:
        extractor(video).values          # (rows, 1024)

Letters in names: R rows, C channels.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from i3d._version import __version__
from i3d.data.formats.inputs import LIST_SUFFIXES, VIDEO_SUFFIXES, expand_inputs
from i3d.errors import InputError, VideoError, printable
from i3d.features.array_formats import FileFormat, check_format
from i3d.features.extractor import FeatureExtractor, Stream
from i3d.features.sidecar import Target, is_complete, write
from i3d.models.engine.engine import Engine
from i3d.recipes.features import FeatureSettings
from i3d.recipes.settings import FlowMethod
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.distributed import local_device
from i3d.video.base import Limits
from i3d.video.flow import BOUND
from i3d.video.reader import open_video
from i3d.weights.load import Weights, build_model, load_weights


@dataclass(frozen=True)
class ExtractResult:
    """What became of one video."""

    target: Target
    num_rows: int  # 0 if it was there already, or is bad
    kept: bool  # an earlier run had made it
    error: str = ""  # why there are no features
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureSource:
    """Networks, and all that the numbers depend on besides the video."""

    extractor: FeatureExtractor
    made_with: dict[str, Any]


def extractor_of(
    model: str | os.PathLike[str] | None,
    settings: FeatureSettings,
    *,
    flow_model: str | os.PathLike[str] | None = None,
    flow: FlowMethod | None = None,
    recipe: str | None = None,
    flow_recipe: str | None = None,
    compute: ComputeConfig | None = None,
) -> FeatureSource:
    """Networks of RGB, of flow, or of both, whose features are then side by side.

    `flow`: how it is computed, else as the weights say. Recipes: of foreign files.
    """

    compute = compute or ComputeConfig()
    picked = pick_device(local_device(compute.device))
    streams, weights = [], []
    for name, its_recipe, is_flow in ((model, recipe, False), (flow_model, flow_recipe, True)):
        if name is None:
            continue
        loaded = load_weights(name, recipe=its_recipe)
        _check_channels(loaded, os.fspath(name), is_flow=is_flow)
        method = (flow or loaded.card.recipe.flow) if is_flow else None
        net, pre = build_model(loaded), loaded.card.recipe.preprocessing
        if method is not None:
            pre = pre.model_copy(update={"flow": method})
        clip_CTHW = (net.settings.in_channels, max(settings.window, net.min_frames), pre.crop, pre.crop)
        engine = Engine.create(net, compute, device=picked, clip_CTHW=clip_CTHW)
        streams.append(Stream(engine, pre, method))
        weights.append({"sha256": loaded.sha256, "recipe": loaded.card.recipe.name, "flow": method})
    if not streams:
        raise InputError("features need a network: name a model, a flow model, or both")
    if flow is not None and flow_model is None:
        raise InputError(f"--flow-method {flow}: is for a network of flow; name one with --flow-model, or leave it out")
    made_with = {
        "weights": weights,
        "settings": settings.model_dump(mode="json"),
        "preprocessing": [stream.preprocessing.model_dump(mode="json") for stream in streams],
        "precision": compute.precision or "fp32",
        "arithmetic": streams[0].engine.arithmetic,
        "runtime": compute.runtime,
        "device": picked.type,
        "flow_bound": BOUND if flow_model is not None else None,
        "versions": _versions(),
    }
    return FeatureSource(FeatureExtractor(tuple(streams), settings), made_with)


def _versions() -> dict[str, str]:
    """Of all that the numbers depend on."""

    return {
        "i3d": __version__,
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "av": av.__version__,
        "numpy": np.__version__,
    }


def features(
    sources: Sequence[str],
    out: Path,
    source: FeatureSource,
    *,
    file_format: FileFormat = "npy",
    force: bool = False,
    limits: Limits | None = None,
    on_row: Callable[[int], None] = lambda _: None,
) -> Iterator[ExtractResult]:
    """Write the features of each video (files, folders, patterns, lists) below `out`, one after the other.

    What is there already, of the same video and made with the same, is kept. Files made otherwise are an InputError,
    unless `force` makes them anew; a video that cannot be read is told and left out. Under torchrun each process has
    its share. `on_row` is told how many rows of the video there are.
    """

    targets = targets_of(sources, out, file_format)
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    source = replace(source, made_with={**source.made_with, "file_format": file_format})
    for target in targets[rank::world_size]:
        if is_complete(target, source.made_with, force=force):
            yield ExtractResult(target, 0, True)
            continue
        yield _made(target, source, limits, on_row)


def targets_of(sources: Sequence[str], out: Path, file_format: FileFormat) -> list[Target]:
    """A place for each video: as it lies below the folder, list or pattern that was named, else by its name.

    Two in one place are an InputError.
    """

    check_format(file_format)
    places: dict[Path, str] = {}
    for name in sources:
        for path in expand_inputs([name]):
            base = out / _below(name, path)
            if base in places and places[base] != path:
                raise InputError(
                    f"{printable(path)} and {printable(places[base])}: their features would both be "
                    f"{printable(str(base))}.{file_format}; name a folder that holds both, or two --out"
                )
            places[base] = path
    return [Target(path, base, file_format) for base, path in places.items()]


def _below(name: str, path: str) -> Path:
    """Where a video lies below the folder, list or pattern that it was named by; else its name."""

    around = Path(name)
    if around.suffix.lower() in LIST_SUFFIXES:
        around = around.parent
    elif glob.has_magic(name) and not around.exists():
        around = next(p for p in around.parents if not glob.has_magic(str(p)))
    place, root = Path(os.path.abspath(path)), Path(os.path.abspath(around))  # noqa: PTH100 (links stay)
    below = place.relative_to(root) if place != root and place.is_relative_to(root) else Path(place.name)
    return below.with_suffix("") if below.suffix.lower() in VIDEO_SUFFIXES else below


def _made(target: Target, source: FeatureSource, limits: Limits | None, on_row: Callable[[int], None]) -> ExtractResult:

    try:
        with open_video(target.video, limits=limits or Limits()) as video:
            found = source.extractor(video, on_row=on_row)
    except VideoError as error:
        return ExtractResult(target, 0, False, str(error))
    write(target, found, source.made_with)
    return ExtractResult(target, len(found.rows), False, "", found.notes)


def _check_channels(weights: Weights, name: str, *, is_flow: bool) -> None:
    channels = weights.card.recipe.network.in_channels
    if channels != (2 if is_flow else 3):
        takes = "optical flow" if channels == 2 else "RGB"
        option = "--model" if is_flow else "--flow-model"
        raise InputError(f"{printable(name)}: its network takes {takes} ({channels} channels); give it as {option}")
