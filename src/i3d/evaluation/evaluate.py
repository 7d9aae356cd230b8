"""`i3d test`: score labelled clips with a model. Read `evaluate_protocols` first: load, open, score, gather.

    evaluation = evaluate("run/best.safetensors", read_annotations(Path("clips.csv"), split="test"))
    compute_metrics(evaluation).top1

Letters in names: N clips, V views, R rows, K classes.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.content import CHANGED
from i3d.data.labels import check_numbers, clean_label, is_numbered
from i3d.data.loading.batch import UnreadableClip
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.data.resume import Resume
from i3d.errors import InputError, VideoError, abridged, counted, printable, quoted
from i3d.evaluation.result import BadClip, ClipRange, Evaluation, ViewLogits
from i3d.evaluation.resume import ScoreCache, decode_scores, encode_scores
from i3d.evaluation.scorer import EvaluationOptions, EvaluationProtocol, ProtocolScores, Scorer
from i3d.models.flops import mean_gflops
from i3d.recipes.names import MINDSPORE
from i3d.recipes.protocols import protocol_name, with_average, with_protocol, with_test_settings
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import WindowProtocol
from i3d.utils.arguments import checks_types
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.distributed import World, init_world, local_device
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.flow import describe_cost
from i3d.weights.load import Weights, load_weights

MAX_NAMED: Final = 5  # classes in a message
RECIPE_FIELDS: Final = {"name", "network", "preprocessing", "protocol", "multi_label"}  # that scores depend on

log = logging.getLogger("i3d")


@checks_types
def evaluate(
    model: str | os.PathLike[str] | Weights,
    annotations: Annotations,
    options: EvaluationOptions | None = None,
    *,
    recipe: str | None = None,
    compute: ComputeConfig | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> Evaluation:
    """Score each clip once by one protocol, by default that of the model's recipe, as `predict` does.

    `compute_metrics` gives the metrics. Parameters and errors are those of `evaluate_protocols`.
    """
    (evaluation,) = evaluate_protocols(
        model, annotations, options, recipe=recipe, compute=compute, on_progress=on_progress
    )
    return evaluation


@checks_types
def evaluate_protocols(
    model: str | os.PathLike[str] | Weights,
    annotations: Annotations,
    options: EvaluationOptions | None = None,
    *,
    recipe: str | None = None,
    compute: ComputeConfig | None = None,
    resume: Resume | None = None,
    model_name: str = "",
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[Evaluation, ...]:
    """Score each clip once by each protocol of the options; each clip is decoded once.

    `model`: weights by name or file, or loaded; `model_name`: its name in the results; `recipe`: the recipe of a
    weights file that does not record one. Classes are matched by name. `resume`: the output file whose log stores
    the scores. Under torchrun each rank scores its fraction of the clips, and every rank returns all scores.
    `on_progress` receives the clips of this rank and their running top-1 accuracy by the first protocol.

    Unreadable clips are in `bad`. Raises InputError if they are more than `max_bad`, if the model lacks a class of
    the list, if its input has other channels, or if its scores are not finite.
    """
    compute, options = compute or ComputeConfig(), options or EvaluationOptions()
    device = pick_device(local_device(compute.device))
    weights = model if isinstance(model, Weights) else load_weights(model, recipe=recipe, takes_exports=True)
    if not model_name:
        card = weights.card
        model_name = card.origin.get("source", card.recipe.name) if isinstance(model, Weights) else str(model)
    options = replace(options, protocols=options.protocols or select_protocols(weights))
    scorer = Scorer(weights, options, compute=compute, device=device)
    class_map_K = match_classes(annotations, weights.card.labels, model_name)
    evaluator = _Evaluator(scorer, weights, annotations, class_map_K, model_name)
    dataset = evaluator.dataset(compute.cache)
    if dataset.computes_flow and (flow := dataset.flow) is not None:
        cost = describe_cost(flow.method, short_side=flow.short_side)
        log.info("%s; cached in %s", cost, printable(str(flow.cache.folder)))
    world = init_world(device)
    if world.rank == 0 and annotations.classes not in (weights.card.labels, ()) and is_numbered(annotations.classes):
        what = f"its class numbers have no names; they are those of {printable(model_name)}"
        log.info("%s: %s, 0 is %s", printable(annotations.source), what, quoted(weights.card.labels[0]))
    with ScoreCache(resume, evaluator.settings(resume), annotations, world=world) as cache:
        scores = cache.load()
        if scores and resume is not None and world.rank == 0:
            clips = counted(len(annotations), "clip was", "clips were")
            log.info(f"{len(scores)} of {clips} done before ({printable(resume.out.name)})")
        reporter = _Reporter(on_progress, len(range(world.rank, len(annotations), world.size)))
        scores, bad = evaluator.score(dataset, cache, scores, world, compute.num_workers, reporter)
    return tuple(evaluator.evaluation(protocol, scores, bad, dataset) for protocol in options.protocols)


@checks_types
def select_protocols(
    weights: Weights, *, protocols: Sequence[str] = (), average: str | None = None, settings: Sequence[str] = ()
) -> tuple[EvaluationProtocol, ...]:
    """The protocols of short names such as 10x3; without names, the protocol of the recipe.

    `average`: "prob" or "score", by default the recipe's; `settings`: `key=value` of the protocol or preprocessing.
    """
    recipe, settings = weights.card.recipe, list(settings)

    def of_name(name: str) -> Recipe:
        if name == MINDSPORE or isinstance(recipe.protocol, WindowProtocol):  # settings are of clips other than its own
            return with_test_settings(with_protocol(recipe, name), settings)
        return with_protocol(with_test_settings(recipe, settings), name)

    recipes = [of_name(name) for name in protocols] or [with_test_settings(recipe, settings)]
    averaged = [with_average(recipe, average) for recipe in recipes]
    return tuple({name: EvaluationProtocol(name, r) for r in averaged if (name := protocol_name(r.protocol))}.values())


def match_classes(annotations: Annotations, labels: tuple[str, ...], model: str) -> tuple[int, ...]:
    """The model's number of each class of a list, by name. Equally many numbered classes keep their numbers.

    A class that the model lacks is an InputError.
    """
    listed = annotations.classes
    are_numbers = is_numbered(listed)
    if listed == labels:
        return tuple(range(len(listed)))
    if are_numbers and len(listed) == len(labels):
        check_numbers(annotations.source, labels)
        return tuple(range(len(listed)))
    number_of = {clean_label(name): number for number, name in reversed(list(enumerate(labels)))}
    missing = [name for name in listed if clean_label(name) not in number_of]
    if not missing:
        return tuple(number_of[clean_label(name)] for name in listed)
    where = f"{annotations.source}: "
    if are_numbers:
        raise InputError(
            f"{where}numbers its {counted(len(listed), 'class', 'classes')}, {quoted(model)} has {len(labels)}; "
            "name them with --classes"
        )
    if is_numbered(labels):
        remedy = "its classes have no names: add them with `i3d convert --classes`"
    else:
        remedy = f"it has {abridged([*map(quoted, labels)], MAX_NAMED)}"
    raise InputError(
        f"{where}classes that {quoted(model)} does not have: {abridged([*map(quoted, missing)], MAX_NAMED)}; {remedy}"
    )


def check_labels(annotations: Annotations, recipe: Recipe) -> None:
    """Raise InputError unless every clip has a label, and only one if the recipe is single-label."""
    for index in range(len(annotations)):
        num_labels = len(annotations.labels_of(index))
        where = f"{annotations.where(index)}: {quoted(annotations.path(index))}: "
        if num_labels == 0:
            raise InputError(f"{where}has no label; a test needs one")
        if num_labels > 1 and not recipe.multi_label:
            raise InputError(f"{where}has {num_labels} labels; the recipe {quoted(recipe.name)} is single-label")


class _Reporter:
    """Counts clips and their running accuracy for the progress callback."""

    def __init__(self, on_progress: ProgressCallback, total: int) -> None:
        self._on_progress, self._total = on_progress, total
        self._num_clips = self._num_reused = self._num_counted = self._num_correct = 0
        self.part(0.0)

    def clip(self, is_correct: bool | None, *, is_reused: bool = False) -> None:
        """One more clip is done. None: it is unreadable or has several labels, and does not count."""
        self._num_clips += 1
        self._num_reused += is_reused
        if is_correct is not None:
            self._num_counted += 1
            self._num_correct += is_correct
        self.part(0.0)

    def part(self, fraction: float, *, name: str = "") -> None:
        """So much of the next clip is scored."""
        metrics = {"top1": self._num_correct / self._num_counted} if self._num_counted else {}
        completed = self._num_clips + min(fraction, 0.99)
        self._on_progress(Progress("test", completed, self._total, "clip", metrics, name, self._num_reused))


@dataclass(frozen=True, eq=False)
class _Evaluator:
    """A scorer and the clips that it scores."""

    scorer: Scorer
    weights: Weights
    annotations: Annotations
    class_map_K: tuple[int, ...]  # the model's number of each class of the list
    model_name: str

    def settings(self, resume: Resume | None) -> dict[str, Any]:
        """What the scores depend on besides the clips: the key of the resume log."""
        options, engine = self.scorer.options, self.scorer.engine
        naming = options.frame_naming
        return {
            "weights": self.weights.sha256,
            "variants": {
                p.name: [p.order, p.recipe.model_dump(mode="json", include=RECIPE_FIELDS)] for p in options.protocols
            },
            "precision": engine.requested,
            "device": engine.device.type,
            "views": options.save_views,
            "seed": options.seed,
            "names": None if naming is None else [naming.template, naming.first],
            "form": resume.form if resume else "",
            **({"occlude": True} if options.occlude else {}),
        }

    def dataset(self, cache: Cache | None) -> ClipDataset:
        """The clips with the views of all protocols. Frames that the network cannot take are an InputError."""
        options, (protocol, *others) = self.scorer.options, self.scorer.protocols
        recipe = options.protocols[0].recipe
        check_labels(self.annotations, recipe)
        channels = recipe.network.in_channels
        flow = ClipFlow.from_network(recipe.network, recipe.preprocessing, cache)
        view = TestView(protocol, recipe.preprocessing, tuple(others))
        naming, multi_label = options.frame_naming, recipe.multi_label
        dataset = ClipDataset(
            self.annotations, view, seed=options.seed, flow=flow, naming=naming, multi_label=multi_label
        )
        if dataset.num_channels != channels:
            raise InputError(
                f"{self.annotations.source}: its frames have {dataset.num_channels} channels, the network "
                f"of {self.model_name} takes {channels}; list other frames, or set --template"
            )
        return dataset

    def score(
        self,
        dataset: ClipDataset,
        cache: ScoreCache,
        cached: Mapping[int, ProtocolScores],
        world: World,
        num_workers: int,
        reporter: _Reporter,
    ) -> tuple[dict[int, ProtocolScores], dict[int, UnreadableClip]]:
        """The scores of every readable clip, and the unreadable clips, by index."""
        scores, num_clips = dict(cached), len(self.annotations)
        remaining = [index for index in range(num_clips) if index not in scores]
        loader = ClipLoader(
            dataset,
            batch_size=1,
            num_workers=min(num_workers, len(remaining)),
            rank=world.rank,
            world_size=world.size,
            max_bad=self.scorer.options.max_bad,
            subset=np.array(remaining, np.int64),
            pin_memory=self.scorer.engine.device.type == "cuda",
        )
        for index in list(scores)[world.rank :: world.size]:
            reporter.clip(self._is_correct(scores[index], index), is_reused=True)
        lines = []
        stamps = {index: cache.stamp(index) for index in remaining[world.rank :: world.size]}
        for batch in loader.batches():
            for index, views in zip(batch.indices_N.tolist(), batch.views_N, strict=True):
                file = self.annotations.file(index)
                note = next((noted.note for noted in batch.notes if noted.index == index), "")
                on_part = partial(reporter.part, name=file)
                scored = self.scorer(views, file, index=index, labels=self._labels(index), on_part=on_part)
                clip = {name: replace(of_protocol, note=note) for name, of_protocol in scored.items()}
                try:
                    cache.add(index, stamps[index], clip)
                except VideoError:
                    loader.bad[index] = UnreadableClip(index, str(VideoError(file, *CHANGED)))
                    loader.check_bad()
                    reporter.clip(None)
                    continue
                lines.append(json.dumps([index, encode_scores(clip)]))
                reporter.clip(self._is_correct(clip, index))
            for _ in batch.bad:
                reporter.clip(None)
        lines += [json.dumps([index, clip.reason]) for index, clip in loader.bad.items()]
        bad: dict[int, UnreadableClip] = {}
        for index, result in map(json.loads, world.all_gather(lines)):
            if isinstance(result, str):
                bad[index] = UnreadableClip(index, result)
            else:
                scores[index] = decode_scores(result)
        if len(scores) + len(bad) != num_clips:
            raise RuntimeError(f"{len(scores)} clips have scores and {len(bad)} are bad, of {num_clips}")
        if not scores:
            what = f"none of {counted(num_clips, 'clip')} can be read"
            raise InputError(f"{what}; the first: {next(iter(bad.values())).reason}")
        loader.bad = bad  # of all ranks
        loader.check_bad()
        return scores, bad

    def _labels(self, index: int) -> tuple[int, ...]:
        """The model's numbers of the classes of a clip."""
        return tuple(self.class_map_K[label] for label in self.annotations.labels_of(index))

    def _is_correct(self, scores: ProtocolScores, index: int) -> bool | None:
        if self.weights.card.recipe.multi_label:
            return None
        values_RK = scores[self.scorer.options.protocols[0].name].values_RK
        return int(values_RK.mean(axis=0).argmax()) == self._labels(index)[0]

    def evaluation(
        self,
        protocol: EvaluationProtocol,
        scores: Mapping[int, ProtocolScores],
        bad: Mapping[int, UnreadableClip],
        dataset: ClipDataset,
    ) -> Evaluation:
        """The evaluation by one protocol, in the order of the list."""
        clips, indices, recipe = self.annotations, sorted(scores), protocol.recipe
        flow = f", {recipe.flow} flow" if dataset.computes_flow else ""
        seed = f" (seed {self.scorer.options.seed})" if protocol.is_random else ""
        scores_N = [scores[index][protocol.name] for index in indices]
        views_N: tuple[ViewLogits, ...] = ()
        if self.scorer.options.save_views:
            views_N = tuple(ViewLogits(clip.values_RK, clip.num_frames_V) for clip in scores_N)
        averaged = [views.average(recipe.protocol.average, multi_label=recipe.multi_label) for views in views_N]
        curves = [clip.curve for clip in scores_N]
        return Evaluation(
            name=protocol.name,
            model=self.model_name,
            weights_sha256=self.weights.sha256,
            recipe=recipe.name,
            protocol=f"{protocol.line}{seed}{flow}; {self.scorer.engine.requested}",
            data=clips.source,
            classes=self.weights.card.labels,
            files_N=tuple(clips.file(index) for index in indices),
            names_N=tuple(clips.name(index) for index in indices),
            labels_N=tuple(map(self._labels, indices)),
            scores_NK=np.stack(averaged or [clip.values_RK[0] for clip in scores_N]),
            average=recipe.protocol.average,
            num_views_N=tuple(len(clip.num_frames_V) for clip in scores_N),
            multi_label=recipe.multi_label,
            bad=tuple(BadClip(clips.file(i), clips.name(i), self._labels(i), bad[i].reason, i) for i in sorted(bad)),
            gflops=mean_gflops(recipe, [clip.num_frames_V for clip in scores_N]),
            views_N=views_N,
            ranges_N=tuple(ClipRange.from_clip(clips[index]) for index in indices),
            frame_naming=dataset.naming,
            notes_N=tuple(clip.note for clip in scores_N),
            curves_N=tuple(curve for curve in curves if curve is not None),
        )
