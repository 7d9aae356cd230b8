"""Which positions of the shipped network are the same in two windows of 64 frames that begin 4 frames apart, and where
its time goes: what rows of dense features could share.

python benchmarks/overlap.py
"""

import time

import torch

from i3d import load_model
from i3d.models.inception import ENDPOINTS

WINDOW, SHIFT, SIDE = 64, 4, 64
LAYERS = ("Conv3d_1a_7x7", "Conv3d_2c_3x3", "Mixed_3b", "Mixed_3c", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4f")
ROUNDS = 3


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    net = load_model("inception_rgb_kinetics400").eval()
    frames_NCTHW = torch.rand(1, 3, WINDOW + SHIFT, SIDE, SIDE) * 2 - 1
    clip_NCTHW = torch.rand(1, 3, WINDOW, 224, 224) * 2 - 1
    seconds = {layer: min(took(net, clip_NCTHW, layer) for _ in range(ROUNDS)) for layer in (*LAYERS, ENDPOINTS[-1])}
    for layer in LAYERS:
        one, other = (net.features(frames_NCTHW[:, :, k : k + WINDOW], endpoint=layer) for k in (0, SHIFT))
        step = SHIFT * one.shape[2] // WINDOW  # positions of the layer from one window to the other
        same_T = (one[:, :, step:] == other[:, :, : other.shape[2] - step]).transpose(1, 2).flatten(2).all(dim=(0, 2))
        share = seconds[layer] / seconds[ENDPOINTS[-1]]
        same = f"{int(same_T.sum()):3d} of {other.shape[2]} positions the same"
        print(f"{layer:<14} {same}, {share:4.0%} of the time until here")


def took(net: torch.nn.Module, clip_NCTHW: torch.Tensor, layer: str) -> float:
    start = time.perf_counter()
    net.features(clip_NCTHW, endpoint=layer)  # type: ignore[operator]
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
