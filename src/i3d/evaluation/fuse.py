"""`i3d fuse`: fuse the scores of several streams (RGB, flow ...) of the same clips.

    fused = fuse_scores([read_evaluation(Path("rgb.json")), read_evaluation(Path("flow.json"))], weights=[1, 1])

Letters in names: N clips, K classes, S streams.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.errors import InputError, abridged, counted, quoted
from i3d.evaluation.metrics import Scores
from i3d.evaluation.result import BadClip, Evaluation
from i3d.evaluation.scoring import Average

STEPS: Final = {2: 20, 3: 10}  # number of streams -> steps from weight 0 to 1; 5 for more streams
RANGE: Final = re.compile(r" \[[^\[\]]* to [^\[\]]*\]$")  # as `Annotations.name` writes it
Key = tuple[str, int]  # name without suffix, and which of the clips of this name


@dataclass(frozen=True)
class WeightSweep:
    """Fusion weights chosen on held-out clips, and the accuracy of all that were tried there."""

    weights: tuple[float, ...]  # the best
    tried: tuple[tuple[tuple[float, ...], float], ...]  # weights, accuracy
    num_clips: int


def fuse_scores(
    evaluations: Sequence[Evaluation], *, weights: Sequence[float] | None = None, average: Average | None = None
) -> Evaluation:
    """One evaluation of the weighted scores of several streams; by default all weights are equal.

    `average`: "score" adds logits (Carreira & Zisserman 2017), "prob" averages probabilities; by default logits, if
    all streams have them. Clips are matched by their listed names without video suffixes, classes by name. A clip
    that is unreadable in one stream is bad. Raises InputError if the streams list other clips, labels or classes, or
    lack logits.
    """
    streams = align_evaluations(evaluations)
    chosen = tuple(float(weight) for weight in (weights or [1.0] * len(streams)))
    if len(chosen) != len(streams) or min(chosen) < 0 or not 0 < sum(chosen) < float("inf"):
        raise InputError(f"weights {list(chosen)}: give {len(streams)} numbers of at least 0, not all 0")
    kind = _kind(streams, average)
    how = {"score": "logits added", "prob": "probabilities averaged"}
    terms = [f"{weight:g} x ({stream.protocol})" for weight, stream in zip(chosen, streams, strict=True)]
    return replace(
        streams[0],
        name="fused",
        model=" + ".join(stream.model for stream in streams),
        weights_sha256="+".join(stream.weights_sha256 for stream in streams),
        recipe=" + ".join(stream.recipe for stream in streams),
        protocol=f"fused, {how[kind]}: {' + '.join(terms)}",
        data=" + ".join(dict.fromkeys(stream.data for stream in streams)),
        scores_NK=_fused([_scores(stream, kind) for stream in streams], chosen, kind),
        average=kind,
        num_views_N=tuple(sum(counts) for counts in zip(*(s.num_views_N for s in streams), strict=True)),
        gflops=sum(s.gflops or 0.0 for s in streams) if all(s.gflops is not None for s in streams) else None,
        views_N=(),
    )


def sweep_weights(evaluations: Sequence[Evaluation], *, average: Average | None = None) -> WeightSweep:
    """The fusion weights with the highest accuracy on these clips; of equally good ones the most equal weights.

    The accuracy on the same clips is biased: choose the weights on held-out clips (`hold_out`).
    """
    streams = align_evaluations(evaluations)
    kind = _kind(streams, average)
    scores_S = [_scores(stream, kind) for stream in streams]
    steps, tried = STEPS.get(len(streams), 5), []
    for counts in itertools.product(range(steps + 1), repeat=len(streams)):
        if sum(counts) != steps:  # weights sum to 1
            continue
        weights = tuple(count / steps for count in counts)
        fused = replace(streams[0], average=kind, scores_NK=_fused(scores_S, weights, kind), views_N=())
        tried.append((weights, fused.accuracy))
    equal = 1 / len(streams)
    best = min(tried, key=lambda pair: (-pair[1], max(abs(weight - equal) for weight in pair[0])))
    return WeightSweep(best[0], tuple(tried), len(streams[0].files_N))


def hold_out(
    evaluations: Sequence[Evaluation], *, fraction: float = 0.5, seed: int = 0
) -> tuple[list[Evaluation], list[Evaluation]]:
    """The streams on a held-out fraction of the files, to choose weights on, and on the rest.

    Clips of one file stay together.
    """
    streams = align_evaluations(evaluations)
    listed = [clip for _, clip in _listed(streams[0])]
    file_of = [clip.file if isinstance(clip, BadClip) else streams[0].files_N[clip] for clip in listed]
    files = sorted(set(file_of))
    num_chosen = round(fraction * len(files))
    if not 0 < num_chosen < len(files):
        raise InputError(f"--sweep-fraction {fraction:g}: {num_chosen} of {len(files)} files; choose another fraction")
    chosen = {files[n] for n in np.random.default_rng(seed).permutation(len(files))[:num_chosen]}
    halves = []
    for wanted in (True, False):
        clips = [clip for clip, file in zip(listed, file_of, strict=True) if (file in chosen) is wanted]
        rows = [clip for clip in clips if isinstance(clip, int)]
        bad = tuple(replace(clip, place=place) for place, clip in enumerate(clips) if isinstance(clip, BadClip))
        halves.append([replace(stream.select(rows), bad=bad) for stream in streams])
    return halves[0], halves[1]


def check_sweep(chosen_on: Sequence[Evaluation], streams: Sequence[Evaluation]) -> None:
    """Raise InputError unless weights are chosen on other clips, with the same networks in the same order."""
    for number, (other, stream) in enumerate(zip(chosen_on, streams, strict=True), start=1):
        if other.weights_sha256 != stream.weights_sha256:
            what = f"is of other weights than result {number}"
            raise InputError(f"--sweep-on {number}: {what}; give them in the same order")
    held_out, tested = ({str(Path(f).absolute()) for e in some for f in e.files_N} for some in (chosen_on, streams))
    names = [{_stem(name) for name, _ in _listed(some[0])} for some in (chosen_on, streams)]
    if shared := (held_out & tested) or (names[0] if names[0] == names[1] else set()):
        what = f"{counted(len(shared), 'clip is', 'clips are')} in both, such as {min(shared)}"
        raise InputError(f"--sweep-on: {what}; choose weights on other clips")


def check_distinct(evaluations: Sequence[Evaluation], names: Sequence[str]) -> None:
    """An InputError that names two results which are the same: fusing them changes nothing, and looks as if it did."""
    first_of: dict[object, str] = {}
    for evaluation, name in zip(evaluations, names, strict=True):
        scores = (row_K.tobytes() for row_K in evaluation.scores_NK)
        content = (evaluation.protocol, frozenset(zip(evaluation.names_N, scores, strict=True)))
        if content in first_of:
            other = first_of[content]
            twice = "is given twice" if other == name else f"has the same clips and scores as {other}"
            raise InputError(f"{name}: {twice}; give the result of another stream")
        first_of[content] = name


def align_evaluations(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations with the clips and classes in the order of the first; clips unreadable in one are bad in all.

    Other clips, labels or classes are an InputError.
    """
    if len(evaluations) < 2:
        raise InputError(f"fusion needs two results or more, got {len(evaluations)}")
    check_distinct(evaluations, [f"result {number}" for number in range(1, len(evaluations) + 1)])
    first = evaluations[0]
    same = [first, *(_with_classes(other, first) for other in evaluations[1:])]
    clips_S = [_by_key(evaluation) for evaluation in same]
    for number, clips in enumerate(clips_S[1:], start=2):
        for listed, compared, lacks, has in ((clips_S[0], clips, number, 1), (clips, clips_S[0], 1, number)):
            if missing := sorted(set(listed) - set(compared)):
                named = abridged([name for name, _ in missing], 3)
                raise InputError(f"result {lacks}: lacks {counted(len(missing), 'clip')} of result {has}: {named}")
    rows_S: list[list[int]] = [[] for _ in same]
    bad = []
    for place, (key, own) in enumerate(clips_S[0].items()):
        aligned = [clips[key] for clips in clips_S]
        if unreadable := [clip for clip in aligned if isinstance(clip, BadClip)]:
            clip = replace(unreadable[0], place=place)
            if isinstance(own, int):
                clip = BadClip(first.files_N[own], first.names_N[own], first.labels_N[own], clip.reason, place)
            bad.append(clip)
            continue
        for evaluation, rows, n in zip(same, rows_S, aligned, strict=True):
            assert isinstance(n, int)
            rows.append(n)
            if set(evaluation.labels_N[n]) != set(first.labels_N[rows_S[0][-1]]):
                what = f"{key[0]}: has other labels in {evaluation.data}"
                raise InputError(f"{what} than in {first.data}; correct one of the lists")
    if not rows_S[0]:
        raise InputError("no clip is readable in all results")
    counts_bad = any(e.bad_as_wrong for e in same)
    return [
        replace(e.select(rows), bad=tuple(bad), bad_as_wrong=counts_bad) for e, rows in zip(same, rows_S, strict=True)
    ]


