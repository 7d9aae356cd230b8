"""Settings of networks, preprocessing and protocols. An unknown key or a value of another type is an error."""

from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from i3d.errors import printable

FlowMethod = Literal["tvl1", "dis", "farneback"]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


HeadPooling = Literal["mean", "maxima"]  # what the classifier reads: `VideoNetwork.classifier_input`


class InceptionSettings(Settings):
    """Inception-I3D (Carreira & Zisserman 2017, arXiv:1705.07750): BN-Inception v1 inflated to 3D."""

    kind: Literal["inception"] = "inception"
    in_channels: int = Field(default=3, ge=1, le=1024)  # 3 = RGB, 2 = optical flow (x, y)
    num_classes: int = Field(default=400, ge=1, le=1_000_000)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    head_pooling: HeadPooling = "mean"
    bn_eps: float = Field(default=1e-3, gt=0, le=1)  # the MindSpore port has 1e-5

    @property
    def name(self) -> str:
        """A short name for log lines."""
        return self.kind

    @property
    def description(self) -> str:
        """The network in a few words, for messages."""
        return f"an Inception-I3D ({input_name(self.in_channels)}, {self.num_classes} classes)"


RESNET_BLOCKS: Final = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
BOTTLENECK_DEPTHS: Final = (50, 101)  # whose blocks have 4 times as many channels at their end
Pattern = tuple[Literal[0, 1], ...]
Patterns = tuple[Pattern, Pattern, Pattern, Pattern]


class ResNetSettings(Settings):
    """I3D-ResNet. A pattern holds one number a block and is repeated over its stage: (1, 0) on 3 blocks is 1 0 1."""

    kind: Literal["resnet"] = "resnet"
    depth: Literal[18, 34, 50, 101] = 50
    in_channels: int = Field(default=3, ge=1, le=1024)
    num_classes: int = Field(default=400, ge=1, le=1_000_000)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    head_pooling: HeadPooling = "mean"
    base_channels: int = Field(default=64, ge=1, le=1024)
    conv1_kernel_t: Literal[1, 3, 5, 7] = 5
    conv1_stride_t: int = Field(default=2, ge=1, le=16)
    pool1_stride_t: int = Field(default=2, ge=1, le=16)
    pool1: Literal["1x3x3", "2x3x3"] = "1x3x3"  # "1x3x3": padded by (0, 1, 1); "2x3x3": not padded (video-nonlocal-net)
    pool2: bool = True  # halves the frames after layer1
    temporal_strides: tuple[int, int, int, int] = (1, 1, 1, 1)
    inflate: Patterns = ((1,), (1, 0), (1, 0), (0, 1))
    inflate_style: Literal["3x1x1", "3x3x3"] = "3x1x1"
    non_local: Patterns = ((0,), (0,), (0,), (0,))
    non_local_mode: Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"] = "embedded_gaussian"
    non_local_sub_sample: bool = True
    non_local_use_scale: bool = False
    frozen_stages: int = Field(default=-1, ge=-1, le=4)  # 0 = the stem, 1 = the stem and layer1 ...
    norm_eval: bool = False  # batch norms do not update their statistics in training
    activation_checkpointing: bool = False  # less memory in training, a third more time
    zero_init_residual: bool = False

    @model_validator(mode="after")
    def _patterns_fit(self) -> Self:
        for name in ("inflate", "non_local"):
            for stage, (pattern, blocks) in enumerate(zip(getattr(self, name), self.blocks, strict=True), start=1):
                if not 1 <= len(pattern) <= blocks:
                    raise ValueError(f"{name}: layer{stage} has {blocks} blocks, its pattern {pattern} does not fit")
        if min(self.temporal_strides) < 1:
            raise ValueError(f"temporal_strides must be at least 1, got {self.temporal_strides}")
        return self

    @property
    def name(self) -> str:
        """A short name for log lines."""
        return f"{self.kind}-{self.depth}"

    @property
    def description(self) -> str:
        """The network in a few words, for messages."""
        non_local = sum(map(sum, self.non_local_at))
        extra = f" with {non_local} non-local blocks" if non_local else ""
        inflated = f"{sum(map(sum, self.inflated))} of {sum(self.blocks)} blocks inflated"
        what = f"{input_name(self.in_channels)}, {self.num_classes} classes, {inflated}"
        return f"an I3D-ResNet-{self.depth}{extra} ({what})"

    @property
    def blocks(self) -> tuple[int, int, int, int]:
        """Residual blocks of each stage."""
        return RESNET_BLOCKS[self.depth]

    @property
    def inflated(self) -> tuple[tuple[bool, ...], ...]:
        """For each stage and block: whether it is inflated."""
        return _spread(self.inflate, self.blocks)

    @property
    def non_local_at(self) -> tuple[tuple[bool, ...], ...]:
        """For each stage and block: whether a non-local block follows it."""
        return _spread(self.non_local, self.blocks)

    @property
    def min_frames(self) -> int:
        """The shortest clip that pool1 and pool2 leave a frame of."""
        num_pooled = self.pool1_stride_t * self.pool2 + int(self.pool1[0])  # by pool1
        return self.conv1_stride_t * (num_pooled - 1) + 1


