"""What a protocol costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from i3d.catalogue import gflops_of_view
from i3d.recipes.recipe import Recipe


def mean_gflops(recipe: Recipe, num_frames_NV: Sequence[Sequence[int]]) -> float:
    """GFLOPs of the network on all views of a clip, the mean over clips; a multiply-add counts as two."""
    counts = Counter(frames for num_frames_V in num_frames_NV for frames in num_frames_V)
    total = sum(count * gflops_of_view(recipe, num_frames=frames) for frames, count in counts.items())
    return total / len(num_frames_NV)
