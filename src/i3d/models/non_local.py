"""The non-local block: every place and time of a clip looks at every other (Wang et al. 2018, arXiv:1711.07971).

Letters in names: N clips, C channels, D inner channels (half of C), S places and times, R the ones that are looked at.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from i3d.models.conv import Conv3d

Mode = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


class NonLocal(nn.Module):
    """x + BN(out(weights of x against itself, times g(x))), with the same shape out as in: (N, C, T, H, W).

    `mode` is how alike two positions are: exp(theta . phi) and exp(x . x), both normalised to sum 1, theta . phi / R,
    or relu(w . [theta, phi]) / R. With `sub_sample` the positions that are looked at are pooled by 1x2x2. The scale
    of the last batch norm starts at 0, so that a new block is the identity.

    The (S, R) matrix of weights is written out for "concatenation" alone: the exponential ones are PyTorch's fused
    attention, and the dot product, which has no softmax, is theta (phi^T g) / R by associativity.
    """

    def __init__(self, channels: int, *, mode: Mode, sub_sample: bool = True, use_scale: bool = False) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.mode = mode
        self.pool: nn.Module = nn.MaxPool3d((1, 2, 2)) if sub_sample else nn.Identity()
        self.scale = inner**-0.5 if use_scale else 1.0
        self.g = Conv3d(channels, inner, 1)
        if mode != "gaussian":
            self.theta = Conv3d(channels, inner, 1)
            self.phi = Conv3d(channels, inner, 1)
        if mode == "concatenation":
            self.project = nn.Linear(2 * inner, 1, bias=False)
        self.out = nn.Sequential()
        self.out.add_module("conv", Conv3d(inner, channels, 1, bias=False))
        self.out.add_module("bn", nn.BatchNorm3d(channels))
        self.reset_parameters()

    @property
    def layer_kind(self) -> str:
        """What it is, for the table of layers."""
        return f"attention, {self.mode.replace('_', ' ')}"

    def reset_parameters(self) -> None:
        """Embeddings from a normal distribution of standard deviation 0.01; the block as a whole the identity."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or name == "out.bn.weight":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.01)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        g_NRD = _positions(self.pool(self.g(x_NCTHW)))
        match self.mode:
            case "gaussian":
                y_NSD = _attend(_positions(x_NCTHW), _positions(self.pool(x_NCTHW)), g_NRD, scale=1.0)
            case "embedded_gaussian":
                y_NSD = _attend(*self._embeddings(x_NCTHW), g_NRD, scale=self.scale)
            case "dot_product":
                theta_NSD, phi_NRD = self._embeddings(x_NCTHW)
                y_NSD = theta_NSD @ (phi_NRD.transpose(1, 2) @ g_NRD / g_NRD.shape[1])
            case "concatenation":
                y_NSD = self._concatenation(*self._embeddings(x_NCTHW), g_NRD)
        y_NDTHW = y_NSD.transpose(1, 2).reshape(-1, y_NSD.shape[2], *x_NCTHW.shape[2:])
        out_NCTHW: Tensor = self.out(y_NDTHW)
        return x_NCTHW + out_NCTHW

    def _embeddings(self, x_NCTHW: Tensor) -> tuple[Tensor, Tensor]:
        return _positions(self.theta(x_NCTHW)), _positions(self.pool(self.phi(x_NCTHW)))

    def _concatenation(self, theta_NSD: Tensor, phi_NRD: Tensor, g_NRD: Tensor) -> Tensor:
        """w . [theta, phi] is the sum of a term of each, so the pairs need not be concatenated."""
        of_theta, of_phi = self.project.weight[0].chunk(2)
        pairs_NSR = F.relu((theta_NSD @ of_theta)[:, :, None] + (phi_NRD @ of_phi)[:, None, :])
        return pairs_NSR @ g_NRD / g_NRD.shape[1]


def _positions(x_NCTHW: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N, T * H * W, C)."""
    return x_NCTHW.flatten(2).transpose(1, 2)


def _attend(query_NSC: Tensor, key_NRC: Tensor, value_NRD: Tensor, *, scale: float) -> Tensor:
    """softmax(query . key * scale) . value.

    The fused kernels want values as wide as the keys: narrower ones are filled up with zeros, which cost less than
    the (S, R) matrix would.
    """
    width = value_NRD.shape[2]
    value_NRC = F.pad(value_NRD, (0, query_NSC.shape[2] - width))
    query, key, value = (x[:, None].contiguous() for x in (query_NSC, key_NRC, value_NRC))  # one head
    attended = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return attended[:, 0, :, :width]
