"""Which networks process a video, RGB, flow or both, and how their scores become one."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from i3d.cli.checks import refuse
from i3d.cli.options import FlowMethod, FusionOptions, StreamOptions
from i3d.errors import InputError
from i3d.weights.pretrained import DEFAULT


@dataclass(frozen=True)
class Fusion:
    """How the scores of two streams become one."""

    weights: tuple[float, float] | None  # of RGB, of flow; None: chosen on held-out clips
    average: Literal["score", "prob"]


@dataclass(frozen=True)
class Streams:
    """The networks that a command runs, by their weights."""

    rgb: str | None
    rgb_recipe: str | None
    flow: str | None
    flow_recipe: str | None
    flow_method: FlowMethod | None


def choose_streams(model: str | None, recipe: str | None, options: StreamOptions) -> Streams:
    """The networks that the options name; without any, the shipped one of RGB."""
    streams, flow_model = options.streams, options.flow_model
    if streams == "flow" and flow_model is None and model is not None:
        return Streams(None, None, model, options.flow_recipe or recipe, options.flow_method)
    if streams is not None and "flow" in streams and flow_model is None:
        raise InputError(f"--streams {streams}: no network of flow comes with the package; name one with --flow-model")
    if streams == "rgb" and flow_model is not None:
        raise InputError("--streams rgb: excludes the network of flow; leave out --flow-model too")
    if streams == "flow" and model is not None:
        raise InputError("--streams flow: excludes the network of RGB; name only --flow-model")
    check_flow_method(options.flow_method, has_flow=flow_model is not None or model is not None)
    rgb = None if streams == "flow" else model or DEFAULT
    return Streams(rgb, recipe, flow_model, options.flow_recipe, options.flow_method)


def parse_fusion(fusion: FusionOptions, streams: StreamOptions, *, may_sweep: bool = False) -> Fusion:
    """The fusion of two streams. Its options without --flow-model, or --flow-recipe without it, are an InputError."""
    if streams.flow_model is None:
        given = {
            f"--stream-weights {fusion.stream_weights}": fusion.stream_weights,
            f"--fuse-average {fusion.fuse_average}": fusion.fuse_average,
            f"--flow-recipe {streams.flow_recipe}": streams.flow_recipe,
        }
        refuse(given, ": is for two streams; name the network of flow with --flow-model")
    average, weights = fusion.fuse_average or "score", fusion.stream_weights or "1,1"
    if may_sweep and weights == "sweep":
        return Fusion(None, average)
    more = ", or sweep" if may_sweep else ""
    try:
        rgb, flow = (float(number) for number in weights.split(","))
    except ValueError as error:
        raise InputError(f"--stream-weights {weights!r}: write two numbers with a comma, such as 1,1{more}") from error
    if not (0 <= rgb < inf and 0 <= flow < inf and rgb + flow > 0):
        raise InputError(f"--stream-weights {weights!r}: give two numbers of at least 0, not both 0{more}")
    return Fusion((rgb, flow), average)


def check_flow_method(flow_method: str | None, *, has_flow: bool) -> None:
    """--flow-method is for networks of flow."""
    if flow_method is not None and not has_flow:
        raise InputError(
            f"--flow-method {flow_method}: is for a network of flow; name one with --flow-model, or leave it out"
        )
