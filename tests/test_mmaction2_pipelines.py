"""Pipelines of MMAction2's configs give, to the bit, the pixels of a plain OpenCV reading of their steps.

Each config has three of these pipelines, for training, validation and test; a checkpoint with the config inside gives
the pixels of the test.
"""

import math

import cv2
import numpy as np
import pytest

from i3d.data import read_annotations
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.view_stream import ViewSampler
from i3d.errors import InputError, VideoError
from i3d.recipes.io import load_recipe
from i3d.recipes.settings import Preprocessing
from i3d.video.geometry import draw_geometry
from i3d.video.sampling import training_clips
from i3d.weights.load import load_weights
from support.mmaction2_configs import HEAD, IMAGENET
from support.mmaction2_runs import config, tiny_checkpoint
from support.rendering import encode

NUM_FRAMES, HEIGHT, WIDTH = 8, 50, 70
BACKBONE = """type='ResNet3d', depth=18, base_channels=2, conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2,
    inflate=((1, 1), (1, 0), (1, 0), (0, 1))"""  # of `tiny_checkpoint`
SQUASH = "dict(type='Resize', scale=(32, 32), keep_ratio=False)"


def short(side):
    return f"dict(type='Resize', scale=(-1, {side}))"


def crop(size, kind="CenterCrop"):
    return f"dict(type='{kind}', crop_size={size})"


SCORED = [
    [SQUASH],
    ["dict(type='Resize', scale=(46, 36), keep_ratio=False)", crop(32)],
    [short(40), crop(32)],
    [short(40), crop(40, "ThreeCrop")],
    [short(40), crop(32, "ThreeCrop")],
    [short(40), crop(32, "TenCrop")],
    [crop(48), SQUASH],
    [short(49), crop(45), SQUASH],
    [short(60), short(41), crop(32)],
    ["dict(type='Resize', scale=(64, 40))", crop(32)],
    ["dict(type='Resize', scale=(40, 60))", crop(32, "ThreeCrop")],
    [crop((61, 44)), "dict(type='Resize', scale=(40, 33), keep_ratio=False)", crop(32)],
    ["dict(type='Resize', scale=(60, 50), keep_ratio=False)", SQUASH],
    [crop(49), crop(33)],
    [short(41), crop((33, 33))],
]
FLIP = "dict(type='Flip', flip_ratio=0.5)"
TRAINED = [
    [SQUASH],
    [SQUASH, FLIP],
    [crop(48), SQUASH, FLIP],
    [short(49), crop(45), SQUASH],
    [short(60), short(41), crop(32), FLIP, FLIP],
    [short(40), "dict(type='RandomCrop', size=32)", FLIP],
    [short(49), "dict(type='RandomCrop', size=40)", SQUASH],
    ["dict(type='RandomCrop', size=48)", SQUASH, FLIP],
    [short(60), short(45), "dict(type='RandomResizedCrop', area_range=(0.3, 1))", SQUASH, FLIP],
    ["dict(type='Resize', scale=(60, 50), keep_ratio=False)", "dict(type='RandomResizedCrop')", SQUASH],
    [short(41), "dict(type='MultiScaleCrop', input_size=32, scales=(1, .8), num_fixed_crops=13)", SQUASH],
    ["dict(type='Resize', scale=(64, 40))", "dict(type='MultiScaleCrop', input_size=32, random_crop=True)", SQUASH],
    [crop((61, 44)), "dict(type='RandomCrop', size=40)", SQUASH, "dict(type='Flip', flip_ratio=1)"],
    [crop(49), crop(33), SQUASH],
]
VARIANTS = [(SCORED[i % 15], SCORED[(4 * i + 3) % 15], TRAINED[i % 14]) for i in range(42)]


def config_text(test, val, train):
    def pipeline(steps, more=""):
        return f"[dict(type='SampleFrames', clip_len=4, frame_interval=1, num_clips=1{more}), {', '.join(steps)}]"

    return f"""\
model = dict(type='Recognizer3D', backbone=dict({BACKBONE}), cls_head=dict({HEAD}),
             data_preprocessor=dict(type='ActionDataPreprocessor', {IMAGENET}, format_shape='NCTHW'))
train_pipeline = {pipeline(train)}
val_pipeline = {pipeline(val, ", test_mode=True")}
test_pipeline = {pipeline(test, ", test_mode=True")}
train_dataloader = dict(dataset=dict(type='VideoDataset', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type='VideoDataset', pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(type='VideoDataset', pipeline=test_pipeline))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(max_epochs=1)
"""


def scaled(frame, step):
    """MMCV's `imrescale` and `imresize`."""
    (width, height), (rows, columns) = step["scale"], frame.shape[:2]
    if step.get("keep_ratio", True):
        long, short_ = max(width, height), min(width, height)
        long, short_ = (math.inf, long) if short_ == -1 else (long, short_)
        factor = min(long / max(rows, columns), short_ / min(rows, columns))
        width, height = int(columns * factor + 0.5), int(rows * factor + 0.5)
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)


