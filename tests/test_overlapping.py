"""Windows that overlap share what they can, and come out as they do alone.

Letters in names: B windows, C channels, T frames, H rows, W columns.
"""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from i3d import load_model
from i3d.models.inception import ENDPOINTS, InceptionI3D, Reach
from i3d.models.overlapping import NUM_WINDOWS, Ends, OverlappingWindows, can_share, ends_after, pays
from i3d.models.resnet import ResNetI3D
from i3d.recipes.settings import ResNetNetwork

SIDE = 33  # 2 x 2 places at the end


@pytest.fixture(scope="module")
def net():
    return load_model("inception_rgb_kinetics400").double().eval()


def shared(net, frames_1CTHW, *, endpoint, window, stride, num_rows):
    """The maps of all windows, as many at once as there are calls for."""
    windows = OverlappingWindows(net, endpoint=endpoint, window=window, stride=stride)
    found = []
    for row in range(0, num_rows, NUM_WINDOWS):
        several = min(NUM_WINDOWS, num_rows - row)
        first = row * stride
        stretch_1CTHW = frames_1CTHW[:, :, first : first + window + (several - 1) * stride]
        found.append(windows(stretch_1CTHW, num_windows=several))
    return torch.cat(found)


@settings(max_examples=15, deadline=None)
@example(window=64, stride=1, num_rows=2 * NUM_WINDOWS + 1, endpoint="Mixed_5c")
@example(window=64, stride=2, num_rows=NUM_WINDOWS + 3, endpoint="Mixed_5c")
@example(window=33, stride=5, num_rows=NUM_WINDOWS + 2, endpoint="Mixed_4b")
@given(
    window=st.integers(9, 70),
    stride=st.integers(1, 9),
    num_rows=st.integers(1, 2 * NUM_WINDOWS + 3),
    endpoint=st.sampled_from(ENDPOINTS),
)
def test_windows_are_what_they_are_alone(net, window, stride, num_rows, endpoint):
    """In float64, so that nothing but a wrong sum could make a difference."""
    generator = torch.Generator().manual_seed(window * stride)
    num_frames = window + (num_rows - 1) * stride
    frames_1CTHW = torch.rand(1, 3, num_frames, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        maps_BCTHW = shared(net, frames_1CTHW, endpoint=endpoint, window=window, stride=stride, num_rows=num_rows)
        assert len(maps_BCTHW) == num_rows
        for row in {0, num_rows // 2, max(num_rows - 2, 0), num_rows - 1}:
            alone_1CTHW = net.features(frames_1CTHW[:, :, row * stride : row * stride + window], endpoint=endpoint)
            torch.testing.assert_close(maps_BCTHW[row : row + 1], alone_1CTHW, rtol=1e-9, atol=1e-11)


def test_what_is_shared_is_computed_once(net):
    """Positions of each layer that four calls of eight windows of 64 compute beyond the first two, per window."""
    counts: dict[str, int] = {}

    def count(name):
        def hook(_module, _inputs, output):
            counts[name] = counts.get(name, 0) + output.shape[0] * output.shape[2]

        return hook

    hooks = [net.get_submodule(name).register_forward_hook(count(name)) for name in ENDPOINTS]
    frames_1CTHW = torch.zeros(1, 3, 64 + 31, SIDE, SIDE, dtype=torch.float64)
    windows = OverlappingWindows(net, endpoint="Mixed_5c", window=64, stride=1)
    with torch.inference_mode():
        for call in range(4):
            if call == 2:
                counts.clear()
            windows(frames_1CTHW[:, :, 8 * call : 8 * call + 71], num_windows=8)
    for hook in hooks:
        hook.remove()
    per_window = {name: count / 16 for name, count in counts.items()}
    alone = {"Conv3d_1a_7x7": 32, "Conv3d_2c_3x3": 32, "Mixed_3b": 32, "Mixed_3c": 32, "Mixed_4b": 16, "Mixed_4f": 16}
    assert {name: per_window[name] for name in alone} == {
        "Conv3d_1a_7x7": 1 + 3,  # one new position, and the ends: 1 before, 2 after
        "Conv3d_2c_3x3": 1 + 5,
        "Mixed_3b": 1 + 7,
        "Mixed_3c": 1 + 9,
        "Mixed_4b": 1 + 7,
        "Mixed_4f": 16,  # nothing is left to share
    }


def test_ends_grow_until_nothing_is_left():
    found, ends = [], Ends(64, 0, 0)
    for reach in (Reach(7, 2), Reach(3, 1), Reach(3, 1), Reach(3, 1), Reach(3, 2), Reach(3, 1)):
        ends = ends_after(ends, reach)
        found.append(tuple(ends))
    assert found == [(32, 1, 2), (32, 2, 3), (32, 3, 4), (32, 4, 5), (16, 2, 3), (16, 3, 4)]
    assert ends_after(Ends(3, 1, 1), Reach(3, 1)) == Ends(3, 3, 0)
    assert not pays(Ends(3, 0, 0), 1, Reach(3, 1))


def test_who_shares(net):
    assert can_share(net, window=64, stride=1)
    assert can_share(net, window=64, stride=16)
    assert not can_share(net, window=64, stride=64)
    assert not can_share(net, window=16, stride=16)
    assert not can_share(net, window=8, stride=1)  # is looped
    assert not can_share(ResNetI3D(ResNetNetwork(depth=18, num_classes=3)), window=64, stride=1)
    assert isinstance(net, InceptionI3D)
