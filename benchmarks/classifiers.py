"""What each ingredient of the classifier of `i3d train` brings: top-1 of held-out clips on several sets.

python benchmarks/classifiers.py results fights/index.csv weizmann/index.csv build/tour/clips/clips.csv ...

Features of the shipped network, on this machine's processor. A list with a split `test` is fitted on the others and
tested on it; another one is divided into five folds by group, four times. Results: classifiers-MACHINE.csv and .md.

Minutes are those of two cores: the time that all cores were used, divided by two.
Letters in names: N clips, W clips of a video, V views, C channels, K classes.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from result_files import machine_name, result_path, write_csv

from i3d.data import read_annotations
from i3d.data.annotations import SPLITS, Annotations
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.data.loading.loader import ClipLoader
from i3d.data.split import find_groups
from i3d.evaluation.metrics import calibration_error
from i3d.evaluation.scoring import softmax
from i3d.finetuning.classifier import DesignMatrix
from i3d.finetuning.mirrored_classes import mirror_rule
from i3d.finetuning.options import HeadKind
from i3d.finetuning.selection import fit_candidate, select_classifier
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import network_input
from i3d.recipes.settings import ClipProtocol
from i3d.recipes.training import Loss
from i3d.utils.device import ComputeConfig
from i3d.weights.load import build_model, load_weights
from i3d.weights.pretrained import DEFAULT

FPS, DRAWS, FOLDS = 25.0, 4, 5
Floats = npt.NDArray[np.float64]
Features = dict[tuple[str, bool, str], Floats]  # (N, W, C) by frames, mirroring, and map with its pooling
Fit = Callable[[Floats, DesignMatrix], Floats]  # features (N, V, C) to score, rows to fit on -> probabilities (N, K)


@dataclass(frozen=True)
class Ingredients:
    """One row of the table: what is read, and by which classifier."""

    name: str
    frames: str | tuple[str, ...]  # frames x stride: "32x2", "64x1" or "windows"; of several, all features together
    mirrored: bool
    features: tuple[str, ...]
    root: bool = False
    classifier: HeadKind | str = "linear"

    @property
    def read(self) -> tuple[str, ...]:
        """The kinds of frames."""
        return (self.frames,) if isinstance(self.frames, str) else self.frames


MAXIMA: Final = ("Mixed_4f max", "Mixed_5c max")
ROWS: Final = (
    Ingredients("mean of the last map, 32 frames of stride 2", "32x2", False, ("Mixed_5c mean",)),
    Ingredients("... 64 frames of stride 1", "64x1", False, ("Mixed_5c mean",)),
    Ingredients("... and the mirror image", "64x1", True, ("Mixed_5c mean",)),
    Ingredients("... and its root", "64x1", True, ("Mixed_5c mean",), root=True),
    Ingredients("maxima of the last map, mirror image", "64x1", True, ("Mixed_5c max",)),
    Ingredients("... of both maps", "64x1", True, MAXIMA),
    Ingredients("... and their root (the default)", "64x1", True, MAXIMA, root=True, classifier="auto"),
    Ingredients("the default at two rates", ("64x1", "32x2"), True, MAXIMA, root=True, classifier="auto"),
    Ingredients(
        "the default on three windows of half the length", "windows", True, MAXIMA, root=True, classifier="auto"
    ),
    Ingredients("the default without the mirror image", "64x1", False, MAXIMA, root=True, classifier="auto"),
    Ingredients("the default with a linear classifier", "64x1", True, MAXIMA, root=True, classifier="linear"),
    Ingredients("the default with class means", "64x1", True, MAXIMA, root=True, classifier="prototype"),
    Ingredients("the default with shrinkage LDA", "64x1", True, MAXIMA, root=True, classifier="lda"),
    Ingredients("the default with an RBF SVM", "64x1", True, MAXIMA, root=True, classifier="svm"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("lists", type=Path, nargs="+", help="lists of clips; the folder of each is its name")
    parser.add_argument("--features", type=Path, help="folder that keeps extracted features, for another run")
    asked = parser.parse_args()
    rows: list[dict[str, object]] = [{"classifier": ingredients.name} for ingredients in ROWS]
    threads = torch.get_num_threads()
    out = result_path(asked.out, "classifiers", threads=threads).with_suffix(".csv")
    for path in asked.lists:
        annotations, name = read_annotations(path), list_name(path)
        features, minutes = saved_features(annotations, asked.features and asked.features / f"{name}.npz")
        for row, ingredients in zip(rows, ROWS, strict=True):
            result = judge(annotations, features, ingredients)
            result["minutes"] = result.pop("seconds") / 60 + sum(
                minutes[frames] * (1 if ingredients.mirrored else 0.5) for frames in ingredients.read
            )
            row |= {f"{name} {key}": round(float(value), 4) for key, value in result.items()}
            print(name, ingredients.name, result, flush=True)
        write_csv(out, rows)
    print(f"{machine_name(threads)}: {out}")


def list_name(path: Path) -> str:
    """fights of fights/index.csv, tour of tour/clips/clips.csv."""
    return path.parent.parent.name if path.stem == path.parent.name else path.parent.name


def saved_features(annotations: Annotations, path: Path | None) -> tuple[Features, dict[str, float]]:
    """The features of a set, and the minutes that both cores took for each kind of frames; from a file if it exists."""
    if path is None or not path.exists():
        features, minutes = extract(annotations)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = {"|".join(map(str, key)): values.astype(np.float32) for key, values in features.items()}
            np.savez(path, **arrays, **{f"minutes|{frames}": np.array(value) for frames, value in minutes.items()})
        return features, minutes
    features, minutes = {}, {}
    for key, values in np.load(path).items():
        first, *rest = key.split("|")
        if first == "minutes":
            minutes[rest[0]] = float(values)
        else:
            features[first, rest[0] == "True", rest[1]] = values.astype(np.float64)
    return features, minutes


def extract(annotations: Annotations) -> tuple[Features, dict[str, float]]:
    """Features (N, W, C) by frames, mirroring, and map with its pooling; and minutes by frames."""
    weights = load_weights(DEFAULT)
    pre = weights.card.recipe.preprocessing
    engine = Engine.create(build_model(weights), ComputeConfig(precision="auto"), device=torch.device("cpu"))
    features: dict[tuple[str, bool, str], dict[int, list[npt.NDArray[np.float32]]]] = {}
    minutes = {}
    for frames, protocol in protocols(annotations).items():
        before = core_seconds()
        loader = ClipLoader(ClipDataset(annotations, TestView(protocol, pre)), batch_size=1, num_workers=1)
        for batch in loader.batches():
            views = batch.views_N[0]
            maps = [dict(pooled_maps(engine, network_input(engine, clip[None], pre))) for clip in views.clips()]
            for place, view in enumerate(views.groups[0]):  # clip by clip, each with its mirror image
                for key, values_C in maps[view].items():
                    of_clips = features.setdefault((frames, bool(place % 2), key), {})
                    of_clips.setdefault(int(batch.indices_N[0]), []).append(values_C)
        minutes[frames] = (core_seconds() - before) / 60 / 2
    stacked = {key: np.stack([of[n] for n in range(len(annotations))]) for key, of in features.items()}
    return {key: values.astype(np.float64) for key, values in stacked.items()}, minutes


def protocols(annotations: Annotations) -> dict[str, ClipProtocol]:
    """The clips of a video that are read, for each kind of frames. Short videos have shorter clips."""
    seconds = np.median([clip_seconds(annotations, index) for index in range(len(annotations))])
    longest = 16 if seconds * FPS <= 20 else 32 if seconds * FPS <= 40 else 64
    common: dict[str, object] = {"target_fps": FPS, "crops": "two"}
    return {
        "64x1": ClipProtocol(clip_len=longest, frame_interval=1, num_clips=1, **common),
        "32x2": ClipProtocol(
            clip_len=min(longest, 32), frame_interval=2 if longest == 64 else 1, num_clips=1, **common
        ),
        "windows": ClipProtocol(clip_len=longest // 2, frame_interval=1, num_clips=3, **common),
    }


def core_seconds() -> float:
    """Seconds of all cores that this process and its ended workers have used."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@torch.inference_mode()
