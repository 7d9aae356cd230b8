"""The model card: the metadata that the hub reads, and a text with what the model is, how good, and for what.

Every number is that of a test, with its protocol; without a test there is none. Metadata:
https://huggingface.co/docs/hub/model-cards
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from i3d._version import __version__
from i3d.errors import counted, printable
from i3d.evaluation.confusion import confusions
from i3d.evaluation.intervals import format_interval
from i3d.evaluation.result import Evaluation, Metrics
from i3d.publishing.hub_names import OTHER
from i3d.utils.atomic_files import ASSETS, write_atomically
from i3d.weights.checkpoint import Card

CARD: Final = "README.md"
TASK: Final = "video-classification"
MOST_CONFUSED: Final = 10  # pairs of classes in the card


@dataclass(frozen=True)
class CardFacts:
    """What the card has beside the checkpoint and its test."""

    title: str
    repository: str  # owner/name; "": not known
    licence: str
    base_model: str  # owner/name; "": not on the hub
    num_parameters: int
    num_features: int  # training clips whose features are in the checkpoint
    exports: tuple[str, ...] = ()  # names of files


def write_card(path: Path, card: Card, tested: Sequence[tuple[Evaluation, Metrics]], facts: CardFacts) -> None:
    """Write the card of a checkpoint with the metrics of its tests."""
    metadata = _metadata(card, tested, facts).to_yaml(line_break="\n")
    values = {
        "card": card,
        "facts": facts,
        "version": __version__,
        "exports": facts.exports,
        "tests": [(evaluation, metrics, _confused(evaluation, metrics)) for evaluation, metrics in tested],
    }
    write_atomically(path, f"---\n{metadata}\n---\n\n{_render(values)}".encode())


def _metadata(card: Card, tested: Sequence[tuple[Evaluation, Metrics]], facts: CardFacts) -> ModelCardData:
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=_slug(evaluation.data),
            dataset_name=printable(evaluation.data),
            metric_type="mean_average_precision" if evaluation.multi_label else "accuracy",
            metric_name=f"{'mAP' if evaluation.multi_label else 'top-1'}, {evaluation.name}",
            metric_value=round(metrics.accuracy, 4),
        )
        for evaluation, metrics in tested
    ]
    is_other = facts.licence == OTHER
    return ModelCardData(
        pipeline_tag=TASK,
        library_name="i3d",
        license=facts.licence,
        base_model=facts.base_model or None,
        model_name=facts.title if results else None,
        eval_results=results or None,
        tags=["i3d", "action-recognition", card.recipe.network.kind],
        license_name=_slug(card.licence) if is_other else None,
        license_link=CARD if is_other else None,
    )


def _slug(text: str) -> str:
    """A text as an identifier of the hub: My clips.csv -> my-clips.csv."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def _confused(evaluation: Evaluation, metrics: Metrics) -> list[dict[str, Any]]:
    """The most frequent confusions, with names of classes."""
    if metrics.confusion_KK is None:
        return []
    return [
        {"true": evaluation.classes[pair.true], "predicted": evaluation.classes[pair.predicted],
         "num_clips": pair.num_clips, "fraction": pair.fraction}
        for pair in confusions(metrics.confusion_KK)[:MOST_CONFUSED]
    ]  # fmt: skip


def _render(values: Mapping[str, Any]) -> str:
    """The text in Markdown. In names, what Markdown would take for markup is escaped."""
    page = Environment(
        loader=FileSystemLoader(ASSETS / "publishing"),
        autoescape=False,  # noqa: S701 (Markdown: `name` escapes)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(
        name=lambda text: re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", printable(text)),
        percent=lambda value: f"{100 * value:.1f} %",
        percent_or_dash=lambda value: "–" if value != value else f"{100 * value:.1f} %",
        interval=lambda ends: f"{format_interval(ends, factor=100, digits=1)} %",
        count=lambda number: f"{number:,}",
        counted=counted,
    )
    return page.get_template("model_card.md").render(values) + "\n"
