"""Pipelines of MMAction2's configs give, to the bit, the pixels of a plain OpenCV reading of their steps.

Each config has three of these pipelines, for training, validation and test; a checkpoint with the config inside gives
the pixels of the test.
"""

import json
import math
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import i3d
from i3d.cli.mmaction2.test import run_test
from i3d.data import read_annotations
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.view_stream import ViewSampler
from i3d.errors import InputError, VideoError, WeightsError
from i3d.features import load_extractor
from i3d.recipes.augmentation import RandAugment
from i3d.recipes.features import FeatureSettings
from i3d.recipes.io import load_recipe
from i3d.training.setup import build_loaders
from i3d.video import open_video
from i3d.video.geometry import draw_geometry
from i3d.video.photometric import rand_augment
from i3d.video.sampling import training_clips
from i3d.weights.convert import convert
from i3d.weights.load import build_model, load_weights
from support.commands import run_here
from support.golden_weights import MEAN_C, STD_C
from support.mmaction2_configs import HEAD as R50_HEAD
from support.mmaction2_configs import IMAGENET
from support.mmaction2_runs import config, tiny_checkpoint
from support.rendering import encode

NUM_FRAMES, HEIGHT, WIDTH = 8, 50, 70
BACKBONE = """type='ResNet3d', depth=18, base_channels=2, conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2,
    inflate=((1, 1), (1, 0), (1, 0), (0, 1))"""  # of `tiny_checkpoint`
HEAD = R50_HEAD.replace("in_channels=2048", "in_channels=16")
COMPUTE = i3d.ComputeConfig("cpu", num_workers=0)
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
FUSE = "dict(type='Fuse')"


def lazy(text):
    return f"{text[:-1]}, lazy=True)"


SCORED += [  # lazy
    [lazy(short(41)), lazy(crop(32)), "dict(type='Flip', flip_ratio=0, lazy=True)", FUSE],
    [short(60), lazy(short(41)), lazy(crop((40, 33))), FUSE, SQUASH],
    [lazy("dict(type='Resize', scale=(46, 37), keep_ratio=False)"), lazy(crop((45, 33))), lazy(SQUASH), FUSE],
    [lazy(short(45)), lazy(crop(41)), FUSE, crop(32, "TenCrop")],
    [lazy(crop(47)), lazy(short(45)), lazy(short(33)), lazy(crop(32)), FUSE, lazy(crop(31)), FUSE],
]
FLIP = "dict(type='Flip', flip_ratio=0.5)"
RANDOM_CHANGES = "dict(type='PytorchVideoWrapper', op='RandAugment', magnitude=7, num_layers=4)"
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
    [short(49), "dict(type='MultiScaleCrop', input_size=48, scales=(1,))", SQUASH],
    [crop((61, 44)), "dict(type='RandomCrop', size=40)", SQUASH, "dict(type='Flip', flip_ratio=1)"],
    [crop(49), crop(33), SQUASH],
]
TRAINED += [
    [lazy(short(41)), lazy("dict(type='MultiScaleCrop', input_size=32, scales=(1, .8))"), lazy(SQUASH), lazy(FLIP),
     FUSE],
    [lazy(short(41)), lazy("dict(type='RandomCrop', size=36)"), FUSE, SQUASH],
    [short(60), lazy(short(41)), lazy("dict(type='RandomResizedCrop')"), FUSE, SQUASH, FLIP],
    [lazy(short(45)), lazy(crop(40)), FUSE, "dict(type='RandomCrop', size=36)", SQUASH],
    [crop(49), lazy("dict(type='Resize', scale=(60, 40), keep_ratio=False)"), lazy(crop(32)), lazy(FLIP), FUSE],
]  # fmt: skip
VARIANTS = [(SCORED[i % 15], SCORED[(4 * i + 3) % 15], TRAINED[i % 15]) for i in range(45)]
VARIANTS += [(SCORED[15 + i], SCORED[15 + (i + 2) % 5], TRAINED[15 + i]) for i in range(5)]


def config_text(test, val, train, *, clip_len=4):
    def pipeline(steps, more=""):
        return (
            f"[dict(type='SampleFrames', clip_len={clip_len}, frame_interval=1, num_clips=1{more}), {', '.join(steps)}]"
        )

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


