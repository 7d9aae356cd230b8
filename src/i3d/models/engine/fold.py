"""Batch norms folded into the convolutions before them: the same function, fewer steps. For networks at rest."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_norms(net: nn.Module) -> int:
    """Fold every batch norm that follows a convolution in its module, in place; how many there were.

    The network must be in eval mode, else that is a ValueError.
    """
    num_folded = 0
    for parent in list(net.modules()):
        for (name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                if conv.training or norm.training:
                    raise ValueError("batch norms are folded in eval mode only: call .eval() first")
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
                num_folded += 1
    return num_folded
