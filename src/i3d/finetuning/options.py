"""The settings of fine-tuning that a user can choose."""

from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal, get_args

from i3d.errors import InputError
from i3d.utils.arguments import check_fields

TrainLayers = Literal["head", "last", "all"]
HeadKind = Literal["auto", "linear", "prototype"]
Norms = Literal["frozen", "trained", "re-estimated"]
Flip = Literal["on", "off", "swap"]
Balance = Literal["none", "sampler", "loss", "focal", "logit-adjust"]
CHOICES: Final[dict[str, Any]] = {
    "train_layers": TrainLayers, "head": HeadKind, "norms": Norms, "flip": Flip, "balance": Balance,
}  # fmt: skip


@dataclass(frozen=True)
class FinetuneOptions:
    """None: the value is chosen by the clips and the device. The precision is that of `ComputeConfig`."""

    train_layers: TrainLayers | None = None  # the classifier, the last stages too, or all layers
    head: HeadKind | None = None  # a fitted linear classifier, class means, or the better of both in cross-validation
    views: int | None = None  # views of each clip that the classifier is fitted on
    test_clips: int | None = None  # clips per video in a test
    norms: Norms | None = None  # batch-norm statistics
    flip: Flip | None = None  # mirror training clips; swap: left and right classes change places
    balance: Balance | None = None  # compensation of class imbalance
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    layer_decay: float | None = None  # learning-rate factor per stage away from the classifier
    cv_folds: int | None = None  # cross-validation of the whole training; 0: none, not of the classifier either
    val_fraction: float | None = None  # of the clips without a split, for validation (default: 0.2)
    group_by: str | None = None  # regular expression: clips with the same first group stay on one side of the split
    overfit_check: bool = True  # the model must first overfit eight clips

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value, allowed = getattr(self, name), get_args(choices)
            if value is not None and value not in allowed:
                raise InputError(f"{flag_of(name)} {value!r}: is not one of {', '.join(allowed)}")
        check_fields(self)
        if self.cv_folds is not None and (self.cv_folds == 1 or self.cv_folds < 0):
            raise InputError(f"--cv-folds {self.cv_folds}: must be at least 2, or 0 for none")
        for name in ("views", "test_clips", "epochs", "batch_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{flag_of(name)} {value}: must be at least 1")
        if self.lr is not None and not 0 < self.lr < inf:
            raise InputError(f"--lr {self.lr:g}: must be above 0 and finite")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise InputError(f"--layer-decay {self.layer_decay:g}: must be above 0 and at most 1")
        if self.val_fraction is not None and not 0 <= self.val_fraction < 1:
            raise InputError(f"--val-fraction {self.val_fraction:g}: must be at least 0 (no validation) and below 1")
        if self.cv_folds and self.norms == "re-estimated":
            raise InputError(
                f"--norms re-estimated: its statistics would include the clips that --cv-folds {self.cv_folds} holds "
                "out; use --norms frozen"
            )
        if self.cv_folds and self.val_fraction is not None:
            raise InputError(
                f"--val-fraction: --cv-folds {self.cv_folds} holds out each clip once; leave one of them out"
            )
        if self.train_layers == "head":
            check_head(self, self.head or "auto")


def check_head(options: FinetuneOptions, head: HeadKind) -> None:
    """An InputError if an option has no meaning where only the classifier is trained."""
    for name in ("epochs", "batch_size", "lr", "layer_decay"):
        if getattr(options, name) is not None:
            raise InputError(
                f"{flag_of(name)}: the classifier alone is fitted to its optimum, without steps; add --train-layers "
                "last or all"
            )
    if options.norms == "trained":
        raise InputError("--norms trained: needs --train-layers last or all; with head, use frozen or re-estimated")
    if head == "prototype" and options.balance in ("focal", "logit-adjust"):
        raise InputError(f"--balance {options.balance}: changes a loss, and class means have none; add --head linear")


def flag_of(name: str) -> str:
    """The flag of an option, such as --train-layers."""
    return f"--{name.replace('_', '-')}"
