"""A recipe as the MMAction2 config that it would be.

MMAction2's commands name configs that i3d does not ship (`configs/recognition/i3d/NAME.py`), and their
`--cfg-options` in MMAction2's key paths have to change the published recipe of that name.
"""

from __future__ import annotations

from typing import Any

from i3d.errors import InputError
from i3d.recipes.augmentation import Augmentation, CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop
from i3d.recipes.mmaction2.from_config import ClipList
from i3d.recipes.mmaction2.model import OUR_HUB
from i3d.recipes.mmaction2.parse import Table
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, ResNetSettings
from i3d.recipes.training import SGD, CosineSchedule, StepSchedule, Training

CROPS = {"center": "CenterCrop", "three": "ThreeCrop", "ten": "TenCrop"}


def to_config(recipe: Recipe, lists: dict[str, ClipList], *, version: int) -> Table:
    """The config of an I3D-ResNet recipe in the spelling of 0.x or 1.x."""
    training, protocol = recipe.training, recipe.protocol
    if not isinstance(recipe.network, ResNetSettings) or not isinstance(protocol, ClipProtocol) or training is None:
        raise InputError(
            f"{recipe.name}: is not a recipe of MMAction2, so --cfg-options has no key paths for it; "
            f"use `i3d train --recipe {recipe.name} --set key=value`"
        )
    norm = _dict(mean=list(recipe.preprocessing.mean), std=list(recipe.preprocessing.std))
    head = _head_steps(training.input)
    tests = {
        "val": (training.validation, max(recipe.preprocessing.short_side, training.validation_crop)),
        "test": (protocol, recipe.preprocessing.short_side),
    }
    crop = {"val": training.validation_crop, "test": recipe.preprocessing.crop}
    steps = {"train": [*head, _train_sampling(training), *_decode(training.input), *_train_steps(training)]}
    for split, (how, side) in tests.items():
        views = [
            _dict(type="Resize", scale=[-1, side]),
            _dict(type=CROPS[how.crops], crop_size=crop[split]),
        ]
        steps[split] = [*head, _test_sampling(how), *_decode(training.input), *views]
    if version == 0:
        steps = {split: [*some, _dict(type="Normalize", **norm)] for split, some in steps.items()}
    datasets = {split: _dataset(recipe, lists, split, some, version) for split, some in steps.items()}
    model = _model(recipe, protocol)
    if version == 1:
        model["data_preprocessor"] = _dict(type="ActionDataPreprocessor", **norm)
        return _dict(model=model, load_from=_load_from(training), **_rest_1(training, datasets))
    return _dict(model=model, load_from=_load_from(training), **_rest_0(training, datasets))


def _dict(**values: Any) -> Table:
    return Table(values)


def _model(recipe: Recipe, protocol: ClipProtocol) -> Table:
    network, training = recipe.network, recipe.training
    assert isinstance(network, ResNetSettings)
    assert training is not None
    hub = OUR_HUB.fullmatch(training.init)
    loss = _dict(type="BCELossWithLogits" if recipe.multi_label else "CrossEntropyLoss")
    backbone = _dict(
        type="ResNet3d",
        pretrained2d=True,
        pretrained=f"torchvision://{hub[1]}" if hub else None,
        depth=network.depth,
        in_channels=network.in_channels,
        base_channels=network.base_channels,
        conv1_kernel=[network.conv1_kernel_t, 7, 7],
        conv1_stride_t=network.conv1_stride_t,
        pool1_stride_t=network.pool1_stride_t,
        with_pool2=network.pool2,
        temporal_strides=list(network.temporal_strides),
        inflate=[list(stage) for stage in network.inflate],
        inflate_style=network.inflate_style,
        non_local=[list(stage) for stage in network.non_local],
        non_local_cfg=_dict(
            mode=network.non_local_mode,
            sub_sample=network.non_local_sub_sample,
            use_scale=network.non_local_use_scale,
        ),
        frozen_stages=network.frozen_stages,
        norm_eval=network.norm_eval,
        norm_cfg=_dict(type="SyncBN" if training.sync_norms else "BN3d"),
        with_cp=network.activation_checkpointing,
        zero_init_residual=network.zero_init_residual,
    )
    head = _dict(
        type="I3DHead",
        num_classes=network.num_classes,
        dropout_ratio=network.dropout,
        multi_class=recipe.multi_label,
        loss_cls=loss,
        label_smooth_eps=training.loss.label_smoothing,
    )
    testing = _dict(average_clips=protocol.average)
    return _dict(type="Recognizer3D", backbone=backbone, cls_head=head, train_cfg=None, test_cfg=testing)


def _load_from(training: Training) -> str | None:
    return training.init if training.init and not OUR_HUB.fullmatch(training.init) else None


def _head_steps(kind: str) -> list[Table]:
    return [_dict(type="DecordInit")] if kind == "videos" else []


def _decode(kind: str) -> list[Table]:
    return [_dict(type="DecordDecode" if kind == "videos" else "RawFrameDecode")]


def _train_sampling(training: Training) -> Table:
    how = training.sampling
    step = _dict(clip_len=how.clip_len, frame_interval=how.frame_interval, num_clips=how.num_clips)
    if how.placement == "dense":
        return _dict(type="DenseSampleFrames", **step, sample_range=how.sample_range, out_of_bound_opt=how.out_of_bound)
    more = _dict(temporal_jitter=how.temporal_jitter, out_of_bound_opt=how.out_of_bound, target_fps=how.target_fps)
    return _dict(type="SampleFrames", **step, **more)


