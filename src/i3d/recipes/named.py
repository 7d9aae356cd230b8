"""The published recipes by their published names. A variant is its base with the few fields that differ.

MMAction2 0.x and 1.x have recipes of like names that are not the same: 0.x tests clips in the middle of segments,
1.x from end to end; `heavy` takes 8 frames of stride 8 in 0.x and 32 of stride 2 in 1.x.
Their published accuracies, none of which was measured here, are in `tools/make_model_zoo.py`.
"""

from collections.abc import Mapping
from typing import Any, Final

from i3d.recipes.augmentation import Augmentation, RandomCrop, TrainSampling
from i3d.recipes.names import unknown_recipe
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import (
    ClipProtocol,
    CropCenter,
    FrameGeometry,
    Fused,
    InceptionSettings,
    Preprocessing,
    Resize,
    ResNetSettings,
    WindowProtocol,
)
from i3d.recipes.training import SGD, CosineSchedule, PiecewiseSchedule, Training
from i3d.utils.arguments import checks_types


def _like(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    return Recipe(**{**dict(recipe), "name": name, **changes})


def _one_clip(sampling: TrainSampling, **changes: Any) -> ClipProtocol:
    length, interval, fps = sampling.clip_len, sampling.frame_interval, sampling.target_fps
    fields = {"clip_len": length, "frame_interval": interval, "target_fps": fps, "num_clips": 1, "crops": "center"}
    return ClipProtocol(**fields | changes)


# MMAction2's I3D-R50 and its variants.
IMAGENET: Final = Preprocessing(short_side=256, crop=256, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
HEAVY: Final = ResNetSettings(inflate=((1,), (1,), (1,), (1,)), conv1_stride_t=1, pool1_stride_t=1)
NON_LOCAL: Final = ((0,), (0, 1), (0, 1), (0,))  # after every second block of layer2 and layer3
NON_LOCAL_NETWORKS: Final = {
    "embedded_gaussian": ResNetSettings(non_local=NON_LOCAL, non_local_mode="embedded_gaussian"),
    "gaussian": ResNetSettings(non_local=NON_LOCAL, non_local_mode="gaussian"),
    "dot_product": ResNetSettings(non_local=NON_LOCAL, non_local_mode="dot_product"),
}
THIRTY_TWO: Final = TrainSampling(clip_len=32, frame_interval=2)
EIGHT: Final = TrainSampling(clip_len=8, frame_interval=8)
DENSE: Final = ClipProtocol(clip_len=32, frame_interval=2, num_clips=1, placement="dense")
DENSE_TRAINING: Final[dict[str, Any]] = {
    "sampling": TrainSampling(placement="dense"),
    "validation": _one_clip(THIRTY_TWO, placement="dense"),
}
EIGHT_TRAINING: Final[dict[str, Any]] = {"sampling": EIGHT, "validation": _one_clip(EIGHT)}

R50: Final = Recipe(
    name="i3d_r50_32x2x1_100e_kinetics400_rgb",
    network=ResNetSettings(),
    preprocessing=IMAGENET,
    protocol=ClipProtocol(clip_len=32, frame_interval=2, num_clips=10, placement="centred"),
    training=Training(input="frames"),
)
VIDEOS: Final = Training(input="videos")
R50_HEAVY: Final = _like(
    R50,
    "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb",
    network=HEAVY,
    protocol=ClipProtocol(clip_len=8, frame_interval=8, num_clips=10, placement="centred"),
    training=Training(input="frames", **EIGHT_TRAINING),
)
LAZY_GEOMETRY: Final = FrameGeometry(
    steps=(Fused(steps=(Resize(short_side=256), CropCenter(size=(224, 224)))),), short_side=None, crop=224
)
MMACTION2_0: Final = (
    R50,
    _like(R50, "i3d_r50_video_32x2x1_100e_kinetics400_rgb", training=VIDEOS),
    _like(
        R50,
        "i3d_r50_video_imgaug_32x2x1_100e_kinetics400_rgb",
        training=Training(augmentation=Augmentation(rotation_degrees=20, pixel_dropout=0.05)),
    ),
    _like(  # resize, crop and flip are one resampling in training, resize and crop in validation
        R50,
        "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb",
        training=Training(input="frames", augmentation=Augmentation(fused=True), validation_geometry=LAZY_GEOMETRY),
    ),
    _like(
        R50,
        "i3d_r50_dense_32x2x1_100e_kinetics400_rgb",
        protocol=DENSE,
        training=Training(input="frames", **DENSE_TRAINING),
    ),
    _like(  # the weights of the video recipe on one clip x 3 crops, which is faster
        R50,
        "i3d_r50_video_inference_32x2x1_100e_kinetics400_rgb",
        protocol=_one_clip(THIRTY_TWO, crops="three"),
        training=VIDEOS,
    ),
    R50_HEAVY,
    _like(R50_HEAVY, "i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb", training=Training(**EIGHT_TRAINING)),
    *(
        _like(R50, f"i3d_nl_{mode}_r50_32x2x1_100e_kinetics400_rgb", network=network)
        for mode, network in NON_LOCAL_NETWORKS.items()
    ),
    _like(
        R50,
        "i3d_r34_32x2x1_100e_kinetics400_rgb",
        network=ResNetSettings(depth=34),
        training=Training(input="frames", init="timm/resnet34.tv_in1k"),
    ),
    _like(  # the Ascend port
        R50, "i3d_r50_video_32x2x1_100e_kinetics400_rgb_o1", training=Training(precision="fp16", loss_scale=128.0)
    ),
)
R50_1: Final = _like(
    R50,
    "i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb",
    protocol=ClipProtocol(clip_len=32, frame_interval=2, num_clips=10, placement="end_to_end"),
    training=Training(validation=_one_clip(THIRTY_TWO, placement="end_to_end"), validate_every=1),
)
BASELINE: Final = _like(  # video-nonlocal-net's baseline, in PyTorch by Tushar-N/pytorch-resnet3d
    R50_1,
    "i3d_baseline_32x2_IN_pretrain_400k",
    network=ResNetSettings(pool1="2x3x3"),
    preprocessing=Preprocessing(short_side=256, crop=256, mean=(114.75,) * 3, std=(57.375,) * 3),
    training=None,
)
MMACTION2_1: Final = (
    R50_1,
    _like(
        R50,
        "i3d_imagenet-pretrained-r50_8xb8-dense-32x2x1-100e_kinetics400-rgb",
        protocol=DENSE,
        training=Training(validate_every=1, **DENSE_TRAINING),
    ),
    _like(R50_1, "i3d_imagenet-pretrained-r50-heavy_8xb8-32x2x1-100e_kinetics400-rgb", network=HEAVY),
    *(
        _like(
            R50_1,
            f"i3d_imagenet-pretrained-r50-nl-{mode.replace('_', '-')}_8xb8-32x2x1-100e_kinetics400-rgb",
            network=network,
        )
        for mode, network in NON_LOCAL_NETWORKS.items()
    ),
)

# Inception-I3D. The paper trains on 64 frames at 25 fps, random 224 crops, 64 devices x 6 clips.
SIXTY_FOUR: Final = TrainSampling(clip_len=64, frame_interval=1)
AT_25_FPS: Final = TrainSampling(clip_len=64, frame_interval=1, target_fps=25.0)
PAPER: Final = Training(
    init="",
    steps=115_000,
    batch_size=6,
    base_batch=384,
    optimizer=SGD(lr=0.1, weight_decay=1e-7),
    schedule=PiecewiseSchedule(until=(97_000, 108_000), factors=(1.0, 0.1, 0.01)),
    clip_grad_norm=0.0,
    sampling=AT_25_FPS,
    augmentation=Augmentation(crop=RandomCrop()),
    validation=_one_clip(AT_25_FPS),
)
FLOW_SCHEDULE: Final = PiecewiseSchedule(
    until=(97_000, 104_500, 115_000, 140_000, 150_000), factors=(1.0, 0.1, 0.01, 1.0, 0.1, 0.01)
)
# Flow is clipped to +-20 pixels and comes as uint8: 127.5 is no movement, 0 and 255 are -20 and +20 pixels.
FLOW: Final = Preprocessing(flow="tvl1", mean=(127.5, 127.5), std=(127.5, 127.5))

RGB: Final = Recipe(name="inception_rgb_kinetics400", network=InceptionSettings(), training=PAPER)
CHARADES: Final = _like(  # pytorch-i3d's network, fine-tuned on 157 classes that may go together
    RGB,
    "inception_rgb_charades",
    network=InceptionSettings(num_classes=157),
    protocol=WindowProtocol(fps=24.0),
    dataset="charades",
    multi_label=True,
    training=None,
)
INCEPTION: Final = (
    RGB,
    _like(
        RGB,
        "inception_flow_kinetics400",
        network=InceptionSettings(in_channels=2),
        preprocessing=FLOW,
        training=PAPER.model_copy(update={"steps": 155_000, "schedule": FLOW_SCHEDULE, "input": "frames"}),
    ),
    _like(  # kinetics-i3d's network, trained from scratch
        RGB,
        "inception_rgb_kinetics600",
        network=InceptionSettings(num_classes=600),
        dataset="kinetics600",
        training=None,
    ),
    CHARADES,
    _like(
        CHARADES,
        "inception_flow_charades",
        network=InceptionSettings(in_channels=2, num_classes=157),
        preprocessing=FLOW,
    ),
    _like(  # the MindSpore port, top-1 67
        RGB,
        "i3d_rgb",
        network=InceptionSettings(bn_eps=1e-5),
        protocol=_one_clip(SIXTY_FOUR, average="score"),
        training=Training(
            init="",
            epochs=30,
            batch_size=4,  # 12 on each of eight devices, at the same rate
            base_batch=0,
            optimizer=SGD(lr=0.0012, weight_decay=4e-4),
            schedule=CosineSchedule(),
            clip_grad_norm=0.0,
            sampling=SIXTY_FOUR,
            augmentation=Augmentation(resize=(256, 256), crop=RandomCrop()),
            validation=_one_clip(SIXTY_FOUR),
        ),
    ),
)

ALL: Final = (*MMACTION2_0, *MMACTION2_1, BASELINE, *INCEPTION)
RECIPES: Final[Mapping[str, Recipe]] = {recipe.name: recipe for recipe in ALL}
ALIASES: Final[Mapping[str, str]] = {  # older names of the same recipes
    "i3d_r50_video_3d_32x2x1_100e_kinetics400_rgb": "i3d_r50_video_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_fast_32x2x1_100e_kinetics400_rgb": "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb",
}


@checks_types
def named_recipe(name: str) -> Recipe:
    """The recipe of that name. An unknown name is an InputError that lists the nearest ones."""
    recipe = RECIPES.get(ALIASES.get(name, name))
    if recipe is None:
        raise unknown_recipe(name)
    return recipe
