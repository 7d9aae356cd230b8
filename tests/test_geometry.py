"""Random crops, flips and changes of pixels: each draw is one for the whole clip, and does what its name promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from i3d.recipes.augmentation import (
    Augmentation,
    CenterCrop,
    MultiScaleCrop,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
)
from i3d.video.geometry import Box, Geometry, draw_box, draw_geometry
from i3d.video.photometric import (
    OPERATIONS,
    PYTORCHVIDEO_OPERATIONS,
    augment_pixels,
    drop_pixels,
    erase,
    jitter_colours,
    rand_augment,
    rotate,
)
from i3d.video.transforms import crop_boxes, crop_views, flip, resize_frame
from support.resizing import resize_short_side

CROPS = [
    RandomResizedCrop(),
    MultiScaleCrop(),
    MultiScaleCrop(scales=(1.0, 0.875, 0.75, 0.66), places="13"),
    MultiScaleCrop(places="random", max_gap=0),
    RandomCrop(),
    CenterCrop(),
]


def apply(geometry, frame_HWC, out_HWC=None):
    size = geometry.size
    out_HWC = np.empty((size, size, frame_HWC.shape[2]), np.uint8) if out_HWC is None else out_HWC
    geometry.crop(geometry.resize(frame_HWC), out_HWC)
    return out_HWC


def frames(num=3, height=60, width=80, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, height, width, channels), dtype=np.uint8)


@given(st.sampled_from(CROPS), st.integers(56, 300), st.integers(56, 300), st.integers(0, 999))
def test_boxes_lie_in_the_frame(crop, height, width, seed):
    box = draw_box(crop, height=height, width=width, size=56, rng=np.random.default_rng(seed))
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert box.height > 0
    assert box.width > 0


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(CROPS[:4]), st.booleans(), st.integers(0, 99))
def test_any_source_gives_the_size_of_the_input(height, width, crop, fused, seed):
    augmentation = Augmentation(resize=64, size=56, crop=crop, fused=fused)
    geometry = draw_geometry(augmentation, height=height, width=width, rng=np.random.default_rng(seed))
    if max(geometry.resized) < 5000:  # a sliver would become monstrous: the reader refuses those
        assert apply(geometry, np.zeros((height, width, 3), np.uint8)).shape == (56, 56, 3)


def test_multi_scale_boxes_are_mmaction2s():
    rng = np.random.default_rng(0)
    boxes = {draw_box(MultiScaleCrop(max_gap=0), height=256, width=340, size=224, rng=rng) for _ in range(500)}
    whole = {Box(0, left, 256, 256) for left in (0, 84, 42)}  # steps of (340 - 256) // 4
    small = {Box(top, left, 204, 204) for top, left in [(0, 0), (0, 136), (52, 0), (52, 136), (26, 68)]}
    assert boxes == whole | small
    near = draw_box(MultiScaleCrop(scales=(0.88,)), height=256, width=340, size=224, rng=rng)
    assert (near.height, near.width) == (224, 224)  # 225 is within 3 pixels of the input: no resampling
    pairs = {
        (b.height, b.width)
        for b in (draw_box(MultiScaleCrop(), height=256, width=340, size=224, rng=rng) for _ in range(500))
    }
    assert pairs == {(256, 256), (204, 204), (256, 204), (204, 256)}
    gaps = MultiScaleCrop(scales=(1.0, 0.875, 0.75), max_gap=1)
    pairs = {
        (b.height, b.width) for b in (draw_box(gaps, height=256, width=340, size=112, rng=rng) for _ in range(500))
    }
    assert (256, 192) not in pairs
    assert (256, 224) in pairs
    thirteen = {
        (b.top, b.left)
        for b in (
            draw_box(MultiScaleCrop(scales=(0.5,), places="13"), height=256, width=340, size=112, rng=rng)
            for _ in range(900)
        )
    }
    assert len(thirteen) == 13


def test_resized_crops_have_the_areas_and_shapes_asked_for():
    rng = np.random.default_rng(0)
    crop = RandomResizedCrop(area=(0.2, 0.5), aspect=(0.8, 1.25))
    for _ in range(300):
        box = draw_box(crop, height=256, width=340, size=224, rng=rng)
        assert 0.19 < box.height * box.width / (256 * 340) < 0.51
        assert 0.78 < box.width / box.height < 1.28
    impossible = draw_box(RandomResizedCrop(area=(1.0, 1.0), aspect=(3, 3)), height=100, width=100, size=64, rng=rng)
    assert impossible == Box(0, 0, 100, 100)


def test_two_steps_are_resize_and_crop_one_after_the_other():
    source = frames(1)[0]
    geometry = Geometry((60, 80), (90, 120), Box(7, 11, 70, 64), size=48)
    expected = resize_frame(resize_frame(source, height=90, width=120)[7:77, 11:75], height=48, width=48)
    assert np.array_equal(apply(geometry, source), expected)
    mirrored = Geometry((60, 80), (90, 120), Box(7, 11, 70, 64), size=48, flip=True)
    assert np.array_equal(apply(mirrored, source), expected[:, ::-1])
    out = np.zeros((2, 48, 48, 3), np.uint8)
    assert apply(mirrored, source, out[1]) is not None
    assert np.array_equal(out[1], expected[:, ::-1])
    assert not out[0].any()


def test_fused_takes_the_same_region_from_the_source_in_one_resampling():
    source = frames(1)[0]
    geometry = Geometry((60, 80), (120, 160), Box(20, 40, 80, 80), size=48, fused=True)
    assert geometry.source_box() == Box(10, 20, 40, 40)
    assert np.array_equal(apply(geometry, source), resize_frame(source[10:50, 20:60], height=48, width=48))
    smooth = np.add.outer(np.arange(60), 2 * np.arange(80)).astype(np.uint8)[..., None].repeat(3, axis=2)
    two_steps = Geometry((60, 80), (120, 160), Box(20, 40, 80, 80), size=48)
    assert np.abs(apply(geometry, smooth).astype(int) - apply(two_steps, smooth)).max() <= 2


def test_a_draw_is_for_one_size_of_frame():
    with pytest.raises(ValueError, match="geometry drawn for frames of"):
        apply(Geometry((60, 80), (60, 80), Box(0, 0, 48, 48), size=48), frames(1, 61)[0])


def test_flip_probability_and_labels_that_may_not_flip():
    rng = np.random.default_rng(0)
    draws = [draw_geometry(Augmentation(), height=256, width=340, rng=rng).flip for _ in range(400)]
    assert 150 < sum(draws) < 250
    unflipped = [
        draw_geometry(Augmentation(flip=1.0), height=256, width=340, rng=rng, may_flip=False) for _ in range(9)
    ]
    assert not any(geometry.flip for geometry in unflipped)


def test_flow_moves_the_other_way_in_a_mirror():
    flow = frames(1, channels=2)
    mirrored = flip(flow)
    assert np.array_equal(mirrored[..., 1], flow[:, :, ::-1, 1])
    assert np.array_equal(mirrored[..., 0], 255 - flow[:, :, ::-1, 0])
    by_draw = apply(Geometry((60, 80), (60, 80), Box(0, 0, 60, 60), size=60, flip=True), flow[0])
    assert np.array_equal(by_draw, flip(flow[:, :60, :60])[0])


@pytest.mark.parametrize("crops", ["center", "two", "three", "ten"])
def test_boxes_of_a_protocol_are_its_crops(crops):
    clip = resize_short_side(frames(2), short_side=48)
    cut = crop_views(clip, size=48, crops=crops)
    boxes = crop_boxes(*clip.shape[1:3], size=48, crops=crops)
    assert len(boxes) == len(cut)
    for (top, left, mirrored), view in zip(boxes, cut, strict=True):
        region = clip[:, top : top + 48, left : left + 48]
        assert np.array_equal(region[:, :, ::-1] if mirrored else region, view)


def test_rotation_turns_every_frame_alike_and_back():
    clip = np.tile(resize_frame(frames(1, 8, 8)[0], height=64, width=64), (2, 1, 1, 1))
    turned = clip.copy()
    rotate(turned, degrees=90)
    assert np.array_equal(turned[0], np.rot90(clip[0]))
    assert np.array_equal(turned[0], turned[1])
    slightly = clip.copy()
    rotate(slightly, degrees=10)
    assert not slightly[0, 0, 0].any()  # the corner came in from outside: black


def test_dropped_pixels_are_the_same_in_all_frames():
    clip = np.full((4, 50, 50, 3), 9, np.uint8)
    drop_pixels(clip, fraction=0.2, rng=np.random.default_rng(0))
    gone = (clip == 0).all(axis=-1)
    assert (gone == gone[0]).all()
    assert 0.15 < gone.mean() < 0.25


def test_colours():
    clip = frames()
    same = clip.copy()
    jitter_colours(same, brightness=1, contrast=1, saturation=1, hue=0)
    assert np.array_equal(same, clip)
    dark = clip.copy()
    jitter_colours(dark, brightness=0.5, contrast=1, saturation=1, hue=0)
    assert np.abs(dark.astype(int) - np.rint(clip / 2)).max() <= 1
    grey = clip.copy()
    jitter_colours(grey, brightness=1, contrast=1, saturation=0, hue=0)
    assert np.ptp(grey, axis=-1).max() == 0
    assert np.abs(grey[..., 0] - clip @ [0.299, 0.587, 0.114]).max() <= 1
    flat = clip.copy()
    jitter_colours(flat, brightness=1, contrast=0, saturation=1, hue=0)
    assert len(np.unique(flat)) == 1
    red = np.zeros((1, 4, 4, 3), np.uint8)
    red[..., 0] = 200
    jitter_colours(red, brightness=1, contrast=1, saturation=1, hue=1 / 3)
    assert red[0, 0, 0].argmax() == 1  # a third of the circle on from red is green
    with pytest.raises(ValueError, match="3 channels, got 2"):
        jitter_colours(frames(channels=2), brightness=2, contrast=1, saturation=1, hue=0)


def test_erasing_fills_one_box_of_all_frames_with_the_same_noise():
    clip = np.full((4, 50, 60, 3), 7, np.uint8)
    erase(clip, RandomErasing(probability=1.0, area=(0.1, 0.1), aspect=(1.0, 1.0)), rng=np.random.default_rng(3))
    changed = (clip != 7).any(axis=(0, 3))
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert abs(len(rows) * len(columns) / 3000 - 0.1) < 0.02
    assert (clip == clip[0]).all()
    untouched = clip.copy()
    erase(untouched, RandomErasing(probability=0.0), rng=np.random.default_rng(3))
    assert np.array_equal(untouched, clip)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_rand_augment_has_14_operations_that_preserve_the_size(name):
    image = Image.fromarray(frames(1)[0])
    out = OPERATIONS[name](image, 0.9)
    assert out.size == image.size
    assert out.mode == "RGB"
    assert (np.asarray(out) != np.asarray(image)).any() == (name != "identity") or name == "auto_contrast"
    assert len(OPERATIONS) == 14


def test_rand_augment_changes_all_frames_alike():
    clip = np.tile(frames(1), (3, 1, 1, 1))
    rand_augment(clip, RandAugment(num_ops=3), rng=np.random.default_rng(1))
    assert (clip == clip[0]).all()


def test_operations_of_pytorchvideo_on_8_bits():
    """As torchvision's on uint8: solarise with a threshold below 1, posterise to 4 bits and less."""
    image = Image.fromarray(frames(1)[0])
    pixels = np.asarray(image)
    change = {
        name: lambda level, one=one: np.asarray(one(image, level)) for name, one in PYTORCHVIDEO_OPERATIONS.items()
    }
    assert len(change) == 14
    assert np.array_equal(change["invert"](0.7), 255 - pixels)
    assert np.array_equal(change["solarize"](0.7), np.where(pixels >= 1, 255 - pixels, pixels))
    assert np.array_equal(change["posterize"](0.7), pixels & 0b11000000)
    assert np.array_equal(change["posterize"](-1.0), pixels & 0)


