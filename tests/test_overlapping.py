"""Overlapping windows share layers, and give the same output as alone.

Letters in names: B windows, C channels, T frames, H rows, W columns.
"""

import copy
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

from i3d import load_model
from i3d.features import extractor
from i3d.features.crops import feature_crops
from i3d.features.extractor import FeatureExtractor, Stream
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import normalize
from i3d.models.engine.overlap import OverlappingWindows, SharingPlan, is_worth_sharing, plan_sharing
from i3d.models.engine.overlap_edges import BoundaryPositions, boundary_after
from i3d.models.factory import build_network
from i3d.models.inception import InceptionI3D, ReceptiveField
from i3d.models.resnet import ResNetI3D
from i3d.recipes.features import FeatureSettings
from i3d.recipes.settings import InceptionSettings, Preprocessing, ResNetSettings
from i3d.utils.device import ComputeConfig, has_bf16
from i3d.video.flow import flow_between, flow_to_bytes
from i3d.video.reader import open_video
from i3d.video.transforms import flip
from support.examples import examples
from support.rendering import numbered_frame

SIDES_HW = (33, 9)  # 2 x 1 places at the end


@pytest.fixture(scope="module")
def net():
    return load_model("inception_rgb_kinetics400").double().eval()


def shared(net, frames_1CTHW, *, endpoint, window, stride, num_rows):
    """The maps of all windows, `plan.num_windows` a call."""
    plan = SharingPlan.create(net, endpoint=endpoint, window=window, stride=stride)
    windows, outputs = OverlappingWindows(plan), []
    for row in range(0, num_rows, plan.num_windows):
        several = min(plan.num_windows, num_rows - row)
        first = row * stride
        stretch_1CTHW = frames_1CTHW[:, :, first : first + window + (several - 1) * stride]
        outputs.append(windows(stretch_1CTHW, num_windows=several))
    return torch.cat(outputs)


