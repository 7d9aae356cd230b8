"""How many swapped labels the list of suspicious labels of `i3d train` holds.

python benchmarks/swapped_labels.py results fights/index.csv weizmann/index.csv build/tour/clips/clips.csv

One clip in ten gets the label of another class, drawn by a seed, five times. The features and the classifier are those
of the default of `i3d train`. The folds choose their classifier, or have that of all clips, as in large sets.
Results: swapped-labels-MACHINE.csv.

Letters in names: N clips, K classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from classifiers import MAXIMA, Features, design, list_name, saved_features
from result_files import machine_name, result_path, write_csv

from i3d.data import read_annotations
from i3d.data.annotations import Annotations
from i3d.data.split import assign_folds
from i3d.evaluation.scoring import softmax
from i3d.finetuning.classifier import DesignMatrix
from i3d.finetuning.mirrored_classes import mirror_rule
from i3d.finetuning.selection import fit_candidate, select_classifier
from i3d.finetuning.suspicious_labels import known_labels, most_suspicious, rank_labels
from i3d.recipes.training import Loss

DRAWS, FOLDS, SWAPPED = 5, 5, 0.1
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("lists", type=Path, nargs="+", help="lists of clips; the folder of each is its name")
    parser.add_argument("--features", type=Path, help="folder of the features that benchmarks/classifiers.py extracted")
    asked = parser.parse_args()
    threads = torch.get_num_threads()
    out = result_path(asked.out, "swapped-labels", threads=threads).with_suffix(".csv")
    rows: list[dict[str, object]] = []
    for path in asked.lists:
        annotations, name = read_annotations(path), list_name(path)
        features, _ = saved_features(annotations, asked.features and asked.features / f"{name}.npz")
        values_NVC = default_features(annotations, features)
        for chooses in (True, False):
            draws = [measure(annotations, values_NVC, draw, chooses=chooses) for draw in range(DRAWS)]
            means = {key: round(float(np.mean([of[key] for of in draws])), 4) for key in draws[0]}
            least = round(min(of["swapped labels listed"] for of in draws), 4)
            kind = "chosen in each fold" if chooses else "that of all clips"
            rows.append({"clips": name, "classifier": kind, **means, "least of the draws": least})
            print(rows[-1], flush=True)
        write_csv(out, rows)
    print(f"{machine_name(threads)}: {out}")


def default_features(annotations: Annotations, features: Features) -> Floats:
    """What the classifier of `i3d train` reads: roots of the maxima of two maps, also of the mirror image."""
    mirrors = (False,) if mirror_rule(annotations.classes) else (False, True)
    views = [np.concatenate([features["64x1", mirrored, key] for key in MAXIMA], axis=2) for mirrored in mirrors]
    roots_NVC: Floats = np.sqrt(np.maximum(np.concatenate(views, axis=1), 1e-4))
    return roots_NVC


def measure(annotations: Annotations, values_NVC: Floats, draw: int, *, chooses: bool) -> dict[str, float]:
    """Fractions of one draw of swapped labels."""
    true_N = np.array([annotations.labels_of(index)[0] for index in range(len(annotations))])
    labels_N, is_swapped_N = swap(true_N, len(annotations.classes), draw)
    folds_N = assign_folds(annotations, FOLDS, seed=draw)
    probabilities_NK = out_of_fold(annotations, values_NVC, labels_N, folds_N, chooses=chooses)
    labels = [(label,) for label in labels_N.tolist()]
    ranked = rank_labels(
        probabilities_NK, labels, known_labels(labels, folds_N),
        names=[annotations.name(index) for index in range(len(labels))], classes=annotations.classes,
    )  # fmt: skip
    listed = [row.index for row in most_suspicious(ranked)]
    wrong = [row.index for row in ranked if row.looks_wrong]
    num_swapped = int(is_swapped_N.sum())
    return {
        "swapped labels listed": float(is_swapped_N[listed].sum() / num_swapped),
        "swapped labels that look wrong": float(is_swapped_N[wrong].sum() / num_swapped),
        "labels that look wrong": len(wrong) / len(labels),
        "swapped of those that look wrong": float(is_swapped_N[wrong].mean()) if wrong else float("nan"),
        "top-1 by the true labels": float((probabilities_NK.argmax(axis=1) == true_N).mean()),
    }


def swap(true_N: Ints, num_classes: int, draw: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Labels of which a tenth is that of another class, and which ones these are."""
    random = np.random.default_rng((draw, 0x5A9))
    is_swapped_N = np.zeros(len(true_N), bool)
    is_swapped_N[random.permutation(len(true_N))[: round(SWAPPED * len(true_N))]] = True
    others_N = (true_N + random.integers(1, num_classes, len(true_N))) % num_classes
    return np.where(is_swapped_N, others_N, true_N), is_swapped_N


def out_of_fold(
    annotations: Annotations, values_NVC: Floats, labels_N: Ints, folds_N: Ints, *, chooses: bool
) -> Floats:
    """Probabilities (N, K) of each clip by a classifier of the other folds."""

    def rows_of(chosen_N: npt.NDArray[np.bool_]) -> DesignMatrix:
        return design(values_NVC[chosen_N], labels_N[chosen_N], annotations, np.flatnonzero(chosen_N))

    common = None if chooses else select_classifier(rows_of(folds_N >= 0), Loss(), "auto")
    probabilities_NK = np.zeros((len(labels_N), len(annotations.classes)))
    for fold in range(FOLDS):
        rows = rows_of(folds_N != fold)
        head = fit_candidate(rows, Loss(), common or select_classifier(rows, Loss(), "auto"))
        for index in np.flatnonzero(folds_N == fold):
            probabilities_NK[index] = softmax(head.logits(values_NVC[index])).mean(axis=0)
    return probabilities_NK


if __name__ == "__main__":
    main()