def cropped(frame, step):
    """The squares of a crop of a test, in the order of MMAction2."""
    size = step["crop_size"]
    width, height = size if isinstance(size, tuple) else (size, size)
    down, right = frame.shape[0] - height, frame.shape[1] - width
    match step["type"]:
        case "CenterCrop":
            places = [(down // 2, right // 2)]
        case "ThreeCrop":
            half = (down // 2, right // 2)
            places = [(half[0], x) for x in (0, 2 * half[1], half[1])]
        case "TenCrop":
            y, x = down // 4, right // 4
            places = [(0, 0), (0, 4 * x), (4 * y, 0), (4 * y, 4 * x), (2 * y, 2 * x)]
    views = [frame[y : y + height, x : x + width] for y, x in places]
    if step["type"] == "TenCrop":
        views = [one for view in views for one in (view, view[:, ::-1])]
    return views


def steps_of(texts):
    return [eval(text, {"dict": dict}) for text in texts]


def plain_test(frame, texts):
    views = [frame]
    for step in steps_of(texts):
        views = [one for view in views for one in ([scaled(view, step)] if "scale" in step else cropped(view, step))]
    return views


def plain_training(frame, texts, box, flip):
    """`box` and `flip` are drawn; the box is that of the last random crop, or of the last crop."""
    steps = [step for step in steps_of(texts) if step["type"] != "Flip"]
    is_random = ["Random" in step["type"] or "Multi" in step["type"] for step in steps]
    for step, is_drawn in zip(steps, is_random, strict=True):
        if is_drawn:
            frame = frame[box.top : box.top + box.height, box.left : box.left + box.width]
        elif "scale" in step:
            frame = scaled(frame, step)
        else:
            (frame,) = cropped(frame, step)
    return frame[:, ::-1] if flip else frame


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """(the list, the frames) of a clip of noise, stored without loss."""
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8))
    encode(folder / "noise.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    (folder / "list.csv").write_text("path,label\nnoise.mkv,a\n")
    return read_annotations(folder / "list.csv"), frames


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_pixels_are_those_of_the_config(tmp_path, clip, number):
    (test, val, train), (annotations, frames) = VARIANTS[number], clip
    recipe = load_recipe(str(config(tmp_path, config_text(test, val, train))))
    validation = recipe.training.validation_geometry or recipe.preprocessing.with_crop(recipe.training.validation_crop)
    for texts, protocol, pre in [
        (test, recipe.protocol, recipe.preprocessing),
        (val, recipe.training.validation, Preprocessing(**dict(validation))),
    ]:
        expected_VTHWC = np.stack([plain_test(frame, texts) for frame in frames[2:6]], axis=1)
        (views,) = ClipDataset(annotations, TestView(protocol, pre))[0, 0].views_N
        predicted = list(ViewSampler(protocol, pre, None).views(annotations.file(0)))[:-1]
        assert np.array_equal(views.clips().numpy(), expected_VTHWC)
        assert np.array_equal(np.stack([view.clip_THWC for view in predicted]), expected_VTHWC)
    augmentation, sampling = recipe.training.augmentation, recipe.training.sampling
    dataset = ClipDataset(annotations, TrainView(sampling, augmentation))
    for epoch in range(3):
        rng = np.random.default_rng((0, epoch, int(dataset.seeds_N[0])))
        ((*indices_T,),) = training_clips(NUM_FRAMES, sampling, rng=rng)
        drawn = draw_geometry(augmentation, height=HEIGHT, width=WIDTH, rng=rng)
        expected_THWC = [plain_training(frames[i], train, drawn.box, drawn.flip) for i in indices_T]
        assert np.array_equal(dataset[epoch, 0].clips_NVTHWC[0, 0].numpy(), np.stack(expected_THWC))


@pytest.mark.parametrize("number", range(len(SCORED)))
def test_a_checkpoint_with_the_config_has_its_geometry(tmp_path, number):
    text = config_text(SCORED[number], SCORED[0], TRAINED[number % 14])
    recipe = load_recipe(str(config(tmp_path, text)))
    saved = load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text)).card.recipe
    assert saved.preprocessing == recipe.preprocessing
    assert saved.protocol.crops == recipe.protocol.crops


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ([crop(60)], "a crop of 60 does not fit into frames of 70 x 50; resize them first"),
        ([crop((60, 51)), SQUASH], "centre 60 x 51 does not fit into frames of 70 x 50; resize them first"),
    ],
)
def test_videos_smaller_than_a_crop_are_named(tmp_path, clip, test, why):
    recipe, (annotations, _) = load_recipe(str(config(tmp_path, config_text(test, [SQUASH], [SQUASH])))), clip
    (bad,) = ClipDataset(annotations, TestView(recipe.protocol, recipe.preprocessing))[0, 0].bad
    assert bad.reason == f"{annotations.file(0)}: {why}"
    with pytest.raises(VideoError, match=why):
        list(ViewSampler(recipe.protocol, recipe.preprocessing, None).views(annotations.file(0)))


@pytest.mark.parametrize(
    ("test", "train", "expected"),
    [
        ([short(40)], [SQUASH], "does not bring frames to squares"),
        ([crop(40, "ThreeCrop"), SQUASH], [SQUASH], "is followed by a resize or a crop"),
        ([SQUASH], [FLIP, crop(32)], "comes later than in ours"),
        ([SQUASH], [crop((40, 32))], "does not bring frames to squares"),
        ([SQUASH], ["dict(type='RandomCrop', size=40)", crop(32)], "'CenterCrop' follows a random crop"),
        ([SQUASH], ["dict(type='RandomResizedCrop')", short(32)], "does not bring frames to squares"),
        ([SQUASH], ["dict(type='RandomCrop', size=40)", short(36), SQUASH], "comes between a crop and the last resize"),
        (
            [SQUASH],
            ["dict(type='MultiScaleCrop', input_size=32)", "dict(type='RandomCrop', size=32)"],
            "is followed by",
        ),
    ],
)
def test_pipelines_that_ours_cannot_be_are_refused(tmp_path, test, train, expected):
    with pytest.raises(InputError, match=expected) as error:
        load_recipe(str(config(tmp_path, config_text(test, [SQUASH], train))))
    assert str(error.value).startswith(f"{tmp_path}/my_config.py:")
