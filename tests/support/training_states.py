"""Small training states."""

import torch
from accelerate import Accelerator

from i3d.models.factory import build_network
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ResNetSettings
from i3d.recipes.training import AdamW, Training
from i3d.training.optimizer import Ema, build_optimizer
from i3d.training.step import TrainState


def make_parts(*, seed=0, steps=2, adamw=False):
    """A tiny network after some steps."""
    torch.manual_seed(seed)
    training = Training(init="", ema_decay=0.9, optimizer=AdamW()) if adamw else Training(init="", ema_decay=0.9)
    recipe = named_recipe("i3d_r50_video_32x2x1_100e_kinetics400_rgb")
    net = build_network(ResNetSettings(depth=18, base_channels=2, num_classes=3))
    optimizer = build_optimizer(net, training, lr=0.1)
    accelerator = Accelerator(cpu=True)
    parts = TrainState(recipe, training, accelerator, net, net, optimizer, Ema(net, decay=0.9), seed)
    for _ in range(steps):
        net(torch.randn(2, 3, 6, 32, 32)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        parts.ema.update(net)
    return parts
