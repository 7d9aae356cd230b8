"""Labels are drawn on videos of every shape."""

import numpy as np
import pytest

from i3d.inference.annotate import annotate
from i3d.inference.prediction import LabelScore, Prediction
from i3d.video.reader import open_video


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
@pytest.mark.parametrize(("height", "width"), [(16, 2000), (2000, 16), (4000, 10), (1, 1), (63, 47), (540, 960)])
def test_any_shape(tmp_path, height, width, suffix):
    labels = (LabelScore("tying knot (not on a tie)", 0.9), LabelScore("yoga", 0.0))
    row = Prediction("x", "ok", labels, "protocol", 4)
    out = tmp_path / f"out.{suffix}"
    annotate(np.full((4, height, width, 3), 90, np.uint8), row, out)
    with open_video(out) as video:
        assert len(list(video.stream())) >= 1
