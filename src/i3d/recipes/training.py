"""The settings of training: initial weights, data, loss, optimiser, schedule."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from i3d.recipes.augmentation import Augmentation, Mixup, TrainSampling
from i3d.recipes.settings import ClipProtocol, FrameGeometry, Settings, Side

LearningRate = Annotated[float, Field(gt=0, lt=1e6)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]


class SGD(Settings):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: LearningRate = 0.01  # for `Training.base_batch` clips a step
    momentum: Fraction = 0.9
    weight_decay: float = Field(default=1e-4, ge=0, le=1000)
    nesterov: bool = False


class Adam(Settings):
    """Adam, whose weight decay is part of the gradient (Kingma & Ba 2015, arXiv:1412.6980)."""

    kind: Literal["adam"] = "adam"
    lr: LearningRate = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0, le=1000)


class AdamW(Settings):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    lr: LearningRate = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(default=0.05, ge=0, le=1000)


Optimizer = Annotated[SGD | Adam | AdamW, Field(discriminator="kind")]


Multiple = Annotated[float, Field(ge=0, le=1e6)]


class LayerFactors(Settings):
    """Factors of the learning rate and of the weight decay for parameters whose names begin with `prefix`."""

    prefix: str  # "" is all of them, "*" all but the classifier
    lr: Multiple = 1.0
    weight_decay: Multiple = 1.0


class ParameterFactors(Settings):
    """Factors of the learning rate and of the weight decay by the kind of a parameter (MMEngine's `paramwise_cfg`)."""

    norm_decay: Multiple = 1.0  # of the weight decay of batch norms
    bias_decay: Multiple = 1.0  # of the weight decay of biases
    bias_lr: Multiple = 1.0
    layers: tuple[LayerFactors, ...] = ()  # instead of these three; of several for a parameter the first


class StepSchedule(Settings):
    """The learning rate is multiplied by `gamma` at the start of each of these epochs (counted from 0)."""

    kind: Literal["step"] = "step"
    epochs: tuple[Annotated[int, Field(ge=1)], ...] = (40, 80)
    gamma: Factor = 0.1


class CosineSchedule(Settings):
    """Half a cosine from the full learning rate down to `end` times it or to `end_lr`, every step or `by_epoch`.

    `end_lr` is neither scaled to the batch nor by the factors of parameters, as MMEngine's `eta_min`. Before the cosine
    begins the learning rate is the full one, after it the last one.
    """

    kind: Literal["cosine"] = "cosine"
    end: Fraction = 0.0
    end_lr: float | None = Field(default=None, ge=0, lt=1e6)  # instead of `end`
    begin: float = Field(default=0.0, ge=0, le=1_000_000)  # epochs
    length: float | None = Field(default=None, gt=0, le=1_000_000)  # epochs; None: the rest of the run
    by_epoch: bool = False  # the learning rate changes at the start of each epoch

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.end and self.end_lr is not None:
            raise ValueError("end and end_lr: set one of the two")
        return self


class PiecewiseSchedule(Settings):
    """`factors[i]` times the learning rate until step `until[i]`, then the last factor."""

    kind: Literal["piecewise"] = "piecewise"
    until: tuple[Annotated[int, Field(ge=1)], ...]
    factors: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if list(self.until) != sorted(set(self.until)) or len(self.factors) != len(self.until) + 1:
            raise ValueError(f"until {self.until} must rise, and factors {self.factors} be one more")
        return self


Schedule = Annotated[StepSchedule | CosineSchedule | PiecewiseSchedule, Field(discriminator="kind")]


class Loss(Settings):
    """Cross-entropy, or binary cross-entropy for independent classes."""

    label_smoothing: Fraction = 0.0
    focal_gamma: float = Field(default=0.0, ge=0, le=10)  # 0: plain (Lin et al. 2017, arXiv:1708.02002)
    class_weights: Literal["none", "balanced"] | tuple[Annotated[float, Field(ge=0, le=1e6)], ...] = "none"
    # One weight a class, or "balanced": a clip counts for 1 / (clips of its class)
    logit_adjustment: float = Field(default=0.0, ge=0, le=100)  # times log frequency of a class (Menon et al. 2021)


class Training(Settings):
    """A training run. The defaults are MMAction2's for I3D-R50 on Kinetics-400."""

    init: str = "timm/resnet50.tv_in1k"  # initial weights: a file, a hub name, or "" for random ones
    input: Literal["videos", "frames"] = "videos"  # what the published recipe reads
    epochs: int = Field(default=100, ge=1, le=1_000_000)
    steps: int | None = Field(default=None, ge=1, le=1_000_000_000)  # instead of epochs
    batch_size: int = Field(default=8, ge=1, le=65_536)  # clips of a step on each device
    accumulate: int = Field(default=1, ge=1, le=65_536)  # batches whose gradients are accumulated for a step
    base_batch: int = Field(default=64, ge=0, le=1_000_000)  # clips of a step that lr is for; 0: lr is not scaled
    optimizer: Optimizer = SGD()
    schedule: Schedule = StepSchedule()
    warmup_epochs: float = Field(default=0.0, ge=0, le=1_000_000)  # the learning rate grows linearly over them
    warmup_steps: int = Field(default=0, ge=0, le=1_000_000_000)  # instead of epochs
    warmup_start: Factor = 0.1  # from this fraction of it
    warmup_by_epoch: bool = False  # it grows at the start of each epoch, else after every step
    warmup_within: bool = False  # the last step or epoch of the warm-up has the whole learning rate; else the next
    head_lr: float = Field(default=1.0, gt=0, le=1e6)  # times the learning rate, for the classifier
    layer_decay: Factor = 1.0  # times the learning rate, for each stage further from the classifier
    factors: ParameterFactors = ParameterFactors()
    clip_grad_norm: float = Field(default=40.0, ge=0, le=1e9)  # 0: gradients are not clipped
    freeze: tuple[str, ...] = ()  # prefixes of state-dict keys that are not trained; ("*",) is all but the classifier
    freeze_norms: bool = False  # batch norms do not update their statistics
    sync_norms: bool = False  # batch norms take statistics over all devices (GPUs alone)
    ema_decay: Fraction = 0.0  # of an exponential moving average of the weights, which is validated and saved; 0: none
    loss: Loss = Loss()
    balance: Literal["none", "classes"] = "none"  # classes: every class is drawn equally often
    shuffle: bool = True  # else the clips of every epoch come in the order of the list
    drop_last: bool = False  # the last batch of an epoch is left out if it has fewer clips
    sampling: TrainSampling = TrainSampling()
    augmentation: Augmentation = Augmentation()
    mixup: Mixup = Mixup()
    validation: ClipProtocol = ClipProtocol(clip_len=32, frame_interval=2, num_clips=1, crops="center")
    validation_crop: Side = 224
    validation_geometry: FrameGeometry | None = None  # instead of this crop and the resizes of the preprocessing
    validate_every: int = Field(default=5, ge=1, le=1_000_000)  # epochs
    patience: int = Field(default=0, ge=0, le=1_000_000)  # validations without improvement to stop; 0: any
    best_by: Literal["top1", "mean_class"] = "top1"
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    loss_scale: float = Field(default=0.0, ge=0, le=2.0**40)  # of fp16; 0: dynamic
    save_every: int = Field(default=500, ge=1, le=1_000_000_000)  # steps; after every epoch in any case

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.loss_scale and self.precision != "fp16":
            raise ValueError(f"loss_scale is for fp16, not for {self.precision}")
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError("warmup_steps and warmup_epochs: set one of the two")
        if self.warmup_by_epoch and self.warmup_steps:
            raise ValueError("warmup_by_epoch: is for warmup_epochs, not for warmup_steps")
        if self.balance == "classes" and not self.shuffle:
            raise ValueError("shuffle: classes are balanced by drawing clips: leave out balance, or shuffle")
        if self.sync_norms and self.freeze_norms:
            raise ValueError("norms that are frozen cannot be synchronised: choose one")
        if self.mixup.is_on and (self.loss.focal_gamma or self.loss.class_weights != "none"):
            raise ValueError("mixed clips have no one class: no focal loss and no class weights with mixup or cutmix")
        return self
