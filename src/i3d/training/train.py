"""Train a network by a recipe. This file is the loop; `training.step` is one step.

    result = train(named_recipe("i3d_r50_video_32x2x1_100e_kinetics400_rgb"), clips, validation, work_dir=Path("run"))

The same call with the same folder resumes an interrupted run, and gives the same weights as an uninterrupted one.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.loader import ClipLoader
from i3d.errors import I3DError, InputError, printable
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, first_error
from i3d.training.logger import MetricsLogger
from i3d.training.optimizer import step_lr
from i3d.training.run import LOG_EVERY, TrainingRun
from i3d.training.run_folder import (
    DONE,
    LAST,
    OWN_FILES,
    RECIPE,
    RUN,
    SAVED,
    RunFolder,
    check_outside,
    fingerprint,
    read_run,
    without_init,
)
from i3d.training.setup import (
    build_accelerator,
    build_loaders,
    build_train_state,
    check_clip_shape,
    check_training_runtime,
    resolve_recipe,
    training_of,
)
from i3d.training.state import TrainerState
from i3d.training.step import TrainState, train_step
from i3d.training.stopping import Stopping, die_with_launcher
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically
from i3d.utils.device import ComputeConfig
from i3d.utils.outputs import output_folder
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.flow import describe_cost

WARM_UP: Final = 3  # steps that a speed measurement leaves out


@dataclass(frozen=True)
class TrainResult:
    """The result of a run, or of the part of it before a signal stopped it."""

    work_dir: Path
    steps: int
    total_steps: int
    best: float | None  # validation metric, the one of the recipe's `best_by`
    best_step: int
    validation: dict[str, float]  # metrics of the last validation
    bad_clips: tuple[str, ...]  # for each unreadable clip, the reason
    clip_notes: tuple[str, ...] = ()  # of each damaged clip that this process read
    stop_signal: int = 0  # 0: the run went to its end
    saved_step: int | None = None  # of the newest state on the disk; None: there is none
    speed: dict[str, float] = field(default_factory=dict)  # of a speed measurement

    @property
    def how_it_stopped(self) -> str:
        """Of a run that a signal stopped: after which step, and from which the same command resumes."""
        stopped = f"stopped after step {self.steps} of {self.total_steps}"
        if self.saved_step == self.steps:
            return f"{stopped}, saved; the same command resumes from there"
        if self.saved_step is not None:
            return f"{stopped}, which is not saved; the same command resumes from step {self.saved_step}"
        return f"{stopped}; no state is saved, so that the run cannot be resumed"


@checks_types
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
    lr: float | None = None,
    max_bad: float | None = None,
    max_steps: int | None = None,
    validate_start: bool = False,
    naming: FrameNaming | None = None,
    tensorboard: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> TrainResult:
    """Train by `recipe.training`, on one device or on the devices of all ranks that torchrun started.

    Args:
        recipe: network, preprocessing and training settings; `compute.precision` overrides its precision.
        annotations: training clips.
        validation: validation clips with the same classes; None: no validation.
        work_dir: the folder of the run. A run in it with the same settings and clips resumes.
        deterministic: use deterministic operations only (on GPUs, where they exist).
        sharded: FSDP, shard weights and optimiser state over the ranks.
        lr: the base learning rate; None: that of the recipe, scaled linearly to the batch.
        max_bad: the fraction of clips that may be unreadable (default: 1 % in training, 0 in validation).
        max_steps: measure the speed of this many steps, and save nothing.
        validate_start: validate the initial weights too; the best weights may be these (`best_step` 0). No step is
            made if they are right for all clips.
        naming: how frame files are named.
        on_progress: called after every step (stage "train", with the metrics of the last 20 or of the last epoch,
            once there are some) and every validated clip ("validate").

    SIGTERM, SIGINT and SIGUSR1 finish the current step, save, and end the run with `stop_signal` set.

    Raises:
        InputError: the loss is not finite, the folder holds another run, or settings and clips do not fit.
    """
    options = _Options(
        compute or ComputeConfig(), seed, deterministic, sharded, lr, max_bad, max_steps, validate_start, naming,
        tensorboard,
    )  # fmt: skip
    folder = RunFolder(output_folder("work_dir", work_dir))
    check_outside(folder.path, annotations, validation)
    die_with_launcher()
    recipe = resolve_recipe(recipe, annotations, validation, options.compute)
    with Stopping() as stopping:
        try:
            run = _build_run(recipe, annotations, validation, folder, options, on_progress)
            with run.naming_lost_clips():
                return _run(run, stopping, options)
        finally:
            folder.release()


@dataclass(frozen=True)
class _Options:
    """The keywords of `train`, except its data. A number that makes no sense is an InputError."""

    compute: ComputeConfig
    seed: int
    deterministic: bool
    sharded: bool
    lr: float | None
    max_bad: float | None
    max_steps: int | None
    validate_start: bool
    naming: FrameNaming | None
    tensorboard: bool

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: must be at least 0")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise InputError(f"learning rate {self.lr}: must be above 0 and finite (--lr)")
        check_training_runtime(self.compute)


def _build_run(
    recipe: Recipe,
    annotations: Annotations,
    validation: Annotations | None,
    folder: RunFolder,
    options: _Options,
    on_progress: ProgressCallback,
) -> TrainingRun:
    """Lock the folder, build loaders, network and optimiser, and log what they are."""
    compute, seed, sharded = options.compute, options.seed, options.sharded
    accelerator = build_accelerator(training_of(recipe), compute, sharded=sharded)
    if accelerator.is_main_process and options.max_steps is None:
        folder.lock()
        folder.check_own(RUN, OWN_FILES)
    loader, val_loader = build_loaders(
        recipe, annotations, validation,
        accelerator=accelerator, compute=compute, seed=seed, naming=options.naming, max_bad=options.max_bad,
    )  # fmt: skip
    state, base_lr, messages = build_train_state(
        recipe, annotations, accelerator=accelerator, compute=compute, deterministic=options.deterministic,
        sharded=sharded, seed=seed, lr=options.lr,
    )  # fmt: skip
    run = TrainingRun(state, loader, val_loader, folder, base_lr, *_num_steps(state, loader), on_progress)
    for message in (*_describe(run, annotations, validation), *messages):
        run.info(message)
    return run


def _num_steps(state: TrainState, loader: ClipLoader) -> tuple[int, int]:
    """Steps of an epoch, and of the whole run."""
    steps_per_epoch = -(-loader.num_batches() // state.training.accumulate)
    return steps_per_epoch, state.training.steps or state.training.epochs * steps_per_epoch


def _run(run: TrainingRun, stopping: Stopping, options: _Options) -> TrainResult:
    """Measure the speed, report a complete run, or resume and train."""
    config = _config(run)
    config_text = json.dumps(config)
    run.check_ranks_match(config_text)
    config_hash = hashlib.sha256(config_text.encode()).hexdigest()
    run.trainer_state = TrainerState.initial(config_hash, is_validated=not options.validate_start)
    if options.max_steps is not None:
        check_clip_shape(run.state.recipe, run.loader.last_batch_size)
        return run_steps(run, stopping, options.max_steps, measures_speed=True)
    path = run.folder / RUN
    before = read_run(path, config) if path.exists() else None
    if before is not None and before[DONE]:
        return _complete(run, before)
    check_clip_shape(run.state.recipe, run.loader.last_batch_size)
    run.resume(has_saved=before is not None and bool(before.get(SAVED)))
    try:
        if run.is_first_rank:
            _record_start(run, config, before, options)
        stop_signal = _end_epoch(run, stopping, 0) if run.validation_is_due else 0  # it was stopped before it ended
        return _result(run, stop_signal) if stop_signal else run_steps(run, stopping, run.total_steps)
    except I3DError:
        if before is None and not run.step and run.is_first_rank and run.saved_step is None:
            run.folder.remove_record()  # as if it were refused before: the folder is free for other settings
        raise
    finally:
        if run.metrics_logger is not None:
            run.metrics_logger.close()


def _config(run: TrainingRun) -> dict[str, Any]:
    """What a resumed run must match, on any machine and in any folder."""
    recipe, own = without_init(run.state.recipe), Path(run.state.training.init)
    # The start of fine-tuning lies in the folder: it may be fitted again, on another machine to other bits.
    is_own = bool(own.name) and own.absolute().is_relative_to(run.folder.path.absolute())
    return {
        "recipe": recipe,
        "weights": own.name if is_own else run.state.init_sha256,
        "lr": run.base_lr,
        "seed": run.state.seed,
        "clips": fingerprint(run.loader.dataset.annotations),
        "validation": fingerprint(run.validation.dataset.annotations) if run.validation is not None else None,
        "world_size": run.world_size,
    }


def _complete(run: TrainingRun, before: dict[str, Any]) -> TrainResult:
    """The result of a run that is complete, by its record."""
    run.info(f"{printable(str(run.folder.path))}: this run is complete; train in another --work-dir to repeat it")
    try:
        run.trainer_state = TrainerState.model_validate_json(json.dumps(before["trainer_state"]))
    except ValidationError as error:
        what = f"is damaged ({first_error(error)}); choose another --work-dir"
        raise InputError(f"{run.folder / RUN}: {what}") from error
    run.restore_bad_clips()
    return _result(run)


def _record_start(run: TrainingRun, config: dict[str, Any], before: dict[str, Any] | None, options: _Options) -> None:
    """Record this start and its recipe, report changes that affect the rounding, and open the log."""
    settings = {  # that change results by rounding only, and may be others in a resumed run
        "deterministic": options.deterministic,
        "compile": options.compute.runtime == "compile",
        "sharded": run.state.is_sharded,
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": run.state.device.type,
    }
    init = run.state.training.init
    for change in run.folder.record_start(config, before, seed=run.state.seed, compute=settings, init=init):
        run.warn(f"{change}: from this step on, the run differs in rounding from one without the change")
    write_atomically(run.folder / RECIPE, (run.state.recipe.model_dump_json(indent=1) + "\n").encode())
    run.metrics_logger = MetricsLogger(
        run.folder,
        step=run.step,
        validated_step=run.trainer_state.validated_step,
        tensorboard=options.tensorboard,
    )


def run_steps(run: TrainingRun, stopping: Stopping, last_step: int, *, measures_speed: bool = False) -> TrainResult:
    """Load, step, log, validate and save, from the current step to the last one."""
    training, steps_per_epoch, stop_signal = run.state.training, run.steps_per_epoch, 0
    warm_up_end = run.stopwatch.mark()
    if run.trainer_state.start_is_perfect:
        run.info("the start is right for all validation clips: no epoch can be better, so none is trained")
    while run.step < last_step and not stop_signal and not run.trainer_state.ends_early(training.patience):
        epoch, first = divmod(run.step, steps_per_epoch)
        run.report()
        for batches in run.step_batches(epoch, first):
            lr, fixed = step_lr(run.step, training, run.base_lr, steps_per_epoch, run.total_steps)
            output = train_step(run.state, batches, step=run.step, lr=lr, fixed_lr=fixed, on_part=run.report)
            run.finish_step(output)
            if run.step <= min(WARM_UP, last_step - 1):
                warm_up_end = run.stopwatch.mark()
            is_epoch_end = run.step % steps_per_epoch == 0 or run.step == last_step
            if run.step % LOG_EVERY == 0 or is_epoch_end:
                run.log_metrics(lr, epoch)
            else:
                run.report()
            stop_signal = run.sync_stop_signal(stopping)
            if is_epoch_end or stop_signal:
                break
            if not measures_speed and run.step % training.save_every == 0:
                run.save()
        if not measures_speed:
            stop_signal = _end_epoch(run, stopping, stop_signal)
    run.check_last_step()
    if measures_speed:
        speed = {**run.stopwatch.speed(run.world_size, since=warm_up_end), "world_size": run.world_size}
        return _result(run, stop_signal, speed)
    return _result(run, stop_signal) if stop_signal else _finish(run)


def _end_epoch(run: TrainingRun, stopping: Stopping, stop_signal: int) -> int:
    """Validate if it is due and no signal came, then save; the signal that came until now."""
    if run.validation_is_due and not stop_signal:
        run.save()  # validation takes long: an interruption must not cost the epoch
        run.validate((run.step - 1) // run.steps_per_epoch, stopping)
    run.save()
    return stop_signal or run.sync_stop_signal(stopping)


def _finish(run: TrainingRun) -> TrainResult:
    with run.averaged_weights():
        run.write_weights(LAST)
    run.draw()
    if run.is_first_rank:
        if run.metrics_logger is not None:
            run.metrics_logger.sync()
        run.folder.record_end(run.trainer_state.model_copy(update={"tensor_names": ()}).model_dump(mode="json"))
    return _result(run)


def _result(run: TrainingRun, stop_signal: int = 0, speed: dict[str, float] | None = None) -> TrainResult:
    loaders = [run.loader] if run.validation is None else [run.loader, run.validation]
    return TrainResult(
        work_dir=run.folder.path,
        steps=run.step,
        total_steps=run.total_steps,
        best=run.trainer_state.best,
        best_step=run.trainer_state.best_step,
        validation=dict(run.trainer_state.validation),
        bad_clips=tuple(clip.reason for clip in run.loader.bad.values()),
        clip_notes=tuple(note for loader in loaders for _, note in sorted(loader.notes.items())),
        stop_signal=stop_signal,
        saved_step=run.saved_step,
        speed=speed or {},
    )


def _describe(run: TrainingRun, annotations: Annotations, validation: Annotations | None) -> list[str]:
    """The network, the data and the schedule of the run, as lines for the log."""
    recipe, training = run.state.recipe, run.state.training
    sampling, side, network = training.sampling, training.augmentation.size, recipe.network
    kind = "frame folders" if annotations.is_frames else "videos"
    flow = run.loader.dataset.flow
    costs: list[str] = []
    if flow is not None and run.loader.dataset.computes_flow:
        kind += f" ({flow.method} flow is computed in the first epoch and cached in {flow.cache.folder})"
        costs.append(describe_cost(flow.method, short_side=flow.short_side))
    validated = "no validation" if validation is None else f"validation on {len(validation)}"
    lines = [
        f"recipe {recipe.name}: {network.name}, {network.num_classes} classes, {training.precision}, "
        f"{run.state.device.type}; all settings are in {printable(str(run.folder.path))}/{RECIPE}",
        f"data: {len(annotations)} {kind}, {validated}; clips of {sampling.clip_len} frames x stride "
        f"{sampling.frame_interval}, {side} x {side}",
        f"{run.total_steps} steps, {run.steps_per_epoch} per epoch, of {training.batch_size} clips x {run.world_size} "
        f"devices x {training.accumulate} accumulated; {training.optimizer.kind}, {training.schedule.kind} schedule, "
        f"seed {run.state.seed}",
    ]
    clip = sampling.clip_len, sampling.frame_interval
    if isinstance(scored := recipe.protocol, ClipProtocol) and (scored.clip_len, scored.frame_interval) != clip:
        lines.insert(0, f"note: predict and test use other clips, {scored.line}; to change that, set `protocol`")
    return lines + costs
