"""What a run of fine-tuning measured: the input of its diagnosis, its record and its report."""

from dataclasses import dataclass

from i3d.evaluation.result import Evaluation
from i3d.finetuning.diagnosis import LayerGain
from i3d.finetuning.label_check import LabelCheck
from i3d.finetuning.steps import CrossValidation


@dataclass(frozen=True)
class Outcome:
    """All results of a run."""

    trains_layers: bool
    classifier: str  # in words
    num_computed: int  # views whose features were not in the cache
    evaluation: Evaluation | None  # of clips that the model was not trained on; None: there are none
    folds: CrossValidation  # of the whole training
    of_folds: Evaluation | None  # of the classifier of a small set
    labels: LabelCheck
    train_top1: float | None = None  # of the classifier; None: several labels a clip, or trained layers
    gain: LayerGain | None = None
    overfit_checks: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()  # why clips could not be read again after the inspection
    stop_signal: int = 0

    @property
    def judged(self) -> Evaluation | None:
        """What the diagnosis is about: the classifier in folds, which has most clips, or the test of trained layers."""
        return self.of_folds if self.of_folds is not None and not self.trains_layers else self.evaluation

    @property
    def is_cross_validated(self) -> bool:
        """Whether the diagnosis is about folds."""
        return self.folds.evaluation is not None or (self.of_folds is not None and not self.trains_layers)