def _with_classes(evaluation: Evaluation, first: Evaluation) -> Evaluation:
    """The evaluation with its classes in the order of another."""
    if evaluation.multi_label != first.multi_label:
        raise InputError("classes are multi-label in one result and single-label in another")
    if evaluation.classes == first.classes:
        return evaluation
    if any(len(set(e.classes)) < len(e.classes) for e in (evaluation, first)):
        raise InputError("the results order their classes differently, and class names are duplicated")
    if different := set(first.classes) ^ set(evaluation.classes):
        raise InputError(f"the results have different classes: {quoted(min(different))} is in one only")
    new_K = [first.classes.index(name) for name in evaluation.classes]
    return replace(
        evaluation,
        classes=first.classes,
        scores_NK=evaluation.scores_NK[:, np.argsort(new_K)],
        labels_N=tuple(tuple(new_K[label] for label in labels) for labels in evaluation.labels_N),
        bad=tuple(replace(bad, labels=tuple(new_K[label] for label in bad.labels)) for bad in evaluation.bad),
        views_N=(),
    )


def _by_key(evaluation: Evaluation) -> dict[Key, int | BadClip]:
    """The clips of `_listed`. The key counts clips of the same name."""
    count: dict[str, int] = defaultdict(int)
    clips: dict[Key, int | BadClip] = {}
    for name, clip in _listed(evaluation):
        stem = _stem(name)
        clips[stem, count[stem]] = clip
        count[stem] += 1
    return clips