def test_operations_of_pytorchvideo_are_drawn_once_and_with_a_probability():
    clip, applied = np.zeros((1, 8, 8, 3), np.uint8), []
    for seed in range(200):
        image = clip.copy()
        settings = RandAugment(num_ops=14, magnitude=5, operations="pytorchvideo", probability=0.5, magnitude_std=0.5)
        rand_augment(image, settings, rng=np.random.default_rng(seed))
        applied.append(image.max())  # of black, `invert` alone makes white, and only once
    assert 45 < (np.array(applied) > 0).sum() < 110


def test_all_changes_are_a_function_of_the_generator():
    everything = Augmentation(
        rotation_degrees=20, pixel_dropout=0.05, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
        rand_augment=RandAugment(), erasing=RandomErasing(probability=1.0),
    )  # fmt: skip
    results = []
    for _ in range(2):
        clip = frames(seed=5)
        augment_pixels(clip, everything, rng=np.random.default_rng(8))
        results.append(clip)
    assert np.array_equal(*results)
    other = frames(seed=5)
    augment_pixels(other, everything, rng=np.random.default_rng(9))
    assert not np.array_equal(other, results[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": RandomCrop(), "resize": 200}, "a crop of 224 does not fit into frames resized to 200"),
        ({"no_flip": ("left",), "mirrored": (("left", "right"),)}, "'left' is in no_flip and in mirrored"),
        ({"resize": 0}, "(?s)resize.*greater than or equal to 1"),
        ({"flip": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValidationError, match=message):
        Augmentation(**settings)


def test_ranges_that_make_no_sense():
    with pytest.raises(ValidationError, match="both ranges rise"):
        RandomResizedCrop(area=(0.5, 0.2))