def pooled_maps(engine: Engine, clip_NCTHW: torch.Tensor) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """The mean and the maxima of two maps of one clip."""
    names = engine.net.maxima_of
    for name, map_NCTHW in zip(names, engine.net.maps(clip_NCTHW.to(engine.dtype), names), strict=True):
        yield f"{name} mean", map_NCTHW.float().mean(dim=(2, 3, 4))[0].numpy()
        yield f"{name} max", map_NCTHW.float().amax(dim=(3, 4)).mean(dim=2)[0].numpy()


def clip_seconds(annotations: Annotations, index: int) -> float:
    """The length of a clip by its container."""
    import av

    with av.open(annotations.file(index)) as container:
        return float(container.duration or 0) / av.time_base


def judge(annotations: Annotations, features: Features, ingredients: Ingredients) -> dict[str, float]:
    """Top-1 and the calibration error of held-out clips, the mean of all draws; and the seconds of two cores."""
    with_mirror = ingredients.mirrored and not mirror_rule(annotations.classes)
    views = [
        np.concatenate(
            [features[frames, mirrored, key] for frames in ingredients.read for key in ingredients.features], axis=2
        )
        for mirrored in ((False, True) if with_mirror else (False,))
    ]
    values_NVC = np.concatenate(views, axis=1)
    values_NVC = np.sqrt(np.maximum(values_NVC, 1e-4)) if ingredients.root else values_NVC
    labels_N = np.array([annotations.labels_of(index)[0] for index in range(len(annotations))])
    top1, errors, seconds = [], [], []
    for folds_N in draws(annotations):
        before = core_seconds()
        probabilities_NK = np.full((len(labels_N), len(annotations.classes)), np.nan)
        for fold in range(folds_N.max() + 1):
            held_N = folds_N == fold
            rows = design(values_NVC[~held_N], labels_N[~held_N], annotations, np.flatnonzero(~held_N))
            probabilities_NK[held_N] = FITS[ingredients.classifier](values_NVC[held_N], rows)
        is_held = folds_N >= 0
        top1.append(float((probabilities_NK[is_held].argmax(axis=1) == labels_N[is_held]).mean()))
        errors.append(calibration_error(probabilities_NK[is_held], labels_N[is_held]))
        seconds.append((core_seconds() - before) / 2)
    means = {"top-1": top1, "calibration error": errors, "seconds": seconds}
    return {key: float(np.mean(values)) for key, values in means.items()}