def scaled_size(shape, step):
    """(width, height) of MMCV's `imrescale` and `imresize`."""
    (width, height), (rows, columns) = step["scale"], shape
    if step.get("keep_ratio", True):
        long, short_ = max(width, height), min(width, height)
        long, short_ = (math.inf, long) if short_ == -1 else (long, short_)
        factor = min(long / max(rows, columns), short_ / min(rows, columns))
        width, height = int(columns * factor + 0.5), int(rows * factor + 0.5)
    return width, height


def scaled(frame, step):
    return cv2.resize(frame, scaled_size(frame.shape[:2], step), interpolation=cv2.INTER_LINEAR)


def fused(frame, steps, box=None):
    """What `Fuse` makes of lazy steps: one crop of the frame, rounded to pixels, and one resize. `box` is drawn."""
    height, width = frame.shape[:2]
    edges, size = np.array([0, 0, width, height], np.float32), (width, height)
    for step in steps:
        if "scale" in step:
            size = scaled_size(size[::-1], step)
        elif step["type"] != "Flip":
            inner, place = step.get("crop_size", 0), (0, 0)
            inner = inner if isinstance(inner, tuple) else (inner, inner)
            place = [(side - crop_side) // 2 for side, crop_side in zip(size, inner, strict=True)]
            if step["type"] != "CenterCrop":
                inner, place = (box.width, box.height), (box.left, box.top)
            scale = np.array([(edges[i + 2] - edges[i]) / size[i] for i in (0, 1)] * 2)
            corners = np.array([*place, place[0] + inner[0], place[1] + inner[1]])
            edges, size = (np.tile(edges[:2], 2) + corners * scale).astype(np.float32), inner
    left, top, right, bottom = edges.round().astype(int)
    return cv2.resize(frame[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)


def grouped(steps):
    """The steps, with a list of each lazy ones that `Fuse` ends."""
    lazy_steps = []
    for step in steps:
        if step.get("lazy"):
            lazy_steps.append(step)
        elif step["type"] == "Fuse":
            yield lazy_steps
            lazy_steps = []
        else:
            yield step


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
    def views_after(frame, step):
        if isinstance(step, list):
            return [fused(frame, step)]
        return [scaled(frame, step)] if "scale" in step else cropped(frame, step)

    views = [frame]
    for step in grouped(steps_of(texts)):
        views = [one for view in views for one in views_after(view, step)]
    return views


def plain_features(net, frames, texts):
    """The features of each view of a clip of these frames."""
    clips_NTHWC = (np.stack([plain_test(frame, texts) for frame in frames], axis=1) - MEAN_C) / STD_C
    with torch.inference_mode():
        return net.features(torch.from_numpy(clips_NTHWC).permute(0, 4, 1, 2, 3)).mean(dim=(2, 3, 4))


def plain_training(frame, texts, box, flip):
    """`box` and `flip` are drawn; the box is that of the last random crop, or of the last crop."""
    for step in grouped(step for step in steps_of(texts) if step["type"] != "Flip"):
        if isinstance(step, list):
            frame = fused(frame, step, box)
        elif "Random" in step["type"] or "Multi" in step["type"]:
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
    (folder / "list.csv").write_text("path,label\nnoise.mkv,abseiling\n")
    return read_annotations(folder / "list.csv"), frames


def loaders_of(recipe, annotations):
    """Those of a training run of one process."""
    accelerator = SimpleNamespace(device=torch.device("cpu"), process_index=0, num_processes=1)
    how = {"compute": COMPUTE, "seed": 0, "naming": None, "max_bad": None}
    return build_loaders(recipe, annotations, annotations, accelerator=accelerator, **how)


@pytest.mark.parametrize(("more", "expected"), [("", (True, False)), ("drop_last=True", (True, True)),
                         ("sampler=dict(type='DefaultSampler', shuffle=False)", (False, False))])  # fmt: skip
def test_a_training_run_loads_in_the_order_of_the_config(tmp_path, clip, more, expected):
    text = config_text([SQUASH], [SQUASH], [SQUASH])
    text = text.replace("train_dataloader = dict(", f"train_dataloader = dict({more}, ")
    loader, _ = loaders_of(load_recipe(str(config(tmp_path, text.replace("(, ", "(")))), clip[0])
    assert (loader.shuffle, loader.drop_last) == expected


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_pixels_are_those_of_the_config(tmp_path, clip, number):
    (test, val, train), (annotations, frames) = VARIANTS[number], clip
    recipe = load_recipe(str(config(tmp_path, config_text(test, val, train))))
    validation = loaders_of(recipe, annotations)[1].dataset.view
    for texts, protocol, pre in [
        (test, recipe.protocol, recipe.preprocessing),
        (val, *validation.protocols, validation.preprocessing),
    ]:
        expected_VTHWC = np.stack([plain_test(frame, texts) for frame in frames[2:6]], axis=1)
        (views,) = ClipDataset(annotations, TestView(protocol, pre))[0, 0].views_N
        predicted = list(ViewSampler(protocol, pre, None).views(annotations.file(0)))[:-1]
        assert np.array_equal(views.clips().numpy(), expected_VTHWC)
        assert np.array_equal(np.stack([view.clip_THWC for view in predicted]), expected_VTHWC)
    augmentation, sampling = recipe.training.augmentation, recipe.training.sampling
    if "input_size=48" in "".join(train):  # within 3 pixels of the short side, 49
        drawn = draw_geometry(augmentation, height=HEIGHT, width=WIDTH, rng=np.random.default_rng(0))
        assert (drawn.box.height, drawn.box.width) == (48, 48)
    dataset = ClipDataset(annotations, TrainView(sampling, augmentation))
    for epoch in range(3):
        rng = np.random.default_rng((0, epoch, int(dataset.seeds_N[0])))
        ((*indices_T,),) = training_clips(NUM_FRAMES, sampling, rng=rng)
        drawn = draw_geometry(augmentation, height=HEIGHT, width=WIDTH, rng=rng)
        expected_THWC = [plain_training(frames[i], train, drawn.box, drawn.flip) for i in indices_T]
        assert np.array_equal(dataset[epoch, 0].clips_NVTHWC[0, 0].numpy(), np.stack(expected_THWC))


@pytest.mark.parametrize("number", range(len(SCORED)))
def test_a_checkpoint_with_the_config_has_its_geometry(tmp_path, number):
    text = config_text(SCORED[number], SCORED[0], TRAINED[number % 15])
    recipe = load_recipe(str(config(tmp_path, text)))
    saved = load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text)).card.recipe
    assert saved.preprocessing == recipe.preprocessing
    assert saved.protocol.crops == recipe.protocol.crops


