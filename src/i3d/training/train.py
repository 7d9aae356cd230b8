"""Train: a recipe and clips become weights. The loop reads from top to bottom; what a step is, `training.step` tells.

    result = train(named_recipe("i3d_r50_video_32x2x1_100e_kinetics400_rgb"), clips, validation, work_dir=Path("run"))

The same call in the same folder goes on where the last one was ended, by whatever, and gives the same weights.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.errors import InputError, first_line, printable
from i3d.models.factory import build_meta_network
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol
from i3d.recipes.training import Training
from i3d.training.logger import MetricsLogger, Stopwatch, Watcher
from i3d.training.run import LOG_EVERY, Run
from i3d.training.run_folder import DONE, LAST, RECIPE, RunFolder, fingerprint, this_start
from i3d.training.schedule import rate_factor
from i3d.training.setup import build_accelerator, build_loaders, build_train_state
from i3d.training.state import TrainerState
from i3d.training.step import train_step
from i3d.training.stopping import Stopping, die_with_launcher
from i3d.utils.atomic_files import write_atomically
from i3d.utils.device import ComputeConfig

WARM_UP: Final = 3  # steps that a performance run does not measure


@dataclass(frozen=True)
class TrainResult:
    """What came out of a run, or of its part until it was stopped."""

    work_dir: Path
    steps: int
    total_steps: int
    best: float | None  # of the validations, by the recipe's `best_by`
    best_step: int
    validation: dict[str, float]  # the figures of the last one
    bad: tuple[str, ...]  # clips that could not be read, with the reason
    stopped_by: int = 0  # the signal
    speed: dict[str, float] = field(default_factory=dict)  # of a performance run


def train(
    recipe: Recipe,
    annotations: Annotations,
    validation: Annotations | None = None,
    *,
    work_dir: Path,
    seed: int = 0,
    compute: ComputeConfig | None = None,
    deterministic: bool = False,
    sharded: bool = False,
    rate: float | None = None,
    max_bad: float | None = None,
    max_steps: int | None = None,
    naming: FrameNaming | None = None,
    tensorboard: bool = False,
    watcher: Watcher | None = None,
) -> TrainResult:
    """Train by `recipe.training`, on one device or on those of all processes that torchrun started.

    `rate`: the learning rate as it is, instead of the recipe's by the linear rule; `max_bad`: the share of clips that
    may be unreadable (1 % in training, none in validation); `max_steps`: a performance run, which stops after so many
    steps and keeps nothing; `naming`: of frames. SIGTERM and SIGINT end the run after the step that is being made,
    saved. A loss that is not a number, another run in the folder, and one of other settings there are an InputError.
    """

    die_with_launcher()
    if rate is not None and not 0 < rate < math.inf:
        raise InputError(f"learning rate {rate}: must be above 0 (--lr)")
    recipe = _fitted(recipe, annotations, validation)
    folder, compute = RunFolder(work_dir), compute or ComputeConfig()
    run: Run | None = None
    with Stopping() as stopping:
        try:
            run, contract = _start(
                recipe, annotations, validation, folder, compute, seed, rate, max_bad, naming, watcher,
                max_steps is None, deterministic, sharded,
            )  # fmt: skip
            told = json.dumps(contract)
            run.check_alike(told)
            run.position = TrainerState.first(hashlib.sha256(told.encode()).hexdigest())
            if max_steps is not None:
                with run.workers_watched():
                    return _loop(run, stopping, max_steps, keep=False)
            before = folder.agree(contract)
            if before is not None and before[DONE]:
                run.tell(f"{printable(str(work_dir))}: done already; another --work-dir starts anew")
                run.position = TrainerState.model_validate_json(json.dumps(before["position"]))
                run.take_bad()
                return _result(run)
            run.go_on()
            if run.is_first_rank:
                _write_down(run, contract, before, compute, deterministic=deterministic, tensorboard=tensorboard)
            with run.workers_watched():
                stop = _end_epoch(run, stopping, 0) if run.has_to_validate else 0  # it was ended before it could
                return _result(run, stopped_by=stop) if stop else _loop(run, stopping, run.total_steps, keep=True)
        finally:
            if run is not None and run.journal is not None:
                run.journal.close()
            folder.release()


def _write_down(
    run: Run,
    contract: dict[str, Any],
    before: dict[str, Any] | None,
    compute: ComputeConfig,
    *,
    deterministic: bool,
    tensorboard: bool,
) -> None:
    """This start, the recipe and the logs. What is computed otherwise than at the last start is told."""

    folder, position = run.folder, run.position
    computes = {
        "deterministic": deterministic,
        "compile": compute.runtime == "compile",
        "sharded": run.parts.is_sharded,
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    computes |= {"device": run.parts.device.type, "num_workers": "any"}
    for change in folder.differs(before, computes) if before is not None else ():
        run.tell(f"warning: {change}: from here on the run is not the same to the bit")
    folder.record_start(contract, before, this_start(run.parts.seed, computes))
    write_atomically(folder / RECIPE, (run.parts.recipe.model_dump_json(indent=1) + "\n").encode())
    run.journal = MetricsLogger(folder, step=position.step, validated=position.validated, tensorboard=tensorboard)


def _loop(run: Run, stopping: Stopping, last_step: int, *, keep: bool) -> TrainResult:
    """To the last step: load, step, log, validate, save. Between epochs it can take up a run that was ended there."""

    training, per_epoch = run.parts.training, run.steps_per_epoch
    stop, warm = 0, run.stopwatch.mark()
    while run.position.step < last_step and not stop and not run.ends_early:
        epoch, first = divmod(run.position.step, per_epoch)
        for batches in run.steps_of(epoch, first):
            factor = rate_factor(run.position.step, training, steps_per_epoch=per_epoch, total_steps=run.total_steps)
            run.count(train_step(run.parts, batches, step=run.position.step, rate=run.rate * factor))
            step = run.position.step
            warm = run.stopwatch.mark() if step <= min(WARM_UP, last_step - 1) else warm
            is_end = step % per_epoch == 0 or step == last_step
            if step % LOG_EVERY == 0 or is_end:
                run.log(run.rate * factor, epoch)
            stop = run.agreed_signal(stopping)
            if is_end or stop:
                break
            if keep and step % training.save_every == 0:
                run.save()
        if keep:
            stop = _end_epoch(run, stopping, stop)
    run.look_at_last()
    if not keep:
        speed = run.stopwatch.figures(run.world_size, since=warm)
        return _result(run, stopped_by=stop, speed={**speed, "world_size": run.world_size})
    return _result(run, stopped_by=stop) if stop else _finish(run)


def _end_epoch(run: Run, stopping: Stopping, stop: int) -> int:
    """Validate if it is time, unless the run is to stop; save; the signal, if one has come meanwhile."""
    if run.has_to_validate and not stop:
        run.save()  # a validation takes long: what ends it must not cost the epoch
        run.validate((run.position.step - 1) // run.steps_per_epoch, stopping)
    run.save()
    return stop or run.agreed_signal(stopping)


def _finish(run: Run) -> TrainResult:

    with run.averaged():
        run.write_weights(LAST)
    run.draw()
    if run.is_first_rank:
        if run.journal is not None:
            run.journal.sync()
        run.folder.record_end(run.position.model_copy(update={"entries": ()}).model_dump(mode="json"))
    return _result(run)


def _result(run: Run, *, stopped_by: int = 0, speed: dict[str, float] | None = None) -> TrainResult:
    position = run.position
    return TrainResult(
        work_dir=run.folder.path,
        steps=position.step,
        total_steps=run.total_steps,
        best=position.best,
        best_step=position.best_step,
        validation=dict(position.figures),
        bad=tuple(found.reason for found in run.loader.bad.values()),
        stopped_by=stopped_by,
        speed=speed or {},
    )


def _start(
    recipe: Recipe,
    annotations: Annotations,
    validation: Annotations | None,
    folder: RunFolder,
    compute: ComputeConfig,
    seed: int,
    rate: float | None,
    max_bad: float | None,
    naming: FrameNaming | None,
    watcher: Watcher | None,
    keep: bool,
    deterministic: bool,
    sharded: bool,
) -> tuple[Run, dict[str, Any]]:
    """Everything up to the first step; and what a resumed run must agree with."""

    assert recipe.training is not None
    _check_clip(recipe, recipe.training)
    accelerator = build_accelerator(recipe.training, compute, sharded=sharded)
    if accelerator.is_main_process and keep:
        folder.take()
    loader, to_validate = build_loaders(
        recipe,
        annotations,
        validation,
        accelerator=accelerator,
        compute=compute,
        seed=seed,
        naming=naming,
        max_bad=max_bad,
    )
    parts, full, told = build_train_state(
        recipe,
        annotations,
        accelerator=accelerator,
        compute=compute,
        deterministic=deterministic,
        sharded=sharded,
        seed=seed,
        rate=rate,
    )
    per_epoch = -(-loader.num_batches() // recipe.training.accumulate)
    total = recipe.training.steps or recipe.training.epochs * per_epoch
    stopwatch = Stopwatch(parts.device)
    run = Run(parts, loader, to_validate, folder, None, stopwatch, watcher, full, per_epoch, total)
    for line in (*_resolved(recipe, annotations, validation, run), *told):
        run.tell(line)
    contract = {
        "recipe": recipe.model_dump(mode="json"),
        "rate": full,
        "seed": seed,
        "clips": fingerprint(annotations),
        "validation": fingerprint(validation) if validation is not None else None,
        "world_size": accelerator.num_processes,
    }
    return run, contract


def _fitted(recipe: Recipe, annotations: Annotations, validation: Annotations | None) -> Recipe:
    """The recipe for the classes of the clips."""
    where = printable(annotations.source)
    if recipe.training is None:
        raise InputError(f"the recipe {recipe.name} says nothing of training; choose another (`i3d models`)")
    if validation is not None and validation.classes != annotations.classes:
        raise InputError(
            f"{printable(validation.source)}: has other classes than {where}; give both the same class file (--classes)"
        )
    if len(annotations.classes) < 2:
        raise InputError(f"{where}: all clips are of one class; there is nothing to tell apart")
    changes: dict[str, Any] = {}
    if recipe.network.num_classes != len(annotations.classes):
        network = recipe.network.model_copy(update={"num_classes": len(annotations.classes)})
        changes = {"network": network, "dataset": ""}
    return type(recipe)(**{**dict(recipe), **changes})


def _resolved(recipe: Recipe, annotations: Annotations, validation: Annotations | None, run: Run) -> list[str]:
    """What will be trained, on what, for how long."""

    training, network = run.parts.training, recipe.network
    t, kind = training.sampling, "frame folders" if annotations.is_frames else "videos"
    size = (
        f"{t.clip_len} frames x stride {t.frame_interval}, {training.augmentation.size} x {training.augmentation.size}"
    )
    flow = run.loader.dataset.flow
    if flow is not None and run.loader.dataset.computes_flow:
        kind += f" (their flow is computed by {flow.method} when it is first seen, and kept in {flow.cache.folder})"
    seen = f", validated on {len(validation)}" if validation is not None else ", not validated"
    batch = f"{training.batch_size} clips x {run.world_size} devices x {training.accumulate} accumulated"
    scored = recipe.protocol
    seen_in_training = (training.sampling.clip_len, training.sampling.frame_interval)
    others = isinstance(scored, ClipProtocol) and (scored.clip_len, scored.frame_interval) != seen_in_training
    differs = f"note: predict and test score {scored.line}: change `protocol` if that is not meant"
    return [
        *([differs] if others else []),
        f"recipe {recipe.name}: {network.name}, {network.num_classes} classes, {training.precision}, on "
        f"{run.parts.device.type}; all settings are in {printable(str(run.folder.path))}/recipe.json",
        f"data: {len(annotations)} {kind}{seen}; clips of {size}",
        f"{run.total_steps} steps, {run.steps_per_epoch} an epoch, of {batch}; {training.optimizer.kind}, "
        f"{training.schedule.kind} schedule, seed {run.parts.seed}",
    ]


def _check_clip(recipe: Recipe, training: Training) -> None:
    """The network can take the clips: it is run on tensors without memory."""

    num_frames, side = training.sampling.clip_len, training.augmentation.size
    shape = (training.batch_size, recipe.network.in_channels, num_frames, side, side)
    try:
        with torch.no_grad():
            build_meta_network(recipe.network)(torch.empty(shape, device="meta"))
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"recipe {recipe.name}: its network cannot take {training.batch_size} clips of {num_frames} frames of "
            f"{side} x {side} ({first_line(error)}); change training.sampling.clip_len or training.augmentation.size"
        ) from error
