"""Options of the streams: which networks see a video, RGB, flow or both, and how their scores become one."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from i3d.errors import InputError

if TYPE_CHECKING:
    from i3d.evaluation.scoring import Average
    from i3d.recipes.settings import FlowMethod
    from i3d.utils.cache import Cache

STREAMS = ("rgb", "flow", "rgb,flow")

Streams = Annotated[
    str | None, typer.Option(help="rgb, flow, or rgb,flow (default: those whose networks are named).", metavar="NAMES")
]
FlowModel = Annotated[
    str | None, typer.Option(help="A network of optical flow; beside one of RGB, their results become one.")
]
FlowRecipe = Annotated[str | None, typer.Option(help="What a foreign --flow-model was trained by.")]
FlowChoice = Annotated[
    str | None,
    typer.Option("--flow", help="How flow is computed: tvl1, dis, farneback (default: as the weights say, else tvl1)."),
]
FuseOf = Annotated[
    str | None,
    typer.Option("--fuse", help="Two streams: add logits (score, default) or average probabilities (prob)."),
]
StreamWeights = Annotated[
    str | None, typer.Option("--weights", help="Two streams: the weights of RGB and of flow (default: 1,1).")
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Where features, flow and compiled networks are kept (default: $I3D_CACHE, or the user's)."
    ),
]


def chosen_streams(
    streams: str | None, model: str | None, flow_model: str | None, *, default: str | None = None
) -> tuple[str | None, str | None]:
    """The networks of RGB and of flow that the options ask for. `default`: the model if nobody named one."""
    asked = checked_streams(streams)
    if asked == "flow" and flow_model is None and model is not None:
        return None, model
    if asked is not None and "flow" in asked and flow_model is None:
        raise InputError(f"--streams {asked}: no network of flow comes with the package; name one with --flow-model")
    if asked == "rgb" and flow_model is not None:
        raise InputError("--streams rgb: leaves the network of flow out; leave out --flow-model too")
    if asked == "flow" and model is not None:
        raise InputError("--streams flow: leaves the network of RGB out; name only --flow-model")
    return (None if asked == "flow" else model or default), flow_model


def checked_streams(streams: str | None) -> str | None:
    """What --streams says: rgb, flow, or rgb,flow in any order."""
    asked = None if streams is None else ",".join(sorted(streams.replace(" ", "").lower().split(","), reverse=True))
    if asked not in (None, *STREAMS):
        raise InputError(f"--streams {streams!r}: is none of {' or '.join(STREAMS)}")
    return asked


@dataclass(frozen=True)
class Fusion:
    """How the scores of two streams become one."""

    weights: tuple[float, float] | None  # of RGB, of flow; None: swept on held-out clips
    of: Average


def stream_fusion(
    weights: str | None, of: str | None, *, flow_model: str | None, flow_recipe: str | None, may_sweep: bool = False
) -> Fusion:
    """What --weights and --fuse say. Without a --flow-model they, and --flow-recipe, are an InputError."""
    for option, given in (("--weights", weights), ("--fuse", of), ("--flow-recipe", flow_recipe)):
        if given is not None and flow_model is None:
            raise InputError(f"{option} {given}: is for two streams; name the network of flow with --flow-model")
    of, weights = of or "score", weights or "1,1"
    if of not in ("score", "prob"):
        raise InputError(f"--fuse {of!r}: is neither score nor prob")
    if may_sweep and weights == "sweep":
        return Fusion(None, cast("Average", of))
    more = ", or sweep" if may_sweep else ""
    try:
        rgb, flow = (float(number) for number in weights.split(","))
    except ValueError as error:
        raise InputError(f"--weights {weights!r}: write two numbers with a comma, such as 1,1{more}") from error
    if not (0 <= rgb < inf and 0 <= flow < inf and rgb + flow > 0):
        raise InputError(f"--weights {weights!r}: give two numbers of at least 0, not both 0{more}")
    return Fusion((rgb, flow), cast("Average", of))


def check_flow_choice(flow: str | None, *, has_flow: bool) -> None:
    """--flow is for networks of flow."""
    if flow is not None and not has_flow:
        raise InputError(f"--flow {flow}: is for a network of flow, and there is none; leave it out")


def flow_method(name: str | None, option: str = "--flow") -> FlowMethod | None:
    """The method of an option; None: nobody said."""
    from i3d.video.flow import METHODS

    if name is not None and name not in METHODS:
        raise InputError(f"{option} {name!r}: is none of {', '.join(METHODS)}")
    return name


def cache_of(folder: Path | None) -> Cache:
    """The cache in a folder; None: the default one."""
    from i3d.utils.cache import Cache

    return Cache.default() if folder is None else Cache(folder)
