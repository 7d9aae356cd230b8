"""`i3d test`: a model and labelled clips become scores. Read `evaluate` first: load -> open -> sample -> score.

    found = evaluate("run/best.safetensors", read_annotations(Path("clips.csv"), split="test"))
    figures_of(found).top1

Letters in names: N clips, V views, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from i3d.errors import InputError, printable, quoted
from i3d.predict import Precision, check_precision, pick_device
from i3d.results.scoring import average_views

if TYPE_CHECKING:
    import torch

    from i3d.data.annotations import Annotations
    from i3d.data.batch import Views
    from i3d.data.frame_folders import FrameNames, Modality
    from i3d.data.loader import ClipLoader
    from i3d.models.build import I3D
    from i3d.recipes.recipe import Recipe
    from i3d.results.evaluation import Evaluation
    from i3d.results.metrics import Scores
    from i3d.weights.load import Weights

OnClip = Callable[[bool | None], None]
MAX_BAD = 0.01  # of the clips, as in training
MAX_NAMED = 5  # classes


def evaluate(
    model: str | os.PathLike[str] | Weights,
    annotations: Annotations,
    *,
    recipe: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    num_workers: int = 2,
    max_views: int | None = None,
    names: FrameNames | None = None,
    max_bad: float | None = None,
    on_clip: OnClip | None = None,
) -> Evaluation:
    """Score each clip once by the protocol of the model's recipe, as `predict` does; `figures_of` counts.

    `model`: weights of any kind, by name or file, or loaded already; `recipe`: what a foreign file was trained by, if
    it does not tell. Classes are matched by name. `max_views` that run at once (default: 8 clips, or 1 window).
    `names`: of frames. Clips that cannot be read are in `bad`; more than `max_bad` of them (default 1 %), a missing
    file, a class that the model does not have, and scores that are not numbers are an InputError. `on_clip` is told
    of each clip whether it was recognised: None if it could not be read, or if classes go together.
    """
    from i3d.data.dataset import ClipDataset, TestView
    from i3d.data.loader import ClipLoader
    from i3d.weights.load import Weights, load_weights

    picked = pick_device(device)
    check_precision(precision, picked)
    weights = model if isinstance(model, Weights) else load_weights(model, recipe=recipe)
    told = weights.card.origin.get("source", weights.card.recipe.name) if isinstance(model, Weights) else str(model)
    chosen = weights.card.recipe
    numbers_K = match_classes(annotations, weights.card.labels, told)
    check_labels(annotations, chosen)
    modality: Modality = "flow" if chosen.network.in_channels == 2 else "rgb"
    dataset = ClipDataset(
        annotations,
        TestView(chosen.protocol, chosen.preprocessing),
        modality=modality,
        names=names,
        multi_label=chosen.multi_label,
    )
    if dataset.num_channels != chosen.network.in_channels:
        raise InputError(
            f"{printable(annotations.source)}: its frames have {dataset.num_channels} channels, the network of "
            f"{printable(told)} takes {chosen.network.in_channels}; list the other frames, or say --template"
        )
    loader = ClipLoader(
        dataset,
        batch_size=1,
        num_workers=num_workers,
        max_bad=MAX_BAD if max_bad is None else max_bad,
        pin_memory=picked.type == "cuda",
    )
    scorer = Scorer.of(weights, picked, precision, max_views)
    scores = _scores(scorer, loader, numbers_K, on_clip)
    return _evaluation(scorer, loader, scores, numbers_K, told)


@dataclass(frozen=True)
class Scorer:
    """A network on its device, and how views become scores."""

    weights: Weights
    model: I3D
    device: torch.device
    precision: Precision
    max_views: int

    @classmethod
    def of(cls, weights: Weights, device: torch.device, precision: Precision, max_views: int | None) -> Scorer:
        import torch

        from i3d.recipes.settings import WindowProtocol
        from i3d.weights.load import model_of

        if max_views is not None and max_views < 1:
            raise InputError(f"max_views must be at least 1, got {max_views}")
        most = 1 if isinstance(weights.card.recipe.protocol, WindowProtocol) else 8
        model = model_of(weights).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return cls(weights, model, device, precision, max_views or most)

    def scores_of(self, views: Views, name: str) -> Scores:
        """The scores (K) of one video, averaged over its views."""
        import torch

        from i3d.models.forward import autocast, logits_of

        recipe = self.weights.card.recipe
        try:
            with torch.inference_mode(), autocast(self.device, self.precision):
                logits_VK = logits_of(
                    self.model, views, recipe.preprocessing, device=self.device, max_views=self.max_views
                ).numpy()
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{printable(name)}: {self.max_views} views at once are too many for the memory of {self.device}; "
                "use a smaller --max-views"
            ) from error
        if not np.isfinite(logits_VK).all():
            todo = "its weights are damaged" if self.precision == "fp32" else "use --precision fp32"
            raise InputError(f"{printable(name)}: the network gave NaN or infinity in {self.precision}; {todo}")
        average, lengths_V = recipe.protocol.average, views.lengths_V
        return average_views(logits_VK, average=average, weights_V=lengths_V, multi_label=recipe.multi_label).scores_K


def match_classes(annotations: Annotations, labels: tuple[str, ...], model: str) -> tuple[int, ...]:
    """The model's number of each class of a list, by its name; of a list of numbers and as many classes, the same."""
    from i3d.data.labels import clean_label, numbered_labels

    listed = annotations.classes
    are_numbers = listed == numbered_labels(len(listed))
    if listed == labels or (are_numbers and len(listed) == len(labels)):
        return tuple(range(len(listed)))
    number_of = {clean_label(name): number for number, name in reversed(list(enumerate(labels)))}
    missing = [name for name in listed if clean_label(name) not in number_of]
    if not missing:
        return tuple(number_of[clean_label(name)] for name in listed)
    where = f"{printable(annotations.source)}: "
    if are_numbers:
        raise InputError(
            f"{where}numbers its {len(listed)} classes, {printable(model)} has {len(labels)}; name them with --classes"
        )
    named = ", ".join(quoted(name) for name in missing[:MAX_NAMED]) + " ..." * (len(missing) > MAX_NAMED)
    if labels == numbered_labels(len(labels)):
        todo = "its classes have no names: give it some with `i3d convert --labels`"
    else:
        todo = f"it knows {', '.join(quoted(name) for name in labels[:MAX_NAMED])}{' ...' * (len(labels) > MAX_NAMED)}"
    raise InputError(f"{where}{len(missing)} classes that {printable(model)} does not have: {named}; {todo}")


