"""`i3d features`: extract reproducible features of videos.

    extractor = load_extractor("inception_rgb_kinetics400", feature_preset("localisation-16-25fps"))
    with open_video("clip.mp4") as video:
        extractor(video).values  # (rows, 1024)

Letters in names: R rows, C channels.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import torch

from i3d._version import __version__
from i3d.data.content import file_stamp, signature_of_read
from i3d.data.formats.inputs import VIDEO_SUFFIXES, expand_inputs, path_below
from i3d.data.loading.view_stream import hash_of_source
from i3d.errors import InputError, VideoError, check_not_empty
from i3d.exporting.engines import create_engine
from i3d.features.array_formats import FileFormat, check_format
from i3d.features.crops import crop_names
from i3d.features.extractor import FeatureExtractor, Stream, VideoFeatures
from i3d.features.sidecar import FeatureFile, is_complete, write_features
from i3d.models.factory import build_meta_network
from i3d.models.network import check_crop
from i3d.recipes.features import POOLED, FeatureSettings
from i3d.recipes.settings import FlowMethod
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.distributed import local_device
from i3d.utils.launcher import launched_as
from i3d.utils.outputs import locked_output, output_folder
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import Limits
from i3d.video.flow import BOUND
from i3d.video.reader import open_video
from i3d.weights.load import load_weights

PACKAGES: Final = {"torch": torch, "opencv": cv2, "av": av, "numpy": np}  # the features depend on their versions


@dataclass(frozen=True)
class ExtractResult:
    """The outcome for one video."""

    target: FeatureFile
    num_rows: int  # written now
    reused: bool  # the file of an earlier run with the same settings
    error: str = ""  # why there are no features
    notes: tuple[str, ...] = ()


@checks_types
def load_extractor(
    model: str | os.PathLike[str] | None,
    settings: FeatureSettings,
    *,
    flow_model: str | os.PathLike[str] | None = None,
    flow: FlowMethod | None = None,
    recipe: str | None = None,
    flow_recipe: str | None = None,
    compute: ComputeConfig | None = None,
) -> FeatureExtractor:
    """An extractor with a network of RGB, of flow, or of both; features of both are concatenated.

    `flow`: the method to compute flow, by default that of the weights; `recipe`, `flow_recipe`: the recipes of weights
    files that do not record one. A network with other channels is an InputError.
    """
    compute = compute or ComputeConfig()
    device = pick_device(local_device(compute.device))
    streams, weights = [], []
    for name, its_recipe, is_flow in ((model, recipe, False), (flow_model, flow_recipe, True)):
        if name is None:
            continue
        loaded = load_weights(name, recipe=its_recipe, needs_classifier=False, takes_exports=True)
        channels = loaded.card.recipe.network.in_channels
        if channels != (2 if is_flow else 3):
            takes = "optical flow" if channels == 2 else "RGB"
            todo = f"set it with {'--model' if is_flow else '--flow-model'}"
            raise InputError(f"{os.fspath(name)}: its network takes {takes} ({channels} channels); {todo}")
        method = (flow or loaded.card.recipe.flow) if is_flow else None
        net, pre = build_meta_network(loaded.card.recipe.network), loaded.card.recipe.preprocessing
        if settings.layer == POOLED:
            check_crop(net, pre, is_pooled=True)
        if method is not None:
            pre = pre.model_copy(update={"flow": method})
        clip_CTHW = (channels, max(settings.window, net.min_frames), pre.crop, pre.crop)
        engine = create_engine(loaded, compute, device=device, clip_CTHW=clip_CTHW)
        streams.append(Stream(engine, pre, method))
        weights.append({"sha256": loaded.sha256, "recipe": loaded.card.recipe.name, "flow": method})
    if not streams:
        raise InputError("features need a network: give a model, a flow model, or both")
    if flow is not None and flow_model is None:
        raise InputError(f"--flow-method {flow}: is for a network of flow; name one with --flow-model, or leave it out")
    made_with = {
        "weights": weights,
        "settings": settings.model_dump(mode="json"),
        "preprocessing": [stream.preprocessing.model_dump(mode="json") for stream in streams],
        "precision": compute.precision or "fp32",
        "arithmetic": streams[0].engine.number_format,
        "runtime": streams[0].engine.runtime,
        "device": streams[0].engine.device.type,
        "flow_bound": BOUND if flow_model is not None else None,
        **({"crop_order": names} if len(names := crop_names(settings)) > 1 else {}),
        "versions": {"i3d": __version__} | {name: module.__version__ for name, module in PACKAGES.items()},
    }
    return FeatureExtractor(tuple(streams), settings, made_with=made_with, cache=compute.cache)


@checks_types
def extract_features(
    sources: Sequence[str],
    out: Path,
    extractor: FeatureExtractor,
    *,
    file_format: FileFormat = "npy",
    force: bool = False,
    limits: Limits | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> Iterator[ExtractResult]:
    """Write the features of each video (files, folders, patterns, lists) below `out`, and yield each outcome.

    Existing output for the same video and settings is reused. Output of other settings is an InputError, unless
    `force` replaces it. An unreadable video has an `error` in its outcome. Under torchrun each rank extracts a fraction
    of the videos. `on_progress` receives the rows of the current video.
    """
    for source in sources:
        check_not_empty(source=source)
    targets = feature_files(sources, output_folder("out", out), file_format)  # errors come before the first video
    return extract_each(targets, extractor, file_format, force=force, limits=limits, on_progress=on_progress)


def extract_each(
    targets: Sequence[FeatureFile],
    extractor: FeatureExtractor,
    file_format: FileFormat,
    *,
    force: bool,
    limits: Limits | None = None,
    arrange: Callable[[VideoFeatures, str], VideoFeatures] = lambda features, _: features,
    on_progress: ProgressCallback = ignore_progress,
) -> Iterator[ExtractResult]:
    """`extract_features` to the files that `feature_files` gave. `arrange`: of a video and its name, before writing."""
    limits = limits or Limits()
    rank, world_size = launched_as()
    extractor = replace(extractor, made_with={**extractor.made_with, "file_format": file_format})
    for target in targets[rank::world_size]:
        if is_complete(target, extractor.made_with, force=force):
            yield ExtractResult(target, 0, True)
            continue
        stamp = file_stamp(target.video)
        try:
            content = hash_of_source(target.video) if any(stream.flow for stream in extractor.streams) else None
            with open_video(target.video, limits=limits) as video:
                features = arrange(extractor(video, content=content, on_progress=on_progress), target.video)
            signature = signature_of_read(target.video, stamp)
        except VideoError as error:
            yield ExtractResult(target, 0, False, str(error))
            continue
        target.base.parent.mkdir(parents=True, exist_ok=True)
        with locked_output(str(target.sidecar), target.sidecar, waits=True):  # another run may write the same features
            is_written = is_complete(target, extractor.made_with, force=force, is_quiet=True)
            if not is_written:
                write_features(target, features, extractor.made_with, signature)
        yield ExtractResult(target, 0 if is_written else len(features.rows), is_written, "", features.notes)


def feature_files(sources: Sequence[str], out: Path, file_format: FileFormat) -> list[FeatureFile]:
    """The output file of each video: its path below the named folder, list or pattern, else its name.

    Two videos with the same output file are an InputError.
    """
    check_format(file_format)
    videos: dict[Path, str] = {}
    for name in sources:
        for path in expand_inputs([name]):
            below = path_below(name, path)
            base = out / (below.with_suffix("") if below.suffix.lower() in VIDEO_SUFFIXES else below)
            if base in videos and videos[base] != path:
                is_suffix = os.path.splitext(path)[0] == os.path.splitext(videos[base])[0]  # noqa: PTH122
                todo = "rename one, as they differ only in the suffix" if is_suffix else "name a common folder of both"
                raise InputError(
                    f"{path} and {videos[base]}: both would write {base}.{file_format}; {todo}, or use two --out"
                )
            videos[base] = path
    return [FeatureFile(path, base, file_format) for base, path in videos.items()]
