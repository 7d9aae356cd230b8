"""The non-local block: each position of a clip attends to all others (Wang et al. 2018, arXiv:1711.07971).

Letters in names: N clips, C channels, D inner channels (half of C), S query positions (T * H * W), R key positions.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from i3d.models.conv import Conv3d

Mode = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


class NonLocal(nn.Module):
    """x + BN(out(attention(x) g(x))): (N, C, T, H, W) in and out.

    `mode` is the similarity of two positions. "embedded_gaussian" is softmax(theta . phi), "gaussian" softmax(x . x),
    "dot_product" theta . phi / R, "concatenation" relu(w . [theta, phi]) / R. `sub_sample` pools keys and values by
    1x2x2. `use_scale` divides theta . phi by sqrt(D). The last batch norm's weight starts at 0, so a new block is the
    identity.

    Only "concatenation" computes the (S, R) matrix. The softmax modes use PyTorch's fused attention. The dot product,
    which has no softmax, is theta (phi^T g) / R by associativity.
    """

    def __init__(self, channels: int, *, mode: Mode, sub_sample: bool = True, use_scale: bool = False) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.mode = mode
        self.layer_kind = f"attention, {mode.replace('_', ' ')}"  # for the table of layers
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

    def reset_parameters(self) -> None:
        """Embeddings from N(0, 0.01^2); the last batch norm at 0, which makes the block the identity."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or name == "out.bn.weight":
                nn.init.zeros_(parameter)
            elif not parameter.is_meta:  # to draw no values, PyTorch would import its compiler
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
        """w . [theta, phi] is a term of theta plus one of phi, so the pairs need not be concatenated."""
        theta_weight_D, phi_weight_D = self.project.weight[0].chunk(2)
        pairs_NSR = F.relu((theta_NSD @ theta_weight_D)[:, :, None] + (phi_NRD @ phi_weight_D)[:, None, :])
        return pairs_NSR @ g_NRD / g_NRD.shape[1]


def _positions(x_NCTHW: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N, T * H * W, C)."""
    return x_NCTHW.flatten(2).transpose(1, 2)


def _attend(query_NSC: Tensor, key_NRC: Tensor, value_NRD: Tensor, *, scale: float) -> Tensor:
    """softmax(query . key * scale) . value.

    The fused kernels need values as wide as the keys. Narrower values are padded with zeros, which costs less than
    the (S, R) matrix.
    """
    width = value_NRD.shape[2]
    value_NRC = F.pad(value_NRD, (0, query_NSC.shape[2] - width))
    query, key, value = (x[:, None].contiguous() for x in (query_NSC, key_NRC, value_NRC))  # one head
    attended = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return attended[:, 0, :, :width]
