"""The graph of a network: uint8 or normalised clips in; logits and pooled features out, perhaps probabilities.

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

import copy
from typing import Final

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as shapes_config

from i3d.errors import InputError, first_line
from i3d.models.engine.exported import FEATURES, InputDtype
from i3d.models.engine.runtimes.openvino import silence_exporter
from i3d.models.engine.runtimes.task import LOGITS
from i3d.models.network import VideoNetwork
from i3d.models.prepack import fold_norms
from i3d.recipes.settings import Preprocessing
from i3d.weights.exported import GraphInput

CLIPS: Final = "clips"
PROBABILITIES: Final = "probabilities"
MAX_FRAMES: Final = 10_000
EXAMPLE_FRAMES: Final = 18  # traced where any number is allowed; none that a network could be specialised for


class Graph(nn.Module):
    """A network as a function of clips as they are read, with all outputs from one pass."""

    scale_C111: Tensor
    shift_C111: Tensor

    def __init__(self, net: VideoNetwork, pre: Preprocessing, dtype: InputDtype, *, softmax: bool) -> None:
        super().__init__()
        self.net, self.dtype, self.softmax = net, dtype, softmax
        mean, std = torch.tensor(pre.mean), torch.tensor(pre.std)
        self.register_buffer("scale_C111", (1 / std)[:, None, None, None])
        self.register_buffer("shift_C111", (-mean / std)[:, None, None, None])

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` returns."""
        return (*[PROBABILITIES] * self.softmax, LOGITS, FEATURES)

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """`clips`: uint8 (N, T, H, W, C), or normalised float32 (N, C, T, H, W)."""
        if self.dtype == "uint8":
            clips = clips.permute(0, 4, 1, 2, 3).float() * self.scale_C111 + self.shift_C111
        logits_NK, pooled_NC = self.net.logits_and_pooled(clips)
        return (*[logits_NK.softmax(dim=1)] * self.softmax, logits_NK, pooled_NC)


def build_graph(net: VideoNetwork, pre: Preprocessing, dtype: InputDtype, *, softmax: bool) -> Graph:
    """The graph of a copy of a network: in evaluation mode, in float32 on the CPU, with its batch norms folded."""
    net = copy.deepcopy(net).eval().float().cpu()
    fold_norms(net)
    return Graph(net, pre, dtype, softmax=softmax).eval()


def example(takes: GraphInput, *, batch: int, frames: int) -> Tensor:
    """Clips of zeros as a graph takes them."""
    if takes.dtype == "uint8":
        return torch.zeros(batch, frames, takes.size, takes.size, takes.channels, dtype=torch.uint8)
    return torch.zeros(batch, takes.channels, frames, takes.size, takes.size)


def trace(graph: Graph, takes: GraphInput) -> ExportedProgram:
    """The operations of a graph for a batch of any size and, if `takes.frames` is None, clips of any number of frames.

    A network that cannot be traced for any number of frames is an InputError.
    """
    clips = example(takes, batch=2, frames=takes.frames or max(EXAMPLE_FRAMES, takes.min_frames))
    sizes = {0: Dim("batch", min=1)}
    if takes.frames is None:
        sizes[1 if takes.dtype == "uint8" else 2] = Dim("frames", min=takes.min_frames, max=MAX_FRAMES)
    # Without this setting, sizes that follow from T are fixed where T would make them 1: networks that halve T several
    # times are then refused, or wrong at the numbers of frames that were not traced.
    oblivious = shapes_config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    try:
        with torch.no_grad(), silence_exporter(), oblivious:
            return torch.export.export(
                graph,
                (clips,),
                dynamic_shapes={CLIPS: sizes},
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as error:  # of PyTorch's compiler, whose classes share no base class but this
        todo = "export one number of frames" if takes.frames is None else "file an issue with these lines"
        raise InputError(f"this network cannot be traced ({first_line(error)}); {todo}") from error
