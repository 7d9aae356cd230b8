"""From uint8 views of a video to logits: the one forward pass of prediction, validation and testing.

Letters in names: V views, T frames, H rows, W columns, C channels, K classes.
"""

from typing import Final

import torch
from torch import Tensor

from i3d.data.loading.batch import Views
from i3d.models.engine.engine import Engine
from i3d.models.network import VideoNetwork
from i3d.models.normalize import normalize
from i3d.recipes.settings import Preprocessing
from i3d.video.sampling import looped_indices

FRAMES_AT_ONCE: Final = 256  # frames of all views in one forward pass, unless the caller sets the number of views


def views_at_once(num_frames: int) -> int:
    """How many views of `num_frames` frames run in one forward pass."""
    return max(1, FRAMES_AT_ONCE // num_frames)


def forward(net: VideoNetwork | Engine, clips_VTHWC: Tensor, pre: Preprocessing) -> Tensor:
    """Logits (V, K) float32 of uint8 clips on the network's device; clips shorter than `min_frames` are looped."""
    num_frames = clips_VTHWC.shape[1]
    if num_frames < net.min_frames:
        clips_VTHWC = clips_VTHWC[:, looped_indices(num_frames, length=net.min_frames)]
    logits_VK: Tensor = net(normalize(clips_VTHWC, mean=pre.mean, std=pre.std))
    return logits_VK.float()


def forward_views(
    net: VideoNetwork | Engine, views: Views, pre: Preprocessing, *, device: torch.device, max_views: int
) -> Tensor:
    """Logits (V, K) float32, on the CPU, of all views of a video, at most `max_views` in one forward pass."""
    on_device = views.to(device)
    return torch.cat([forward(net, on_device.clips(*run), pre) for run in views.runs(max_views)]).cpu()
