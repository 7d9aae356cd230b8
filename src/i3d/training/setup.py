"""Builds the parts of a run from a recipe and clips: accelerator, network, optimiser, loaders."""

import os
import warnings
from typing import Any, Final

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import GradientAccumulationPlugin, GradScalerKwargs, InitProcessGroupKwargs
from torch import nn
from torch.distributed.fsdp import fully_shard

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.labels import dataset_labels
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, counted, first_line
from i3d.models.factory import build_meta_network, build_network
from i3d.models.network import check_crop
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import FrameGeometry
from i3d.recipes.training import Training
from i3d.training.losses import balanced_weights
from i3d.training.optimizer import Ema, build_optimizer, freeze, scaled_lr, set_mode
from i3d.training.step import TrainState, seed_step
from i3d.utils.cache import Cache, use_inductor_cache
from i3d.utils.device import ComputeConfig, arithmetic_of, pick_device
from i3d.utils.distributed import TRAINING_TIMEOUT, destroy_group_at_exit, local_device
from i3d.utils.launcher import launched_as
from i3d.weights.initialize import load_initial_weights

ONE_VALUE: Final = "Expected more than 1 value per channel"  # of PyTorch, for the batch norm of a 1 x 1 x 1 map


def check_training_runtime(compute: ComputeConfig) -> None:
    """An InputError for a runtime that only runs networks."""
    if compute.runtime not in ("torch", "compile"):
        raise InputError(f"runtime {compute.runtime}: does not train; use torch or compile")


def build_accelerator(training: Training, compute: ComputeConfig, *, sharded: bool = False) -> Accelerator:
    """The device, the ranks that torchrun started, and mixed precision."""
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        del os.environ[name]  # the recipe decides, not the defaults of a launcher
    if compute.device.startswith("npu"):
        pick_device(compute.device)  # an InputError without torch_npu, which accelerate would not mention
    if ":" in compute.device:
        os.environ["ACCELERATE_TORCH_DEVICE"] = compute.device
    launched_as()  # an InputError for variables of a launcher that accelerate cannot read
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())  # left by an earlier run
    GradientState._reset_state()
    has_other = torch.accelerator.is_available()
    on_cpu = compute.device == "cpu" or (compute.device == "auto" and not has_other)  # else CPU ranks do not connect
    if training.precision == "fp16" and (on_cpu or not has_other):
        raise InputError("precision fp16: this device is a CPU; use bf16 or fp32 (--precision)")
    growth_interval = 2**30 if training.loss_scale else 2000  # a fixed scale never grows
    scaler = GradScalerKwargs(init_scale=training.loss_scale or 2.0**16, growth_interval=growth_interval)
    handlers: list[Any] = [InitProcessGroupKwargs(timeout=TRAINING_TIMEOUT), scaler]
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(training.precision, training.precision),
        cpu=on_cpu,
        kwargs_handlers=handlers,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # `train_step` accumulates
    )
    if accelerator.num_processes > 1:
        destroy_group_at_exit()
    if sharded and accelerator.num_processes < 2:
        raise InputError("--fsdp: needs several processes; start them with torchrun, or leave it out")
    kind = compute.device.split(":")[0]
    if kind != "auto" and accelerator.device.type != kind:
        raise InputError(
            f"--device {compute.device}: not available here, only {accelerator.device.type}; see `i3d doctor`"
        )
    return accelerator


