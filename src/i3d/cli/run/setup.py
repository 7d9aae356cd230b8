"""What option groups stand for: a computation, a dataset, clips of a recipe, names of frames."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from i3d.cli.messages import is_first_rank, log
from i3d.cli.options import ComputeOptions, DatasetOptions, FrameOptions, ListOptions, Modality, ModalityOptions
from i3d.data.annotations import Annotations
from i3d.data.class_files import class_names
from i3d.data.formats.read import read_annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.labels import CLASSES_SUFFIX, dataset_labels, is_numbered, numbered_labels
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.errors import InputError, counted, printable
from i3d.recipes.augmentation import Augmentation, TrainSampling
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ClipProtocol, FlowMethod
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.video.flow import describe_cost
from i3d.weights.load import Weights


def cache_in(folder: Path | None) -> Cache:
    """The cache in a folder; None: the default one."""
    return Cache.default() if folder is None else Cache(folder)


def compute_config(options: ComputeOptions, *, workers: int = 2) -> ComputeConfig:
    """Device, precision, runtime and cache of the options."""
    return ComputeConfig(options.device, options.precision, options.runtime, workers, cache_in(options.cache))


def log_flow_cost(method: FlowMethod, cache: Cache | None, *, short_side: int | None, fps: float | None) -> None:
    """Log how flow is computed, how long it takes, and where it is cached; None: nowhere."""
    if log.isEnabledFor(logging.INFO):
        cost = describe_cost(method, short_side=short_side, fps=fps)
        log.info("%s; %s", cost, "not cached" if cache is None else f"cached in {printable(str(cache.folder))}")


def list_format(options: ListOptions) -> dict[str, Any]:
    """How a list is read: arguments of `read_annotations` and `check_dataset`."""
    return {
        "root": options.root,
        "classes": None if options.classes is None else class_names(options.classes),
        "format": options.list_format,
        "fold": options.ucf_fold,
        "multi_label": options.multi_label,
        "allow_outside": options.allow_outside,
        "background": options.background,
        "fps": options.list_fps,
        "split": options.split if isinstance(options, DatasetOptions) else None,
    }


def read_dataset(
    source: Path,
    options: ListOptions,
    *,
    classes: tuple[str, ...] | None = None,
    root: Path | None = None,
    multi_label: bool = False,
    need_labels: bool = True,
) -> Annotations:
    """The annotations of a list; its warnings are logged. `classes`, `root` and `multi_label` add to the options."""
    how = list_format(options)
    how |= {"root": root or options.root, "classes": classes or how["classes"]}
    how["multi_label"] |= multi_label
    annotations = read_annotations(source, **how, need_labels=need_labels)
    for warning in annotations.warnings if is_first_rank() else ():
        log.warning(printable(warning))
    return annotations


def read_named_dataset(
    source: Path,
    options: ListOptions,
    *,
    dataset: str,
    num_classes: int | None = None,
    where_number: str = "",
) -> Annotations:
    """The clips of a list that a recipe is trained on, with the names of their classes where these are known.

    Names are those of --classes, of the list, or of the file beside it. A list of numbers has the names of `dataset` if
    it has as many classes. Else classes are numbered, which is logged. `num_classes`: of the network, None: as many as
    the list has; `where_number` is the setting of it.
    """
    clips = read_dataset(source, options)
    known = dataset_labels(dataset)
    if options.classes is None and is_numbered(clips.classes) and known is not None:
        clips = clips.with_classes(known) if len(clips.classes) == len(known) else clips
    num_listed, beside = len(clips.classes), source.with_suffix(CLASSES_SUFFIX).name
    todo = f"write them into {beside} beside it, one a line"
    todo = todo if where_number else f"--classes FILE, or {todo}"
    if num_classes is not None and num_listed > num_classes:
        return read_dataset(source, options, classes=numbered_labels(num_classes))  # an InputError with the line
    if num_classes is not None and num_listed < num_classes:
        what = f"{counted(num_listed, 'class', 'classes')}, the network {num_classes}"
        todo = f"to train and to name those of the list only, set {where_number}={num_listed}"
        if is_first_rank():
            log.warning("%s: has %s: classes are numbered; %s", printable(str(source)), what, todo)
        clips = replace(clips, classes=numbered_labels(num_classes))
    elif is_numbered(clips.classes):
        what = f"the list numbers its {counted(num_listed, 'class', 'classes')}, which stay without names"
        of_dataset = "" if known is None or where_number else f"; use --classes {dataset} if these are its numbers"
        log.info("%s: %s; to name them: %s%s", printable(str(source)), what, todo, of_dataset)
    return clips


def warn_if_incomplete(weights: Weights) -> None:
    """Log which weights a checkpoint lacks."""
    if weights.incomplete and is_first_rank():
        log.warning("the weights are incomplete: %s", weights.incomplete)


def frame_naming(options: FrameOptions, modality: Modality) -> FrameNaming | None:
    """How frames are named, if --template gives it."""
    return None if options.template is None else FrameNaming(options.template, options.first_index, modality)


def template_modality(options: FrameOptions) -> Modality:
    """What frames of --template are: flow if it names two directions."""
    return "flow" if re.search(r"\{axis\}|\{uv\}", options.template or "") else "rgb"


def clip_dataset(
    annotations: Annotations, phase: str, recipe_name: str, options: ModalityOptions, *, seed: int = 0
) -> ClipDataset:
    """Clips as a recipe trains on them or tests them."""
    recipe = named_recipe(recipe_name)
    protocol, preprocessing = recipe.protocol, recipe.preprocessing
    if not isinstance(protocol, ClipProtocol):
        raise InputError(
            f"--recipe {recipe_name}: scores all frames of a video, not clips; choose one that scores clips"
        )
    sampling = TrainSampling(clip_len=protocol.clip_len, frame_interval=protocol.frame_interval)
    size = min(224, preprocessing.crop)
    augmentation = Augmentation(steps=preprocessing.steps, resize=preprocessing.short_side, size=size)
    view = TrainView(sampling, augmentation) if phase == "train" else TestView(protocol, preprocessing)
    flow = ClipFlow(short_side=preprocessing.flow_short_side) if options.modality == "flow" else None
    naming = frame_naming(options, options.modality)
    return ClipDataset(annotations, view, seed=seed, flow=flow, naming=naming)
