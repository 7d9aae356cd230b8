"""The config that MMAction2 saves in its checkpoints, read as `i3d.recipes.mmaction2` reads config files."""

import logging
from typing import Any, Final

from i3d.errors import InputError, WeightsError
from i3d.recipes.mmaction2.from_config import data_loader, version_of
from i3d.recipes.mmaction2.model import average_clips, read_model
from i3d.recipes.mmaction2.parse import assignments
from i3d.recipes.mmaction2.pipelines import Pipeline, check_normalised, read_pipeline
from i3d.recipes.mmaction2.section import Section
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.settings import ResNetSettings
from i3d.weights.foreign.shapes import STORED_NAMES, stored_settings

log = logging.getLogger("i3d")

PLACE: Final = "the config in it"
# Variables of a config that are read.
READ: Final = ("model", "test_dataloader", "val_dataloader", "data", "test_pipeline", "val_pipeline", "test_cfg")
# Settings of the network that tensors do not show.
UNSTORED: Final = ("conv1_stride_t", "pool1_stride_t", "pool2", "temporal_strides", "dropout", "non_local_mode",
                   "non_local_use_scale")  # fmt: skip


def read_saved_config(
    text: str, stored: ResNetSettings, *, version: int
) -> tuple[ResNetSettings, bool, dict[str, Any], dict[str, Any]] | None:
    """Network, `multi_label`, and fields of protocol and preprocessing of a config; None if it describes no network.

    It complements the network that the tensors show. A text that describes none is reported. Raises WeightsError for a
    config of another network, and for one that computes what ours cannot.
    """
    try:
        table, more = assignments(text, PLACE)
    except InputError as error:
        log.warning("%s; it is left out: --recipe NAME names the recipe", error)
        return None
    if unread := [f"{name} is more than data ({more[name]})" for name in more if name in READ]:
        raise WeightsError(f"{PLACE}: {unread[0]}, which is not executed; --recipe NAME loads it without its config")
    config = Section(table, "", PLACE)
    model = config.any("model")
    if not isinstance(model, Table) or not isinstance(model.get("backbone"), Table):
        if text.strip():
            log.warning("%s describes no network; it is left out: --recipe NAME names the recipe", PLACE)
        return None
    try:
        # Until 0.13 the stem had by default 5 frames and strides of 2, later 3 and 1: its kernel shows which it was.
        stem = 0 if stored.conv1_kernel_t == 5 else 1
        section = Section(model, "model", PLACE)
        read = read_model(section, version=stem, notes=[], for_training=False)
        section.close()
        part, key = _test_pipeline(config, version_of(table))
        steps = part.each(key) if part is not None else []
        placement = "end_to_end" if version else "centred"
        pipeline = read_pipeline(steps, for_training=False, placement=placement) if steps else Pipeline()
        geometry = pipeline.scored()
        if steps and not geometry:
            raise steps[-1].wrong("type", "ends a pipeline that does not bring frames to squares of one size")
        if part is not None and steps:
            check_normalised(part, pipeline.norm, read.norm, key=key)
        average = read.average or average_clips(config.sub("test_cfg"))
        for step in steps:
            step.close()
    except InputError as error:
        raise WeightsError(f"{error}; --recipe NAME loads it without its config") from error
    settings = stored.model_dump()
    config_network = ResNetSettings.model_validate(settings | read.network)
    pairs = zip(STORED_NAMES, stored_settings(config_network), stored_settings(stored), strict=True)
    of_config = config.sub("model").sub("cls_head").any("num_classes")
    if "num_classes" in stored.model_fields_set and of_config not in (None, stored.num_classes):
        counts = f"{of_config} classes, its tensors have {stored.num_classes}"
        raise WeightsError(f"{PLACE} has {counts}; --recipe NAME loads it without its config")
    if different := [name for name, of_config, of_tensors in pairs if of_config != of_tensors]:
        raise WeightsError(
            f"{PLACE} contradicts its tensors ({', '.join(different)}); --recipe NAME loads it without its config"
        )
    network = ResNetSettings.model_validate(
        settings | {key: read.network[key] for key in UNSTORED if key in read.network}
    )
    protocol = {**pipeline.sampling, "crops": pipeline.crops} if steps else {}
    averaged = {"average": average} if average else {}
    return network, read.multi_label, protocol | averaged, {**geometry, **pipeline.norm, **read.norm}


def _test_pipeline(config: Section, version: int) -> tuple[Section | None, str]:
    """(part, key) of the pipeline that the config tests by: that of its test, of its validation, or of a variable."""
    for split in ("test", "val"):
        loader = data_loader(config, split, version)
        if loader is not None and "pipeline" in (data := loader.sub("dataset")):
            return data, "pipeline"
    return next(((config, name) for name in ("test_pipeline", "val_pipeline") if name in config), (None, ""))