@pytest.mark.parametrize("number", range(len(SCORED)))
def test_a_checkpoint_predicts_tests_and_converts_with_the_pixels_of_its_config(tmp_path, clip, number):
    """Scores and features are those of the network on the plain reading; of other pixels they differ by far more."""
    steps, (annotations, frames) = SCORED[number], clip
    text = config_text(steps, SCORED[0], TRAINED[0], clip_len=6)
    checkpoint = tiny_checkpoint(tmp_path / "a.pth", config=text, version=1)
    weights = load_weights(checkpoint)
    net, middle = build_model(weights).eval(), [text.replace("ThreeCrop", "CenterCrop") for text in steps]
    middle = [text.replace("TenCrop", "CenterCrop") for text in middle]

    def scores_of(texts):
        with torch.inference_mode():
            return net.fc(plain_features(net, frames[1:7], texts)).softmax(1).mean(0)

    expected = scores_of(steps)
    other = scores_of(SCORED[(number + 1) % len(SCORED)])
    close = {"rtol": 0, "atol": float((expected - other).abs().max()) / 20}
    file = annotations.file(0)
    convert(checkpoint, tmp_path / "b.safetensors")
    for model in (checkpoint, tmp_path / "b.safetensors"):
        predicted = i3d.predict(file, model=model, device="cpu", top_k=400).predictions
        by_label = {one.label: one.score for one in predicted}
        assert torch.allclose(torch.tensor([by_label[name] for name in weights.card.labels]), expected, **close)
    (scores_K,) = i3d.evaluate(weights, annotations, compute=COMPUTE).scores_NK
    assert torch.allclose(torch.from_numpy(scores_K).float(), expected, **close)
    extractor = load_extractor(checkpoint, FeatureSettings(window=6, stride=2, fps=None), compute=COMPUTE)
    with open_video(file) as video:
        values_RC = extractor(video).values
    wanted_RC = torch.cat([plain_features(net, frames[first : first + 6], middle) for first in (0, 2)])
    assert torch.allclose(torch.from_numpy(values_RC), wanted_RC, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("number", [7, 9, 11])
def test_the_command_features_has_the_pixels_of_the_config(tmp_path, clip, number):
    """From the checkpoint alone, and from its conversion; features of other pixels differ by far more."""
    annotations, frames = clip
    checkpoint = tmp_path / "a.pth"
    text = config_text(SCORED[number], SCORED[0], TRAINED[0], clip_len=6)
    net = build_model(load_weights(tiny_checkpoint(checkpoint, config=text, version=1))).eval()
    convert(checkpoint, tmp_path / "b.safetensors")
    wanted_RC = torch.cat([plain_features(net, frames[first : first + 6], SCORED[number]) for first in (0, 2)])
    others_RC = torch.cat([plain_features(net, frames[first : first + 6], SCORED[0]) for first in (0, 2)])
    for model in (checkpoint, tmp_path / "b.safetensors"):
        out = tmp_path / model.stem
        words = ["--window", "6", "--stride", "2", "--fps", "native", "--device", "cpu", "--out", str(out)]
        result = run_here(["i3d", "features", annotations.file(0), "--model", str(model), *words])
        assert result.returncode == 0, result.stderr
        (file,) = out.rglob("*.npy")
        values_RC = torch.from_numpy(np.load(file))
        assert torch.allclose(values_RC, wanted_RC, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(values_RC, others_RC, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("clip_len=1, num_clips=8", {"clip_len": 1, "num_clips": 8}),
        ("clip_len=4, target_fps=12.5, out_of_bound_opt='repeat_last', num_clips=2",
         {"clip_len": 4, "num_clips": 2, "target_fps": 12.5, "out_of_bound": "repeat_last"}),
    ],
)  # fmt: skip
def test_the_sampling_of_a_checkpoint_is_that_of_its_config(tmp_path, clip, sample, expected):
    text = config_text([SQUASH], [SQUASH], [SQUASH])
    text = text.replace("clip_len=4, frame_interval=1, num_clips=1, test_mode", f"{sample}, test_mode")
    text = text.replace("type='ResNet3d',", "type='ResNet3d', pretrained=None, pretrained2d=None,")
    recipe = load_recipe(str(config(tmp_path, text)))
    checkpoint = tiny_checkpoint(tmp_path / "a.pth", config=text, version=1)
    assert load_weights(checkpoint).card.recipe.protocol == recipe.protocol
    assert recipe.protocol.model_dump(include=set(expected)) == expected
    assert i3d.predict(clip[0].file(0), model=checkpoint, device="cpu").top1.score > 0


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("num_clips=3", [1, 4, 6]),  # 8 / 3 frames a segment
        ("num_clips=1", [4]),
        ("num_clips=2, twice_sample=True", [2, 6, 0, 4]),
        ("num_clips=3, frame_interval=4, target_fps=5", [1, 4, 6]),  # neither changes clips of one frame
        ("num_clips=8", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_single_frames_of_1x_are_the_middles_of_segments(tmp_path, clip, sample, expected):
    """Those of `SampleFrames._get_test_clips` of 1.x, which for other clips goes from end to end."""
    annotations, frames = clip
    text = config_text([SQUASH], [SQUASH], [SQUASH])
    text = text.replace("clip_len=4, frame_interval=1, num_clips=1, test_mode", f"clip_len=1, {sample}, test_mode")
    recipe = load_recipe(str(config(tmp_path, text)))
    saved = load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text, version=1)).card.recipe
    wanted_VTHWC = np.stack([plain_test(frames[index], [SQUASH]) for index in expected])
    for protocol in (recipe.protocol, recipe.training.validation, saved.protocol):
        (views,) = ClipDataset(annotations, TestView(protocol, recipe.preprocessing))[0, 0].views_N
        assert np.array_equal(views.clips().numpy(), wanted_VTHWC)


