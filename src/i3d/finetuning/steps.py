"""The steps of fine-tuning that compute: features, heads, layers, tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.errors import printable
from i3d.evaluation.evaluate import evaluate
from i3d.evaluation.metrics import top_k_accuracy
from i3d.evaluation.result import Evaluation
from i3d.finetuning.classifier import Head, Rows
from i3d.finetuning.features import Backbone, clip_features
from i3d.finetuning.fitting import FeatureTable, evaluation_of, fit_head, rows_of, scores_of, write_model
from i3d.finetuning.job import BEST, LAST, START, Job, counter
from i3d.finetuning.overfit_check import check_features, check_training, choose_few
from i3d.models.engine.forward import forward
from i3d.training.logger import read_log
from i3d.training.run_folder import LOG
from i3d.training.train import train
from i3d.utils.atomic_files import write_atomically
from i3d.utils.device import pick_device
from i3d.weights.checkpoint import file_sha256
from i3d.weights.load import build_model

NORM_CLIPS: Final = 8  # over which statistics are taken, and then their mean over all batches


@torch.no_grad()
def with_norms(job: Job) -> Job:
    """The job with batch norms whose statistics are those of the clips that are learnt, if that was chosen."""
    if job.planned.plan.norms != "re-estimated":
        return job
    pre, device = job.recipe.preprocessing, pick_device(job.compute.device)
    net = build_model(job.weights).to(device)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    clips = job.annotations.select(job.parts.learnt)
    view = TestView(job.recipe.protocol.model_copy(update={"num_clips": 1}), pre)
    flow = ClipFlow.from_network(net.settings, pre, job.cache)
    dataset = ClipDataset(clips, view, naming=job.seen.clips.naming, flow=flow)
    for batch in ClipLoader(dataset, batch_size=NORM_CLIPS, num_workers=job.compute.num_workers).batches():
        forward(net, torch.cat([views.clips() for views in batch.views_N]).to(device), pre)
    job.watcher.told(f"batch norms: statistics of {len(clips)} clips")
    weights = replace(job.weights, state={name: value.cpu() for name, value in net.state_dict().items()})
    return replace(job, weights=weights)


def extract_features(job: Job) -> FeatureTable:
    """Features of all clips as a test sees them, and of random views of them."""
    plan, recipe, clips = job.planned.plan, job.recipe, job.seen.clips
    device = pick_device(job.compute.device)
    trunk = Backbone.of(build_model(job.weights), recipe.preprocessing, device=device, precision=plan.precision)
    common: dict[str, Any] = {"cache": job.cache, "num_workers": job.compute.num_workers, "seed": job.seed}

    def telling(what: str) -> Any:
        return lambda done, total: job.watcher.working(what, done, total)

    test = clip_features(
        trunk, clips, TestView(recipe.protocol, recipe.preprocessing), on_clip=telling("features"), **common
    )
    drawn = None
    if plan.views > 1:
        view = TrainView(job.training.sampling, job.training.augmentation)
        learnt = clips.select(job.parts.learnt)
        drawn = clip_features(
            trunk, learnt, view, num_draws=plan.views - 1, on_clip=telling("features of random views"), **common
        )
    computed = test.num_computed + (drawn.num_computed if drawn else 0)
    folder = printable(str(job.cache.folder))
    job.watcher.told(f"features: {computed} computed now, all are kept in {folder}")
    return FeatureTable(test, drawn, {index: place for place, index in enumerate(job.parts.learnt)}, computed)


def overfit_check(job: Job, seeing: FeatureTable) -> None:
    """Eight clips by heart, from their features."""
    learnt = job.annotations.select(job.parts.learnt)
    few = choose_few(learnt, seed=job.seed)
    job.watcher.told(check_features(seeing.test.values_NVC[job.parts.learnt], learnt, few))


def rows(job: Job, seeing: FeatureTable, learnt: list[int]) -> Rows:
    """The views of some clips, to fit on."""
    return rows_of(seeing, job.annotations, job.parts.groups_N, learnt, job.planned.plan)


def fit(job: Job, seeing: FeatureTable, learnt: list[int], path: Path) -> Head:
    """A head on some clips, in a file with the whole network."""
    plan = job.planned.plan
    head, how = fit_head(rows(job, seeing, learnt), plan, seed=job.seed)
    told = {"clips": str(len(learnt)), "seed": str(job.seed), "started_from": job.init, "classifier": how}
    write_model(path, job.weights, head, job.recipe, job.annotations.classes, told)
    job.watcher.told(f"classifier: {how}, on {len(learnt)} clips")
    return head


def train_layers(job: Job, folder: Path, learnt: list[int], held_out: list[int], *, self_test: bool) -> int:
    """Train layers from the fitted classifier on; the signal that ended it, or 0. The model is BEST in the folder."""
    recipe = job.recipe.model_copy(update={"training": job.training.model_copy(update={"init": str(folder / START)})})
    clips = job.annotations.select(learnt)
    names, compute = job.seen.clips.naming, job.compute
    if self_test:
        few = choose_few(clips, seed=job.seed)
        job.watcher.told(check_training(recipe, clips, few, compute=compute, seed=job.seed, naming=names))
    to_validate = job.annotations.select(held_out) if held_out else None
    done = train(
        recipe,
        clips,
        to_validate,
        work_dir=folder,
        seed=job.seed,
        compute=compute,
        naming=names,
        on_progress=job.watcher,
    )
    if not held_out and not done.stop_signal:
        write_atomically(folder / BEST, (folder / LAST).read_bytes())
    return done.stop_signal


def test(job: Job, seeing: FeatureTable, head: Head, held_out: list[int], model: Path) -> Evaluation:
    """What the model says to clips that it did not learn: from their features where only the head is new."""
    if job.planned.plan.mode == "head":
        scores_NK = scores_of(head, seeing.test, held_out, job.recipe)
        return evaluation_of(
            scores_NK,
            job.annotations,
            held_out,
            job.recipe,
            precision=job.planned.plan.precision,
            model=str(model),
            sha256=file_sha256(model),
        )
    clips = job.annotations.select(held_out)
    found = evaluate(
        str(model),
        clips,
        compute=replace(job.compute, precision=job.planned.plan.precision),
        naming=job.seen.clips.naming,
        on_clip=counter(job.watcher, "testing", len(clips)),
    )
    return replace(found, data=printable(job.annotations.source))


def accuracy_of_learnt(job: Job, seeing: FeatureTable, head: Head) -> float | None:
    """The share of the clips that are learnt that the model recognises.

    Of a new head, as a test sees them; where layers moved, as the last steps of training saw them; None: no step did.
    """
    learnt = job.parts.learnt
    if job.planned.plan.mode != "head":
        told = [line["top1"] for line in read_log(job.work_dir / LOG) if "loss" in line]
        return float(told[-1]) if told else None
    scores_NK = scores_of(head, seeing.test, learnt, job.recipe)
    return top_k_accuracy(scores_NK, [job.annotations.labels_of(index)[0] for index in learnt])


def cross_validate(job: Job, seeing: FeatureTable) -> tuple[Evaluation | None, tuple[float, ...], int]:
    """Every clip is held out once: all their scores together, the accuracy of each fold, the signal that ended it.

    Where layers move, it is the last weights of a fold that are tested: no choice is made on the clips held out.
    """
    assert job.parts.folds_N is not None
    annotations, num_folds = job.annotations, int(job.parts.folds_N.max()) + 1
    scores_NK = np.zeros((len(annotations), len(annotations.classes)))
    accuracies = []
    for fold in range(num_folds):
        learnt, held_out = job.parts.of_fold(fold)
        place = job.work_dir / f"fold_{fold + 1}"
        place.mkdir(exist_ok=True)
        is_head = job.planned.plan.mode == "head"
        head = fit(job, seeing, learnt, place / (BEST if is_head else START))
        if not is_head and (stop := train_layers(job, place, learnt, [], self_test=False)):
            return None, (), stop
        scores_NK[held_out] = test(job, seeing, head, held_out, place / BEST).scores_NK
        if not job.recipe.multi_label:
            labels_N = [annotations.labels_of(index)[0] for index in held_out]
            accuracies.append(top_k_accuracy(scores_NK[held_out], labels_N))
            job.watcher.told(f"fold {fold + 1} of {num_folds}: top-1 {accuracies[-1]:.4f} of {len(held_out)} clips")
    every = list(range(len(annotations)))
    model = f"{num_folds} models, each of the other folds"
    precision = job.planned.plan.precision
    found = evaluation_of(scores_NK, annotations, every, job.recipe, precision=precision, model=model, sha256="")
    return found, tuple(accuracies), 0
