"""Chooses every setting of fine-tuning that the user leaves open, by a pure function of what is known beforehand.

    config = choose(options, stats, recipe=weights.card.recipe, device="cpu", ...)

Letters in names: K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from i3d.errors import InputError, abridged, counted
from i3d.finetuning.inspect_data import DatasetStats, Split
from i3d.finetuning.mirrored_classes import mirror_rule
from i3d.finetuning.options import Balance, FinetuneOptions, Flip, HeadKind, Norms, TrainLayers, check_head, flag_of
from i3d.finetuning.useless_settings import Plan, changed_options, check_agreement, check_effects
from i3d.models.factory import build_meta_network
from i3d.recipes.augmentation import Augmentation, CenterCrop, MultiScaleCrop, RandomResizedCrop, TrainSampling
from i3d.recipes.io import with_overrides
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, NetworkSettings
from i3d.recipes.training import SGD, CosineSchedule, Loss, Training
from i3d.utils.device import Arithmetic
from i3d.weights.load import state_shapes

MANY: Final = 20  # clips of a class, from which training all layers pays
SMALL_BATCH: Final = 16  # clips on a device, below which batch statistics are too noisy
UNEVEN: Final = 3.0  # clips of the largest class per clip of the smallest
WINDOW_FRAMES: Final = 64  # that the pretrained network was trained on, at 25 fps
CPU_FEATURES: Final = 2000  # clips of 64 frames that a CPU reads in about half an hour
FPS: Final = 25.0
MAX_VIEWS: Final = 4  # of a clip, to fit a classifier on
ENOUGH_VIEWS: Final = 100  # of all clips together, on a CPU
MAX_TEST_CLIPS: Final = 4
CPU_VIEWS: Final = 320  # clips that a CPU trains on in about ten minutes
GPU_VIEWS: Final = 20_000
STRONG_AUGMENTATION: Final = 200  # clips per class, from which it does no harm
LOSSES: Final[Mapping[Balance, Loss]] = {
    "loss": Loss(class_weights="balanced"),
    "focal": Loss(focal_gamma=2.0),
    "logit-adjust": Loss(logit_adjustment=1.0),
}
FOLDS, PATIENCE = "--cv-folds", "--set training.patience"


@dataclass(frozen=True)
class Decision:
    """One setting, with its reason and the flag that overrides it."""

    flag: str
    value: str
    reason: str


@dataclass(frozen=True)
class FinetuneConfig:
    """Everything that was decided. `recipe` has the network, the test protocol and the training settings."""

    train_layers: TrainLayers
    head: HeadKind
    views: int  # of a clip, to fit the classifier on: those of a test, and random ones
    norms: Norms
    recipe: Recipe
    decisions: tuple[Decision, ...]

    @property
    def training(self) -> Training:
        assert self.recipe.training is not None
        return self.recipe.training

    @property
    def protocol(self) -> ClipProtocol:
        assert isinstance(self.recipe.protocol, ClipProtocol)
        return self.recipe.protocol

    @property
    def precision(self) -> Arithmetic:
        return self.training.precision


@dataclass
class _Chooser:
    """Records every decision as it is resolved."""

    options: FinetuneOptions
    decisions: list[Decision] = field(default_factory=list)

    def __call__(self, name: str, default: Any, reason: str, *, given: Any = None) -> Any:
        """The user's value of an option (`given`, or that of the options), or the default with its reason."""
        given = getattr(self.options, name, None) if given is None else given
        value, reason = (default, reason) if given is None else (given, "set by you")
        self.add(flag_of(name), f"{value:g}" if isinstance(value, float) else str(value), reason)
        return value

    def add(self, flag: str, value: str, reason: str) -> None:
        self.decisions.append(Decision(flag, value, reason))

    def remove(self, flag: str) -> None:
        """Remove a decision that a setting replaces."""
        self.decisions = [decision for decision in self.decisions if decision.flag != flag]


