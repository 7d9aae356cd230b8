"""A recipe: a network with its preprocessing, test protocol and training."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Discriminator, Tag, model_validator

from i3d.recipes.settings import (
    ClipProtocol,
    FlowMethod,
    NetworkSettings,
    Preprocessing,
    Settings,
    WindowProtocol,
    flow_method,
)
from i3d.recipes.training import Loss, Training

AVERAGED: Final = {"prob": "probabilities averaged", "score": "logits averaged"}


def _kind(protocol: Any) -> str:
    """The tag of a protocol."""
    if isinstance(protocol, dict):
        return "clips" if "clip_len" in protocol or "num_clips" in protocol else "windows"
    return "clips" if isinstance(protocol, ClipProtocol) else "windows"


class Recipe(Settings):
    """A network with its preprocessing, test protocol and training."""

    name: str
    network: NetworkSettings
    preprocessing: Preprocessing = Preprocessing()
    protocol: Annotated[
        Annotated[WindowProtocol, Tag("windows")] | Annotated[ClipProtocol, Tag("clips")], Discriminator(_kind)
    ] = WindowProtocol()
    dataset: Literal["kinetics400", "kinetics600", "charades", ""] = "kinetics400"  # whose classes it has; "" = others
    training: Training | None = None  # None: the weights were trained elsewhere
    multi_label: bool = False  # independent classes (sigmoid) instead of exclusive ones (softmax)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        loss = self.training.loss if self.training is not None else Loss()
        if loss.focal_gamma and loss.label_smoothing and not self.multi_label:
            raise ValueError("focal loss is of hard labels: leave label_smoothing or focal_gamma at 0")
        if isinstance(loss.class_weights, tuple):
            if len(loss.class_weights) != self.network.num_classes:
                raise ValueError(f"{len(loss.class_weights)} class_weights for {self.network.num_classes} classes")
            if self.multi_label or loss.label_smoothing:
                raise ValueError("weights of single classes are for one label a clip, without label smoothing")
        if len(self.preprocessing.mean) != self.network.in_channels:
            raise ValueError(
                f"the network takes {self.network.in_channels} channels, preprocessing has a mean for "
                f"{len(self.preprocessing.mean)}"
            )
        if self.network.in_channels == 2:
            validation = self.training.validation_geometry if self.training else None
            for geometry in [self.preprocessing, *([validation] if validation else [])]:
                _ = geometry.flow_short_side
        if self.preprocessing.flow is not None and self.network.in_channels != 2:
            raise ValueError(f"preprocessing.flow is for networks of 2 channels, this has {self.network.in_channels}")
        return self

    @property
    def flow(self) -> FlowMethod | None:
        """How the flow that the network takes is computed; None: it takes RGB."""
        return flow_method(self.network, self.preprocessing)

    @property
    def protocol_line(self) -> str:
        """The protocol in words, printed beside every result."""
        pre, how = self.preprocessing, self.protocol
        crop = {
            "center": f"centre crop {pre.crop}",
            "two": f"centre crop {pre.crop} and its mirror image",
            "three": f"3 crops of {pre.crop}",
            "ten": f"10 crops of {pre.crop}",
        }
        averaged = AVERAGED[how.average]
        if isinstance(how, WindowProtocol):
            averaged += " over time"
        resizes = ", ".join(map(str, pre.resizes))
        return f"{self.name}: {how.line}, {resizes}{', ' if resizes else ''}{crop[how.crops]}, {averaged}"
