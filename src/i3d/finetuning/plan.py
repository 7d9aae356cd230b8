"""From the weights to start from and the clips to a recipe: what `choices` decides, and what the user sets besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from i3d.errors import InputError, quoted
from i3d.finetuning.defaults import Choice, DatasetStats, FinetuneOptions, Plan, choose
from i3d.finetuning.inspect_data import DatasetSummary
from i3d.models.factory import build_meta_network
from i3d.recipes.io import with_overrides
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, NetworkSettings
from i3d.utils.device import has_amx
from i3d.weights.load import Weights

FITTED = ("augmentation", "sampling", "loss", "balance", "precision")  # settings that the classifier alone heeds


@dataclass(frozen=True)
class Planned:
    """A plan, the recipe that it makes, and why it is so."""

    plan: Plan
    recipe: Recipe
    choices: tuple[Choice, ...]


def make_plan(
    seen: DatasetSummary,
    weights: Weights,
    init: str,
    asked: FinetuneOptions,
    *,
    device: torch.device,
    settings: Sequence[str],
    multi_label: bool,
) -> Planned:
    """Choose for these clips, and write it as a recipe of the network that the weights are of."""
    start, annotations = weights.card.recipe, seen.clips.annotations
    to_train = annotations.select(annotations.splits_N <= 0)
    facts = DatasetStats(
        classes=annotations.classes,
        counts_K=tuple(to_train.class_counts_K.tolist()),
        seconds=seen.seconds,
        num_frames=seen.num_frames,
        device=device.type,
        has_fast_bf16=has_amx(),
        preprocessing=start.preprocessing,
        is_rgb=start.network.in_channels == 3,
        multi_label=multi_label,
    )
    plan, choices = choose(facts, asked)
    network = start.network.model_copy(update={"num_classes": len(annotations.classes)})
    frozen = before_last(network) if plan.mode == "last" else ()
    made = Recipe(
        name=f"finetune_{plan.mode}",
        network=network,
        preprocessing=start.preprocessing,
        protocol=plan.protocol,
        dataset="",
        training=plan.training.model_copy(update={"init": init, "freeze": frozen}),
        multi_label=multi_label,
    )
    recipe = with_overrides(made, settings)
    for key, _, value in (setting.partition("=") for setting in settings):
        choices.append(Choice(key, value, "as you say", "--set"))
    if plan.mode == "head":
        _check_settings(settings)
    if recipe.training is None:
        raise InputError("--set training: there is nothing to train by without it; leave it out")
    if not isinstance(recipe.protocol, ClipProtocol):
        raise InputError(
            "--set protocol: fine-tuning fits and tests on clips, not on windows; set clip_len, num_clips ..."
        )
    plan = replace(plan, training=recipe.training, protocol=recipe.protocol, precision=recipe.training.precision)
    return Planned(plan, recipe, tuple(choices))


def _check_settings(settings: Sequence[str]) -> None:
    """Settings of steps have no meaning where the classifier alone is fitted."""
    for setting in settings:
        section, _, name = setting.partition("=")[0].partition(".")
        if section == "training" and name.split(".")[0] not in FITTED:
            raise InputError(
                f"{quoted(setting)}: the classifier alone is fitted to its optimum; say --finetune last or all"
            )


def before_last(network: NetworkSettings) -> tuple[str, ...]:
    """Prefixes of the state-dict keys that are frozen while the last layers train."""
    net = build_meta_network(network)
    return net.stages[: -net.num_last_stages]
