"""The settings of a run. Frozen and strict: an unknown key or a value of another type is an error."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class InceptionNetwork(Settings):
    """Inception-I3D (Carreira & Zisserman 2017, arXiv:1705.07750): BN-Inception v1 inflated to 3D."""

    kind: Literal["inception"] = "inception"
    in_channels: int = Field(default=3, ge=1)  # 3 = RGB, 2 = optical flow (x, y)
    num_classes: int = Field(default=400, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class Preprocessing(Settings):
    """From RGB uint8 frames to the network's input: resize, crop, then `(value - mean) / std` per channel."""

    short_side: int = Field(default=256, ge=1)
    crop: int = Field(default=224, ge=1)
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        if len(self.mean) != len(self.std) or any(value <= 0 for value in self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} need one value per channel, std above 0")
        return self


class Protocol(Settings):
    """Which views of a video are scored, and how their scores become one."""

    fps: float = Field(default=25.0, gt=0)
    max_window_frames: int = Field(default=250, ge=1)
    crops: Literal["center"] = "center"
    average: Literal["score"] = "score"  # logits are averaged, the softmax comes last


class Recipe(Settings):
    """A network with everything that its weights expect."""

    name: str
    network: InceptionNetwork
    preprocessing: Preprocessing = Preprocessing()
    protocol: Protocol = Protocol()

    @property
    def protocol_line(self) -> str:
        """The protocol in words, to stand beside every number that it gave."""
        pre, how = self.preprocessing, self.protocol
        return (
            f"{self.name}: all frames at {how.fps:g} fps in windows of at most {how.max_window_frames}, "
            f"short side {pre.short_side}, centre crop {pre.crop}, logits averaged over time"
        )