def draws(annotations: Annotations) -> Iterator[npt.NDArray[np.int64]]:
    """Of each draw the fold that holds out each clip; -1: none does."""
    is_test_N = annotations.splits_N == SPLITS.index("test")
    if is_test_N.any():
        yield np.where(is_test_N, 0, -1)
        return
    groups_N, _ = find_groups(annotations)
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(groups_N.max() + 1) % FOLDS
        yield order[groups_N]


def design(
    values_NVC: Floats, labels_N: Floats, annotations: Annotations, indices: npt.NDArray[np.int64]
) -> DesignMatrix:
    groups_N, _ = find_groups(annotations)
    num_views = values_NVC.shape[1]
    return DesignMatrix(
        values_NVC.reshape(-1, values_NVC.shape[2]),
        np.repeat(np.eye(len(annotations.classes))[labels_N], num_views, axis=0),
        np.full(len(labels_N) * num_views, 1 / num_views),
        np.repeat(indices, num_views),
        np.repeat(groups_N[indices], num_views),
    )


def _ours(kind: HeadKind) -> Fit:
    def fit(values_NVC: Floats, rows: DesignMatrix) -> Floats:
        head = fit_candidate(rows, Loss(), select_classifier(rows, Loss(), kind))
        return np.stack([softmax(head.logits(values_VC)).mean(axis=0) for values_VC in values_NVC])

    return fit


def _sklearn(name: str) -> Fit:
    """A classifier of scikit-learn on standardised features (`pip install scikit-learn`)."""

    def fit(values_NVC: Floats, rows: DesignMatrix) -> Floats:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        kinds = {
            "lda": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
            "svm": lambda: CalibratedClassifierCV(SVC(), ensemble=False),
        }
        model = make_pipeline(StandardScaler(), kinds[name]())
        model.fit(rows.features_RC, rows.targets_RK.argmax(axis=1))
        probabilities_RK = model.predict_proba(values_NVC.reshape(-1, values_NVC.shape[2]))
        known_K = np.unique(rows.targets_RK.argmax(axis=1))
        all_NVK = np.zeros((*values_NVC.shape[:2], rows.targets_RK.shape[1]))
        all_NVK[..., known_K] = probabilities_RK.reshape(*values_NVC.shape[:2], -1)
        return all_NVK.mean(axis=1)

    return fit


FITS: Final[Mapping[str, Fit]] = {
    **{kind: _ours(kind) for kind in ("auto", "linear", "prototype")},
    **{name: _sklearn(name) for name in ("lda", "svm")},
}


if __name__ == "__main__":
    main()