def build_train_state(
    recipe: Recipe,
    annotations: Annotations,
    *,
    accelerator: Accelerator,
    compute: ComputeConfig,
    deterministic: bool = False,
    sharded: bool = False,
    seed: int,
    lr: float | None,
) -> tuple[TrainState, float, list[str]]:
    """The network with its initial weights, ready to train; (state, base learning rate, lines for the log)."""
    training = training_of(recipe)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    # On GPUs, pools in 3D have no deterministic backward pass: PyTorch then warns once, as MMAction2's flag allows.
    torch.use_deterministic_algorithms(deterministic, warn_only=accelerator.device.type != "cpu")
    seed_step(seed, 0, 0)
    net = build_network(recipe.network)
    line, init_sha256 = load_initial_weights(net, training.init, recipe, annotations.classes)
    messages = [line]
    freeze(net, training)
    check_sync_norms(training, accelerator.device.type)
    if training.sync_norms:
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
    layout = torch.contiguous_format if sharded else torch.channels_last_3d  # FSDP supports no other
    net.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
    clips_per_step = training.batch_size * training.accumulate * accelerator.num_processes
    base_lr = scaled_lr(training, clips_per_step=clips_per_step) if lr is None else lr
    source = ", not scaled"
    if lr is None and training.base_batch:
        source = f" (linear scaling; the recipe has {training.optimizer.lr:g} for {training.base_batch})"
    messages.append(f"learning rate {base_lr:g} for {clips_per_step} clips per step{source}")
    if sharded:
        for unit in [module for module in net.modules() if isinstance(module, net.fsdp_blocks)]:
            fully_shard(unit)
        fully_shard(net, reshard_after_forward=True)
    optimizer = build_optimizer(net, training, lr=base_lr)
    if compute.runtime == "compile":
        use_inductor_cache(compute.cache)
    to_run: nn.Module = torch.compile(net) if compute.runtime == "compile" else net  # type: ignore[assignment]
    if sharded:
        model, prepared = to_run, accelerator.prepare(optimizer)
    else:
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        model, prepared = accelerator.prepare(to_run, optimizer)
    ema = Ema(net, decay=training.ema_decay) if training.ema_decay else None
    unwrapped = accelerator.unwrap_model(model, keep_torch_compile=False)
    state = TrainState(recipe, training, accelerator, model, unwrapped, prepared, ema, seed, sharded, init_sha256)
    weigh_classes(state, annotations)
    return state, base_lr, messages


def training_dataset(
    recipe: Recipe, annotations: Annotations, *, seed: int, naming: FrameNaming | None, cache: Cache
) -> ClipDataset:
    """Clips as a recipe trains on them."""
    training = training_of(recipe)
    flow = ClipFlow.from_network(recipe.network, recipe.preprocessing, cache)
    view = TrainView(training.sampling, training.augmentation)
    return ClipDataset(annotations, view, seed=seed, naming=naming, multi_label=recipe.multi_label, flow=flow)