def test_a_clip_without_a_length_is_refused(tmp_path):
    text = config_text([SQUASH], [SQUASH], [SQUASH]).replace("clip_len=4, frame_interval=1,", "", 1)
    with pytest.raises(InputError, match=r"my_config.py:4: .*pipeline\[0\].clip_len is missing; write clip_len=32"):
        load_recipe(str(config(tmp_path, text)))


@pytest.mark.parametrize(
    ("steps", "before_crop"),
    [
        ([RANDOM_CHANGES, "dict(type='RandomResizedCrop')", SQUASH, FLIP], True),
        ([short(60), RANDOM_CHANGES, crop(48), SQUASH, "dict(type='ColorJitter')"], True),
        ([short(40), "dict(type='RandomCrop', size=32)", FLIP, "dict(type='ColorJitter')", RANDOM_CHANGES], False),
    ],
)
def test_randaugment_of_1x_is_where_the_config_has_it(tmp_path, clip, steps, before_crop):
    annotations, frames = clip
    recipe = load_recipe(str(config(tmp_path, config_text([SQUASH], [SQUASH], steps))))
    augmentation = recipe.training.augmentation
    assert augmentation.rand_augment == RandAugment(
        num_ops=4, magnitude=7, magnitude_std=0.5, probability=0.5, operations="pytorchvideo", before_crop=before_crop
    )
    if not before_crop:
        return
    plain = augmentation.model_copy(update={"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0})
    dataset, changed = ClipDataset(annotations, TrainView(recipe.training.sampling, plain)), 0
    for epoch in range(6):
        rng = np.random.default_rng((0, epoch, int(dataset.seeds_N[0])))
        ((*indices_T,),) = training_clips(NUM_FRAMES, recipe.training.sampling, rng=rng)
        drawn = draw_geometry(augmentation, height=HEIGHT, width=WIDTH, rng=rng)
        before_T = [scaled(frames[i], steps_of([short(60)])[0]) if "60" in steps[0] else frames[i] for i in indices_T]
        clip_THWC = np.stack(before_T)
        rand_augment(clip_THWC, augmentation.rand_augment, rng=rng)
        changed += (clip_THWC != np.stack(before_T)).any()
        after = [text for text in steps if text != RANDOM_CHANGES and text != short(60) and "Color" not in text]
        expected_THWC = [plain_training(frame, after, drawn.box, drawn.flip) for frame in clip_THWC]
        assert np.array_equal(dataset[epoch, 0].clips_NVTHWC[0, 0].numpy(), np.stack(expected_THWC))
    assert changed > 2


VIDEO = "test_dataloader = dict(dataset=dict(type='VideoDataset', pipeline="
FORMS = {  # how a config can name the pipeline that it tests by: what is replaced; and by what
    "in the loader": (f"{VIDEO}test_pipeline))", f"{VIDEO}{{steps}}))"),
    "another variable": (f"{VIDEO}test_pipeline))", f"mine = {{steps}}\n{VIDEO}mine))"),
    "of the validation": (f"{VIDEO}test_pipeline))", "del_ = 0"),
    "0.x": (f"{VIDEO}test_pipeline))", "data = dict(test=dict(type='VideoDataset', pipeline={steps}))"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stale", [False, True])
def test_the_pipeline_of_a_checkpoint_is_that_of_its_test(tmp_path, form, stale):
    """Not that of a variable which nothing uses, as after `--cfg-options test_dataloader.dataset.pipeline...`."""
    before, after = FORMS[form]
    text = config_text([short(60), crop(32)], [SQUASH], [SQUASH], clip_len=6)
    steps = (
        f"[dict(type='SampleFrames', clip_len=6, num_clips=3, test_mode=True), {short(48)}, {crop(40, 'ThreeCrop')}]"
    )
    if form == "of the validation":
        text = text.replace("pipeline=val_pipeline", f"pipeline={steps}")
    assert before in text
    text = text.replace(before, after.replace("{steps}", steps))
    if form == "0.x":
        text = "".join(
            line for line in text.splitlines(True) if not line.startswith(("val_data", "train_", "optim_wr"))
        )
    if not stale:
        text = re.sub(r"^test_pipeline = .*$", "", text, flags=re.MULTILINE)
    recipe = load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text, version=int(form != "0.x"))).card.recipe
    assert (recipe.protocol.num_clips, recipe.protocol.clip_len, recipe.protocol.crops) == (3, 6, "three")
    assert (recipe.preprocessing.short_side, recipe.preprocessing.crop) == (48, 40)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("np.array([1])", "test_pipeline is more than data"),
        ("dict(type='Flip', flip_ratio=0)", "does not bring frames to squares of one size"),
        ("dict(type='MyCrop')", "'MyCrop' is not supported"),
    ],
)
def test_a_test_of_a_checkpoint_that_cannot_be_read_is_refused(tmp_path, step, expected):
    text = config_text([step], [SQUASH], [SQUASH])
    with pytest.raises(WeightsError, match=f"{expected}.*--recipe NAME loads it without its config"):
        load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text, version=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = (", "not a config in Python"),
        ("_base_ = ['../r50.py']", "describes no network"),
        ("import os", "describes no network"),
        ("x = 1 #" + "x" * 64_000, "letters are more than a config may have"),
    ],
)
def test_a_config_that_a_checkpoint_cannot_be_read_by_is_reported(tmp_path, caplog, text, expected):
    load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text, version=1))
    assert re.search(f"the config in it.*{expected}.*--recipe NAME names the recipe", caplog.text)