NetworkSettings = Annotated[InceptionSettings | ResNetSettings, Field(discriminator="kind")]
NETWORK_KINDS: Final = tuple(network.model_fields["kind"].default for network in get_args(get_args(NetworkSettings)[0]))
# Names by which pydantic tags the members of a union. It puts them into error locations; users do not know them.
TAGS: Final = frozenset({
    *NETWORK_KINDS, "windows", "clips", "WindowProtocol", "ClipProtocol", "sgd", "adam", "adamw", "step", "cosine",
    "piecewise", "random_resized", "multi_scale", "random", "center", "int", "tuple[int, int]", "constrained-int",
})  # fmt: skip


def input_name(in_channels: int) -> str:
    """What the channels of a network's input hold."""
    return {3: "RGB", 2: "flow"}.get(in_channels, f"{in_channels} channels")


def first_error(error: ValidationError) -> str:
    """The first error of invalid settings with its place and value, on one line."""
    fault = error.errors()[0]
    *around, last = fault["loc"] or ("the settings",)
    is_tag = last in TAGS and fault["type"] == "value_error"  # of a whole member of a union; a key may have its name
    names = [part for part in around if part not in TAGS] + ([] if is_tag else [last])
    place = ".".join(map(str, names))
    if fault["type"] == "missing":
        return printable(f"{place} is missing")
    value = fault["input"]
    got = "" if isinstance(value, dict) else f", got {str(value)[:60]!r}"
    return printable(f"{place}: {fault['msg'].removeprefix('Value error, ')}{got}")


def _spread(patterns: Patterns, blocks: tuple[int, ...]) -> tuple[tuple[bool, ...], ...]:
    return tuple(
        tuple(bool(pattern[i % len(pattern)]) for i in range(n)) for pattern, n in zip(patterns, blocks, strict=True)
    )


Side = Annotated[int, Field(ge=1, le=7680)]  # pixels, up to 8K


class Resize(Settings):
    """A frame is resized by exactly one of these rules; only `size` changes the shape of what is in it."""

    kind: Literal["resize"] = "resize"
    short_side: Side | None = None
    size: tuple[Side, Side] | None = None  # height, width
    within: tuple[Side, Side] | None = None  # the largest that fits: long side, short side

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = (self.short_side, self.size, self.within)
        if len(rules) - rules.count(None) != 1:
            raise ValueError("a resize has one of short_side, size and within")
        return self

    def __str__(self) -> str:
        if self.size is not None:
            return f"resized to {self.size[1]} x {self.size[0]}"
        if self.within is not None:
            return f"resized to fit {max(self.within)} x {min(self.within)}"
        return f"short side {self.short_side}"


class CropCenter(Settings):
    """The middle (height, width) of a frame."""

    kind: Literal["crop_center"] = "crop_center"
    size: tuple[Side, Side]

    def __str__(self) -> str:
        return f"centre {self.size[1]} x {self.size[0]}"


class Fused(Settings):
    """Steps that are one crop of the frame, in whole pixels, and one resize (MMAction2's `lazy=True` and `Fuse`)."""

    kind: Literal["fused"] = "fused"
    steps: tuple[Annotated[Resize | CropCenter, Field(discriminator="kind")], ...] = Field(min_length=1, max_length=16)

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.steps))} in one resampling"


FrameStep = Annotated[Resize | CropCenter | Fused, Field(discriminator="kind")]