def check_labels(annotations: Annotations, recipe: Recipe) -> None:
    """Every clip has a class; several only where they go together."""
    for index in range(len(annotations)):
        num_labels = len(annotations.labels_of(index))
        where = f"{annotations.where(index)}: {quoted(annotations.path(index))}: "
        if num_labels == 0:
            raise InputError(f"{where}has no label; add one, a test needs it")
        if num_labels > 1 and not recipe.multi_label:
            raise InputError(f"{where}has {num_labels} classes; {recipe.name} names one of each clip, keep one")


def _scores(
    scorer: Scorer, loader: ClipLoader, numbers_K: tuple[int, ...], on_clip: OnClip | None
) -> dict[int, Scores]:
    """The scores of every clip that can be read, by its index."""
    annotations, scores = loader.dataset.annotations, {}
    is_single = not scorer.weights.card.recipe.multi_label
    for batch in loader.batches():
        for index, views in zip(batch.indices_N.tolist(), batch.views_N, strict=True):
            scores[index] = scores_K = scorer.scores_of(views, annotations.file(index))
            if on_clip is not None:
                on_clip(int(scores_K.argmax()) == numbers_K[annotations.labels_of(index)[0]] if is_single else None)
        for _ in batch.bad if on_clip is not None else ():
            on_clip(None)  # type: ignore[misc]
    if not scores:
        first = next(iter(loader.bad.values()))
        raise InputError(f"none of the {len(annotations)} clips can be read; the first: {first.reason}")
    return scores


def _evaluation(
    scorer: Scorer, loader: ClipLoader, scores: dict[int, Scores], numbers_K: tuple[int, ...], told: str
) -> Evaluation:
    from i3d.results.evaluation import BadClip, Evaluation

    annotations, card = loader.dataset.annotations, scorer.weights.card
    read = sorted(scores)

    def labels(index: int) -> tuple[int, ...]:
        return tuple(numbers_K[label] for label in annotations.labels_of(index))

    return Evaluation(
        model=told,
        weights_sha256=scorer.weights.sha256,
        recipe=card.recipe.name,
        protocol=f"{card.recipe.protocol_line}; {scorer.precision}",
        data=annotations.source,
        classes=card.labels,
        files_N=tuple(annotations.file(index) for index in read),
        labels_N=tuple(labels(index) for index in read),
        scores_NK=np.stack([scores[index] for index in read]),
        are_probabilities=card.recipe.protocol.average == "prob",
        multi_label=card.recipe.multi_label,
        bad=tuple(
            BadClip(annotations.file(index), labels(index), bad.reason) for index, bad in sorted(loader.bad.items())
        ),
    )
