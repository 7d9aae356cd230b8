"""A published recipe as the MMAction2 config that it would be, as far as it differs from MMAction2's defaults.

MMAction2's commands name configs that i3d does not ship (`configs/recognition/i3d/NAME.py`), and their
`--cfg-options` in MMAction2's key paths have to change the published recipe of that name.
"""

from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError
from i3d.recipes.augmentation import Augmentation, MultiScaleCrop, TrainSampling
from i3d.recipes.mmaction2.from_config import ClipList
from i3d.recipes.mmaction2.model import OUR_HUB
from i3d.recipes.mmaction2.pipelines import CROPS
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.named import ALIASES, RECIPES
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, CropCenter, FrameGeometry, Fused, Resize, ResNetSettings
from i3d.recipes.training import StepSchedule, Training

KINETICS: Final = Path("data/kinetics400")  # where MMAction2's documents put it
BACKBONE = {"depth", "conv1_stride_t", "pool1_stride_t", "inflate", "non_local", "zero_init_residual"}


def to_config(recipe: Recipe, lists: dict[str, ClipList], *, version: int) -> Table:
    """The config of a published I3D-ResNet recipe in the spelling of 0.x or 1.x."""
    network, training, pre = recipe.network, recipe.training, recipe.preprocessing
    if not isinstance(network, ResNetSettings) or not isinstance(recipe.protocol, ClipProtocol) or training is None:
        raise InputError(
            f"{recipe.name}: is not a recipe of MMAction2, so --cfg-options has no key paths for it; "
            f"use `i3d train --recipe {recipe.name} --set key=value`"
        )
    pipelines = {
        "train": _pipeline(training, training.sampling, _train_steps(training.augmentation)),
        "val": _test_pipeline(
            training, training.validation, training.validation_geometry or pre.with_crop(training.validation_crop)
        ),
        "test": _test_pipeline(training, recipe.protocol, pre),
    }
    norm = _dict(mean=list(pre.mean), std=list(pre.std))
    model = _model(network, training)
    if version == 1:
        model["data_preprocessor"] = _dict(type="ActionDataPreprocessor", **norm)
    else:
        pipelines = {split: [*steps, _dict(type="Normalize", **norm)] for split, steps in pipelines.items()}
    datasets = {
        split: _dataset(training, lists[split], pipeline, version=version) for split, pipeline in pipelines.items()
    }
    return _dict(model=model, **(_rest_1 if version else _rest_0)(training, datasets))


def published_config(name: str, place: str) -> Table | None:
    """The config of the published recipe of that name, for a base that is not there; None if there is no such recipe.

    `place`: of the base, for errors.
    """
    recipe = RECIPES.get(ALIASES.get(name, name))
    if recipe is None or recipe.training is None or not isinstance(recipe.network, ResNetSettings):
        return None
    table = to_config(recipe, kinetics_lists(recipe), version=version_of_name(recipe.name))
    table.places |= dict.fromkeys(table, f"{place}: the published recipe {recipe.name}")
    return table


def version_of_name(name: str) -> int:
    """The MMAction2 version that the name of a published recipe is of."""
    return int("8xb8" in name)


def kinetics_lists(recipe: Recipe, folder: Path = KINETICS) -> dict[str, ClipList]:
    """The lists of a published recipe where MMAction2's documents put them: 0.x's names, or the earlier ones."""
    frames = recipe.training is not None and recipe.training.input == "frames"
    kind = "rawframes" if frames else "videos"
    lists: dict[str, ClipList] = {}
    for split in ("train", "val"):
        places = [folder / f"kinetics400_{split}_list_{kind}.txt", folder / f"kinetics_{split}_list.txt"]
        file = next((place for place in places if place.exists()), places[0])
        prefix = str(folder / f"{kind}_{split}")
        lists[split] = ClipList(str(file), prefix, "frames" if frames else "videos", None, 1)
    return lists | {"test": lists["val"]}


def _dict(**values: Any) -> Table:
    return Table(values)


def _model(network: ResNetSettings, training: Training) -> Table:
    hub = OUR_HUB.fullmatch(training.init)
    assert hub is not None
    non_local = _dict(
        mode=network.non_local_mode,
        sub_sample=network.non_local_sub_sample,
        use_scale=network.non_local_use_scale,
        norm_cfg=_dict(type="BN3d"),
    )
    backbone = _dict(
        type="ResNet3d",
        pretrained=f"torchvision://{hub[1]}",
        conv1_kernel=[network.conv1_kernel_t, 7, 7],
        non_local_cfg=non_local,
        **network.model_dump(mode="json", include=BACKBONE),
    )
    return _dict(type="Recognizer3D", backbone=backbone, cls_head=_dict(type="I3DHead"))


