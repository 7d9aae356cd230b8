"""The mathematics of FVD, its resizes against formulas written here, and its public reference values."""

import hashlib
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

import i3d
from i3d.errors import InputError
from i3d.utils.device import ComputeConfig
from i3d.video_distance import Moments, frechet_distance, fvd_protocol, kernel_distance
from i3d.video_distance.clips import ClipReader, clip_starts
from i3d.video_distance.embedding import load_embedder
from i3d.video_distance.protocols import PRESETS, RESIZES, FvdProtocol
from i3d.video_distance.resizing import resize_clip, shrink_antialiased
from i3d.video_distance.statistics import (
    Sample,
    bootstrap_values,
    chance_distance,
    distance_of_features,
    interval_around,
)
from i3d.weights.pretrained import DEFAULT
from support.examples import examples

PORT = {  # common_metrics_on_video_quality, README: zeros against 255
    10: 569.2296, 11: 486.3584, 12: 551.9611, 13: 146.3664, 14: 172.8545, 15: 133.7031, 16: 152.9175, 24: 66.0628,
    30: 151.2565,
}  # fmt: skip
ORIGINAL_30 = 151.39244  # the TensorFlow original at T = 30


def normal(number, width, *, seed):
    """Features whose sample mean is exactly 0 and whose covariance (over N - 1) is exactly the identity."""
    features = np.random.default_rng(seed).standard_normal((number, width))
    features -= features.mean(axis=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(features, rowvar=False)))
    return features @ (vectors / np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize("width", [1, 3, 40])
def test_shifted_and_scaled_gaussians_have_the_closed_form(width):
    features = normal(300, width, seed=1)
    scale, shift = np.linspace(0.2, 3, width), np.linspace(-2, 5, width)
    value = frechet_distance(Moments.of(features), Moments.of(features * scale + shift))
    assert value == pytest.approx((shift**2).sum() + ((1 - scale) ** 2).sum(), abs=1e-6)


def test_covariances_that_do_not_commute_have_the_closed_form_of_two_dimensions():
    features = normal(50, 2, seed=2)
    roots = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[0.7, -0.3], [-0.3, 1.9]])
    one, other = (features @ root for root in roots)
    product = roots[0] @ roots[0] @ roots[1] @ roots[1]
    overlap = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    wanted = (roots[0] ** 2).sum() + (roots[1] ** 2).sum() - 2 * overlap
    assert frechet_distance(Moments.of(one), Moments.of(other)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("number", [2, 300, 1000])
def test_a_set_with_itself_is_at_0(number):
    features = 30 * np.random.default_rng(number).standard_normal((number, 400)).astype(np.float32)
    assert abs(frechet_distance(Moments.of(features), Moments.of(features.copy()))) < 1e-3


def test_fewer_clips_than_numbers_give_no_nan_and_no_complex_number():
    rng = np.random.default_rng(3)
    one, other = (rng.standard_normal((300, 400)) * np.linspace(0.01, 9, 400) + shift for shift in (0, 1))
    value = frechet_distance(Moments.of(one), Moments.of(other))
    a, b = one - one.mean(axis=0), other - other.mean(axis=0)  # the trace by the products of clips, without any root
    overlap = np.linalg.svd(a @ b.T / 299, compute_uv=False).sum()
    wanted = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum() + (a**2).sum() / 299 + (b**2).sum() / 299
    assert type(value) is float
    assert value == pytest.approx(wanted - 2 * overlap, rel=1e-9)
    for divisor in ("n-1", "n"):
        whole = frechet_distance(Moments.of(one), Moments.of(other), divisor=divisor)
        assert distance_of_features(one, other, divisor=divisor) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("batches", [[1] * 97, [97], [40, 0, 57], [3, 90, 4]])
def test_streaming_equals_the_whole_array(batches):
    features = 1000 + np.random.default_rng(4).standard_normal((97, 20))
    moments, first = Moments(), 0
    for size in batches:
        moments.add(features[first : first + size])
        first += size
    assert moments.number == 97
    np.testing.assert_allclose(moments.mean_D, features.mean(axis=0), rtol=1e-9)
    for divisor, ddof in (("n-1", 1), ("n", 0)):
        wanted = np.cov(features, rowvar=False, ddof=ddof)
        np.testing.assert_allclose(moments.covariance(divisor), wanted, rtol=1e-9, atol=1e-9)


def test_one_clip_has_no_covariance_and_other_widths_are_refused():
    with pytest.raises(InputError, match="at least 2 clips, there is 1"):
        Moments.of(np.ones((1, 3))).covariance()
    with pytest.raises(InputError, match="3 and 4 numbers"):
        frechet_distance(Moments.of(np.eye(3)), Moments.of(np.eye(4)))
    with pytest.raises(InputError, match="at least 2 clips of each set, there are 1 and 2"):
        kernel_distance(np.ones((1, 3)), np.ones((2, 3)))


def test_the_kernel_distance_is_unbiased_and_grows_with_the_difference():
    rng = np.random.default_rng(5)
    one, other, far = rng.standard_normal((3, 400, 8))
    same, apart = kernel_distance(one, other), kernel_distance(one, far + 1)
    assert (same.num_subsets, same.subset) == (100, 200)
    assert abs(same.mean) < 3 * same.spread
    assert apart.mean > 10 * apart.spread > 0
    assert kernel_distance(one, other) == same
    pair = one[:2], other[:2]  # the only subset: the unbiased estimate, term by term
    kernel = [[(x @ y / 8 + 1) ** 3 for y in pair[1]] for x in pair[0]]
    within = sum((x[0] @ x[1] / 8 + 1) ** 3 for x in pair)
    assert kernel_distance(*pair).mean == pytest.approx(within - 2 * np.mean(kernel))


@pytest.mark.parametrize("number", [60, 400])
def test_chance_is_measured_within_a_set(number):
    rng = np.random.default_rng(6)

    def draw():
        return rng.standard_normal((number, 100)) * np.linspace(0.1, 3, 100)

    true = np.mean([frechet_distance(Moments.of(draw()), Moments.of(draw())) for _ in range(4)])
    chance = chance_distance(draw())
    assert chance.half == number // 2
    assert chance.halves > 1.3 * true
    assert chance.expected == pytest.approx(true, rel=0.2)
    assert chance_distance(draw()[:7]) is None
    assert chance_distance(np.ones((20, 3))).expected == 0


def test_the_interval_lies_around_the_value_and_narrows_with_more_clips():
    rng = np.random.default_rng(7)
    widths = []
    for number in (30, 480):
        one, other = rng.standard_normal((2, number, 6)) + np.array([0, 1])[:, None, None]
        value = frechet_distance(Moments.of(one), Moments.of(other))
        low, high = interval_around(value, list(bootstrap_values(one, other, 100)))
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_sample_is_bounded_and_even():
    counts = np.zeros(100)
    for seed in range(200):
        sample = Sample(10, seed=seed)
        sample.add(np.arange(100, dtype=np.float32)[:, None])
        assert (len(sample.rows_ND), sample.num_seen, sample.is_whole) == (10, 100, False)
        counts[sample.rows_ND[:, 0].astype(int)] += 1
    assert counts[:50].sum() == pytest.approx(1000, rel=0.15)
    whole = Sample(10)
    whole.add(np.arange(10, dtype=np.float32)[:, None])
    assert whole.is_whole
    assert whole.rows_ND[:, 0].tolist() == list(range(10))


def test_a_sample_has_one_block_of_memory_for_many_clips():
    """Blocks of single clips hindered the memory of the network from being used again: 0.8 to 2 MB a clip."""
    rows = np.arange(2500, dtype=np.float32)[:, None]
    sample = Sample(10_000)
    for row in rows:
        sample.add(row[None])
    assert [len(block) for block in sample._blocks] == [1024] * 3
    assert not np.shares_memory(sample._blocks[0], rows)
    assert (sample.rows_ND == rows).all()


def clip_of(shape, *, seed=8):
    """Two frames of noise; a third of each is white, so that means of equal pixels are met."""
    clip = np.random.default_rng(seed).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    clip[:, : shape[0] // 3] = 255
    return clip


def neighbours(size, new, *, half_pixel):
    """Of each new pixel along a side, in float32: the old pixel before, the one after, and its weight."""
    f, places = np.float32, []
    scale = f(size) / f(new)
    for target in range(new):
        place = max(scale * (f(target) + f(0.5)) - f(0.5), f(0)) if half_pixel else f(target) * scale
        before = min(math.floor(place), size - 1)
        places.append((before, min(before + 1, size - 1), f(place) - f(before)))
    before, after, weights = (np.array(each) for each in zip(*places, strict=True))
    return before, after, weights.astype(f)


def bilinear(frame, new, *, half_pixel):
    """A resized frame in float32: a + (b - a) w along each row, then between the rows."""
    sides = zip(frame.shape, new, strict=False)
    (top, bottom, down), (left, right, along) = (neighbours(*side, half_pixel=half_pixel) for side in sides)
    values, along, down = frame.astype(np.float32), along[:, None], down[:, None, None]
    upper, lower = (values[rows][:, left] + (values[rows][:, right] - values[rows][:, left]) * along
                    for rows in (top, bottom))  # fmt: skip
    return upper + (lower - upper) * down


def short_side(shape, side):
    """(rows, columns), and where the centre crop begins."""
    scale = side / min(shape)  # VideoGPT rounds the other side up, also where 300 * (224 / 300) is above 224
    new = (side, math.ceil(shape[1] * scale)) if shape[0] < shape[1] else (math.ceil(shape[0] * scale), side)
    return new, (new[0] - side) // 2, (new[1] - side) // 2


@examples(12)
@given(st.integers(1, 600), st.integers(1, 600))
@example(224, 224)
@example(256, 256)
@example(300, 131)
@example(17, 500)
def test_each_resize_of_a_preset_equals_its_formula_to_the_bit(height, width):
    """All pixels of uint8 frames; "twice" is "stretch" behind a resize of its own, which the next test is of."""
    shape = height, width
    clip = clip_of(shape)
    new, top, left = short_side(shape, 224)
    wanted = {
        "stretch-tf1": bilinear(clip[1], (224, 224), half_pixel=False),
        "stretch": bilinear(clip[1], (224, 224), half_pixel=True),
        "short-side": bilinear(clip[1], new, half_pixel=True)[top : top + 224, left : left + 224],
    }
    wanted["twice"] = wanted["stretch"]  # arrays are stretched only
    assert {*wanted} == {make().resize for make in PRESETS.values()} | {"stretch"} == {*RESIZES}
    for resize, frame in wanted.items():
        resized = resize_clip(clip, resize)
        assert (resized.dtype, resized.shape) == (np.float32, (2, 224, 224, 3))
        assert (resized[1] == frame).all(), resize


def triangles(size, new):
    """Exact weights (new, size): a triangle around each new pixel, as wide as two of them, over its sum."""
    reach, rows = max(Fraction(size, new), 1), []
    for target in range(new):
        centre = (target + Fraction(1, 2)) * Fraction(size, new)
        row = [max(1 - abs(place + Fraction(1, 2) - centre) / reach, 0) for place in range(size)]
        rows.append([weight / sum(row) for weight in row])
    return np.array(rows)


@examples(25)
@given(st.integers(1, 26), st.integers(1, 26), st.integers(1, 12))
@example(24, 16, 8)
@example(7, 7, 7)
def test_the_two_resizes_of_cd_fvd_equal_the_formula_to_the_bit(height, width, side):
    """Antialiased, in fractions; the exact value is cut to 8 bits, and stretched."""
    clip = clip_of((height, width))
    clip[..., 1:] = clip[..., :1]
    new, top, left = short_side((height, width), side)
    down, along = triangles(height, new[0])[top : top + side], triangles(width, new[1])[left : left + side]
    exact = down @ clip[0, ..., 0].astype(object) @ along.T
    square = np.array([[math.floor(value) for value in row] for row in exact], np.uint8)
    wanted = bilinear(square[..., None].repeat(3, axis=2), (224, 224), half_pixel=True)
    assert (resize_clip(clip, "twice", resolution=side)[0] == wanted).all()


@pytest.mark.parametrize("shape", [(240, 320), (131, 97), (48, 640), (1080, 1920)])
def test_torch_differs_from_the_resizes_by_its_rounding_alone(shape):
    """Places and weights of PyTorch are rounded otherwise: a whole number before the cut may become the one below."""
    clip = clip_of(shape)[:1]
    on_torch = torch.from_numpy(clip).permute(0, 3, 1, 2).float()

    def resized(side, **how):
        new, top, left = short_side(shape, side)
        square = F.interpolate(on_torch, size=new, mode="bilinear", **how)[:, :, top : top + side, left : left + side]
        return square.permute(0, 2, 3, 1).numpy()

    np.testing.assert_allclose(resize_clip(clip, "short-side"), resized(224), atol=0.02)
    difference = shrink_antialiased(clip, 256).astype(int) - np.trunc(resized(256, antialias=True))
    assert np.abs(difference).max() <= 1
    assert (difference[:, 100:] != 0).mean() < 0.01  # the white third is above


def test_uint8_and_the_same_values_as_floats_are_resized_alike():
    clip = clip_of((48, 64))
    for resize in RESIZES:
        assert (resize_clip(clip, resize) == resize_clip(clip.astype(np.float32), resize)).all()


PROTOCOLS = {  # frames, stride, clips, generated clips, max clips, resize, resolution, covariance
    "original": (16, 1, "first", None, None, "stretch-tf1", 256, "n-1"),
    "stylegan-v": (16, 1, "random", "first", 2048, "stretch", 256, "n"),
    "stylegan-v-128": (128, 1, "random", "first", 2048, "stretch", 256, "n"),
    "stylegan-v-128-by-8": (16, 8, "random", "first", 2048, "stretch", 256, "n"),
    "videogpt": (16, 1, "random", None, None, "short-side", 256, "n-1"),
    "common-metrics": (16, 1, "first", None, None, "short-side", 256, "n-1"),
    "cd-fvd": (16, 1, "random", None, None, "twice", 256, "n"),
}


def test_each_preset_has_the_values_of_its_source():
    fields = "frames", "stride", "clips", "generated_clips", "max_clips", "resize", "resolution", "covariance"
    presets = {name: make() for name, make in PRESETS.items()}
    assert {name: tuple(getattr(one, each) for each in fields) for name, one in presets.items()} == PROTOCOLS
    assert {*FvdProtocol.model_fields} == {*fields, "name", "features"}
    for name, one in presets.items():
        assert (one.name, one.features) == (name, "logits")
        assert fvd_protocol(name) == one
        assert len(PRESETS[name].__doc__) > 50
    assert fvd_protocol("stylegan-v-128-by-8").span == 121


@pytest.mark.parametrize("clips", ["first", "random", "all"])
def test_the_clips_of_a_video_begin_where_its_protocol_places_them(clips):
    """Random ones at every place from 0 to the last, as often at each."""
    protocol, places = fvd_protocol(frames=10, clips=clips), 5
    starts = Counter[tuple[int, ...]]()
    for number in range(500):
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        starts[tuple(clip_starts(10 + places - 1, ClipReader("real", protocol, None, None), digest))] += 1
    if clips == "random":
        assert {*starts} == {(first,) for first in range(places)}
        assert all(70 < number < 130 for number in starts.values()), starts  # 100 each, 3.4 standard deviations
    else:
        assert {*starts} == {(0,)}
    assert clip_starts(9, ClipReader("real", protocol, None, None), "0" * 64) == []


def test_a_changed_protocol_names_its_changes():
    changed = fvd_protocol("stylegan-v", frames=32, clips="all", covariance="n")
    assert changed.name == "stylegan-v, changed: frames 32, clips all"
    assert changed.clips_of("generated") == "all"
    assert fvd_protocol("cd-fvd", resolution=128).resolution == 128
    with pytest.raises(InputError, match="resolution 128: is of the resize twice; set that too, or leave it out"):
        fvd_protocol(resolution=128)
    for wrong in ({"frames": 0}, {"resize": "cubic"}, {"frame": 3}, {"clips": "some"}):
        with pytest.raises(InputError, match="FVD: "):
            fvd_protocol(**wrong)
    with pytest.raises(InputError, match=r"preset 'mine': there are original, stylegan-v"):
        fvd_protocol("mine")


@pytest.fixture(scope="module")
def embedder():
    return load_embedder(DEFAULT, fvd_protocol(), ComputeConfig("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("frames", [frames for frames in PORT if frames != 30])
def test_features_of_constant_videos_have_the_published_distance(embedder, frames):
    """16 videos of zeros against 16 of 255, by the shipped network."""
    features = [embedder(np.full((frames, 224, 224, 3), value, np.float32)) for value in (0, 255)]
    one, other = (Moments.of(feature_D[None].repeat(16, axis=0)) for feature_D in features)
    assert frechet_distance(one, other) == pytest.approx(PORT[frames], rel=0.005)


@pytest.mark.slow
def test_constant_videos_have_the_published_distance():
    """The same for 30 frames, from the videos on; there the value of the TensorFlow original is known."""
    real, generated = (np.full((16, 30, 16, 16, 3), value, np.uint8) for value in (0, 255))
    result = i3d.fvd(real, generated, protocol=fvd_protocol(frames=30))
    assert result.metric == "FVD"
    assert result.value == pytest.approx(PORT[30], rel=0.005)
    assert float(result) == pytest.approx(ORIGINAL_30, rel=0.001)
