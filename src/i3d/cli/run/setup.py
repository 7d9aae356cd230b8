"""What option groups stand for: a computation, a dataset, clips of a recipe, names of frames."""

from __future__ import annotations

import os
from pathlib import Path

from i3d.cli.messages import log
from i3d.cli.options import ComputeOptions, FrameOptions, ListOptions, Modality, ModalityOptions
from i3d.data.annotations import Annotations
from i3d.data.formats.read import class_names, read_annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.errors import InputError, printable
from i3d.recipes.augmentation import Augmentation, TrainSampling
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ClipProtocol
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig


def is_first_rank() -> bool:
    """Whether this process prints for all that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def cache_in(folder: Path | None) -> Cache:
    """The cache in a folder; None: the default one."""
    return Cache.default() if folder is None else Cache(folder)


def compute_config(options: ComputeOptions, *, workers: int = 2) -> ComputeConfig:
    """Device, precision, runtime and cache of the options."""
    return ComputeConfig(options.device, options.precision, options.runtime, workers, cache_in(options.cache))


def read_dataset(
    source: Path,
    options: ListOptions,
    *,
    split: str | None = None,
    classes: tuple[str, ...] | None = None,
    root: Path | None = None,
    multi_label: bool = False,
    need_labels: bool = True,
) -> Annotations:
    """The annotations of a list; its warnings are logged. `classes`, `root` and `multi_label` add to the options."""
    named = class_names(options.classes) if options.classes is not None else None
    annotations = read_annotations(
        source,
        root=root or options.root,
        split=split,
        classes=classes or named,
        format=options.list_format,
        fold=options.ucf_fold,
        multi_label=options.multi_label or multi_label,
        allow_outside=options.allow_outside,
        need_labels=need_labels,
    )
    for warning in annotations.warnings if is_first_rank() else ():
        log.warning(printable(warning))
    return annotations


def frame_naming(options: FrameOptions, modality: Modality) -> FrameNaming | None:
    """How frames are named, if --template gives it."""
    return None if options.template is None else FrameNaming(options.template, options.first_index, modality)


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
    augmentation = Augmentation(resize=preprocessing.short_side, size=min(224, preprocessing.crop))
    view = TrainView(sampling, augmentation) if phase == "train" else TestView(protocol, preprocessing)
    flow = ClipFlow(short_side=preprocessing.short_side) if options.modality == "flow" else None
    naming = frame_naming(options, options.modality)
    return ClipDataset(annotations, view, seed=seed, flow=flow, naming=naming)