def choose(
    options: FinetuneOptions,
    stats: DatasetStats,
    *,
    recipe: Recipe,
    device: str,
    has_fast_bf16: bool,
    precision: Arithmetic | None = None,
    init: str = "",
    settings: Sequence[str] = (),
) -> FinetuneConfig:
    """The configuration, with the reason of each decision.

    `recipe` is that of the pretrained weights, `settings` are `key=value` changes of the resulting recipe.
    """
    pick, on_cpu = _Chooser(options), device == "cpu"
    train_layers: TrainLayers = pick("train_layers", *_train_layers(stats, device))
    head: HeadKind = pick("head", *_head(stats, options, train_layers))
    flip = _flip(stats, pick)
    protocol = _protocol(stats, pick, flip, on_cpu=on_cpu)
    views: int = pick("views", *_views(stats, protocol, on_cpu=on_cpu))
    given_precision, precision = precision, pick("precision", *_precision(has_fast_bf16), given=precision)
    balance: Balance = pick("balance", *_balance(stats))
    _check_balance(balance, stats, train_layers)
    training = Training(
        init=init,
        optimizer=SGD(),
        schedule=CosineSchedule(),
        loss=LOSSES.get(balance, Loss()),
        balance="classes" if balance == "sampler" else "none",
        sampling=TrainSampling(
            clip_len=protocol.clip_len, frame_interval=protocol.frame_interval, target_fps=protocol.target_fps
        ),
        augmentation=_augmentation(stats, recipe, pick, flip, is_random=train_layers != "head" or views > 1),
        validation=protocol.model_copy(update={"num_clips": 1, "crops": "center"}),
        validation_crop=recipe.preprocessing.crop,
        validate_every=1,
        best_by="mean_class" if _imbalance(stats) >= 1.5 else "top1",
        precision=precision,
    )
    if train_layers == "head":
        check_head(options, head)
        norms: Norms = pick("norms", "frozen", "only the classifier is trained")
    else:
        training, norms = _layer_settings(training, stats, pick, on_cpu=on_cpu)
    network = _network(stats, recipe, pick, settings, train_layers)
    frozen = _frozen_stages(network) if train_layers == "last" else ()
    resolved = Recipe(
        name=f"finetune_{train_layers}",
        network=network,
        preprocessing=recipe.preprocessing,
        protocol=protocol,
        dataset="",
        training=training.model_copy(update={"freeze": frozen}),
        multi_label=stats.multi_label,
    )
    given = {**vars(options), "precision": given_precision}
    resolved = _with_settings(resolved, settings, Plan(train_layers, head, views), given, pick)
    return FinetuneConfig(train_layers, head, views, norms, resolved, tuple(pick.decisions))


def _check_balance(balance: Balance, stats: DatasetStats, train_layers: TrainLayers) -> None:
    useless = ("sampler", "loss", "logit-adjust") if train_layers == "head" else ("logit-adjust",)
    if stats.multi_label and balance in useless:
        raise InputError(f"--balance {balance}: has no effect on multi-label clips; use none or focal")


def _network(
    stats: DatasetStats, recipe: Recipe, pick: _Chooser, settings: Sequence[str], train_layers: TrainLayers
) -> NetworkSettings:
    """The network of the pretrained weights with a classifier of the user's classes."""
    changes = {"num_classes": len(stats.classes), **_head_pooling(recipe, pick, settings)}
    if train_layers != "head":
        changes["dropout"] = 0.0
        pick.add("--set network.dropout", "0", "the classifier was fitted without it, and would be wrong with it")
    return recipe.network.model_copy(update=changes)


def with_folds(config: FinetuneConfig, split: Split) -> FinetuneConfig:
    """The configuration with the decision about cross-validation, which the split made, instead of one before.

    Without validation clips, training does not stop early.
    """
    value = f"{split.num_folds}{' (classifier)' * (split.head_folds_N is not None)}"
    decisions = [row for row in config.decisions if row.flag != FOLDS and (split.validation or row.flag != PATIENCE)]
    return replace(config, decisions=(*decisions, Decision(FOLDS, value, split.folds_reason)))


def _smallest_class(stats: DatasetStats) -> int:
    return min((count for count in stats.counts_K if count), default=0)


def _imbalance(stats: DatasetStats) -> float:
    """Clips of the largest class per clip of the smallest."""
    return max(stats.counts_K, default=0) / max(_smallest_class(stats), 1)


def trains_layers(options: FinetuneOptions, device: str) -> bool:
    """Whether more than the classifier is trained, which does not depend on the clips."""
    return options.train_layers != "head" and not (options.train_layers is None and device == "cpu")


def _train_layers(stats: DatasetStats, device: str) -> tuple[TrainLayers, str]:
    smallest = _smallest_class(stats)
    if device == "cpu":
        return "head", "a CPU fits the classifier in seconds; to train layers takes minutes to hours"
    if smallest < MANY:
        return "last", f"the smallest class has {smallest} clips: too few for all layers, enough for the last ones"
    return "all", f"every class has at least {smallest} clips, and there is a GPU ({device})"