class FrameGeometry(Settings):
    """From a decoded frame to the crops that are scored: `steps`, then a resize to `short_side`, then square crops."""

    steps: tuple[FrameStep, ...] = Field(default=(), max_length=16)
    short_side: Side | None = 256  # None: `steps` are all that comes before the crops
    crop: Side = 224

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.short_side is not None and self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        return self

    @property
    def resizes(self) -> tuple[FrameStep, ...]:
        """All that is done to a frame before the crops."""
        return self.steps if self.short_side is None else (*self.steps, Resize(short_side=self.short_side))

    def with_crop(self, crop: int) -> "FrameGeometry":
        """The same resizes with another crop, for which the short side is large enough."""
        short_side = None if self.short_side is None else max(self.short_side, crop)
        return FrameGeometry(steps=self.steps, short_side=short_side, crop=crop)

    @property
    def flow_short_side(self) -> int:
        """The short side of the frames between which flow is computed."""
        if self.steps or self.short_side is None:
            raise ValueError("flow is computed between frames of one short side, without other steps")
        return self.short_side


class Preprocessing(FrameGeometry):
    """From uint8 frames to the network's input: resize, crop, then `(value - mean) / std` per channel."""

    flow: FlowMethod | None = None  # of networks of flow: how it is computed where clips are RGB; None: "dis"
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.mean) != len(self.std) or any(value <= 0 for value in self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} need one value per channel, std above 0")
        return self


def flow_method(network: NetworkSettings, preprocessing: Preprocessing) -> FlowMethod | None:
    """The method of computing flow where it is not stored; None for an RGB network.

    Where nothing names it, DIS: TV-L1, the paper's, takes 75 times as long.
    """
    return (preprocessing.flow or "dis") if network.in_channels == 2 else None


class WindowProtocol(Settings):
    """All frames at a fixed frame rate are scored, in consecutive windows."""

    fps: float = Field(default=25.0, gt=0, le=1000)
    max_window_frames: int = Field(default=250, ge=1, le=10_000)
    crops: Literal["center"] = "center"
    average: Literal["score", "prob"] = "score"  # logits are averaged, the softmax comes last

    @property
    def line(self) -> str:
        return f"all frames at {self.fps:g} fps in windows of at most {self.max_window_frames}"


class ClipProtocol(Settings):
    """Clips of `clip_len` frames, every `frame_interval`-th of the video's own, spread over it; all crops are scored.

    Placements: "centred" in `num_clips` segments (MMAction2 0.x), "end_to_end" (MMAction2 1.x, SlowFast), "dense"
    (`num_clips` clips at each of 10 positions, from `sample_range` frames), or "scattered" (`clip_len` frames drawn
    from the whole video and sorted, as the MindSpore port tests; a function of seed and file name).
    """

    clip_len: int = Field(ge=1, le=10_000)
    frame_interval: int = Field(ge=1, le=10_000)
    num_clips: int = Field(ge=1, le=1000)
    placement: Literal["centred", "end_to_end", "dense", "scattered"] = "centred"
    sample_range: int = Field(default=64, ge=1, le=1_000_000)
    target_fps: float | None = Field(default=None, gt=0, le=1000)  # stretches the clips of videos with another rate
    twice: bool = False  # centred clips and those at the starts of their segments
    out_of_bound: Literal["loop", "repeat_last"] = "loop"
    crops: Literal["center", "two", "three", "ten"] = "three"  # two: the centre and its mirror image
    average: Literal["prob", "score"] = "prob"

    @property
    def num_crops(self) -> int:
        """Views of one clip."""
        return {"center": 1, "two": 2, "three": 3, "ten": 10}[self.crops]

    @property
    def num_views(self) -> int:
        return self.num_clips * self.num_crops * (10 if self.placement == "dense" else 1 + self.twice)

    @model_validator(mode="after")
    def _placement_agrees(self) -> Self:
        if self.twice and self.placement != "centred":
            raise ValueError(f"only centred clips can be sampled twice, not {self.placement} ones")
        if self.target_fps is not None and self.placement == "dense":
            raise ValueError("dense clips keep the rate of the video: target_fps is for the other placements")
        if self.placement == "scattered" and (self.frame_interval > 1 or self.target_fps is not None):
            raise ValueError("scattered frames have no rate: frame_interval is 1 and target_fps is not set")
        return self

    @property
    def line(self) -> str:
        clips = self.num_clips * (10 if self.placement == "dense" else 1 + self.twice)
        if self.placement == "scattered":
            return f"{clips} clip{'s' * (clips > 1)} of {self.clip_len} frames drawn from the whole video"
        where = {"centred": "in the middle of segments", "end_to_end": "from end to end", "dense": "sampled densely"}
        return (
            f"{clips} clip{'s' * (clips > 1)} of {self.clip_len} frames x stride {self.frame_interval} "
            f"{where[self.placement]}" + (f" at {self.target_fps:g} fps" if self.target_fps else "")
        )


Protocol = ClipProtocol | WindowProtocol
