"""What is chosen for the user, each with its reason and the flag that overrules it: a pure function of a few facts.

    plan, choices = choose(facts, Asked(mode="head"))

Letters in names: K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from i3d.errors import InputError
from i3d.finetuning.mirrored_classes import MirrorRule, mirror_rule
from i3d.recipes.augmentation import Augmentation, CenterCrop, MultiScaleCrop, RandomResizedCrop, TrainSampling
from i3d.recipes.settings import ClipProtocol, Preprocessing
from i3d.recipes.training import SGD, CosineSchedule, Loss, Training
from i3d.utils.device import Arithmetic

Mode = Literal["head", "last", "all"]
HeadKind = Literal["linear", "prototype"]
Norms = Literal["frozen", "trained", "re-estimated"]
Flip = Literal["on", "off", "swap"]
Balance = Literal["none", "sampler", "loss", "focal", "logit-adjust"]

FEW: Final = 5  # clips of a class, below which a fitted head would only repeat them
MANY: Final = 20  # clips of a class, from which all layers can learn something new
SMALL_BATCH: Final = 16  # clips on a device, below which batch statistics are too noisy
UNEVEN: Final = 3.0  # clips of the largest class for one of the smallest
WINDOW_FRAMES: Final = 64  # that the pretrained network was trained on, at 25 fps
FPS: Final = 25.0
MOST_VIEWS: Final = 4  # of a clip, to fit a head on
ENOUGH_VIEWS: Final = 100  # of all clips together, on a CPU
MOST_TEST_CLIPS: Final = 4
CPU_VIEWS: Final = 320  # clips that a CPU trains on in some ten minutes
GPU_VIEWS: Final = 20_000


@dataclass(frozen=True)
class DatasetStats:
    """What the choices depend on."""

    classes: tuple[str, ...]
    counts_K: tuple[int, ...]  # clips to train on
    seconds: float | None  # the middle length of a clip; None: frames without times
    num_frames: int  # the middle number of frames
    device: str
    has_fast_bf16: bool
    preprocessing: Preprocessing
    is_rgb: bool = True
    multi_label: bool = False

    @property
    def num_clips(self) -> int:
        return sum(self.counts_K)


@dataclass(frozen=True)
class FinetuneOptions:
    """What the user decided; None: it is chosen."""

    mode: Mode | None = None
    head: HeadKind | None = None
    views: int | None = None
    test_clips: int | None = None
    precision: Arithmetic | None = None
    norms: Norms | None = None
    flip: Flip | None = None
    balance: Balance | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    layer_decay: float | None = None


@dataclass(frozen=True)
class Choice:
    """A decision in words."""

    what: str
    value: str
    why: str
    flag: str


@dataclass(frozen=True)
class Plan:
    """All decisions."""

    mode: Mode
    head: HeadKind
    views: int
    norms: Norms
    balance: Balance
    precision: Arithmetic
    protocol: ClipProtocol
    training: Training
    multi_label: bool


@dataclass
class _Chooser:
    """Notes every decision as it is made."""

    asked: FinetuneOptions
    choices: list[Choice] = field(default_factory=list)

    def __call__(self, what: str, flag: str, name: str, chosen: Callable[[], tuple[Any, str]]) -> Any:
        told = getattr(self.asked, name)
        value, why = (told, "as you say") if told is not None else chosen()
        self.choices.append(Choice(what, f"{value:g}" if isinstance(value, float) else str(value), why, flag))
        return value


def choose(facts: DatasetStats, asked: FinetuneOptions) -> tuple[Plan, list[Choice]]:
    """The plan for a set of clips, and why it is so."""
    pick = _Chooser(asked)
    least = min((count for count in facts.counts_K if count), default=0)
    mode: Mode = pick("what learns", "--finetune", "mode", lambda: _mode(facts, least))
    head: HeadKind = pick("classifier", "--head", "head", lambda: _head(facts, least))
    protocol = _protocol(facts, pick)
    views = pick("views of a clip", "--views", "views", lambda: _views(facts, protocol))
    precision = pick("precision", "--precision", "precision", lambda: _precision(facts))
    balance: Balance = pick("balance", "--balance", "balance", lambda: _balance(facts, least))
    pre = facts.preprocessing
    if mode == "head" and views == 1:  # no random view is made
        if asked.flip in ("on", "swap"):
            raise InputError(f"--flip {asked.flip}: no random view is made; say --views 2 or more")
        augmentation = Augmentation(resize=pre.short_side, size=min(224, pre.crop), crop=CenterCrop(), flip=0.0)
    else:
        augmentation = _augmentation(facts, _flip(facts, pick), pick)
    training = Training(
        optimizer=SGD(),
        schedule=CosineSchedule(),
        loss=_loss(balance),
        balance="classes" if balance == "sampler" else "none",
        sampling=TrainSampling(
            clip_len=protocol.clip_len, frame_interval=protocol.frame_interval, target_fps=protocol.target_fps
        ),
        augmentation=augmentation,
        validation=protocol.model_copy(update={"num_clips": 1}),
        validation_crop=facts.preprocessing.crop,
        validate_every=1,
        best_by="mean_class" if _unevenness(facts, least) >= 1.5 else "top1",
        precision=precision,
    )
    _check_multi_label(facts, mode, balance)
    if mode == "head":
        _check_head(asked, head)
        norms: Norms = pick("batch norms", "--norms", "norms", lambda: ("frozen", "no layer moves"))
    else:
        training, norms = _moving(training, facts, pick)
    return Plan(mode, head, views, norms, balance, precision, protocol, training, facts.multi_label), pick.choices


def check_options(asked: FinetuneOptions, *, multi_label: bool) -> None:
    """What does not go together is an InputError, before anything is decoded."""
    if multi_label and asked.head == "prototype":
        raise InputError("--head prototype: a clip of several classes has no nearest class mean; leave it out")
    if asked.mode == "head":
        _check_head(asked, asked.head or "linear")


def _check_multi_label(facts: DatasetStats, mode: Mode, balance: Balance) -> None:
    """What has no meaning where classes go together is refused."""
    if facts.multi_label and (balance == "logit-adjust" or (mode == "head" and balance in ("sampler", "loss"))):
        raise InputError(f"--balance {balance}: does nothing to clips of several classes; say none or focal")


def _check_head(asked: FinetuneOptions, head: HeadKind) -> None:
    """What has no meaning where no layer moves is refused."""
    for name in ("epochs", "batch_size", "lr", "layer_decay"):
        if getattr(asked, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag}: the classifier alone is fitted to its optimum; say --finetune last or all")
    if asked.norms == "trained":
        raise InputError("--norms trained: no layer moves with --finetune head; say last or all, or re-estimated")
    if head == "prototype" and asked.balance in ("focal", "logit-adjust"):
        raise InputError(f"--balance {asked.balance}: is a loss, and class means have none; say --head linear as well")


def _mode(facts: DatasetStats, least: int) -> tuple[Mode, str]:
    if facts.device == "cpu":
        return "head", "a CPU fits the classifier in seconds; last and all take minutes to hours"
    if least < MANY:
        return "last", f"a class has {least} clips: too few for all layers, enough for the last ones"
    return "all", f"every class has {least} clips or more, and there is a {facts.device} device"


def _head(facts: DatasetStats, least: int) -> tuple[HeadKind, str]:
    if least < FEW and not facts.multi_label:
        return "prototype", f"a class has {least} clips: class means are safer than a fit"
    return "linear", "fitted to its optimum; held-out groups choose the penalty"


def _protocol(facts: DatasetStats, pick: _Chooser) -> ClipProtocol:
    """Clips that span what the network was trained on, where videos are so long."""
    at_25 = facts.seconds * FPS if facts.seconds else facts.num_frames
    length, interval = (16, 1) if at_25 <= 20 else (32, 1) if at_25 <= 40 else (32, 2)
    span = length * interval

    def clips() -> tuple[int, str]:
        number = max(1, min(round(at_25 / WINDOW_FRAMES), MOST_TEST_CLIPS))
        return (
            number,
            f"one spans {span} frames ({length} x stride {interval}{', 25 fps' if facts.seconds else ''}), the middle "
            f"video has {at_25:.0f}",
        )

    num_clips = pick("clips a video at test", "--test-clips", "test_clips", clips)
    rate = FPS if facts.seconds else None
    return ClipProtocol(
        clip_len=length, frame_interval=interval, num_clips=num_clips, target_fps=rate, crops="center", average="prob"
    )


def _views(facts: DatasetStats, protocol: ClipProtocol) -> tuple[int, str]:
    if facts.device != "cpu":
        return MOST_VIEWS, "the middle ones of the test, and random ones"
    views = max(1, min(ENOUGH_VIEWS // max(facts.num_clips * protocol.num_clips, 1), MOST_VIEWS))
    if views == 1:
        return 1, f"{facts.num_clips} clips are enough to fit on as the test sees them; more views take longer"
    return views, f"{facts.num_clips} clips are few: random views besides those of the test make more of them"


def _precision(facts: DatasetStats) -> tuple[Arithmetic, str]:
    if facts.device == "cuda" or facts.has_fast_bf16:
        return "bf16", "this processor computes it more than twice as fast as fp32"
    return "fp32", "this processor has no fast bf16"


def _balance(facts: DatasetStats, least: int) -> tuple[Balance, str]:
    ratio = _unevenness(facts, least)
    if facts.multi_label:
        return "none", "classes go together: each is told from all clips without it"
    if ratio >= UNEVEN:
        return "loss", f"the largest class has {ratio:.0f} times the clips of the smallest: rare classes count more"
    return "none", "classes are about equally large"


def _unevenness(facts: DatasetStats, least: int) -> float:
    return max(facts.counts_K, default=0) / max(least, 1)


def _loss(balance: Balance) -> Loss:
    match balance:
        case "loss":
            return Loss(class_weights="balanced")
        case "focal":
            return Loss(focal_gamma=2.0)
        case "logit-adjust":
            return Loss(logit_adjustment=1.0)
        case _:
            return Loss()


def _flip(facts: DatasetStats, pick: _Chooser) -> tuple[Flip, MirrorRule]:
    rule = mirror_rule(facts.classes)
    if pick.asked.flip == "swap" and not rule:
        raise InputError(
            "--flip swap: no class name speaks of left and right, or of a sense of rotation; say on or off"
        )

    def chosen() -> tuple[Flip, str]:
        if not rule:
            return "on", "no class name says left or right (in English): a mirror keeps every class"
        pairs = [f"{a!r} becomes {b!r}" for a, b in rule.pairs] + [f"{name!r} is never mirrored" for name in rule.alone]
        return "swap", "in a mirror " + ", ".join(pairs[:4]) + (" ..." if len(pairs) > 4 else "")

    return pick("mirror images", "--flip", "flip", chosen), rule


def _augmentation(facts: DatasetStats, flip: tuple[Flip, MirrorRule], pick: _Chooser) -> Augmentation:
    mode, rule = flip
    mirrors: dict[str, Any] = {"flip": 0.0 if mode == "off" else 0.5}
    if mode == "swap":
        mirrors |= {"mirrored": rule.pairs, "no_flip": rule.alone}
    per_class = facts.num_clips / max(sum(count > 0 for count in facts.counts_K), 1)
    if per_class >= 200:
        crop: Any = RandomResizedCrop()
        told = "crops of any size", f"{per_class:.0f} clips a class bear strong changes"
        colours = 0.0
    else:
        crop, colours = MultiScaleCrop(scales=(1.0, 0.875, 0.75)), 0.2 if facts.is_rgb else 0.0
        told = (
            f"mild crops{', colours' if facts.is_rgb else ''}",
            f"{per_class:.0f} clips a class: mild changes make more of them",
        )
    pick.choices.append(Choice("augmentation", *told, "--set training.augmentation..."))
    pre = facts.preprocessing
    return Augmentation(
        resize=pre.short_side, size=min(224, pre.crop), crop=crop, brightness=colours, contrast=colours, **mirrors
    )


def _moving(training: Training, facts: DatasetStats, pick: _Chooser) -> tuple[Training, Norms]:
    """What matters only where layers move: batch, rate, epochs, norms."""
    on_cpu = facts.device == "cpu"
    batch_size = pick("batch", "--batch-size", "batch_size", lambda: (4 if on_cpu else 8, "fits the memory"))
    accumulate = max(1, 8 // batch_size)
    if accumulate > 1:
        pick.choices.append(Choice("accumulated", str(accumulate), "batches of a step, about 8 clips", "--accumulate"))

    def epochs() -> tuple[int, str]:
        most = (CPU_VIEWS if on_cpu else GPU_VIEWS) // max(facts.num_clips, 1)
        where = "a CPU" if on_cpu else "a GPU"
        return max(3, min(most, 30)), f"as many as {where} does of {facts.num_clips} clips in reasonable time"

    def norms() -> tuple[Norms, str]:
        if batch_size < SMALL_BATCH:
            return "frozen", f"statistics of {batch_size} clips are too noisy: those of Kinetics stay"
        return "trained", f"batches of {batch_size} give sound statistics"

    chosen: Norms = pick("batch norms", "--norms", "norms", norms)
    rate = pick("rate", "--lr", "lr", lambda: (0.002, "small: the classifier is fitted already, the rest only adapts"))
    decay = pick(
        "rate of earlier layers",
        "--layer-decay",
        "layer_decay",
        lambda: (0.9, "times the rate for each layer further from the classifier: early layers know what they see"),
    )
    changes: dict[str, Any] = {
        "batch_size": batch_size,
        "accumulate": accumulate,
        "base_batch": 0,
        "epochs": pick("epochs", "--epochs", "epochs", epochs),
        "optimizer": SGD(lr=rate),
        "layer_decay": decay,
        "warmup_epochs": 0.5,
        "patience": 5,
        "freeze_norms": chosen != "trained",
    }
    pick.choices.append(
        Choice(
            "schedule", "cosine", "half an epoch of warm-up, then down to 0 at the end", "--set training.schedule..."
        )
    )
    pick.choices.append(Choice("early stop", "5", "validations without a better one", "--set training.patience=0"))
    return Training(**{**dict(training), **changes}), chosen