def _listed(evaluation: Evaluation) -> list[tuple[str, int | BadClip]]:
    """All clips in the order of their list: name, and index among the readable clips or the unreadable clip."""
    bad = {clip.place: (clip.name, clip) for clip in evaluation.bad}
    read = ((name, n) for n, name in enumerate(evaluation.names_N))
    return [bad.get(place) or next(read) for place in range(len(evaluation.names_N) + len(bad))]


def _stem(name: str) -> str:
    """The name of a clip without the suffix of its video: a/b.mp4 [0 s to 3 s] -> a/b [0 s to 3 s]."""
    part = RANGE.search(name)
    path, rest = (name[: part.start()], part[0]) if part else (name, "")
    suffix = Path(path).suffix
    return (path.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else path) + rest


def _kind(streams: Sequence[Evaluation], average: Average | None) -> Average:
    have_logits = [stream.average == "score" or bool(stream.views_N) for stream in streams]
    if average == "score" and not all(have_logits):
        without = streams[have_logits.index(False)]
        raise InputError(
            f"{without.data}: has averaged probabilities and no logits to add; test it again with "
            "--average-clips score, or use --fuse-average prob"
        )
    return average or ("score" if all(have_logits) else "prob")


def _scores(stream: Evaluation, kind: Average) -> Scores:
    """The logits or probabilities of a stream; logits of views are averaged."""
    if kind == "score" and stream.average != "score":
        return np.stack([view.average(kind, multi_label=False) for view in stream.views_N])
    return stream.scores_NK if kind == "score" else stream.probabilities_NK


def _fused(scores_S: Sequence[Scores], weights: Sequence[float], kind: Average) -> Scores:
    """The weighted sum of logits, or the weighted mean of probabilities."""
    added_NK = sum((w * s for w, s in zip(weights, scores_S, strict=True)), start=np.zeros(scores_S[0].shape))
    return added_NK if kind == "score" else added_NK / sum(weights)
