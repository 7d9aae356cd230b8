"""What a run of fine-tuning leaves in its folder, before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from i3d.data.loading.dataset import ClipDataset, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.preview import preview_dataset
from i3d.errors import InputError, printable
from i3d.evaluation.confusion import draw_confusion
from i3d.evaluation.report import write_report
from i3d.evaluation.result import Evaluation, Metrics
from i3d.evaluation.result_file import metrics_as_dict, write_evaluations
from i3d.finetuning.inspect_data import write_split
from i3d.finetuning.job import BEST, Job
from i3d.training.run_folder import CURVES, RUN, diff_settings, fingerprint
from i3d.utils.atomic_files import write_atomically
from i3d.utils.cache import cache_key

RECORD, TEST, CONFUSION, REPORT, PREVIEW = "finetune.json", "test.json", "confusion.png", "report.html", "preview"


def begin(job: Job) -> None:
    """Tell what was seen and chosen; the split, the record, and pictures of what training will see.

    A folder that holds another run is an InputError; one that came to nothing (its self-test failed, its clips were
    corrected) gives way.
    """
    record: dict[str, Any] = {
        "contract": _contract(job),
        "choices": [asdict(choice) for choice in job.planned.choices],
        "troubles": [asdict(trouble) for trouble in job.seen.troubles],
    }
    path, tell = job.work_dir / RECORD, job.watcher.told
    if path.exists() and any((job.work_dir / name).exists() for name in (BEST, RUN, "fold_1")):
        _check_same(path, record["contract"])
    elif path.exists():
        (job.work_dir / PREVIEW / "clips.png").unlink(missing_ok=True)
    elif there := [name for name in (BEST, RUN) if (job.work_dir / name).exists()]:
        where = printable(str(job.work_dir))
        raise InputError(f"{where}: holds a run of another kind ({there[0]}); take another --work-dir, or its --recipe")
    for line in job.seen.told:
        tell(line)
    for trouble in job.seen.troubles:
        tell(f"warning: {trouble.words}")
    tell(f"{printable(str(write_split(job.annotations, job.work_dir)))}: the clips with their splits")
    job.watcher.chosen(job.planned.choices)
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
    _preview(job)


def end(
    job: Job,
    evaluation: Evaluation | None,
    figures: Metrics | None,
    accuracies: Sequence[float],
    diagnosis: Sequence[str],
) -> None:
    """Scores, figures, the picture of the confusion and the report."""
    path = job.work_dir / RECORD
    record = json.loads(path.read_text()) | {"diagnosis": list(diagnosis), "fold_accuracies": list(accuracies)}
    if evaluation is not None and figures is not None:
        write_evaluations(job.work_dir / TEST, [(evaluation, figures)])
        record["figures"] = metrics_as_dict(evaluation, figures)
        pictures = {}
        if not evaluation.multi_label:
            draw_confusion(job.work_dir / CONFUSION, evaluation)
        if (job.work_dir / CURVES).exists():
            pictures["curves"] = (job.work_dir / CURVES).read_bytes()
        pictures["what training saw"] = (job.work_dir / PREVIEW / "clips.png").read_bytes()
        write_report(job.work_dir / REPORT, evaluation, notes=diagnosis, pictures=pictures)
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


def _preview(job: Job) -> None:
    out = job.work_dir / PREVIEW
    if (out / "clips.png").exists():
        return
    learnt = job.annotations.select(job.parts.learnt)
    view = TrainView(job.training.sampling, job.training.augmentation)
    flow = ClipFlow.from_network(job.recipe.network, job.recipe.preprocessing, job.cache)
    done = preview_dataset(ClipDataset(learnt, view, seed=job.seed, naming=job.seen.clips.naming, flow=flow), out)
    job.watcher.told(f"{printable(str(done.paths[0]))}: what training sees")


def _contract(job: Job) -> dict[str, Any]:
    """What a run that goes on in the same folder must agree with."""
    return {
        "seed": job.seed,
        "views": job.planned.plan.views,
        "head": job.planned.plan.head,
        "norms": job.planned.plan.norms,
        "tested_on": job.parts.tested_on,
        "weights": job.weights.sha256,
        "clips": fingerprint(job.annotations),
        "contents": cache_key(contents=job.seen.clips.contents_N),
        "recipe": job.recipe.model_dump(mode="json"),
    }


def _check_same(path: Path, contract: dict[str, Any]) -> None:
    try:
        before = json.loads(path.read_text())["contract"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{printable(str(path))}: cannot be read; restore it, or take another --work-dir") from error
    if changed := diff_settings(before, json.loads(json.dumps(contract))):
        told = "; ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise InputError(
            f"{printable(str(path.parent))}: holds a run with other settings ({printable(told)}); give the same, or "
            "another --work-dir"
        )
