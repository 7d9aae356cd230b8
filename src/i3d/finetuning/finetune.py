"""From one's own clips to a model that recognises them.

    done = finetune(read_annotations(Path("clips")), work_dir=Path("my"))
    done.model                          # my/best.safetensors, which `predict` and `test` take

`finetune` reads from top to bottom: look at the clips, choose, compute features, learn eight by heart, fit the
classifier, train layers if they are to move, test, and say in words what came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming, dataset_naming
from i3d.data.shards import Shards
from i3d.errors import InputError
from i3d.evaluation.result import Evaluation, Metrics, compute_metrics
from i3d.finetuning import record, steps
from i3d.finetuning.data_issues import DataIssue
from i3d.finetuning.defaults import Choice, FinetuneOptions, check_options
from i3d.finetuning.diagnosis import diagnose
from i3d.finetuning.fitting import parts_of
from i3d.finetuning.inspect_data import inspect_clips
from i3d.finetuning.job import BEST, LAST, START, Job, Nobody, Watcher, counter
from i3d.finetuning.plan import make_plan
from i3d.training.run_folder import RunFolder
from i3d.utils.atomic_files import write_atomically
from i3d.utils.device import ComputeConfig, pick_device
from i3d.weights.load import load_weights
from i3d.weights.pretrained import DEFAULT


@dataclass(frozen=True)
class FinetuneResult:
    """What came out."""

    work_dir: Path
    model: Path
    mode: str
    choices: tuple[Choice, ...]
    troubles: tuple[DataIssue, ...]
    diagnosis: tuple[str, ...]
    evaluation: Evaluation | None = field(repr=False)  # of clips that it did not learn; None: there are none
    figures: Metrics | None = field(repr=False)
    tested_on: str  # test, val, or so many folds; "" without a test
    fold_accuracies: tuple[float, ...]
    num_computed: int  # views whose features were not in the cache
    stopped_by: int = 0  # the signal that ended the training of layers


def finetune(
    annotations: Annotations,
    *,
    work_dir: Path,
    watcher: Watcher | None = None,
    init: str = DEFAULT,
    asked: FinetuneOptions | None = None,
    settings: Sequence[str] = (),
    val: float | None = None,
    group_by: str | None = None,
    folds: int = 0,
    self_test: bool = True,
    max_bad: float | None = None,
    compute: ComputeConfig | None = None,
    seed: int = 0,
    naming: FrameNaming | None = None,
    multi_label: bool = False,
) -> FinetuneResult:
    """Learn the classes of some clips, starting from weights that know others; what is not `asked` for is chosen.

    Clips without a split are divided (`val`, a fifth), by groups; with `folds`, all are tested by cross-validation, and
    the model then learns from all. `init`: a shipped name or any weights file; `settings`: `key=value` of the recipe
    that was made; `max_bad`: the share of clips that may be unreadable. The folder gets `best.safetensors` (the model),
    `split.csv`, `report.html`, `confusion.png`, `test.json`, `preview/` and `finetune.json`. Clips that nothing can
    be learnt from, a self-test that fails, and a folder with another run are an InputError.
    """

    compute, watcher = compute or ComputeConfig(), watcher or Nobody()
    cache = compute.cache
    asked = asked or FinetuneOptions()
    check_options(asked, multi_label=multi_label)
    if folds == 1:
        raise InputError("--folds 1: must be at least 2, or 0 for none")
    if folds and asked.norms == "re-estimated":
        raise InputError(f"--folds {folds}: statistics of all clips would know those held out; say --norms frozen")
    if folds and val is not None:
        raise InputError(f"--folds {folds}: holds out each clip once; leave --val-share out")
    RunFolder(work_dir).check_free()
    weights, device = load_weights(init), pick_device(compute.device)
    has_split = bool((annotations.splits_N >= 0).any())
    is_flow = weights.card.recipe.network.in_channels == 2
    if naming is None and annotations.is_frames:
        naming = dataset_naming(annotations, Shards.find(Path(annotations.root)), modality="flow" if is_flow else "rgb")
    seen = inspect_clips(
        annotations,
        naming=naming,
        cache=cache,
        num_workers=compute.num_workers,
        val=0.0 if folds and not has_split else val,
        group_by=group_by,
        seed=seed,
        max_bad=max_bad,
        on_clip=counter(watcher, "checking clips", len(annotations)),
    )
    planned = make_plan(seen, weights, init, asked, device=device, settings=settings, multi_label=multi_label)
    parts = parts_of(seen.clips.annotations, folds=folds, seed=seed, alike=seen.alike)
    return _run(Job(work_dir, weights, init, seen, planned, parts, compute, cache, seed, watcher), self_test=self_test)


def _run(job: Job, *, self_test: bool) -> FinetuneResult:
    """From the decisions to the model and what is to be said of it."""

    folder, parts, is_head = RunFolder(job.work_dir), job.parts, job.planned.plan.mode == "head"
    folder.lock()
    try:
        record.begin(job)
        job = steps.with_norms(job)
        seeing = steps.extract_features(job)
        if self_test:
            steps.overfit_check(job, seeing)
        head = steps.fit(job, seeing, parts.learnt, job.work_dir / (BEST if is_head else START))
        if is_head:
            write_atomically(job.work_dir / LAST, (job.work_dir / BEST).read_bytes())
    finally:
        folder.release()
    evaluation: Evaluation | None
    evaluation, accuracies, stop = steps.cross_validate(job, seeing) if parts.has_folds else (None, (), 0)
    if not is_head and not stop:
        stop = steps.train_layers(job, job.work_dir, parts.learnt, parts.validation, self_test=self_test)
    if parts.held_out and not stop:
        evaluation = steps.test(job, seeing, head, parts.held_out, job.work_dir / BEST)
    trained = None if job.recipe.multi_label else steps.accuracy_of_learnt(job, seeing, head)
    figures, diagnosis = None, list[str]()
    if evaluation is not None:
        figures = compute_metrics(evaluation)
        diagnosis = diagnose(
            evaluation, figures, trained=trained, troubles=job.seen.troubles, is_of_all=parts.has_folds
        )
    record.end(job, evaluation, figures, accuracies, diagnosis)
    return FinetuneResult(
        work_dir=job.work_dir,
        model=job.work_dir / BEST,
        mode=job.planned.plan.mode,
        choices=job.planned.choices,
        troubles=job.seen.troubles,
        diagnosis=tuple(diagnosis),
        evaluation=evaluation,
        figures=figures,
        tested_on=parts.tested_on,
        fold_accuracies=accuracies,
        num_computed=seeing.num_computed,
        stopped_by=stop,
    )
