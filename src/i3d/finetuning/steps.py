"""The computations of fine-tuning: batch-norm statistics, features, classifiers, layers, tests."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.annotations import Annotations
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.errors import counted, printable
from i3d.evaluation.evaluate import evaluate
from i3d.evaluation.metrics import top_k_accuracy
from i3d.evaluation.result import ClipRange, Evaluation
from i3d.evaluation.scorer import EvaluationOptions
from i3d.finetuning.classifier import Doubles, Head
from i3d.finetuning.defaults import FinetuneConfig
from i3d.finetuning.diagnosis import LayerGain
from i3d.finetuning.estimates import TrainingWork, describe_training, shorter_features, training_work
from i3d.finetuning.features import Backbone, ClipFeatures, Clips, clip_features
from i3d.finetuning.fitting import design_rows, familiarity_of, fit_head, score_clips, write_model
from i3d.finetuning.inspect_data import MAX_BAD, Split, check_num_bad
from i3d.finetuning.overfit_check import draw_clips, overfit_head, overfit_network, time_steps
from i3d.finetuning.selection import Candidate
from i3d.models.engine.forward import forward
from i3d.recipes.protocols import protocol_name
from i3d.training.logger import read_log
from i3d.training.run_folder import BEST, LAST, LOG
from i3d.training.train import train
from i3d.utils.atomic_files import write_atomically
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.outputs import file_sha256, recorded_files
from i3d.utils.progress import Progress, ProgressCallback
from i3d.weights.checkpoint import save_checkpoint
from i3d.weights.load import Weights, build_backbone, build_model, load_weights
from i3d.weights.runs import FINETUNE

RECORD: Final = FINETUNE
START: Final = "start.safetensors"  # the fitted classifier on the pretrained network, before layers are trained
NORM_CLIPS: Final = 8  # in a batch; statistics are averaged over all batches

BEST_BY: Final = {  # the metric that selects the best weights, in words
    "top1": "top-1 accuracy",
    "mean_class": "mean class accuracy",
    "mean_average_precision": "mean average precision",
}

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class CrossValidation:
    """The evaluation of all clips (None: a signal stopped it), the accuracy of each fold, what layers changed."""

    evaluation: Evaluation | None = None
    fold_accuracies: tuple[float, ...] = ()
    of_head: Evaluation | None = None  # of the classifiers on the pretrained network
    gain: LayerGain | None = None
    stop_signal: int = 0


@dataclass(frozen=True)
class Finetuner:
    """Runs the steps on the clips, by the configuration."""

    clips: Clips
    split: Split
    config: FinetuneConfig
    weights: Weights  # pretrained
    init: str  # where these come from
    compute: ComputeConfig
    deterministic: bool
    seed: int
    on_progress: ProgressCallback
    max_bad: float | None = None  # the fraction of clips that may be unreadable; None: 0.1
    overfit_checks: list[str] = field(default_factory=list)  # the lines of those that passed

    @property
    def annotations(self) -> Annotations:
        return self.clips.annotations

    def report(self, stage: str) -> None:
        """Report the start of a stage of unknown length."""
        self.on_progress(Progress(stage, 0, None))

    @torch.no_grad()
    def reestimate_norms(self) -> Weights:
        """The weights with batch-norm statistics of the training clips, as a test reads them."""
        pre, device = self.config.recipe.preprocessing, pick_device(self.compute.device)
        net = build_model(self.weights).to(device)
        for norm in (module for module in net.modules() if isinstance(module, torch.nn.BatchNorm3d)):
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all batches
            norm.train()
        clips = self.annotations.select(self.split.train)
        view = TestView(self.config.protocol.model_copy(update={"num_clips": 1}), pre)
        flow = ClipFlow.from_network(net.settings, pre, self.compute.cache)
        dataset = ClipDataset(clips, view, naming=self.clips.naming, flow=flow)
        num_read = 0
        self.on_progress(Progress("batch norms", 0, len(clips), "clip"))
        for batch in ClipLoader(dataset, batch_size=NORM_CLIPS, num_workers=self.compute.num_workers).batches():
            num_read += len(batch)
            self.on_progress(Progress("batch norms", num_read, len(clips), "clip"))
            forward(net, torch.cat([views.clips() for views in batch.views_N]).to(device), pre)
        log.info(f"batch norms: statistics re-estimated on {counted(len(clips), 'clip')}")
        return replace(self.weights, state={name: value.cpu() for name, value in net.state_dict().items()})

    def extract_features(self) -> tuple[Backbone, ClipFeatures]:
        """Features of all clips as a test reads them, and the network that computed them."""
        recipe, device = self.config.recipe, pick_device(self.compute.device)
        net = build_backbone(self.weights, recipe.network)
        backbone = Backbone(net, recipe.preprocessing, device=device, precision=self.config.precision)
        view = TestView(self.config.protocol, recipe.preprocessing)
        return backbone, clip_features(backbone, self.clips, view, **self._feature_options(device.type))

    def add_random_views(self, backbone: Backbone, features: ClipFeatures) -> ClipFeatures:
        """These features and those of random views of the training clips, if there are any."""
        config, train_indices = self.config, self.split.train
        if config.views > 1:
            view = TrainView(config.training.sampling, config.training.augmentation)
            if self.split.head_folds_N is not None:
                train_indices = list(range(len(self.annotations)))
            options = self._feature_options(backbone.engine.device.type)
            options |= {"num_draws": config.views - 1, "stage": "features of random views"}
            features = features.with_views(
                clip_features(backbone, self.clips.select(train_indices), view, **options), train_indices
            )
        cache = printable(str(self.compute.cache.folder))
        log.info(f"features: {counted(features.num_computed, 'view')} computed, the others read from the cache {cache}")
        return features

    def _feature_options(self, device: str) -> dict[str, Any]:
        return {
            "cache": self.compute.cache,
            "num_workers": self.compute.num_workers,
            "seed": self.seed,
            "on_progress": self.on_progress,
            "shorter": shorter_features(self.config.protocol, device),
        }

    def without_lost(self, features: ClipFeatures) -> tuple[Self, ClipFeatures]:
        """Without the clips that could be read at first and not again; too many of them are an InputError."""
        num_clips = len(self.annotations)
        check_num_bad(len(features.lost), num_clips, self.max_bad, next(iter(features.lost.values()), ""))
        for reason in features.lost.values():
            log.warning(f"{reason}; the clip is left out")
        chosen = [index for index in range(num_clips) if index not in features.lost]
        return replace(self, clips=self.clips.select(chosen), split=self.split.select(chosen)), features.select(chosen)

    def check_overfit(self, features: ClipFeatures) -> None:
        """The classifier must overfit the features of eight clips."""
        self.report("overfit check")
        clips = self.annotations.select(self.split.train)
        values_NVC = features.values_NVC[self.split.train, : self.config.protocol.num_views]
        self._report_check(overfit_head(values_NVC, clips, draw_clips(clips, seed=self.seed)))

    def _report_check(self, line: str) -> None:
        log.info(line)
        self.overfit_checks.append(line)

    def fit_classifier(
        self, features: ClipFeatures, indices: Sequence[int], work_dir: Path, names: Sequence[str]
    ) -> tuple[Head, Candidate]:
        """Fit the classifier on some clips, and write it with the whole network, under each of the names."""
        self.report("fit classifier")
        rows = design_rows(features, self.annotations, self.split.groups_N, indices, self.config)
        head, chosen = fit_head(rows, self.config, seed=self.seed)
        notes = {"clips": str(len(indices)), "seed": str(self.seed)}
        notes |= {"started_from": self.init, "classifier": str(chosen)}
        familiarity = familiarity_of(features, self.split.groups_N, indices, self.config, seed=self.seed)
        with recorded_files(work_dir, work_dir / RECORD) as folder:
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                write_model(
                    folder / name, self.weights, head, self.config.recipe, self.annotations.classes, notes, familiarity
                )
        log.info(f"classifier: {chosen}, fitted on {counted(len(indices), 'clip')}")
        return head, chosen

    def train_layers(
        self,
        work_dir: Path,
        train_indices: Sequence[int],
        validation: Sequence[int],
        *,
        overfit_check: bool,
        subfolder: str = "",
        num_trainings: int = 1,
    ) -> int:
        """Train layers in a subfolder, starting from the fitted classifier; the signal that stopped it, or 0.

        The expected minutes of `num_trainings`, of which this is the first, are logged before (0: not). It writes BEST:
        the best by validation, of which the start is one, or the last without validation clips.
        """
        folder = work_dir / subfolder
        training = self.config.training.model_copy(update={"init": str(folder / START)})
        recipe = self.config.recipe.model_copy(update={"training": training})
        clips, naming = self.annotations.select(list(train_indices)), self.clips.naming
        compute = replace(self.compute, precision=None)  # the recipe has the precision
        work, times = self._work(folder, len(train_indices), len(validation)), None
        few = draw_clips(clips, seed=self.seed)
        common: dict[str, Any] = {"deterministic": self.deterministic, "seed": self.seed, "naming": naming}
        if overfit_check:
            self.report("overfit check")
            line, times = overfit_network(recipe, clips, few, compute=compute, **common)
            self._report_check(line)
        self.report("prepare training")
        if num_trainings and not work.is_complete:
            times = times or time_steps(recipe, clips, few, compute=compute, **common)
            device = pick_device(self.compute.device).type
            log.info(describe_training(work, times, num_trainings=num_trainings, device=device))
        result = train(
            recipe,
            clips,
            self.annotations.select(list(validation)) if validation else None,
            work_dir=folder,
            seed=self.seed,
            compute=compute,
            deterministic=self.deterministic,
            validate_start=bool(validation),
            max_bad=MAX_BAD if self.max_bad is None else self.max_bad,
            naming=naming,
            on_progress=self.on_progress,
        )
        if not validation and not result.stop_signal:
            with recorded_files(work_dir, work_dir / RECORD) as temporary:
                (temporary / subfolder).mkdir(exist_ok=True)
                for name in (BEST, LAST):
                    write_atomically(temporary / subfolder / name, (folder / LAST).read_bytes())
        if result.stop_signal and result.saved_step != result.steps:
            log.warning("%s: %s", printable(str(folder)), result.how_it_stopped)
        return result.stop_signal

    def _work(self, folder: Path, num_clips: int, num_validation: int) -> TrainingWork:
        return training_work(self.config.training, self.config.train_layers, folder, num_clips, num_validation)

    def add_familiarity(self, model: Path) -> None:
        """Store the features of the training clips, by the network with its trained layers, in its checkpoint."""
        weights, config = load_weights(str(model)), self.config
        if weights.familiarity is not None:  # of the run that this one resumes
            return
        pre, compute = config.recipe.preprocessing, self.compute
        device = pick_device(compute.device)
        backbone = Backbone(build_model(weights), pre, device=device, precision=config.precision)
        view, num_workers = TestView(config.protocol, pre), compute.num_workers
        stage = "features of the trained network"
        features = clip_features(
            backbone, self.clips, view,
            cache=compute.cache, num_workers=num_workers, stage=stage, on_progress=self.on_progress,
        )  # fmt: skip
        if features.lost:
            log.warning("%s; distances to training clips are not stored", next(iter(features.lost.values())))
            return
        familiarity = familiarity_of(features, self.split.groups_N, self.split.train, config, seed=self.seed)
        with recorded_files(model.parent, model.parent / RECORD) as folder:
            save_checkpoint(folder / model.name, weights.state, weights.card, familiarity=familiarity, force=True)

    def test(self, features: ClipFeatures, head: Head, indices: Sequence[int], model: Path) -> Evaluation:
        """Test the model on some clips; from their features if only the classifier was trained."""
        config = self.config
        if config.train_layers == "head":
            scores_NK = score_clips(head, features, indices, config)
            return self._evaluation(scores_NK, indices, model=str(model), sha256=file_sha256(model))
        evaluation = evaluate(
            str(model),
            self.annotations.select(list(indices)),
            EvaluationOptions(frame_naming=self.clips.naming),
            compute=replace(self.compute, precision=config.precision),
            on_progress=self.on_progress,
        )
        return replace(evaluation, data=printable(self.annotations.source))

    def training_accuracy(self, features: ClipFeatures, head: Head) -> float:
        """The top-1 accuracy of the fitted classifier on the training clips, by the views of a test."""
        scores_NK = score_clips(head, features, self.split.train, self.config)
        return top_k_accuracy(scores_NK, [self.annotations.labels_of(index)[0] for index in self.split.train])

    def layer_gain(self, work_dir: Path) -> LayerGain | None:
        """The validation metric of the start, and the best after it, from the log; None without both.

        There is none after a start that is right for all clips.
        """
        key = "mean_average_precision" if self.config.recipe.multi_label else self.config.training.best_by
        metrics = {line["step"]: line["validation"] for line in read_log(work_dir / LOG) if "validation" in line}
        values = {step: float(values[key]) for step, values in metrics.items() if key in values}
        later = [value for step, value in values.items() if step]
        if 0 not in values or not (later or values[0] == 1):
            return None
        return LayerGain(f"{BEST_BY[key]} on validation clips", values[0], max(later, default=None), is_selected=True)

    def gain_of_test(self, features: ClipFeatures, head: Head, evaluation: Evaluation) -> LayerGain:
        """What training layers changed on the clips of the test, where none are for validation."""
        indices = self.split.test
        start = self._evaluation(score_clips(head, features, indices, self.config), indices, model="", sha256="")
        metric = "mean average precision" if start.multi_label else "top-1 accuracy"
        return LayerGain(f"{metric} on test clips", start.accuracy, evaluation.accuracy, is_selected=False)

    def cross_validate_head(
        self, features: ClipFeatures, folds_N: npt.NDArray[np.int64], chosen: Candidate | None = None
    ) -> Evaluation:
        """Hold out each clip once, with a classifier on the features of the others; no layers are trained.

        With a chosen classifier, nothing is chosen in the folds, and the views are those of a test.
        """
        annotations = self.annotations
        if chosen is not None:
            features = features.first_views(self.config.protocol.num_views)
        scores_NK = np.zeros((len(annotations), len(annotations.classes)))
        for number, (train_indices, test_indices) in enumerate(_folds(folds_N)):
            self.on_progress(Progress("cross-validation", number, int(folds_N.max()) + 1, "fold"))
            rows = design_rows(features, annotations, self.split.groups_N, train_indices, self.config)
            head, _ = fit_head(rows, self.config, seed=self.seed, chosen=chosen)
            scores_NK[test_indices] = score_clips(head, features, test_indices, self.config)
        return self._evaluation_of_folds(scores_NK, folds_N)

    def cross_validate(self, features: ClipFeatures, work_dir: Path) -> CrossValidation:
        """Hold out each clip once.

        If layers are trained, the last weights of a fold are tested: no choice depends on the clips held out.
        """
        assert self.split.folds_N is not None
        annotations, recipe = self.annotations, self.config.recipe
        num_folds, is_head = int(self.split.folds_N.max()) + 1, self.config.train_layers == "head"
        scores_NK = np.zeros((len(annotations), len(annotations.classes)))
        start_NK = np.zeros_like(scores_NK)
        accuracies, is_estimated = [], False
        for fold, (train_indices, test_indices) in enumerate(_folds(self.split.folds_N)):
            name = f"fold_{fold + 1}"
            (work_dir / name).mkdir(exist_ok=True)
            head, _ = self.fit_classifier(features, train_indices, work_dir, [f"{name}/{BEST if is_head else START}"])
            start_NK[test_indices] = score_clips(head, features, test_indices, self.config)
            if not is_head:
                num_left = 0 if is_estimated else num_folds - fold
                is_estimated |= not self._work(work_dir / name, len(train_indices), 0).is_complete
                stop = self.train_layers(
                    work_dir, train_indices, [], overfit_check=False, subfolder=name, num_trainings=num_left
                )
                if stop:
                    return CrossValidation(stop_signal=stop)
            scores_NK[test_indices] = self.test(features, head, test_indices, work_dir / name / BEST).scores_NK
            if not recipe.multi_label:
                labels = [annotations.labels_of(index)[0] for index in test_indices]
                accuracies.append(top_k_accuracy(scores_NK[test_indices], labels))
                tested = counted(len(labels), "clip")
                log.info(f"fold {fold + 1} of {num_folds}: top-1 {accuracies[-1]:.4f} on {tested}")
        evaluation, start = (self._evaluation_of_folds(values, self.split.folds_N) for values in (scores_NK, start_NK))
        metric = "mean average precision" if recipe.multi_label else "top-1 accuracy"
        gain = LayerGain(f"{metric} of all folds", start.accuracy, evaluation.accuracy, is_selected=False)
        return CrossValidation(evaluation, tuple(accuracies), start, None if is_head else gain)

    def _evaluation_of_folds(self, scores_NK: Doubles, folds_N: npt.NDArray[np.int64]) -> Evaluation:
        model = f"{int(folds_N.max()) + 1} models, each trained on the other folds"
        return self._evaluation(scores_NK, range(len(self.annotations)), model=model, sha256="")

    def _evaluation(self, scores_NK: Doubles, indices: Sequence[int], *, model: str, sha256: str) -> Evaluation:
        """The scores of these clips, as `i3d test` gives them."""
        annotations, recipe, protocol = self.annotations, self.config.recipe, self.config.protocol
        return Evaluation(
            name=protocol_name(protocol),
            model=model,
            weights_sha256=sha256,
            recipe=recipe.name,
            protocol=f"{recipe.protocol_line}; {self.config.precision}",
            data=printable(annotations.source),
            classes=annotations.classes,
            files_N=tuple(annotations.file(index) for index in indices),
            names_N=tuple(annotations.name(index) for index in indices),
            labels_N=tuple(annotations.labels_of(index) for index in indices),
            scores_NK=scores_NK,
            average=protocol.average,
            num_views_N=(protocol.num_views,) * len(indices),
            multi_label=recipe.multi_label,
            bad=(),
            ranges_N=tuple(ClipRange.from_clip(annotations[index]) for index in indices),
            frame_naming=self.clips.naming,
        )


def _folds(folds_N: npt.NDArray[np.int64]) -> Iterator[tuple[list[int], list[int]]]:
    """The indices to train and to test on, of each fold."""
    for fold in range(int(folds_N.max()) + 1):
        yield np.flatnonzero(folds_N != fold).tolist(), np.flatnonzero(folds_N == fold).tolist()
