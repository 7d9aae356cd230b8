"""`i3d test`: a model and labelled clips become scores. Read `evaluate_each` first: load -> open -> score -> gather.

    found = evaluate("run/best.safetensors", read_annotations(Path("clips.csv"), split="test"))
    compute_metrics(found).top1

Letters in names: N clips, V views, R rows, K classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.data.resume import Resume
from i3d.errors import InputError, printable
from i3d.evaluation.class_matching import check_labels, match_classes
from i3d.evaluation.result import BadClip, Evaluation, Part, ViewLogits
from i3d.evaluation.resume import ClipScores, ScoreCache, decode_scores, encode_scores
from i3d.evaluation.scorer import Scorer, Variant, averaged
from i3d.models.flops import mean_gflops
from i3d.recipes.protocols import protocol_name, with_average, with_protocol, with_test_settings
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import WindowProtocol
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.distributed import World, init_world, local_device
from i3d.weights.load import Weights, load_weights

OnClip = Callable[[bool | None], None]
MAX_BAD = 0.01  # of the clips, as in training


def evaluate(
    model: str | os.PathLike[str] | Weights,
    annotations: Annotations,
    *,
    recipe: str | None = None,
    compute: ComputeConfig | None = None,
    max_views: int | None = None,
    naming: FrameNaming | None = None,
    max_bad: float | None = None,
    on_clip: OnClip | None = None,
) -> Evaluation:
    """Score each clip once by the protocol of the model's recipe, as `predict` does; `compute_metrics` counts.

    `max_views` run at once. The rest, and the errors, are those of `evaluate_each`.
    """
    (found,) = evaluate_each(
        model,
        annotations,
        recipe=recipe,
        compute=compute,
        max_views=max_views,
        naming=naming,
        max_bad=max_bad,
        on_clip=on_clip,
    )
    return found


def evaluate_each(
    model: str | os.PathLike[str] | Weights,
    annotations: Annotations,
    *,
    variants: Sequence[Variant] = (),
    recipe: str | None = None,
    compute: ComputeConfig | None = None,
    max_views: int | None = None,
    naming: FrameNaming | None = None,
    max_bad: float | None = None,
    keep_views: bool = False,
    resume: Resume | None = None,
    seed: int = 0,
    called: str = "",
    on_clip: OnClip | None = None,
    on_known: Callable[[int], None] = lambda _: None,
) -> tuple[Evaluation, ...]:
    """Score each clip once by each variant (`variants_of`; default: the recipe's protocol), decoding it once.

    `model`: weights of any kind, by name or file, or loaded already; `recipe`: what a foreign file was trained by, if
    it does not tell. Classes are matched by name. `naming`: of frames. Clips that cannot be read are in `bad`; more
    than `max_bad` of them (default 1 %), a missing file, a class that the model does not have, and scores that are
    not numbers are an InputError. `keep_views` keeps the logits of every view. `resume`: where what is done is noted.
    Under torchrun each process scores its share, and all get all. `seed`: of shuffled frames. `called`: what the
    model is to be called. `on_clip` is told of each clip whether it was recognised by the first variant: None if it
    could not be read, or if classes go together; `on_known` how many clips were done before.
    """

    compute = compute or ComputeConfig()
    picked = pick_device(local_device(compute.device))
    weights = model if isinstance(model, Weights) else load_weights(model, recipe=recipe)
    source = weights.card.origin.get("source", weights.card.recipe.name) if isinstance(model, Weights) else str(model)
    told = called or source
    chosen = tuple(variants) or variants_of(weights)
    scorer = Scorer.create(
        weights,
        chosen,
        compute=compute,
        device=picked,
        max_views=max_views,
        keep_views=keep_views,
        seed=seed,
    )
    numbers_K = match_classes(annotations, weights.card.labels, told)
    test = _Test(scorer, weights, annotations, numbers_K, told, MAX_BAD if max_bad is None else max_bad, compute.cache)
    dataset = test.dataset(naming)
    world = init_world(picked)
    settings = {**test.settings, "names": None if naming is None else [naming.template, naming.first]}
    settings |= {"form": resume.form if resume else ""}
    score_cache = ScoreCache(resume, settings, annotations, world=world)
    try:
        known = score_cache.load()  # the same on every rank
        on_known(len(known))
        scores, bad = test.run(dataset, score_cache, known, world, compute.num_workers, on_clip)
    finally:
        score_cache.close()
    return tuple(test.evaluation(variant, scores, bad, dataset) for variant in chosen)


def variants_of(
    weights: Weights, *, protocols: Sequence[str] = (), average: str | None = None, settings: Sequence[str] = ()
) -> tuple[Variant, ...]:
    """The ways to test weights: by their own protocol, or by those of short names such as 10x3.

    `average`: "prob" or "score", else as the recipe says; `settings`: `key=value` of the protocol or preprocessing.
    """

    plain = weights.card.recipe
    found = [with_average(recipe, average) for recipe in _recipes(plain, protocols, list(settings))]
    return tuple({name: Variant(name, one) for one in found if (name := protocol_name(one.protocol))}.values())


def _recipes(plain: Recipe, protocols: Sequence[str], settings: list[str]) -> list[Recipe]:
    """The recipe by each protocol, with settings; those of clips are for clips where its own protocol is windows."""

    if not protocols:
        return [with_test_settings(plain, settings)]
    if isinstance(plain.protocol, WindowProtocol):
        return [with_test_settings(with_protocol(plain, name), settings) for name in protocols]
    changed = with_test_settings(plain, settings)
    return [with_protocol(changed, name) for name in protocols]


@dataclass(frozen=True, eq=False)
class _Test:
    """What is tested, and on what."""

    scorer: Scorer
    weights: Weights
    annotations: Annotations
    numbers_K: tuple[int, ...]  # the model's number of each class of the list
    told: str  # what the model is called
    max_bad: float
    cache: Cache | None

    @property
    def settings(self) -> dict[str, Any]:
        """What the scores depend on, besides the clips."""
        s = self.scorer
        return {
            "weights": self.weights.sha256,
            "variants": {v.name: [v.order, json.loads(_settings_of(v))] for v in s.variants},
            "precision": s.engine.requested,
            "device": s.engine.device.type,
            "views": s.keep_views,
            "seed": s.seed,
        }

    def dataset(self, naming: FrameNaming | None) -> ClipDataset:
        """The clips with the views of all protocols. What the network cannot take is an InputError."""

        recipe, (protocol, *others) = self.scorer.variants[0].recipe, self.scorer.protocols
        check_labels(self.annotations, recipe)
        channels = recipe.network.in_channels
        flow = ClipFlow.from_network(recipe.network, recipe.preprocessing, self.cache)
        view = TestView(protocol, recipe.preprocessing, tuple(others))
        dataset = ClipDataset(self.annotations, view, flow=flow, naming=naming, multi_label=recipe.multi_label)
        if dataset.num_channels != channels:
            raise InputError(
                f"{printable(self.annotations.source)}: its frames have {dataset.num_channels} channels, the network "
                f"of {printable(self.told)} takes {channels}; list the other frames, or say --template"
            )
        return dataset

    def run(
        self,
        dataset: ClipDataset,
        score_cache: ScoreCache,
        known: Mapping[int, ClipScores],
        world: World,
        num_workers: int,
        on_clip: OnClip | None,
    ) -> tuple[dict[int, ClipScores], dict[int, str]]:
        """The scores of every clip that can be read, and why the others cannot, by their indices."""

        scores = dict(known)
        left = [index for index in range(len(self.annotations)) if index not in scores]
        loader = ClipLoader(
            dataset,
            batch_size=1,
            num_workers=min(num_workers, len(left)),
            rank=world.rank,
            world_size=world.size,
            max_bad=self.max_bad,
            subset=np.array(left, np.int64),
            pin_memory=self.scorer.engine.device.type == "cuda",
        )
        for index in list(scores)[world.rank :: world.size]:
            self._tell(on_clip, scores[index], index)
        mine = self._score(loader, score_cache, on_clip)
        lines = [json.dumps([index, encode_scores(scored)]) for index, scored in mine.items()]
        lines += [json.dumps([index, bad.reason]) for index, bad in loader.bad.items()]
        bad = {}
        for line in world.all_gather(lines):
            index, found = json.loads(line)
            if isinstance(found, str):
                bad[index] = found
            else:
                scores[index] = decode_scores(found)
        self._check(scores, bad)
        return scores, bad

    def _score(self, loader: ClipLoader, score_cache: ScoreCache, on_clip: OnClip | None) -> dict[int, ClipScores]:
        """The scores of those clips of this rank that are not known yet."""
        found = {}
        for batch in loader.batches():
            for index, views in zip(batch.indices_N.tolist(), batch.views_N, strict=True):
                found[index] = self.scorer(views, self.annotations.file(index), index=index)
                score_cache.add(index, found[index])
                self._tell(on_clip, found[index], index)
            for _ in batch.bad if on_clip is not None else ():
                on_clip(None)  # type: ignore[misc]
        return found

    def _tell(self, on_clip: OnClip | None, scored: ClipScores, index: int) -> None:
        if on_clip is None:
            return
        values_RK = scored[self.scorer.variants[0].name].values_RK
        number = self.numbers_K[self.annotations.labels_of(index)[0]]
        is_right = int(values_RK.mean(axis=0).argmax()) == number
        on_clip(None if self.weights.card.recipe.multi_label else is_right)

    def _check(self, scores: Mapping[int, ClipScores], bad: Mapping[int, str]) -> None:
        num_clips = len(self.annotations)
        if len(scores) + len(bad) != num_clips:
            raise RuntimeError(f"{len(scores)} clips have scores and {len(bad)} are bad, of {num_clips}")
        if not scores:
            raise InputError(f"none of the {num_clips} clips can be read; the first: {next(iter(bad.values()))}")
        if len(bad) > self.max_bad * num_clips:
            raise InputError(
                f"{len(bad)} of {num_clips} clips cannot be read, more than --max-bad {100 * self.max_bad:g}% allows; "
                f"the first: {next(iter(bad.values()))} (`i3d data check` lists all)"
            )

    def evaluation(
        self, variant: Variant, scores: Mapping[int, ClipScores], bad: Mapping[int, str], dataset: ClipDataset
    ) -> Evaluation:
        """What one variant gave, in the order of the list."""

        clips, read = self.annotations, sorted(scores)
        flow = f", {variant.recipe.flow} flow" if dataset.computes_flow else ""
        found = [scores[index][variant.name] for index in read]
        is_whole = self.scorer.keep_views
        rows = [averaged(f.values_RK, f.num_frames_V, variant.recipe) if is_whole else f.values_RK[0] for f in found]

        def labels(index: int) -> tuple[int, ...]:
            return tuple(self.numbers_K[label] for label in clips.labels_of(index))

        return Evaluation(
            name=variant.name,
            model=self.told,
            weights_sha256=self.weights.sha256,
            recipe=variant.recipe.name,
            protocol=f"{variant.line}{flow}; {self.scorer.engine.requested}",
            data=clips.source,
            classes=self.weights.card.labels,
            files_N=tuple(clips.file(index) for index in read),
            names_N=tuple(clips.name(index) for index in read),
            labels_N=tuple(labels(index) for index in read),
            scores_NK=np.stack(rows),
            average=variant.recipe.protocol.average,
            num_views_N=tuple(len(f.num_frames_V) for f in found),
            multi_label=variant.recipe.multi_label,
            bad=tuple(BadClip(clips.file(i), clips.name(i), labels(i), bad[i], i) for i in sorted(bad)),
            gflops=mean_gflops(variant.recipe, [f.num_frames_V for f in found]),
            views_N=tuple(ViewLogits(f.values_RK, f.num_frames_V) for f in found) if is_whole else (),
            parts_N=tuple(
                Part(clip.start_seconds, clip.end_seconds, clip.first_frame, clip.num_frames)
                for clip in map(clips.__getitem__, read)
            ),
            pictures=dataset.naming,
        )


def _settings_of(variant: Variant) -> str:
    return variant.recipe.model_dump_json(include={"name", "network", "preprocessing", "protocol", "multi_label"})