def _head(stats: DatasetStats, options: FinetuneOptions, train_layers: TrainLayers) -> tuple[HeadKind, str]:
    if stats.multi_label:
        return "linear", "a multi-label clip has no nearest class mean; cross-validation chooses the L2 penalty"
    if train_layers == "head" and options.balance in ("focal", "logit-adjust"):
        return "linear", f"class means have no loss that --balance {options.balance} could change"
    return (
        "auto",
        "cross-validation by group chooses an L2 penalty, discriminant analysis, or class means",
    )


def _frozen_stages(network: NetworkSettings) -> tuple[str, ...]:
    """All stages but the last ones."""
    net = build_meta_network(network)
    return net.stages[: -net.num_last_stages]


def _head_pooling(recipe: Recipe, pick: _Chooser, settings: Sequence[str]) -> dict[str, str]:
    """What the classifier reads of the feature maps, where the network and the user leave a choice."""
    is_set = any(setting.startswith("network.head_pooling=") for setting in settings)
    if is_set or "head_pooling" not in type(recipe.network).model_fields:
        return {}
    pick.add(
        "--set network.head_pooling", "maxima", "the strongest response in each frame, of two layers, better than means"
    )
    return {"head_pooling": "maxima"}


def _protocol(stats: DatasetStats, pick: _Chooser, flip: Flip, *, on_cpu: bool) -> ClipProtocol:
    """Clips as long as those of pretraining, or shorter if the videos are, and their mirror images."""
    num_frames = stats.seconds * FPS if stats.seconds else stats.num_frames
    length, interval = (16, 1) if num_frames <= 20 else (32, 1) if num_frames <= 40 else (64, 1)
    fitting = max(1, min(round(num_frames / WINDOW_FRAMES), MAX_TEST_CLIPS))
    views = stats.num_clips * (2 if flip == "on" else 1) * (pick.options.test_clips or fitting)
    shorter = ""
    if on_cpu and length == WINDOW_FRAMES and views > CPU_FEATURES:
        length, interval, shorter = 32, 2, f"; {views:,} clips of 64 frames take a CPU twice as long"
    at_fps = ", 25 fps" if stats.seconds else ""
    num_clips: int = pick(
        "test_clips",
        fitting,
        f"a clip spans {length * interval} frames ({length} x stride {interval}{at_fps}); the median video has "
        f"{num_frames:.0f}{shorter}",
    )
    return ClipProtocol(
        clip_len=length,
        frame_interval=interval,
        num_clips=num_clips,
        target_fps=FPS if stats.seconds else None,
        crops="two" if flip == "on" else "center",
        average="prob",
    )


