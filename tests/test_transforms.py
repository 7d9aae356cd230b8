"""Transforms against MMAction2's own pixels (tests/golden), and the errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from i3d.models.engine.forward import normalize, repeat_along_row
from i3d.video import transforms
from support.resizing import resize_short_side

GOLDEN = np.load(Path(__file__).parent / "golden" / "mmaction2_transforms.npz")
FRAMES_THWC = GOLDEN["frames"]


def test_resizes_equal_mmaction2():
    assert np.array_equal(resize_short_side(FRAMES_THWC, short_side=64), GOLDEN["resize_short_64"])
    exact_THWC = np.stack([transforms.resize_frame(frame_HWC, height=56, width=56) for frame_HWC in FRAMES_THWC])
    assert np.array_equal(exact_THWC, GOLDEN["resize_exact_56"])


def test_crops_equal_mmaction2():
    small_THWC = GOLDEN["resize_short_64"]
    assert np.array_equal(transforms.center_crop(small_THWC, size=56), GOLDEN["center_crop_56"])
    three = transforms.three_crop(small_THWC, size=64).reshape(-1, 64, 64, 3)
    assert np.array_equal(three, GOLDEN["three_crop_64"])
    ten = transforms.ten_crop(small_THWC, size=56).reshape(-1, 56, 56, 3)
    assert np.array_equal(ten, GOLDEN["ten_crop_56"])


def test_three_crop_of_portrait_frames_runs_downwards():
    frames_THWC = np.arange(10, dtype=np.uint8)[None, :, None, None] * np.ones((1, 10, 4, 3), np.uint8)
    crops = transforms.three_crop(frames_THWC, size=4)
    assert crops[:, 0, 0, 0, 0].tolist() == [0, 6, 3]


def test_three_crops_that_are_smaller_than_the_short_side_lie_in_its_middle():
    places = np.stack([*np.indices((12, 20)), np.zeros((12, 20), int)], axis=-1).astype(np.uint8)
    for frames_HWC, corners in [
        (places, [(2, 0), (2, 12), (2, 6)]),
        (places.transpose(1, 0, 2), [(2, 0), (2, 12), (2, 6)]),
    ]:
        crops = transforms.three_crop(frames_HWC[None], size=8)
        assert [(int(c[0, ..., 0].min()), int(c[0, ..., 1].min())) for c in crops] == corners


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 400))
def test_short_side_is_the_requested_one(height, width, short_side):
    assert min(transforms.short_side_size(height, width, short_side=short_side)) == short_side


def test_resize_to_the_same_size_copies_nothing():
    frame_HWC = FRAMES_THWC[0]
    assert transforms.resize_frame(frame_HWC, height=120, width=160) is frame_HWC


def test_a_crop_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="crop of 200 does not fit into a side of 120"):
        transforms.center_crop(FRAMES_THWC, size=200)
    with pytest.raises(ValueError, match="crop of 121 does not fit into a side of 120"):
        transforms.three_crop(FRAMES_THWC, size=121)


def test_normalize_maps_bytes_to_minus_one_and_one():
    clip_VTHWC = torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(1, 1, 1, 1, 3)
    out = normalize(clip_VTHWC, mean=(127.5,) * 3, std=(127.5,) * 3)
    assert out.shape == (1, 3, 1, 1, 1)
    assert torch.allclose(out.flatten(), torch.tensor([-1.0, 1.0, 51 / 127.5 - 1]), atol=1e-6)


IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def test_normalize_of_every_byte_is_the_difference_by_the_deviation():
    clip_VTHWC = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).repeat(1, 1, 1, 1, 3)
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in IMAGENET.values())
    expected = ((clip_VTHWC.double() - mean) / std).permute(0, 4, 1, 2, 3)
    assert torch.allclose(normalize(clip_VTHWC, **IMAGENET).double(), expected, rtol=0, atol=3e-7)


def test_normalize_is_one_operation_on_a_gpu():
    """Counted without a GPU: the clip goes in as bytes and comes out as floats."""
    operations = []

    class OperationRecorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if function.namespace == "aten" and not function.is_view:
                operations.append(str(function))
            return out

    with FakeTensorMode():
        clips_VTHWC = torch.zeros(2, 3, 4, 5, 3, dtype=torch.uint8, device="cuda")
        normalize(clips_VTHWC, **IMAGENET)  # which sends mean and deviation to the device
        with OperationRecorder():
            out_VCTHW = normalize(clips_VTHWC, **IMAGENET)
    repeat_along_row.cache_clear()  # they were no real ones
    assert operations == ["aten.addcmul.default"]
    assert (out_VCTHW.dtype, out_VCTHW.shape) == (torch.float32, (2, 3, 3, 4, 5))


def test_normalize_refuses_other_types_and_channels():
    with pytest.raises(ValueError, match="uint8 clips with 3 channels last"):
        normalize(torch.zeros(1, 1, 2, 2, 3), mean=(0.0,) * 3, std=(1.0,) * 3)
    with pytest.raises(ValueError, match="uint8 clips with 3 channels last"):
        normalize(torch.zeros(1, 1, 2, 2, 2, dtype=torch.uint8), mean=(0.0,) * 3, std=(1.0,) * 3)
