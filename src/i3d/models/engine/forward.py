"""From uint8 views of a video to logits: the one forward pass of prediction, validation and testing.

Letters in names: V views, T frames, H rows, W columns, C channels, K classes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from i3d.data.loading.batch import Views
from i3d.models.engine.engine import Engine
from i3d.models.network import VideoNetwork
from i3d.recipes.settings import Preprocessing
from i3d.video.sampling import looped_indices

FRAMES_AT_ONCE: Final = 256  # frames of all views in one forward pass, unless the caller sets the number of views


def views_at_once(num_frames: int) -> int:
    """How many views of `num_frames` frames run in one forward pass."""
    return max(1, FRAMES_AT_ONCE // num_frames)


def network_input(net: VideoNetwork | Engine, clips_VTHWC: Tensor, pre: Preprocessing) -> Tensor:
    """Normalised float32 clips (V, C, T, H, W) of uint8 clips; those shorter than `min_frames` are looped.

    For an engine that normalises they stay uint8.
    """
    num_frames = clips_VTHWC.shape[1]
    if num_frames < net.min_frames:
        clips_VTHWC = clips_VTHWC[:, looped_indices(num_frames, length=net.min_frames)]
    if isinstance(net, Engine) and net.normalizes:
        return clips_VTHWC.permute(0, 4, 1, 2, 3)
    return normalize(clips_VTHWC, mean=pre.mean, std=pre.std)


def forward(net: VideoNetwork | Engine, clips_VTHWC: Tensor, pre: Preprocessing) -> Tensor:
    """Logits (V, K) float32 of uint8 clips on the network's device."""
    logits_VK: Tensor = net(network_input(net, clips_VTHWC, pre))
    return logits_VK.float()


def forward_with_features(engine: Engine, clips_VTHWC: Tensor, pre: Preprocessing) -> tuple[Tensor, Tensor]:
    """Logits (V, K) float32 of uint8 clips on the network's device, and what the classifier takes (V, C) float32."""
    features_VC = engine.classifier_input(network_input(engine, clips_VTHWC, pre))
    return engine.classify(features_VC), features_VC


def forward_views(
    net: VideoNetwork | Engine,
    views: Views,
    pre: Preprocessing,
    *,
    device: torch.device,
    max_views: int,
    on_part: Callable[[float], None] = lambda _: None,
) -> Tensor:
    """Logits (V, K) float32, on the CPU, of all views of a video, at most `max_views` in one forward pass.

    `on_part` is called after each pass with the fraction of the views that are done.
    """
    on_device, logits = views.to(device), []
    for first, stop in views.runs(max_views):
        logits.append(forward(net, on_device.clips(first, stop), pre))
        on_part(stop / len(views))
    return torch.cat(logits).cpu()


def normalize(clips_VTHWC: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (V, T, H, W, C), on any device -> float32 (V, C, T, H, W) = (value - mean) / std per channel.

    The memory format is channels last: that of the frames, and the fastest for convolutions.
    """
    channels = clips_VTHWC.shape[-1]
    if clips_VTHWC.dtype != torch.uint8 or channels != len(mean) or channels != len(std):
        raise ValueError(
            f"normalize needs uint8 clips with {len(mean)} channels last, "
            f"got {clips_VTHWC.dtype} of shape {tuple(clips_VTHWC.shape)}"
        )
    width, device = clips_VTHWC.shape[3], clips_VTHWC.device
    rows = clips_VTHWC.flatten(3)  # (V, T, H, W * C): long rows instead of 3 channels
    scale_WC = repeat_along_row(tuple(1 / s for s in std), width, device)
    shift_WC = repeat_along_row(tuple(-m / s for m, s in zip(mean, std, strict=True)), width, device)
    if device.type == "cuda":  # one kernel: it reads uint8 and writes float32
        floats = torch.addcmul(shift_WC, rows, scale_WC)
    else:
        floats = rows.float()
        torch.addcmul(shift_WC, floats, scale_WC, out=floats)
    return floats.view(clips_VTHWC.shape).permute(0, 4, 1, 2, 3)


@lru_cache(maxsize=16)  # copied to a device once, not with every batch
def repeat_along_row(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).repeat(width)