def test_other_numbers_of_classes_in_a_checkpoint_are_reported(tmp_path, caplog):
    text = config_text([SQUASH], [SQUASH], [SQUASH]).replace(HEAD, HEAD.replace("400", "9"))
    with pytest.raises(WeightsError, match="the config in it has 9 classes, its tensors have 400; --recipe NAME"):
        load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text, version=1))
    content = torch.load(tiny_checkpoint(tmp_path / "b.pth", version=1), weights_only=True)
    content["meta"]["dataset_meta"] = {"classes": ["a", "b"]}
    torch.save(content, tmp_path / "b.pth")
    assert load_weights(tmp_path / "b.pth").card.labels[0] == "abseiling"
    assert "b.pth: has 2 class names for 400 classes: they are left out; --classes names them" in caplog.text


def test_mean_and_average_of_a_checkpoint_are_those_of_its_config(tmp_path):
    text = config_text([SQUASH], [SQUASH], [SQUASH]).replace(IMAGENET, "mean=[1, 2, 3], std=[4, 5, 6]")
    before = load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text, version=1)).card.recipe
    assert (before.preprocessing.mean, before.preprocessing.std) == ((1, 2, 3), (4, 5, 6))
    assert before.protocol.average == "prob"
    for changed in (
        f"{text}test_cfg = dict(average_clips='score')",
        text.replace(HEAD, f"{HEAD}, average_clips='score'"),
    ):
        recipe = load_weights(tiny_checkpoint(tmp_path / "b.pth", config=changed, version=1)).card.recipe
        assert recipe.protocol.average == "score"


