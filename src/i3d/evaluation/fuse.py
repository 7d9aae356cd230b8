"""`i3d fuse`: the scores of several streams (RGB, flow ...) of the same clips become one.

    fused = fuse([read_evaluation(Path("rgb.json")), read_evaluation(Path("flow.json"))], weights=[1, 1])

Letters in names: N clips, K classes, S streams, W weights that are tried.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.errors import InputError, printable, quoted
from i3d.evaluation.metrics import Scores
from i3d.evaluation.result import BadClip, Evaluation, compute_metrics
from i3d.evaluation.scoring import Average, average_views

MOST_NAMED: Final = 3
STEPS: Final = {2: 20, 3: 10}  # of which the weights of so many streams are multiples; of more, 5
PART: Final = re.compile(r" \[[^\[\]]* to [^\[\]]*\]$")  # as `Annotations.name` writes it
Key = tuple[str, int]


@dataclass(frozen=True)
class Swept:
    """Weights of each stream and how good their fusion is on the clips that they were chosen on."""

    weights: tuple[float, ...]  # the best
    tried: tuple[tuple[tuple[float, ...], float], ...]  # weights, accuracy
    num_clips: int


def fuse(
    evaluations: Sequence[Evaluation], *, weights: Sequence[float] | None = None, of: Average | None = None
) -> Evaluation:
    """One evaluation of the weighted scores of several (default: all the same).

    `of`: "score" adds logits (Carreira & Zisserman 2017), "prob" takes the mean of probabilities; default: logits, if
    all streams have them. Clips are matched by their listed names without the suffixes of videos, classes by name. A
    clip that one stream could not read is bad; one that a stream does not list, other labels, other classes, and
    logits that a stream does not have, are an InputError.
    """
    streams = aligned(evaluations)
    chosen = tuple(float(weight) for weight in (weights or [1.0] * len(streams)))
    if len(chosen) != len(streams) or min(chosen) < 0 or not 0 < sum(chosen) < float("inf"):
        raise InputError(f"weights {list(chosen)}: give {len(streams)} numbers of at least 0, not all 0")
    kind = _kind(streams, of)
    first = streams[0]
    return replace(
        first,
        name="fused",
        model=" + ".join(stream.model for stream in streams),
        weights_sha256="+".join(stream.weights_sha256 for stream in streams),
        recipe=" + ".join(stream.recipe for stream in streams),
        protocol=_protocol(streams, chosen, kind),
        data=" + ".join(dict.fromkeys(stream.data for stream in streams)),
        scores_NK=_fused([_scores(stream, kind) for stream in streams], chosen, kind),
        average=kind,
        num_views_N=tuple(sum(counts) for counts in zip(*(s.num_views_N for s in streams), strict=True)),
        gflops=sum(s.gflops or 0.0 for s in streams) if all(s.gflops is not None for s in streams) else None,
        views_N=(),
    )


def sweep(evaluations: Sequence[Evaluation], *, of: Average | None = None) -> Swept:
    """The weights whose fusion recognises most of these clips; of equally good ones those that are nearest to equal.

    What they give on the same clips is not to be reported: choose them on others (`halves`).
    """
    streams = aligned(evaluations)
    kind = _kind(streams, of)
    scores_S = [_scores(stream, kind) for stream in streams]
    tried = []
    for weights in _grid(len(streams)):
        figures = compute_metrics(
            replace(streams[0], average=kind, scores_NK=_fused(scores_S, weights, kind), views_N=())
        )
        accuracy = figures.top1 if figures.top1 is not None else figures.mean_average_precision
        tried.append((weights, float(accuracy or 0.0)))
    equal = 1 / len(streams)
    best = min(tried, key=lambda pair: (-pair[1], max(abs(weight - equal) for weight in pair[0])))
    return Swept(best[0], tuple(tried), len(streams[0].files_N))


def halves(
    evaluations: Sequence[Evaluation], *, share: float = 0.5, seed: int = 0
) -> tuple[list[Evaluation], list[Evaluation]]:
    """The streams on a share of the files to choose weights on, and on the others; parts of one file stay together."""
    streams = aligned(evaluations)
    files = sorted({*streams[0].files_N, *(clip.file for clip in streams[0].bad)})
    num_chosen = round(share * len(files))
    if not 0 < num_chosen < len(files):
        raise InputError(f"held out are {num_chosen} of {len(files)} files; leave some on either side")
    chosen = {files[n] for n in np.random.default_rng(seed).permutation(len(files))[:num_chosen]}
    found = []
    for wanted in (True, False):
        rows = [n for n, file in enumerate(streams[0].files_N) if (file in chosen) is wanted]
        bad = [clip for clip in streams[0].bad if (clip.file in chosen) is wanted]
        kept = sorted([*(_places(streams[0])[n] for n in rows), *(clip.place for clip in bad)])
        renumbered = tuple(replace(clip, place=kept.index(clip.place)) for clip in bad)
        found.append([replace(stream.select(rows), bad=renumbered) for stream in streams])
    return found[0], found[1]


def check_sweep(chosen_on: Sequence[Evaluation], streams: Sequence[Evaluation]) -> None:
    """Weights are chosen on other clips than those whose figures are told, by the same networks in the same order."""
    for number, (other, stream) in enumerate(zip(chosen_on, streams, strict=True), start=1):
        if other.weights_sha256 != stream.weights_sha256:
            what = f"is of other weights than result {number}"
            raise InputError(f"--sweep-on {number}: {what}; give them in the same order")
    here, there = ({str(Path(file).absolute()) for e in some for file in e.files_N} for some in (chosen_on, streams))
    names = [{_stem(name) for name, _ in _listed(some[0])} for some in (chosen_on, streams)]
    if shared := (here & there) or (names[0] if names[0] == names[1] else set()):
        name = printable(min(shared))
        raise InputError(f"--sweep-on: {len(shared)} clips are in both, such as {name}; choose weights on other clips")


def _places(evaluation: Evaluation) -> list[int]:
    """Where the clips that could be read are in their list."""
    return [place for place, (_, n) in enumerate(_listed(evaluation)) if n >= 0]


def aligned(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations with the same clips and classes in the order of the first; clips that one could not read are bad.

    What does not fit is an InputError.
    """
    if len(evaluations) < 2:
        raise InputError("fusion is of two results or more")
    first = evaluations[0]
    same = [first, *(_with_classes(other, first) for other in evaluations[1:])]
    keys_S = [_keys(evaluation) for evaluation in same]
    for number, keys in enumerate(keys_S[1:], start=2):
        _check_same(number, keys_S[0], keys)
    readable = [key for key, n in keys_S[0].items() if n >= 0 and all(keys[key] >= 0 for keys in keys_S)]
    if not readable:
        raise InputError("no clip could be read in all the results")
    bad = _bad(same, keys_S)
    for evaluation, keys in zip(same[1:], keys_S[1:], strict=True):
        for key in readable:
            if set(evaluation.labels_N[keys[key]]) != set(first.labels_N[keys_S[0][key]]):
                what = f"{printable(key[0])}: has other labels in {printable(evaluation.data)}"
                raise InputError(f"{what} than in {printable(first.data)}; mend one list")
    rows_S = [[keys[key] for key in readable] for keys in keys_S]
    return [replace(e.select(rows), bad=bad) for e, rows in zip(same, rows_S, strict=True)]


