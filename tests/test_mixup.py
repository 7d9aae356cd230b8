"""Mixup and CutMix: pixels and targets are mixed in the same proportion."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.loading.mixup import mix_clips
from i3d.recipes.augmentation import Mixup


def batch(num=6, classes=4):
    """Clip n has the value n everywhere, and its target is the n-th class, counted round."""
    clips = torch.arange(num, dtype=torch.float32)[:, None, None, None, None].expand(num, 3, 2, 20, 30).clone()
    return clips, torch.nn.functional.one_hot(torch.arange(num) % classes, classes).float()


@given(st.floats(0.1, 2), st.integers(0, 999))
def test_mixup_blends_clips_and_targets_with_one_weight(alpha, seed):
    clips, targets = torch.arange(6.0), torch.eye(6)
    mixed, mixed_targets = mix_clips(
        clips[:, None, None, None, None].expand(6, 3, 2, 4, 4), targets, Mixup(mixup_alpha=alpha),
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    assert torch.allclose(mixed_targets.sum(1), torch.ones(6))
    assert torch.allclose(mixed[:, 0, 0, 0, 0], mixed_targets @ clips, atol=1e-5)
    assert (mixed == mixed[:, :1, :1, :1, :1]).all()


@given(st.floats(0.1, 2), st.integers(0, 999))
def test_the_box_of_cutmix_has_the_weight_of_the_targets(alpha, seed):
    clips, targets = batch(6, 6)
    mixed, mixed_targets = mix_clips(clips, targets, Mixup(cutmix_alpha=alpha), rng=np.random.default_rng(seed))
    assert torch.allclose(mixed_targets.sum(1), torch.ones(6))
    for n in range(6):
        assert set(mixed[n].unique().tolist()) <= set(range(6))
        share_of_itself = (mixed[n] == n).float().mean()
        assert share_of_itself == pytest.approx(float(mixed_targets[n, n]), abs=1e-5)
        changed = (mixed[n] != n).any(0)
        assert (changed == changed[0]).all()  # the same box in all frames


def test_off_changes_nothing_and_a_seed_determines_all():
    clips, targets = batch()
    same, same_targets = mix_clips(clips, targets, Mixup(), rng=np.random.default_rng(0))
    assert same is clips
    assert same_targets is targets
    both = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0)
    runs = [mix_clips(clips, targets, both, rng=np.random.default_rng(seed))[0] for seed in (*range(20), 3)]
    assert torch.equal(runs[3], runs[20])
    boxes = [set(run.unique().tolist()) <= set(range(6)) for run in runs]
    assert any(boxes)
    assert not all(boxes)
    with pytest.raises(ValueError, match=r"mix_clips needs \(N, C, T, H, W\)"):
        mix_clips(clips[0], targets, both, rng=np.random.default_rng(0))