def _pipeline(training: Training, sampling: TrainSampling | ClipProtocol, steps: list[Table], **more: bool) -> Any:
    sample = _dict(
        type="DenseSampleFrames" if sampling.placement == "dense" else "SampleFrames",
        **sampling.model_dump(include={"clip_len", "frame_interval", "num_clips"}),
        **more,
    )
    if training.input == "frames":
        return [sample, _dict(type="RawFrameDecode"), *steps]
    return [_dict(type="DecordInit"), sample, _dict(type="DecordDecode"), *steps]


def _test_pipeline(training: Training, how: ClipProtocol, geometry: FrameGeometry) -> Any:
    kind = next(name for name, crops in CROPS.items() if crops == how.crops)
    steps, short_side = list[Table](), geometry.short_side
    match geometry.steps:  # of published recipes, only those of lazy pipelines
        case (Fused(steps=(Resize(short_side=short_side), CropCenter())),):
            steps = [_dict(type="Fuse")]
    lazy = {"lazy": True} if steps else {}
    steps = [
        _dict(type="Resize", scale=[-1, short_side], **lazy),
        _dict(type=kind, crop_size=geometry.crop, **lazy),
        *steps,
    ]
    return _pipeline(training, how, steps, test_mode=True)


def _train_steps(augmentation: Augmentation) -> list[Table]:
    crop, size = augmentation.crop, augmentation.size
    assert isinstance(crop, MultiScaleCrop)
    scaling = {"input_size": size, "scales": list(crop.scales), "max_wh_scale_gap": crop.max_gap}
    lazy = {"lazy": True} if augmentation.fused else {}
    steps = [
        _dict(type="Resize", scale=[-1, augmentation.resize], **lazy),
        _dict(type="MultiScaleCrop", **scaling, **lazy),
        _dict(type="Resize", scale=[size, size], keep_ratio=False, **lazy),
        _dict(type="Flip", flip_ratio=augmentation.flip, **lazy),
    ]
    steps += [_dict(type="Fuse")] if lazy else []
    if degrees := augmentation.rotation_degrees:
        rotate = _dict(type="Rotate", rotate=[-degrees, degrees])
        dropout = _dict(type="Dropout", p=[0, augmentation.pixel_dropout])
        steps.append(_dict(type="Imgaug", transforms=[rotate, dropout]))
    return steps


def _dataset(training: Training, clips: ClipList, pipeline: list[Table], *, version: int) -> Table:
    is_video = training.input == "videos"
    prefix = _dict(**{"video" if is_video else "img": clips.prefix}) if version else clips.prefix
    kind = "VideoDataset" if is_video else "RawframeDataset"
    return _dict(type=kind, ann_file=clips.ann_file, data_prefix=prefix, pipeline=pipeline)


def _optimizer(training: Training) -> Table:
    return _dict(type="SGD", **training.optimizer.model_dump(exclude={"kind"}))


def _rest_0(training: Training, datasets: dict[str, Table]) -> Table:
    assert isinstance(training.schedule, StepSchedule)
    rest = _dict(
        data=_dict(videos_per_gpu=training.batch_size, workers_per_gpu=2, **datasets),
        optimizer=_optimizer(training),
        optimizer_config=_dict(grad_clip=_dict(max_norm=training.clip_grad_norm)),
        lr_config=_dict(policy="step", step=list(training.schedule.epochs), gamma=training.schedule.gamma),
        total_epochs=training.epochs,
        evaluation=_dict(interval=training.validate_every),
    )
    if training.precision == "fp16":
        rest["fp16"] = _dict(loss_scale=training.loss_scale)
    return rest


def _rest_1(training: Training, datasets: dict[str, Table]) -> Table:
    schedule = training.schedule
    assert isinstance(schedule, StepSchedule)
    loaders = {
        f"{split}_dataloader": _dict(batch_size=training.batch_size, num_workers=2, dataset=dataset)
        for split, dataset in datasets.items()
    }
    wrapper = _dict(optimizer=_optimizer(training), clip_grad=_dict(max_norm=training.clip_grad_norm))
    if training.precision == "fp16":
        wrapper |= _dict(type="AmpOptimWrapper", loss_scale=training.loss_scale)
    return _dict(
        **loaders,
        optim_wrapper=wrapper,
        param_scheduler=[_dict(type="MultiStepLR", milestones=list(schedule.epochs), gamma=schedule.gamma)],
        train_cfg=_dict(max_epochs=training.epochs, val_interval=training.validate_every),
        auto_scale_lr=_dict(base_batch_size=training.base_batch),
    )