def _with_classes(evaluation: Evaluation, first: Evaluation) -> Evaluation:
    """The evaluation with its classes in the order of another."""
    if evaluation.multi_label != first.multi_label:
        raise InputError("classes go together in one of the results and exclude each other in another")
    if evaluation.classes == first.classes:
        return evaluation
    number_of = {name: k for k, name in enumerate(evaluation.classes)}
    if len(number_of) < len(evaluation.classes) or len(set(first.classes)) < len(first.classes):
        raise InputError("the results have their classes in other orders, and names that are there twice")
    lacking = [name for name in first.classes if name not in number_of]
    if lacking or len(evaluation.classes) != len(first.classes):
        name = lacking[0] if lacking else next(n for n in evaluation.classes if n not in first.classes)
        raise InputError(f"the results are of other classes: {quoted(name)} is in one only")
    places_K = [number_of[name] for name in first.classes]
    new_K = {old: new for new, old in enumerate(places_K)}
    return replace(
        evaluation,
        classes=first.classes,
        scores_NK=evaluation.scores_NK[:, places_K],
        labels_N=tuple(tuple(new_K[label] for label in labels) for labels in evaluation.labels_N),
        bad=tuple(replace(bad, labels=tuple(new_K[label] for label in bad.labels)) for bad in evaluation.bad),
        views_N=(),
    )


