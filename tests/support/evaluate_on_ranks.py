"""What each process of `test_distributed_evaluation.py` runs: it tests lists of clips and writes its scores."""

import json
import os
import sys
from pathlib import Path

import torch

from i3d.data.formats.read import read_annotations
from i3d.evaluation.evaluate import evaluate_protocols, select_protocols
from i3d.evaluation.result import compute_metrics
from i3d.evaluation.result_file import metrics_as_dict
from i3d.evaluation.scorer import EvaluationOptions, Scorer
from i3d.utils.device import ComputeConfig
from i3d.weights.load import load_weights

LENGTHS = (1, 2, 4, 12, 17)  # of the lists of clips: fewer than processes, odd, with and without the unreadable 12th


def main(clips, model, out):
    torch.set_num_threads(1)
    weights, scored, rows = load_weights(model), [], []
    real = Scorer.__call__

    def record_and_score(self, views, name, *, index, **more):
        scored.append(index)
        return real(self, views, name, index=index, **more)

    Scorer.__call__ = record_and_score
    annotations = read_annotations(Path(clips))
    for length in LENGTHS:
        scored.clear()
        evaluations = evaluate_protocols(
            weights,
            annotations.select(range(length)),
            EvaluationOptions(select_protocols(weights, protocols=["1x1", "3x1"]), max_bad=1.0),
            compute=ComputeConfig(device="cpu", num_workers=0),
        )
        rows.append({
            "scored": list(scored),
            "scores": [e.scores_NK.tobytes().hex() for e in evaluations],
            "metrics": [json.dumps(metrics_as_dict(e, compute_metrics(e))) for e in evaluations],
            "names": [e.names_N for e in evaluations],
            "bad": [bad.name for bad in evaluations[0].bad],
        })  # fmt: skip
    Path(out, f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