def test_the_precision_of_clips_is_not_that_of_classes(tmp_path, clip, capsys):
    """`mmit_mean_average_precision` of 1.x averages over clips, `mean_average_precision` over classes."""
    annotations = clip[0]
    text = config_text([SQUASH], [SQUASH], [SQUASH])
    text = text.replace(HEAD, f"{HEAD}, multi_class=True, loss_cls=dict(type='BCELossWithLogits')")
    lists = f"ann_file='{tmp_path / 'list.txt'}', data_prefix=dict(video='{annotations.root}'), multi_class=True"
    text = text.replace("dict(type='VideoDataset', ", f"dict(type='VideoDataset', {lists}, ")
    names = ("mean_average_precision", "mmit_mean_average_precision")
    text += f"test_evaluator = dict(type='AccMetric', metric_list={names})\n"
    (tmp_path / "list.txt").write_text("noise.mkv 3 7 9\n")
    checkpoint = tiny_checkpoint(tmp_path / "a.pth", version=1)
    run_test([str(config(tmp_path, text)), str(checkpoint), "--dump", str(tmp_path / "out.json")])
    scores_K = np.array(json.loads((tmp_path / "out.json").read_text())[0])
    ranks = sorted(int((scores_K >= scores_K[k]).sum()) for k in (3, 7, 9))
    of_clip = sum((number + 1) / rank for number, rank in enumerate(ranks)) / 3
    printed = capsys.readouterr().out
    of_class = "acc/mean_average_precision: 1.0000"  # each class has its only clip first
    assert f"\n{of_class}  acc/mmit_mean_average_precision: {of_clip:.4f}\n" in f"\n{printed}"


