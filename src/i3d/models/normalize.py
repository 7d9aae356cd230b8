"""From the uint8 clips of a loader to the float input of a network, on any device.

Letters in names: V views, T frames, H rows, W columns, C channels.
"""

from functools import lru_cache

import torch


def normalize(clips_VTHWC: torch.Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
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
def repeat_along_row(values: tuple[float, ...], width: int, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).repeat(width)