def _test_sampling(how: ClipProtocol) -> Table:
    step = _dict(clip_len=how.clip_len, frame_interval=how.frame_interval, num_clips=how.num_clips, test_mode=True)
    if how.placement == "dense":
        return _dict(type="DenseSampleFrames", **step, sample_range=how.sample_range, out_of_bound_opt=how.out_of_bound)
    more = _dict(twice_sample=how.twice, out_of_bound_opt=how.out_of_bound, target_fps=how.target_fps)
    return _dict(type="SampleFrames", **step, **more)


def _train_steps(training: Training) -> list[Table]:
    augmentation = training.augmentation
    size, lazy = augmentation.size, _dict(lazy=True) if augmentation.fused else _dict()
    steps = []
    match augmentation.resize:
        case int() as side:
            steps.append(_dict(type="Resize", scale=[-1, side], **lazy))
        case (height, width):
            steps.append(_dict(type="Resize", scale=[width, height], keep_ratio=False, **lazy))
    steps += _crop_steps(augmentation, lazy)
    steps.append(_dict(type="Resize", scale=[size, size], keep_ratio=False, **lazy))
    steps.append(_dict(type="Flip", flip_ratio=augmentation.flip, **lazy))
    if augmentation.rotation_degrees or augmentation.pixel_dropout:
        degrees = augmentation.rotation_degrees
        rotate = _dict(type="Rotate", rotate=[-degrees, degrees])
        steps.append(
            _dict(type="Imgaug", transforms=[rotate, _dict(type="Dropout", p=[0, augmentation.pixel_dropout])])
        )
    return steps


def _crop_steps(augmentation: Augmentation, lazy: Table) -> list[Table]:
    match augmentation.crop:
        case RandomResizedCrop(area=area, aspect=aspect):
            step = _dict(type="RandomResizedCrop", area_range=list(area), aspect_ratio_range=list(aspect))
        case MultiScaleCrop(scales=scales, max_gap=gap, places=places):
            step = _dict(
                type="MultiScaleCrop",
                input_size=augmentation.size,
                scales=list(scales),
                max_wh_scale_gap=gap,
                random_crop=places == "random",
                num_fixed_crops=13 if places == "13" else 5,
            )
        case RandomCrop():
            step = _dict(type="RandomCrop", size=augmentation.size)
        case CenterCrop():
            step = _dict(type="CenterCrop", crop_size=augmentation.size)
    return [_dict(**step, **lazy)]


def _dataset(recipe: Recipe, lists: dict[str, ClipList], split: Any, steps: list[Table], version: int) -> Table:
    assert recipe.training is not None
    frames = recipe.training.input == "frames"
    section = lists.get(split)
    prefix: Any = section.prefix if section else None
    if version == 1 and section:
        prefix = _dict(**{"img" if frames else "video": prefix})
    return _dict(
        type="RawframeDataset" if frames else "VideoDataset",
        ann_file=section.ann_file if section else None,
        data_prefix=prefix,
        multi_class=recipe.multi_label,
        sample_by_class=recipe.training.balance == "classes",
        pipeline=steps,
    )


def _optimizer(training: Training) -> Table:
    optimizer = training.optimizer
    if isinstance(optimizer, SGD):
        more = _dict(momentum=optimizer.momentum, nesterov=optimizer.nesterov)
        return _dict(type="SGD", lr=optimizer.lr, weight_decay=optimizer.weight_decay, **more)
    betas = list(optimizer.betas)
    return _dict(type="AdamW", lr=optimizer.lr, weight_decay=optimizer.weight_decay, betas=betas)


def _rest_0(training: Training, datasets: dict[str, Table]) -> Table:
    schedule, lr = training.schedule, training.optimizer.lr
    policy = _dict(policy="fixed")
    if isinstance(schedule, StepSchedule):
        policy = _dict(policy="step", step=list(schedule.epochs), gamma=schedule.gamma)
    elif isinstance(schedule, CosineSchedule):
        policy = _dict(policy="CosineAnnealing", min_lr=schedule.end * lr)
    section = _dict(
        data=_dict(videos_per_gpu=training.batch_size, workers_per_gpu=2, **datasets),
        optimizer=_optimizer(training),
        optimizer_config=_dict(grad_clip=_dict(max_norm=training.clip_grad_norm, norm_type=2)),
        lr_config=policy,
        total_epochs=training.epochs,
        evaluation=_dict(interval=training.validate_every),
    )
    if training.precision == "fp16":
        section["fp16"] = _dict(loss_scale=training.loss_scale or "dynamic")
    return section


def _rest_1(training: Training, datasets: dict[str, Table]) -> Table:
    schedule, lr = training.schedule, training.optimizer.lr
    scheduler = []
    if isinstance(schedule, StepSchedule):
        scheduler = [_dict(type="MultiStepLR", milestones=list(schedule.epochs), gamma=schedule.gamma)]
    elif isinstance(schedule, CosineSchedule):
        scheduler = [_dict(type="CosineAnnealingLR", eta_min=schedule.end * lr)]
    loaders = {
        f"{split}_dataloader": _dict(batch_size=training.batch_size, num_workers=2, dataset=dataset)
        for split, dataset in datasets.items()
    }
    clip = _dict(max_norm=training.clip_grad_norm, norm_type=2)
    wrapper = _dict(type="OptimWrapper", optimizer=_optimizer(training), clip_grad=clip)
    if training.precision == "fp16":
        wrapper |= _dict(type="AmpOptimWrapper", loss_scale=training.loss_scale or "dynamic")
    return _dict(
        **loaders,
        optim_wrapper=wrapper,
        param_scheduler=scheduler,
        train_cfg=_dict(max_epochs=training.epochs, val_interval=training.validate_every),
        auto_scale_lr=_dict(base_batch_size=training.base_batch),
    )
