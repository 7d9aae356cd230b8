"""Settings of training clips: sampling, crop and augmentation, drawn once for all frames of a clip."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from i3d.errors import InputError, quoted
from i3d.recipes.settings import FrameStep, Settings, Side

Probability = Annotated[float, Field(ge=0, le=1)]
NUM_OPERATIONS: Final = 14  # of RandAugment
Strength = Annotated[float, Field(ge=0, lt=1)]


class TrainSampling(Settings):
    """Clips of `clip_len` frames, every `frame_interval`-th of the video's own (or of `target_fps`).

    Placements: "segments" draws one start in each of `num_clips` equal parts of the video (MMAction2 `SampleFrames`),
    "dense" draws one start for all, which share `sample_range` frames (`DenseSampleFrames`).
    """

    clip_len: int = Field(default=32, ge=1, le=10_000)
    frame_interval: int = Field(default=2, ge=1, le=10_000)
    num_clips: int = Field(default=1, ge=1, le=1000)
    placement: Literal["segments", "dense"] = "segments"
    sample_range: int = Field(default=64, ge=1, le=1_000_000)
    target_fps: float | None = Field(default=None, gt=0, le=1000)
    temporal_jitter: bool = False  # each frame moves on by less than `frame_interval`
    out_of_bound: Literal["loop", "repeat_last"] = "loop"

    @model_validator(mode="after")
    def _placement_agrees(self) -> Self:
        if self.placement == "dense" and (self.target_fps is not None or self.temporal_jitter):
            raise ValueError("dense clips keep the rate of the video: no target_fps and no temporal_jitter")
        return self


def _check_ranges(box: Any) -> Any:
    if not 0 < box.area[0] <= box.area[1] <= 1 or not 0 < box.aspect[0] <= box.aspect[1] < 1000:
        raise ValueError(f"area {box.area} must lie in 0 to 1 and both ranges rise, aspect is {box.aspect}")
    return box


class RandomResizedCrop(Settings):
    """A box of random area (a fraction of the frame) and aspect ratio (width / height), at a random place."""

    kind: Literal["random_resized"] = "random_resized"
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    _ranges = model_validator(mode="after")(_check_ranges)


class MultiScaleCrop(Settings):
    """A box whose sides are drawn from `scales` times the short side, at one of a few places, or anywhere."""

    kind: Literal["multi_scale"] = "multi_scale"
    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(1.0, 0.8), min_length=1)
    max_gap: int = Field(default=1, ge=0, le=100)  # how far apart in `scales` width and height may be
    input_size: Side | None = None  # sides within 3 pixels of it become it; None: the size of the input
    places: Literal["5", "13", "random"] = "5"  # corners and middle; these and 8 between them; anywhere


class RandomCrop(Settings):
    """A square at a random place."""

    kind: Literal["random"] = "random"
    side: Side | None = None  # None: the size of the input


class CenterCrop(Settings):
    """A square in the middle."""

    kind: Literal["center"] = "center"
    side: Side | None = None  # None: the size of the input


Crop = Annotated[RandomResizedCrop | MultiScaleCrop | RandomCrop | CenterCrop, Field(discriminator="kind")]


class RandomErasing(Settings):
    """One box of every frame, the same in all, becomes noise (Zhong et al. 2020, arXiv:1708.04896)."""

    probability: Probability = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 10 / 3)
    _ranges = model_validator(mode="after")(_check_ranges)


class RandAugment(Settings):
    """`num_ops` operations drawn from 14, all of one magnitude (Cubuk et al. 2020, arXiv:1909.13719).

    The operations "pytorchvideo" are those of MMAction2's `PytorchVideoWrapper`: no operation is drawn twice, colours
    are inverted instead of left alone, and solarising inverts all but black, as it does there with 8 bits.
    """

    num_ops: int = Field(default=2, ge=1, le=100)
    magnitude: float = Field(default=9, ge=0, le=10)
    magnitude_std: float = Field(default=0, ge=0, le=10)  # of the magnitude of each operation, which stays in 0 to 10
    probability: Probability = 1.0  # with which an operation that was drawn is applied
    operations: Literal["paper", "pytorchvideo"] = "paper"
    before_crop: bool = False  # on the resized frames; else on the input of the network

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.operations == "pytorchvideo" and self.num_ops > NUM_OPERATIONS:
            raise ValueError(f"num_ops {self.num_ops}: only {NUM_OPERATIONS} operations can be drawn without a repeat")
        return self


class Augmentation(Settings):
    """From decoded frames to the `size` x `size` input, in this order. The default is MMAction2's for I3D-R50."""

    steps: tuple[FrameStep, ...] = Field(default=(), max_length=16)  # resizes and crops before the following
    resize: Side | tuple[Side, Side] | None = 256  # the short side, or (height, width) whatever that does to shapes
    crop: Crop = MultiScaleCrop(max_gap=0)
    size: Side = 224
    fused: bool | Literal["crop"] = False  # resize, crop and resize to `size` are one resampling; "crop": the last not
    flip: Probability = 0.5
    no_flip: tuple[str, ...] = ()  # classes that are not flipped
    mirrored: tuple[tuple[str, str], ...] = ()  # pairs of classes that a flip exchanges
    rotation_degrees: float = Field(default=0, ge=0, le=180)  # drawn from -that to +that; what comes in is black
    pixel_dropout: Strength = 0  # up to this fraction of the pixels becomes black, the same in all frames
    brightness: Strength = 0  # factors drawn from 1 - that to 1 + that
    contrast: Strength = 0
    saturation: Strength = 0
    hue: float = Field(default=0, ge=0, le=0.5)  # as a fraction of the colour circle
    rand_augment: RandAugment | None = None
    erasing: RandomErasing | None = None

    @property
    def changes_colours(self) -> bool:
        """Whether it changes colours, which only RGB has."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue or self.rand_augment)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        resize = self.size if self.resize is None else self.resize
        sides = resize if isinstance(resize, tuple) else (resize,)
        if min(sides) < 1:
            raise ValueError(f"resize must be at least 1, got {self.resize}")
        if isinstance(self.crop, RandomCrop | CenterCrop):
            side = self.crop.side or self.size
            if self.resize is not None and min(sides) < side:
                raise ValueError(f"a crop of {side} does not fit into frames resized to {self.resize}")
        if self.fused and self.rand_augment is not None and self.rand_augment.before_crop:
            raise ValueError("fused resampling has no resized frames: leave out rand_augment.before_crop")
        paired = [name for pair in self.mirrored for name in pair]
        if len(set(paired)) < len(paired):
            raise ValueError(f"mirrored {self.mirrored}: a class stands in two pairs; it has one mirror image")
        if both := {name for pair in self.mirrored for name in pair} & set(self.no_flip):
            raise ValueError(f"{sorted(both)[0]!r} is in no_flip and in mirrored: a class is in one of them")
        return self


class Mixup(Settings):
    """Pairs of clips of one batch are blended, with soft targets. Both on: each batch draws one of the two."""

    mixup_alpha: float = Field(default=0, ge=0, le=1000)  # Zhang et al. 2018, arXiv:1710.09412
    cutmix_alpha: float = Field(default=0, ge=0, le=1000)  # Yun et al. 2019, arXiv:1905.04899

    @property
    def is_on(self) -> bool:
        return bool(self.mixup_alpha or self.cutmix_alpha)


def flips_of(augmentation: Augmentation, classes: tuple[str, ...]) -> tuple[frozenset[int], dict[int, int]]:
    """The class numbers that must not be flipped, and those that a flip exchanges."""
    pairs = [*augmentation.mirrored, *((b, a) for a, b in augmentation.mirrored)]
    number_of = {name: i for i, name in enumerate(classes)}
    for name in (*augmentation.no_flip, *(name for pair in pairs for name in pair)):
        if name not in number_of:
            raise InputError(f"no_flip and mirrored: {quoted(name)}: is not one of the {len(classes)} classes")
    forbidden = frozenset(number_of[name] for name in augmentation.no_flip)
    return forbidden, {number_of[a]: number_of[b] for a, b in pairs}