NORMALISE = "dict(type='Normalize', mean=[1, 2, 3], std=[4, 5, 6])"
NORMS = {  # how often a config normalises: (steps of the pipelines, the values of the data_preprocessor, the error)
    "never": ([SQUASH], "", "pipeline has no Normalize; normalise once"),
    "twice": ([SQUASH, NORMALISE], IMAGENET, "pipeline normalises a second time, after data_preprocessor"),
    "without std": ([SQUASH], "mean=[1, 2, 3]", "std is missing beside mean; give both, or neither"),
    "without mean": ([SQUASH], "std=[1, 2, 3]", "mean is missing beside std; give both, or neither"),
    "a step without std": ([SQUASH, NORMALISE.replace(", std=[4, 5, 6]", "")], "", "std is missing beside mean"),
}


@pytest.mark.parametrize("form", NORMS)
def test_a_checkpoint_normalises_once_as_its_config_does(tmp_path, form):
    """What is refused in a file is refused in a checkpoint too: no values are taken from a published recipe."""
    steps, values, expected = NORMS[form]
    text = config_text(steps, steps, steps).replace(IMAGENET, values).replace("r', , f", "r', f")
    with pytest.raises(InputError, match=expected):
        load_recipe(str(config(tmp_path, text)))
    with pytest.raises(WeightsError, match=f"{expected}.*--recipe NAME loads it without its config"):
        load_weights(tiny_checkpoint(tmp_path / "a.pth", config=text, version=1))


OF_TRAINING = {  # a part of the config, and what it becomes
    "optimiser": ("type='SGD', lr=0.01", "type='RMSprop', lr=1"),
    "hooks": ("train_cfg = ", "custom_hooks = [dict(type='EMAHook')]\ntrain_cfg = "),
    "step": ("num_clips=1), ", "num_clips=1), dict(type='MyOwnStep'), "),
    "loop": ("dict(max_epochs=1)", "dict(type='IterBasedTrainLoop', max_iters=10)"),
    "schedule": ("train_cfg = ", "param_scheduler = [dict(type='OneCycleLR')]\ntrain_cfg = "),
    "classifier": (HEAD, f"{HEAD}, init_std=0.5"),
    "loss": (HEAD, f"{HEAD}, loss_cls=dict(type='MyLoss')"),
    "weights": ("type='ResNet3d'", "type='ResNet3d', init_cfg=dict(type='Mine', checkpoint='x.pth')"),
    "weights of the model": ("cls_head=", "init_cfg=dict(type='Pretrained', checkpoint='x.pth'), cls_head="),
    "norms": ("type='ResNet3d'", "type='ResNet3d', norm_cfg=dict(type='BN3d', requires_grad=False)"),
    "run": ("train_cfg = ", "resume_from = 'epoch_3.pth'\ntrain_cfg = "),
    "wrapper": ("train_cfg = ", "model_wrapper_cfg = dict(type='MMDistributedDataParallel')\ntrain_cfg = "),
    "seed": ("train_cfg = ", "randomness = dict(seed='x')\ntrain_cfg = "),
    "scaling": ("train_cfg = ", "auto_scale_lr = dict(base_batch_size=0)\ntrain_cfg = "),
    "mixup": ("cls_head=", "train_cfg=dict(blending=dict(type='MyBlending')), cls_head="),
    "mixup before": (IMAGENET, f"{IMAGENET}, blending=dict(type='MyBlending')"),
}


