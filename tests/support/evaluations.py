"""Evaluations from scores, without a model."""

import numpy as np

from i3d.evaluation.result import Evaluation


def make_evaluation(scores_NK, labels_N, **more):
    """An evaluation with these scores; each label is a class number or a tuple of them."""
    scores_NK = np.asarray(scores_NK, np.float64)
    num_clips, num_classes = scores_NK.shape
    fields = {
        "name": "1x1",
        "model": "m",
        "weights_sha256": "",
        "recipe": "r",
        "protocol": "p: 1 clip, probabilities averaged; fp32",
        "data": "d",
        "classes": tuple(f"class {k}" for k in range(num_classes)),
        "files_N": tuple(f"gone/{i}.mp4" for i in range(num_clips)),
        "labels_N": tuple(labels if isinstance(labels, tuple) else (int(labels),) for labels in labels_N),
        "scores_NK": scores_NK,
        "average": "prob",
        "num_views_N": (1,) * num_clips,
        "multi_label": False,
        "bad": (),
        **more,
    }
    return Evaluation(**{"names_N": fields["files_N"], **fields})
