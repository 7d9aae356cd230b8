"""From weights, or from an exported file in their place, to an engine."""

import logging

import torch

from i3d.exporting.shipped_int8 import open_int8
from i3d.models.engine.engine import Engine
from i3d.models.engine.exported import ExportedEngine
from i3d.models.factory import build_meta_network
from i3d.utils.device import ComputeConfig
from i3d.weights.load import Weights, build_model

log = logging.getLogger("i3d")


def create_engine(
    weights: Weights, compute: ComputeConfig, *, device: torch.device, clip_CTHW: tuple[int, ...] | None = None
) -> Engine:
    """`Engine.create` of the network with these weights, or the engine of an exported file, which runs on the CPU."""
    if weights.exported is None and compute.precision == "int8":
        if device.type != "cpu" and compute.device == "auto":
            log.info("int8 runs on the CPU, not on %s", device)
        return open_int8(weights, compute)
    if weights.exported is None:
        return Engine.create(build_model(weights), compute, device=device, clip_CTHW=clip_CTHW)
    if device.type != "cpu" and compute.device == "auto":
        log.info("%s: exported files run on the CPU, not on %s", weights.exported.path, device)
    return ExportedEngine.open(weights.exported, build_meta_network(weights.card.recipe.network), compute)