def _views(stats: DatasetStats, protocol: ClipProtocol, *, on_cpu: bool) -> tuple[int, str]:
    """1: the views of a test. Each further one is a random view."""
    if not on_cpu:
        return MAX_VIEWS, "the views of the test, and random ones"
    views = max(1, min(ENOUGH_VIEWS // max(stats.num_clips * protocol.num_views, 1), MAX_VIEWS))
    if views == 1:
        return 1, f"{stats.num_clips} clips are enough without augmentation; each random view takes longer"
    return views, f"{counted(stats.num_clips, 'clip is', 'clips are')} few: random views augment them"


def _precision(has_fast_bf16: bool) -> tuple[Arithmetic, str]:
    if has_fast_bf16:
        return "bf16", "this device has instructions for bf16, which take half the time of fp32 or less"
    return "fp32", "this device has no instructions for bf16"


def _balance(stats: DatasetStats) -> tuple[Balance, str]:
    ratio = _imbalance(stats)
    if stats.multi_label:
        return "none", "multi-label: each class is trained against all other clips"
    if ratio >= UNEVEN:
        return "loss", f"the largest class has {ratio:.0f} times the clips of the smallest: rare classes weigh more"
    return "none", "the classes are about equally large"


def _augmentation(stats: DatasetStats, recipe: Recipe, pick: _Chooser, flip: Flip, *, is_random: bool) -> Augmentation:
    pre = recipe.preprocessing
    size: dict[str, Any] = {"steps": pre.steps, "resize": pre.short_side, "size": min(224, pre.crop)}
    if not is_random:
        if pick.options.flip == "swap":
            raise InputError("--flip swap: there are no random views to mirror; add more --views")
        return Augmentation(**size, crop=CenterCrop(), flip=0.0)
    mirrors = _mirrors(stats, flip)
    per_class = stats.num_clips / max(sum(count > 0 for count in stats.counts_K), 1)
    if per_class >= STRONG_AUGMENTATION:
        crop: Any = RandomResizedCrop()
        jitter, words, why = 0.0, "random resized crops", ""
    else:
        crop = MultiScaleCrop(scales=(1.0, 0.875, 0.75))
        jitter, words, why = 0.2 if recipe.network.in_channels == 3 else 0.0, "multi-scale crops", ": mild augmentation"
    words += ", colour jitter" if jitter else ""
    pick.add("--set training.augmentation...", words, f"{per_class:.0f} clips per class{why}")
    return Augmentation(**size, crop=crop, brightness=jitter, contrast=jitter, **mirrors)


def _flip(stats: DatasetStats, pick: _Chooser) -> Flip:
    """What mirroring does: nothing to a class, exchange some, or more than can be known."""
    rule = mirror_rule(stats.classes)
    if pick.options.flip == "swap" and not rule:
        raise InputError(
            "--flip swap: no class name contains left, right or a sense of rotation (in English); use on or off"
        )
    if rule:
        pairs = [f"{a!r} becomes {b!r}" for a, b in rule.pairs] + [f"{name!r} is not mirrored" for name in rule.alone]
        flip: Flip = pick("flip", "swap", f"in a mirror {abridged(pairs, 4)}")
    else:
        why = "mirror images are views too: no class name contains left, right or a sense of rotation (in English)"
        flip = pick("flip", "on", why)
    return flip


def _mirrors(stats: DatasetStats, flip: Flip) -> dict[str, Any]:
    """The settings of random mirroring: which classes it turns into each other, and which it must not touch."""
    rule = mirror_rule(stats.classes)
    if flip == "swap":
        return {"flip": 0.5, "mirrored": rule.pairs, "no_flip": rule.alone}
    return {"flip": 0.0 if flip == "off" else 0.5}


def _layer_settings(training: Training, stats: DatasetStats, pick: _Chooser, *, on_cpu: bool) -> tuple[Training, Norms]:
    """What matters only if layers are trained: batch size, learning rate, epochs, batch norms."""
    batch_size: int = pick("batch_size", 4 if on_cpu else 8, "fits in memory")
    accumulate = max(1, 8 // batch_size)
    if accumulate > 1:
        pick.add("--accumulate", str(accumulate), "batches per step, for about 8 clips per step")
    noisy = f"the statistics of {batch_size} clips are too noisy; those of pretraining stay"
    reliable = f"batches of {batch_size} clips give reliable statistics"
    is_small = batch_size < SMALL_BATCH
    norms: Norms = pick("norms", "frozen" if is_small else "trained", noisy if is_small else reliable)
    lr = pick("lr", 0.002, "low: the classifier is fitted already, and the other layers only adapt")
    decay_reason = "learning-rate factor per stage: the earlier a layer, the less it changes"
    layer_decay = pick("layer_decay", 0.9, decay_reason)
    affordable = (CPU_VIEWS if on_cpu else GPU_VIEWS) // max(stats.num_clips, 1)
    where = "a CPU" if on_cpu else "a GPU"
    epochs_reason = f"as many as {where} trains {counted(stats.num_clips, 'clip')} for in reasonable time"
    epochs: int = pick("epochs", max(3, min(affordable, 30)), epochs_reason)
    changes: dict[str, Any] = {
        "batch_size": batch_size,
        "accumulate": accumulate,
        "base_batch": 0,
        "epochs": epochs,
        "optimizer": SGD(lr=lr),
        "layer_decay": layer_decay,
        "warmup_epochs": 0.5,
        "patience": 5,
        "freeze_norms": norms != "trained",
    }
    pick.add("--set training.schedule...", "cosine", "half an epoch of warm-up, then decay to 0 at the end")
    pick.add(PATIENCE, "5", "training stops after 5 validations without improvement")
    return Training(**{**dict(training), **changes}), norms


def _with_settings(
    recipe: Recipe, settings: Sequence[str], plan: Plan, given: Mapping[str, Any], pick: _Chooser
) -> Recipe:
    """The recipe with the user's `key=value` settings. `given`: the options; None: not given."""
    before, recipe = recipe, with_overrides(recipe, settings)
    if state_shapes(recipe.network) != state_shapes(before.network):
        raise InputError(
            "--set network: fine-tuning starts from trained weights, which fit their own network only; leave it out, "
            "or name a --recipe"
        )
    if recipe.training is None:
        raise InputError("--set training: fine-tuning needs training settings; leave it out")
    if not isinstance(recipe.protocol, ClipProtocol):
        raise InputError("--set protocol: fine-tuning tests on clips, not on windows; set clip_len, num_clips ...")
    check_effects(settings, recipe, plan)
    for option in changed_options(before, recipe):
        check_agreement(option, given.get(option), settings)
        pick.remove(flag_of(option))
    for setting in settings:
        key, _, value = setting.partition("=")
        pick.remove(f"--set {key}")
        pick.add(f"--set {key}", value, "set by you")
    return recipe
