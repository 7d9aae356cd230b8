"""The weights and inputs behind the golden logits, rebuilt from names and shapes (tests/golden/README.md)."""

import json
import re
import zlib

import numpy as np
import torch

from i3d.weights.foreign.names import rename_keys
from support.paths import GOLDEN

RECIPE_OF = {
    "i3d_r34": "i3d_r34_32x2x1_100e_kinetics400_rgb",
    "i3d_r50": "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_heavy": "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb",
    "i3d_r50_nl_dot_product": "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_nl_embedded_gaussian": "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_nl_gaussian": "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb",
}


def state_dict(path, *, thinner=1):
    """Each tensor is drawn from RandomState(crc32(name) ^ seed) and scaled by its kind.

    `thinner` divides the channels of an MMAction2 network, all of which are multiples of 64.
    """
    content = json.loads(path.read_text())
    recipe = content["recipe"]
    shapes = {name: [n // thinner if n % 64 == 0 else n for n in shape] for name, shape, _ in content["keys"]}
    return {name: torch.from_numpy(_tensor(name, tuple(shape), recipe)) for name, shape in shapes.items()}


def golden_state(name):
    """The state dict of an MMAction2 network under our names."""
    return renamed(state_dict(GOLDEN / "keys" / f"{name}.json"))


def renamed(state):
    """A state dict under our names."""
    arrays = {k: v.numpy() for k, v in state.items()}
    return {k: torch.from_numpy(np.array(v)) for k, v in rename_keys(arrays).arrays.items()}


def _tensor(name, shape, recipe):
    random = np.random.RandomState((zlib.crc32(name.encode()) ^ recipe["seed"]) & 0xFFFFFFFF)
    if name.endswith("num_batches_tracked"):
        return np.array(100, np.int64)
    if name.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * random.standard_normal(shape)
    elif len(shape) == 1:
        values = random.uniform(0.5, 1.0, shape)
    else:
        fan = {2: 1.0, 5: 2.0}[len(shape)] / np.prod(shape[1:])
        values = random.standard_normal(shape) * np.sqrt(fan)
    for pattern, gain in recipe.get("gains", ()):
        values = values * gain if re.search(pattern, name) else values
    return np.ascontiguousarray(values, np.float32)


MEAN_C = np.array([123.675, 116.28, 103.53], np.float32)
STD_C = np.array([58.395, 57.12, 57.375], np.float32)


def clips_NCTHW(seed, shape, norm="pm1"):
    """A blocky pattern that moves, with noise, as uint8 scaled to [-1, 1] or, "imagenet", by mean and deviation."""
    n, c, t, h, w = shape
    random = np.random.RandomState(seed)
    blocks = random.randint(0, 256, (n, c, -(-t // 4), -(-h // 16), -(-w // 16))).astype(np.int64)
    full = blocks.repeat(4, 2).repeat(16, 3).repeat(16, 4)[:, :, :t, :h, :w]
    moving = np.stack([np.roll(full[:, :, i], (i, 2 * i), (-2, -1)) for i in range(t)], 2)
    pixels = np.clip(moving + random.randint(-40, 41, moving.shape), 0, 255).astype(np.uint8).astype(np.float32)
    if norm == "imagenet":
        return (pixels - MEAN_C.reshape(1, 3, 1, 1, 1)) / STD_C.reshape(1, 3, 1, 1, 1)
    return pixels * np.float32(2 / 255) - np.float32(1)
