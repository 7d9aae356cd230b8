"""The published recipes by their published names. A variant is its base with the few fields that differ.

MMAction2 0.x and 1.x have recipes of like names that are not the same: 0.x tests clips in the middle of segments,
1.x from end to end; `heavy` takes 8 frames of stride 8 in 0.x and 32 of stride 2 in 1.x.
Accuracies in the docstrings and in `published.py` are quoted, none was measured here.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from i3d.errors import InputError
from i3d.recipes.augmentation import Augmentation, RandomCrop, TrainSampling
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, InceptionSettings, Preprocessing, ResNetSettings, WindowProtocol
from i3d.recipes.training import SGD, CosineSchedule, PiecewiseSchedule, Training

IMAGENET: Final = Preprocessing(short_side=256, crop=256, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
NON_LOCAL: Final = ((0,), (0, 1), (0, 1), (0,))  # after every second block of layer2 and layer3
ALL: Final = ((1,), (1,), (1,), (1,))
EIGHT: Final = TrainSampling(clip_len=8, frame_interval=8)
SIXTY_FOUR: Final = TrainSampling(clip_len=64, frame_interval=1)
AT_25_FPS: Final = TrainSampling(clip_len=64, frame_interval=1, target_fps=25.0)
END_TO_END: Final = ClipProtocol(clip_len=32, frame_interval=2, num_clips=1, placement="end_to_end", crops="center")


def i3d_r50_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """MMAction2 0.x, raw frames: R50, 32 frames of stride 2, tested on 10 clips x 3 crops; 72.68 / 90.78."""
    return Recipe(
        name="i3d_r50_32x2x1_100e_kinetics400_rgb",
        network=ResNetSettings(),
        preprocessing=IMAGENET,
        protocol=ClipProtocol(clip_len=32, frame_interval=2, num_clips=10, placement="centred"),
        training=Training(input="frames"),
    )


def i3d_r50_video_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """The same from video files; 72.85 / 90.75."""
    name = "i3d_r50_video_32x2x1_100e_kinetics400_rgb"
    return _like(i3d_r50_32x2x1_100e_kinetics400_rgb(), name, training=_training(input="videos"))


def i3d_r50_video_imgaug_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """The same, trained with rotation and pixel dropout besides."""
    imgaug = _training(input="videos", augmentation=Augmentation(rotation_degrees=20, pixel_dropout=0.05))
    name = "i3d_r50_video_imgaug_32x2x1_100e_kinetics400_rgb"
    return _like(i3d_r50_video_32x2x1_100e_kinetics400_rgb(), name, training=imgaug)


def i3d_r50_lazy_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """The same, with resize, crop and flip fused into one resampling in training; 72.32 / 90.72."""
    fused = _training(augmentation=Augmentation(fused=True))
    return _like(i3d_r50_32x2x1_100e_kinetics400_rgb(), "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb", training=fused)


def i3d_r50_dense_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """The same, sampled densely: a clip at each of 10 positions; 72.77 / 90.57."""
    dense = ClipProtocol(clip_len=32, frame_interval=2, num_clips=1, placement="dense")
    training = _training(
        sampling=TrainSampling(placement="dense"), validation=dense.model_copy(update={"crops": "center"})
    )
    name = "i3d_r50_dense_32x2x1_100e_kinetics400_rgb"
    return _like(i3d_r50_32x2x1_100e_kinetics400_rgb(), name, protocol=dense, training=training)


def i3d_r50_video_inference_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """The same weights on one clip x 3 crops, for a quick look."""
    one = ClipProtocol(clip_len=32, frame_interval=2, num_clips=1, placement="centred")
    name = "i3d_r50_video_inference_32x2x1_100e_kinetics400_rgb"
    return _like(i3d_r50_video_32x2x1_100e_kinetics400_rgb(), name, protocol=one)


def i3d_r50_heavy_8x8x1_100e_kinetics400_rgb() -> Recipe:
    """Every block inflated, no temporal stride in the stem, 8 frames of stride 8."""
    return _like(
        i3d_r50_32x2x1_100e_kinetics400_rgb(),
        "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb",
        network=ResNetSettings(inflate=ALL, conv1_stride_t=1, pool1_stride_t=1),
        protocol=ClipProtocol(clip_len=8, frame_interval=8, num_clips=10, placement="centred"),
        training=_training(sampling=EIGHT, validation=_one_clip(EIGHT)),
    )


def i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb() -> Recipe:
    """The same from video files."""
    training = _training(input="videos", sampling=EIGHT, validation=_one_clip(EIGHT))
    name = "i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb"
    return _like(i3d_r50_heavy_8x8x1_100e_kinetics400_rgb(), name, training=training)


def i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """R50 with five non-local blocks, embedded Gaussian; 74.71 / 91.81 (frames of short side 256)."""
    return _like(
        i3d_r50_32x2x1_100e_kinetics400_rgb(),
        "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb",
        network=ResNetSettings(non_local=NON_LOCAL, non_local_mode="embedded_gaussian"),
    )


def i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """R50 with five non-local blocks, Gaussian; 73.37 / 91.26 (frames of short side 256)."""
    return _like(
        i3d_r50_32x2x1_100e_kinetics400_rgb(),
        "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb",
        network=ResNetSettings(non_local=NON_LOCAL, non_local_mode="gaussian"),
    )


def i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """R50 with five non-local blocks, dot product; 73.92 / 91.59 (frames of short side 256)."""
    return _like(
        i3d_r50_32x2x1_100e_kinetics400_rgb(),
        "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb",
        network=ResNetSettings(non_local=NON_LOCAL, non_local_mode="dot_product"),
    )


def i3d_r34_32x2x1_100e_kinetics400_rgb() -> Recipe:
    """R34, whose basic blocks are 3x3x3 where inflated; 68.37 / 88.15 (MMAction2's earliest table)."""
    name, training = "i3d_r34_32x2x1_100e_kinetics400_rgb", _training(init="timm/resnet34.tv_in1k")
    return _like(i3d_r50_32x2x1_100e_kinetics400_rgb(), name, network=ResNetSettings(depth=34), training=training)


def i3d_r50_video_32x2x1_100e_kinetics400_rgb_o1() -> Recipe:
    """The Ascend port: the video recipe in mixed precision, loss scale 128; 56.26 after 40 epochs."""
    training = _training(input="videos", precision="fp16", loss_scale=128.0)
    name = "i3d_r50_video_32x2x1_100e_kinetics400_rgb_o1"
    return _like(i3d_r50_video_32x2x1_100e_kinetics400_rgb(), name, training=training)


def i3d_imagenet_pretrained_r50() -> Recipe:
    """MMAction2 1.x: R50, 32 frames of stride 2, 10 clips from end to end x 3 crops; 73.47 / 91.27."""
    return _like(
        i3d_r50_video_32x2x1_100e_kinetics400_rgb(),
        "i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb",
        protocol=ClipProtocol(clip_len=32, frame_interval=2, num_clips=10, placement="end_to_end"),
        training=_training(input="videos", validation=END_TO_END, validate_every=1),
    )


def i3d_imagenet_pretrained_r50_dense() -> Recipe:
    """MMAction2 1.x, sampled densely; 73.77 / 91.35."""
    dense = i3d_r50_dense_32x2x1_100e_kinetics400_rgb()
    assert dense.training is not None
    training = dense.training.model_copy(update={"input": "videos", "validate_every": 1})
    return _like(dense, "i3d_imagenet-pretrained-r50_8xb8-dense-32x2x1-100e_kinetics400-rgb", training=training)


def i3d_imagenet_pretrained_r50_heavy() -> Recipe:
    """MMAction2 1.x: every block inflated, no temporal stride in the stem, 32 frames of stride 2; 76.21 / 92.48."""
    name = "i3d_imagenet-pretrained-r50-heavy_8xb8-32x2x1-100e_kinetics400-rgb"
    return _like(i3d_imagenet_pretrained_r50(), name, network=i3d_r50_heavy_8x8x1_100e_kinetics400_rgb().network)


def i3d_imagenet_pretrained_r50_nl_embedded_gaussian() -> Recipe:
    """MMAction2 1.x with non-local blocks, embedded Gaussian; 74.73 / 91.80."""
    name = "i3d_imagenet-pretrained-r50-nl-embedded-gaussian_8xb8-32x2x1-100e_kinetics400-rgb"
    network = i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb().network
    return _like(i3d_imagenet_pretrained_r50(), name, network=network)


def i3d_imagenet_pretrained_r50_nl_gaussian() -> Recipe:
    """MMAction2 1.x with non-local blocks, Gaussian; 73.97 / 91.33."""
    name = "i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1-100e_kinetics400-rgb"
    network = i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb().network
    return _like(i3d_imagenet_pretrained_r50(), name, network=network)


def i3d_imagenet_pretrained_r50_nl_dot_product() -> Recipe:
    """MMAction2 1.x with non-local blocks, dot product; 74.80 / 92.07."""
    name = "i3d_imagenet-pretrained-r50-nl-dot-product_8xb8-32x2x1-100e_kinetics400-rgb"
    network = i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb().network
    return _like(i3d_imagenet_pretrained_r50(), name, network=network)


def inception_rgb_kinetics400() -> Recipe:
    """Inception-I3D of the paper on RGB, all frames at 25 fps; ImageNet + Kinetics 71.1 / 89.3.

    Trained in 115,000 steps of 384 clips (64 devices x 6).
    """
    pieces = PiecewiseSchedule(until=(97_000, 108_000), factors=(1.0, 0.1, 0.01))
    training = _inception_training(115_000, pieces)
    return Recipe(name="inception_rgb_kinetics400", network=InceptionSettings(), training=training)


def inception_flow_kinetics400() -> Recipe:
    """Inception-I3D of the paper on TV-L1 optical flow clipped to +-20 pixels; ImageNet + Kinetics 63.4 / 84.9.

    Flow comes as uint8: 127.5 is no movement, 0 and 255 are -20 and +20 pixels.
    """
    two = Preprocessing(flow="tvl1", mean=(127.5, 127.5), std=(127.5, 127.5))
    until, factors = (97_000, 104_500, 115_000, 140_000, 150_000), (1.0, 0.1, 0.01, 1.0, 0.1, 0.01)
    training = _inception_training(155_000, PiecewiseSchedule(until=until, factors=factors), input="frames")
    return _like(
        inception_rgb_kinetics400(),
        "inception_flow_kinetics400",
        network=InceptionSettings(in_channels=2),
        preprocessing=two,
        training=training,
    )


def inception_rgb_kinetics600() -> Recipe:
    """kinetics-i3d's RGB network trained from scratch on Kinetics-600."""
    network = InceptionSettings(num_classes=600)
    return _like(
        inception_rgb_kinetics400(), "inception_rgb_kinetics600", network=network, dataset="kinetics600", training=None
    )


def inception_rgb_charades() -> Recipe:
    """pytorch-i3d's RGB network fine-tuned on Charades: 157 classes that may go together, frames at 24 fps."""
    return _like(
        inception_rgb_kinetics400(),
        "inception_rgb_charades",
        network=InceptionSettings(num_classes=157),
        protocol=WindowProtocol(fps=24.0),
        dataset="charades",
        multi_label=True,
        training=None,
    )


def inception_flow_charades() -> Recipe:
    """The same on optical flow."""
    flow = inception_flow_kinetics400()
    network = InceptionSettings(in_channels=2, num_classes=157)
    return _like(inception_rgb_charades(), "inception_flow_charades", network=network, preprocessing=flow.preprocessing)


def i3d_rgb() -> Recipe:
    """The MindSpore port's Inception-I3D: batch norm epsilon 1e-5, one clip of 64 frames; top-1 67."""
    return _like(
        inception_rgb_kinetics400(),
        "i3d_rgb",
        network=InceptionSettings(bn_eps=1e-5),
        protocol=ClipProtocol(clip_len=64, frame_interval=1, num_clips=1, crops="center", average="score"),
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
    )


def _training(**changes: Any) -> Training:
    """MMAction2's training of I3D-R50 from raw frames, but for some fields."""
    return Training(**{"input": "frames", **changes})


def _inception_training(
    steps: int, schedule: PiecewiseSchedule, sampling: TrainSampling = AT_25_FPS, **changes: Any
) -> Training:
    """That of the paper, as kinetics-i3d's documents give it: 64 frames at 25 fps, random 224 crops, 64 devices x 6."""
    return Training(
        init="",
        steps=steps,
        batch_size=6,
        base_batch=384,
        optimizer=SGD(lr=0.1, weight_decay=1e-7),
        schedule=schedule,
        clip_grad_norm=0.0,
        sampling=sampling,
        augmentation=Augmentation(crop=RandomCrop()),
        validation=_one_clip(sampling),
        **changes,
    )


def _one_clip(sampling: TrainSampling) -> ClipProtocol:
    length, interval, fps = sampling.clip_len, sampling.frame_interval, sampling.target_fps
    return ClipProtocol(clip_len=length, frame_interval=interval, target_fps=fps, num_clips=1, crops="center")


def _like(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    return Recipe(**{**dict(recipe), "name": name, **changes})


_FUNCTIONS: Final = (
    i3d_r50_32x2x1_100e_kinetics400_rgb,
    i3d_r50_video_32x2x1_100e_kinetics400_rgb,
    i3d_r50_video_imgaug_32x2x1_100e_kinetics400_rgb,
    i3d_r50_lazy_32x2x1_100e_kinetics400_rgb,
    i3d_r50_dense_32x2x1_100e_kinetics400_rgb,
    i3d_r50_video_inference_32x2x1_100e_kinetics400_rgb,
    i3d_r50_heavy_8x8x1_100e_kinetics400_rgb,
    i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb,
    i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb,
    i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb,
    i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb,
    i3d_r34_32x2x1_100e_kinetics400_rgb,
    i3d_r50_video_32x2x1_100e_kinetics400_rgb_o1,
    i3d_imagenet_pretrained_r50,
    i3d_imagenet_pretrained_r50_dense,
    i3d_imagenet_pretrained_r50_heavy,
    i3d_imagenet_pretrained_r50_nl_embedded_gaussian,
    i3d_imagenet_pretrained_r50_nl_gaussian,
    i3d_imagenet_pretrained_r50_nl_dot_product,
    inception_rgb_kinetics400,
    inception_flow_kinetics400,
    inception_rgb_kinetics600,
    inception_rgb_charades,
    inception_flow_charades,
    i3d_rgb,
)
RECIPES: Final[Mapping[str, Callable[[], Recipe]]] = {function().name: function for function in _FUNCTIONS}
ALIASES: Final[Mapping[str, str]] = {  # older names of the same recipes
    "i3d_r50_video_3d_32x2x1_100e_kinetics400_rgb": "i3d_r50_video_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_fast_32x2x1_100e_kinetics400_rgb": "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb",
}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name. An unknown name is an InputError that lists the nearest ones."""
    function = RECIPES.get(ALIASES.get(name, name))
    if function is None:
        near = get_close_matches(name, [*RECIPES, *ALIASES], n=3, cutoff=0.3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"there is no recipe {name!r}; {hint}`i3d models` lists all")
    return function()