@pytest.mark.parametrize("part", OF_TRAINING)
def test_what_only_training_has_does_not_prevent_a_test(tmp_path, clip, part):
    """By `tools/test.py`, by --recipe, and by the config in the checkpoint; to train by it is refused."""
    annotations, before, after = clip[0], *OF_TRAINING[part]
    text = config_text([SQUASH], [SQUASH], [SQUASH])
    assert before in text
    text = text.replace(before, after, 1)
    lists = f"ann_file='{tmp_path / 'list.txt'}', data_prefix=dict(video='{annotations.root}')"
    text = text.replace("dict(type='VideoDataset', ", f"dict(type='VideoDataset', {lists}, ")
    (tmp_path / "list.txt").write_text("noise.mkv 3\n")
    path, file = config(tmp_path, text), annotations.file(0)
    with pytest.raises(InputError, match=r"my_config\.py:\d+: "):
        load_recipe(str(path))
    checkpoint = tiny_checkpoint(tmp_path / "a.pth", version=1)
    inside = tiny_checkpoint(tmp_path / "b.pth", config=text, version=1)
    scores = [
        i3d.predict(file, model=model, recipe=recipe, device="cpu").top1.score
        for model, recipe in ((checkpoint, str(path)), (inside, None))
    ]
    assert scores[0] == scores[1]
    run_test([str(path), str(checkpoint), "--dump", str(tmp_path / "out.json")])
    assert max(json.loads((tmp_path / "out.json").read_text())[0]) == pytest.approx(scores[0], abs=1e-6)


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
        ([SQUASH], [RANDOM_CHANGES, short(40), "dict(type='RandomResizedCrop')", SQUASH], "is not next to a crop"),
        ([SQUASH], [SQUASH, RANDOM_CHANGES, RANDOM_CHANGES], "is there twice"),
        ([SQUASH], [SQUASH, RANDOM_CHANGES, "dict(type='ColorJitter')"], "follows RandAugment"),
        ([SQUASH], [SQUASH, "dict(type='PytorchVideoWrapper', op='AugMix')"], "op = 'AugMix' must be 'RandAugment'"),
        ([SQUASH], ["dict(type='RandomCrop', size=40)", short(36), SQUASH], "comes between a crop and the last resize"),
        (
            [SQUASH],
            ["dict(type='MultiScaleCrop', input_size=32)", "dict(type='RandomCrop', size=32)"],
            "is followed by",
        ),
        ([lazy(short(40)), lazy(crop(32))], [SQUASH], "'CenterCrop' is lazy, and no Fuse follows"),
        ([lazy(short(40)), crop(32), FUSE], [SQUASH], r"'CenterCrop' follows Resize\(lazy=True\); put Fuse between"),
        ([lazy(short(40)), crop(40, "ThreeCrop"), FUSE], [SQUASH], r"'ThreeCrop' follows Resize\(lazy=True\)"),
        ([lazy(short(40)), lazy(crop(40, "ThreeCrop")), FUSE], [SQUASH], r"'ThreeCrop' follows Resize\(lazy=True\)"),
        ([lazy(crop(40, "ThreeCrop")), FUSE], [SQUASH], "lazy = 'True' must be False"),
        ([SQUASH, FUSE], [SQUASH], "'Fuse' has no lazy step before it"),
        ([SQUASH], [lazy(SQUASH), FLIP, FUSE], r"'Flip' follows Resize\(lazy=True\)"),
        ([SQUASH], [lazy(SQUASH), lazy(FLIP), "dict(type='ColorJitter')", FUSE], r"'ColorJitter' follows Flip\(lazy"),
        ([SQUASH], [lazy(SQUASH), lazy(FLIP), lazy(FLIP), FUSE], "'Flip' is there twice before Fuse"),
        (
            [SQUASH],
            [lazy(short(41)), lazy(crop(36)), lazy("dict(type='RandomCrop', size=32)"), FUSE],
            "'Resize' is lazy before a random crop",
        ),
        (
            [SQUASH],
            [lazy("dict(type='Resize', scale=(64, 40))"), lazy("dict(type='RandomCrop', size=32)"), FUSE],
            "'Resize' is lazy before a random crop, where one Resize to a short side",
        ),
    ],
)
def test_pipelines_that_ours_cannot_be_are_refused(tmp_path, test, train, expected):
    with pytest.raises(InputError, match=expected) as error:
        load_recipe(str(config(tmp_path, config_text(test, [SQUASH], train))))
    assert str(error.value).startswith(f"{tmp_path}/my_config.py:")