def _keys(evaluation: Evaluation) -> dict[Key, int]:
    """Where each clip is, -1 if it could not be read; the k-th of the same name in the list has k."""
    seen: dict[str, int] = defaultdict(int)
    keys: dict[Key, int] = {}
    for name, n in _listed(evaluation):
        stem = _stem(name)
        keys[stem, seen[stem]] = n
        seen[stem] += 1
    return keys


def _listed(evaluation: Evaluation) -> list[tuple[str, int]]:
    """All clips in the order of their list: (name, number among those that could be read, or -1)."""
    bad_at = {bad.place: bad.name for bad in evaluation.bad}
    read = iter(enumerate(evaluation.names_N))
    listed = []
    for place in range(len(evaluation.names_N) + len(bad_at)):
        if place in bad_at:
            listed.append((bad_at[place], -1))
        else:
            n, name = next(read)
            listed.append((name, n))
    return listed


def _stem(name: str) -> str:
    """The name of a clip without the suffix of its video: a/b.mp4 [0 s to 3 s] -> a/b [0 s to 3 s]."""
    part = PART.search(name)
    path, rest = (name[: part.start()], part[0]) if part else (name, "")
    suffix = Path(path).suffix
    return (path.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else path) + rest


def _check_same(number: int, keys: dict[Key, int], others: dict[Key, int]) -> None:
    for there, here, lacks, has in ((keys, others, number, 1), (others, keys, 1, number)):
        if missing := sorted(there.keys() - here.keys()):
            named = ", ".join(printable(name) for name, _ in missing[:MOST_NAMED])
            more = " ..." if len(missing) > MOST_NAMED else ""
            raise InputError(f"result {lacks}: lacks {len(missing)} clips of result {has}: {named}{more}")


def _bad(same: Sequence[Evaluation], keys_S: Sequence[dict[Key, int]]) -> tuple[BadClip, ...]:
    """The clips that some stream could not read, where the first lists them."""
    first, found = same[0], []
    bad_of = [
        dict(zip([k for k, n in keys.items() if n < 0], e.bad, strict=True))
        for e, keys in zip(same, keys_S, strict=True)
    ]
    for place, key in enumerate(keys_S[0]):
        lost = next((bad[key] for bad in bad_of if key in bad), None)
        if lost is None:
            continue
        n = keys_S[0][key]
        if n >= 0:
            lost = BadClip(first.files_N[n], first.names_N[n], first.labels_N[n], lost.reason, place)
        found.append(replace(lost, place=place))
    return tuple(found)


def _kind(streams: Sequence[Evaluation], of: Average | None) -> Average:
    have_logits = [stream.average == "score" or bool(stream.views_N) for stream in streams]
    if of == "score" and not all(have_logits):
        lacking = streams[have_logits.index(False)]
        raise InputError(
            f"{printable(lacking.data)}: has averaged probabilities, no logits to add; test it again with "
            "--average-clips score, or fuse probabilities (--fuse-average prob)"
        )
    return of or ("score" if all(have_logits) else "prob")


def _scores(stream: Evaluation, kind: Average) -> Scores:
    """The logits or probabilities; logits of views are averaged as they are asked for."""
    if kind == "score" and stream.average != "score":
        rows = [average_views(v.logits_VK, average="score", weights_V=v.num_frames_V).scores_K for v in stream.views_N]
        return np.stack(rows)
    return stream.scores_NK if kind == "score" else stream.probabilities_NK


def _fused(scores_S: Sequence[Scores], weights: Sequence[float], kind: Average) -> Scores:
    """Logits are added; of probabilities, the mean is one again."""
    added_NK: Scores = np.zeros(scores_S[0].shape)
    for scores_NK, weight in zip(scores_S, weights, strict=True):
        added_NK += weight * scores_NK
    return added_NK if kind == "score" else added_NK / sum(weights)


def _protocol(streams: Sequence[Evaluation], weights: Sequence[float], kind: Average) -> str:
    how = {"score": "logits added", "prob": "probabilities averaged"}
    parts = [f"{weight:g} x ({stream.protocol})" for weight, stream in zip(weights, streams, strict=True)]
    return f"fused, {how[kind]}: {' + '.join(parts)}"


def _grid(num_streams: int) -> list[tuple[float, ...]]:
    """Weights that add up to 1."""
    steps = STEPS.get(num_streams, 5)
    counts = itertools.product(range(steps + 1), repeat=num_streams)
    return [tuple(count / steps for count in row) for row in counts if sum(row) == steps]