@pytest.mark.slow
@examples(6)
@example(window=64, stride=1, num_rows=10, endpoint="Mixed_5c")  # a call of 8 windows, and one of 2
@example(window=64, stride=2, num_rows=6, endpoint="Mixed_5c")
@example(window=33, stride=5, num_rows=6, endpoint="Mixed_4b")
@given(
    window=st.integers(9, 70),
    stride=st.integers(1, 9),
    num_rows=st.integers(1, 12),
    endpoint=st.sampled_from(InceptionI3D.endpoints),
)
def test_windows_equal_those_that_run_alone(net, window, stride, num_rows, endpoint):
    """In float64, where rounding cannot hide a wrong sum."""
    generator = torch.Generator().manual_seed(window * stride)
    num_frames = window + (num_rows - 1) * stride
    frames_1CTHW = torch.rand(1, 3, num_frames, *SIDES_HW, generator=generator, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        maps_BCTHW = shared(net, frames_1CTHW, endpoint=endpoint, window=window, stride=stride, num_rows=num_rows)
        assert len(maps_BCTHW) == num_rows
        for row in {0, num_rows // 2, num_rows - 1}:
            alone_1CTHW = net.features(frames_1CTHW[:, :, row * stride : row * stride + window], endpoint=endpoint)
            torch.testing.assert_close(maps_BCTHW[row : row + 1], alone_1CTHW, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_shared_positions_are_computed_once(net, monkeypatch):
    """Taps times positions of each convolution in the last two of four calls, of eight windows of 64 frames each."""
    counts: dict[tuple[int, int, int], int] = {}

    def counting(convolution, taps_of):
        def count(x, weight, *args):
            out = convolution(x, weight, *args)
            key = (*weight.shape[:2], weight.shape[-1])
            counts[key] = counts.get(key, 0) + taps_of(out, weight)
            return out

        return count

    of_frames = counting(F.conv2d, lambda out, _: len(out))
    of_clips = counting(F.conv3d, lambda out, weight: out.shape[0] * out.shape[2] * weight.shape[2])
    monkeypatch.setattr(F, "conv2d", of_frames)
    monkeypatch.setattr(F, "conv3d", of_clips)
    frames_1CTHW = torch.zeros(1, 3, 64 + 31, 17, 17, dtype=torch.float64)
    windows = OverlappingWindows(SharingPlan.create(net, endpoint="Mixed_5c", window=64, stride=1))
    with torch.inference_mode():
        for call in range(4):
            if call == 2:
                counts.clear()
            windows(frames_1CTHW[:, :, 8 * call : 8 * call + 71], num_windows=8)
    per_window = {key: count / 16 for key, count in counts.items()}
    expected = {  # (channels behind, before, width of the kernel): what is new, before and after; of windows alone
        (64, 3, 7): 7 + 5 + 0,  # Conv3d_1a_7x7 of 32 * 7: sums of 4 and 6 taps are those of the last two positions
        (192, 64, 3): 3 + 5 + 5,  # Conv3d_2c_3x3 of 32 * 3
        (128, 96, 3): 3 + 8 + 8,  # Mixed_3b of 32 * 3
        (192, 128, 3): 3 + 11 + 11,  # Mixed_3c of 32 * 3
        (208, 96, 3): 3 + 8 + 8,  # Mixed_4b of 16 * 3
        (224, 112, 3): 3 + 11 + 11,  # Mixed_4c of 16 * 3
        (256, 128, 3): 3 + 14 + 14,  # Mixed_4d of 16 * 3
        (288, 144, 3): 16 * 3,  # Mixed_4e: too little is left to share
    }
    assert {key: per_window[key] for key in expected} == expected


def test_the_boundary_grows_until_nothing_is_shared():
    boundaries, boundary = [], BoundaryPositions(64, 0, 0)
    for field in (
        ReceptiveField(7, 2),
        ReceptiveField(3, 1),
        ReceptiveField(3, 1),
        ReceptiveField(3, 1),
        ReceptiveField(3, 2),
        ReceptiveField(3, 1),
    ):
        boundary = boundary_after(boundary, field)
        boundaries.append(tuple(boundary))
    assert boundaries == [(32, 1, 2), (32, 2, 3), (32, 3, 4), (32, 4, 5), (16, 2, 3), (16, 3, 4)]
    assert boundary_after(BoundaryPositions(3, 1, 1), ReceptiveField(3, 1)) == BoundaryPositions(3, 3, 0)
    assert not is_worth_sharing(BoundaryPositions(3, 0, 0), 1, ReceptiveField(3, 1))


def shares(net, *, window, stride):
    return plan_sharing(net, endpoint=net.endpoints[-1], window=window, stride=stride) is not None


def test_which_networks_and_windows_share(net):
    assert shares(net, window=64, stride=1)
    assert shares(net, window=64, stride=16)
    assert not shares(net, window=64, stride=32)
    assert not shares(net, window=16, stride=8)
    assert not shares(net, window=16, stride=16)
    assert not shares(net, window=8, stride=1)  # shorter than the shortest clip
    assert not shares(ResNetI3D(ResNetSettings(depth=18, num_classes=3)), window=64, stride=1)
    assert isinstance(net, InceptionI3D)


SHARING = [
    {"window": 16, "stride": 1, "align": "centre", "padding": "repeat"},
    {"window": 16, "stride": 2, "padding": "repeat", "crops": "ten", "layer": "Mixed_3c"},
    {"window": 20, "stride": 3, "crops": "five", "flip": True, "grid": True, "layer": "Mixed_3c"},
    {"window": 20, "stride": 1, "align": "centre", "crops": "three"},
    {"window": 64, "stride": 5, "padding": "repeat"},
]


@pytest.mark.slow
@pytest.mark.parametrize("changed", SHARING, ids=lambda changed: "-".join(map(str, changed.values())))
def test_rows_of_shared_layers_equal_the_network_on_their_frames(changed):
    """Inception on RGB and flow; the frames of each row are cut here by hand."""
    settings = FeatureSettings(**{"layer": "Mixed_4b", "fps": 25.0, **changed})
    streams, nets = [], []
    for channels, method in ((3, None), (2, "dis")):
        torch.manual_seed(channels)
        net = build_network(InceptionSettings(in_channels=channels, num_classes=3)).eval()
        pre = Preprocessing(short_side=40, crop=17, mean=(127.5,) * channels, std=(127.5,) * channels)
        engine = Engine.create(copy.deepcopy(net), ComputeConfig(precision="fp32"), device=torch.device("cpu"))
        streams.append(Stream(engine, pre, method))
        nets.append(net)
    assert shares(nets[0], window=settings.window, stride=settings.stride)
    frames_THWC = np.stack([numbered_frame(3 * k, height=40, width=56) for k in range(32)])
    with open_video(frames_THWC, frames_fps=25) as video:
        extracted = FeatureExtractor(tuple(streams), settings)(video)
    flows = [flow_to_bytes(flow_between(a, b, method="dis")) for a, b in pairwise(frames_THWC)]
    streams_THWC = frames_THWC, np.stack([flows[0], *flows])
    for number in (0, 1, len(extracted.rows) - 1):
        frame_indices = np.clip(np.arange(*extracted.rows[number]), 0, 31)
        both = [
            _by_hand(net, s, stream_THWC[frame_indices], settings)
            for net, s, stream_THWC in zip(nets, streams, streams_THWC, strict=True)
        ]
        expected = np.concatenate(both, axis=-1)
        expected = expected[0] if len(expected) == 1 and not settings.grid else expected
        assert np.abs(extracted.values[number] - expected).max() < 1e-5 * np.abs(expected).max()


def _by_hand(net, stream, frames_THWC, settings):
    """The features (V, C) or (V, T, H, W, C) of a window."""
    side, size = frames_THWC.shape[1:3], stream.preprocessing.crop
    rows = []
    for top, left, mirrored in feature_crops(*side, size=size, settings=settings):
        clip_THWC = frames_THWC[:, top : top + size, left : left + size]
        view_THWC = torch.from_numpy((flip(clip_THWC) if mirrored else clip_THWC).copy())
        x_NCTHW = normalize(view_THWC[None], mean=stream.preprocessing.mean, std=stream.preprocessing.std)
        with torch.inference_mode():
            map_THWC = net.features(x_NCTHW, endpoint=settings.layer)[0].permute(1, 2, 3, 0)
        rows.append(map_THWC if settings.grid else map_THWC.mean(dim=(0, 1, 2)))
    return torch.stack(rows).numpy()


@pytest.mark.slow
@pytest.mark.skipif(not has_bf16(), reason="this processor has no arithmetic of bfloat16")
def test_in_bfloat16_sharing_is_as_close_to_float32_as_windows_alone(net):
    frames_1CTHW = torch.rand(1, 3, 64 + 15, *SIDES_HW) * 2 - 1
    engines = [
        Engine.create(copy.deepcopy(net).float(), ComputeConfig(precision=precision), device=torch.device("cpu"))
        for precision in ("fp32", "auto")
    ]
    rows = [0, 1, 7, 8, 15]  # of two calls of eight windows
    exact_BCTHW, alone_BCTHW = (
        torch.cat([engine.features(frames_1CTHW[:, :, row : row + 64], endpoint="Mixed_5c") for row in rows])
        for engine in engines
    )
    with torch.inference_mode():
        shared_BCTHW = shared(
            engines[1].net, frames_1CTHW.bfloat16(), endpoint="Mixed_5c", window=64, stride=1, num_rows=16
        )
    errors = [(maps.float() - exact_BCTHW).square().mean().sqrt() for maps in (alone_BCTHW, shared_BCTHW[rows])]
    assert errors[1] < 1.2 * errors[0]


def test_shared_layers_run_in_full_float32(monkeypatch):
    """GPUs would multiply with 10 bits (TF32)."""
    entered = []
    monkeypatch.setattr(extractor, "full_float32", lambda device: entered.append(device) or nullcontext())
    network = build_network(InceptionSettings(num_classes=3)).eval()
    stream = Stream(
        Engine.create(network, ComputeConfig(precision="fp32"), device=torch.device("cpu")),
        Preprocessing(short_side=40, crop=33, mean=(127.5,) * 3, std=(127.5,) * 3),
        None,
    )
    frames_THWC = np.stack([numbered_frame(k, height=40, width=56) for k in range(20)])
    with open_video(frames_THWC, frames_fps=25) as video:
        FeatureExtractor((stream,), FeatureSettings(layer="Mixed_3b", window=16, stride=1))(video)
    assert entered