def build_loaders(
    recipe: Recipe,
    annotations: Annotations,
    validation: Annotations | None,
    *,
    accelerator: Accelerator,
    compute: ComputeConfig,
    seed: int,
    naming: FrameNaming | None,
    max_bad: float | None,
) -> tuple[ClipLoader, ClipLoader | None]:
    """The loaders of the training clips and of the validation clips, for this rank."""
    training, pre = training_of(recipe), recipe.preprocessing
    common: dict[str, Any] = {"num_workers": compute.num_workers, "pin_memory": accelerator.device.type == "cuda"}
    common |= {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    data: dict[str, Any] = {"seed": seed, "naming": naming}
    dataset = training_dataset(recipe, annotations, cache=compute.cache, **data)
    data |= {"flow": dataset.flow, "multi_label": recipe.multi_label}
    loader = ClipLoader(
        dataset,
        batch_size=training.batch_size,
        max_bad=max_bad,
        balanced=training.balance == "classes",
        shuffle=training.shuffle,
        drop_last=training.drop_last,
        **common,
    )
    if validation is None:
        return loader, None
    resized = pre.model_copy(update=dict(validation_geometry(recipe)))
    validation_set = ClipDataset(validation, TestView(training.validation, resized), **data)
    return loader, ClipLoader(validation_set, batch_size=1, max_bad=max_bad, **common)


def training_of(recipe: Recipe) -> Training:
    """The training settings of a recipe; none is an InputError."""
    if recipe.training is None:
        raise InputError(f"the recipe {recipe.name} has no training settings; choose another (`i3d models`)")
    return recipe.training


def validation_geometry(recipe: Recipe) -> FrameGeometry:
    """How the frames of validation clips become crops."""
    training = training_of(recipe)
    return training.validation_geometry or recipe.preprocessing.with_crop(training.validation_crop)


def dataset_of(recipe: Recipe, classes: tuple[str, ...]) -> str:
    """The dataset of the recipe if the classes of the clips are its classes, else ""."""
    known = dataset_labels(recipe.dataset)
    is_same = len(classes) == recipe.network.num_classes if known is None else classes == known
    return recipe.dataset if is_same else ""


def check_sync_norms(training: Training, device: str) -> None:
    if training.sync_norms and device == "cpu":
        raise InputError("sync_norms: PyTorch synchronises batch norms on GPUs only; leave it out, or set freeze_norms")


def weigh_classes(state: TrainState, annotations: Annotations) -> None:
    counts_K, loss = annotations.class_counts_K, state.training.loss
    if isinstance(loss.class_weights, tuple):
        state.class_weights_K = torch.tensor(loss.class_weights, device=state.device)
    elif loss.class_weights == "balanced" and state.recipe.multi_label:
        ratios_K = np.maximum(len(annotations) - counts_K, 1) / np.maximum(counts_K, 1)
        state.class_weights_K = torch.from_numpy(ratios_K.astype(np.float32)).to(state.device)
    elif loss.class_weights == "balanced":
        state.class_weights_K = balanced_weights(counts_K).to(state.device)
    if loss.logit_adjustment:
        frequencies_K = counts_K / max(counts_K.sum(), 1)
        state.class_frequencies_K = torch.from_numpy(frequencies_K.astype(np.float32)).to(state.device)


def check_clip_shape(recipe: Recipe, num_clips: int) -> None:
    """Run the network on tensors without memory: it must accept batches of so many clips in training."""
    training = training_of(recipe)
    sampling, side = training.sampling, training.augmentation.size
    num_views = max(num_clips, 2 if training.sync_norms else 1) * sampling.num_clips  # other ranks add to its norms
    shape = (num_views, recipe.network.in_channels, sampling.clip_len, side, side)
    net = build_meta_network(recipe.network)
    check_crop(net, recipe.preprocessing)
    own = "geometry.crop" if training.validation_geometry else "crop"
    check_crop(net, validation_geometry(recipe), name=f"training.validation_{own}")
    freeze(net, training)
    set_mode(net, training)
    try:
        with torch.no_grad():
            net(torch.empty(shape, device="meta"))
    except (ValueError, RuntimeError) as error:
        is_last, todo = (
            num_clips < training.batch_size,
            "change training.sampling.clip_len or training.augmentation.size",
        )
        if ONE_VALUE in str(error):
            todo = f"choose another --batch-size{', or training.drop_last=true' if is_last else ''}"
        where = ", which the last batch of an epoch has" if is_last else ""
        raise InputError(
            f"recipe {recipe.name}: its network does not accept {counted(num_clips, 'clip')} of {sampling.clip_len} "
            f"frames of {side} x {side}{where} ({first_line(error)}); {todo}"
        ) from error


def resolve_recipe(
    recipe: Recipe, annotations: Annotations, validation: Annotations | None, compute: ComputeConfig
) -> Recipe:
    """The recipe with the number of classes of the clips and the precision of `compute`, checked."""
    training, where = training_of(recipe), annotations.source
    if validation is not None and validation.classes != annotations.classes:
        raise InputError(
            f"{validation.source}: its classes differ from those of {where}; give both the same class file (--classes)"
        )
    if len(annotations.classes) < 2:
        raise InputError(f"{where}: all clips are of one class; add clips of another class")
    changes: dict[str, Any] = {"dataset": dataset_of(recipe, annotations.classes)}
    if recipe.network.num_classes != len(annotations.classes):
        changes["network"] = recipe.network.model_copy(update={"num_classes": len(annotations.classes)})
    if compute.precision is not None:
        precision = arithmetic_of(compute.precision, pick_device(local_device(compute.device)))
        loss_scale = training.loss_scale if precision == "fp16" else 0.0
        changes["training"] = training.model_copy(update={"precision": precision, "loss_scale": loss_scale})
    recipe = type(recipe)(**{**dict(recipe), **changes})
    check_clip_shape(recipe, training.batch_size)
    return recipe
