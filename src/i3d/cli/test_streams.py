"""The networks of `i3d test`: one, or one of RGB and one of flow whose scores become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from i3d.cli import output
from i3d.cli.options import is_first
from i3d.cli.streams import Fusion, check_flow_choice, checked_streams, flow_method
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.evaluation.result import Evaluation
    from i3d.weights.load import Weights


@dataclass(frozen=True)
class Network:
    """One of the networks that are tested."""

    name: str
    weights: Weights

    @property
    def stream(self) -> str:
        return "rgb" if self.weights.card.recipe.flow is None else "flow"

    def method(self, flow: str | None) -> list[str]:
        """The setting of --flow, if this is a network of flow."""
        told = flow_method(flow)
        return [] if told is None or self.stream == "rgb" else [f"preprocessing.flow={told}"]


def networks(streams: str | None, named: Sequence[tuple[str | None, str | None]], flow: str | None) -> list[Network]:
    """The networks of a test: one, or one of RGB and one of flow."""
    nets = [Network(name, loaded(name, recipe)) for name, recipe in named if name is not None]
    check_flow_choice(flow, has_flow=nets[-1].stream == "flow")
    there = ",".join(net.stream for net in nets)
    if len(nets) == 2 and there != "rgb,flow":
        one, two = (net.stream for net in nets)
        raise InputError(f"MODEL is a network of {one}, --flow-model of {two}; give that of RGB, then that of flow")
    asked = checked_streams(streams)
    if asked not in (None, there):
        raise InputError(f"--streams {asked}: the networks that are named are of {there}; name those of {asked}")
    return nets


def average_of_streams(
    average: str | None,
    out_format: str,
    template: str | None,
    how: Fusion,
    num_protocols: int,
    out: Path | None,
    *,
    force: bool,
) -> str | None:
    """How the views of each stream are averaged: as logits if these are added, else as each network has it.

    Options that two streams do not take, and files that are there, are told before the work.
    """
    for option, is_given in (("--average-clips", average is not None), ("--template", template is not None)):
        if is_given:
            raise InputError(f"{option}: is for one network; test each, then `i3d fuse` their results")
    if out_format != "i3d":
        raise InputError(f"--out-format {out_format}: is for one network; test each, then `i3d fuse` their results")
    if how.weights is None and num_protocols > 1:
        raise InputError("--weights sweep: is for one protocol; name one")
    if out is not None and not force:
        journal = out.with_name(f".{out.stem}.rgb{out.suffix}.resume")  # of an earlier test of these streams
        for place in (out, *(out.with_name(f"{out.stem}.{name}{out.suffix}") for name in ("rgb", "flow"))):
            if place.exists() and not journal.exists():
                raise InputError(f"{printable(str(place))}: is there already; choose another --out, or say --force")
    return "score" if how.of == "score" else None


def fused_evaluations(
    tested: Sequence[tuple[Evaluation, ...]],
    nets: Sequence[Network],
    how: Fusion,
    out: Path | None,
    *,
    bad_as_wrong: bool,
    json: bool,
) -> tuple[Evaluation, ...]:
    """The fused evaluation of each protocol; those of the streams are written beside `out`, and told."""
    from i3d.evaluation.exports import write_results
    from i3d.evaluation.fuse import aligned, fuse, halves, sweep
    from i3d.evaluation.result import compute_metrics

    for net, found in zip(nets, tested, strict=True):
        place = beside(out, net.stream)
        if place is not None:
            write_results(place, [(e, compute_metrics(e, bad_as_wrong=bad_as_wrong)) for e in found], form="i3d")
            output.say(f"scores of {net.stream}: {printable(str(place))}")
    made = []
    for each in zip(*tested, strict=True):
        streams, swept = list(each), None
        if how.weights is None:
            chosen_on, streams = halves(streams)
            swept = sweep(chosen_on, of=how.of)
        fused = fuse(streams, weights=how.weights or (swept.weights if swept else None), of=how.of)
        made.append(replace(fused, name=each[0].name))
        if not json:
            pairs = [(e, compute_metrics(e, bad_as_wrong=bad_as_wrong)) for e in (*aligned(streams), fused)]
            output.tell_fused(pairs, [net.stream for net in nets] + ["fused"], swept)
    return tuple(made)


def check_same(made: Sequence[Evaluation], out: Path | None, *, force: bool) -> None:
    """What is there of another fusion is not replaced."""
    from i3d.evaluation.result_file import read_evaluations

    if out is None or force or not out.exists():
        return
    for before, now in zip(read_evaluations(out), made, strict=False):
        if (before.weights_sha256, before.protocol) != (now.weights_sha256, now.protocol):
            what = f"holds another test ({printable(before.protocol)})"
            raise InputError(f"--out {printable(str(out))}: {what}; choose another --out, or say --force")


def beside(out: Path | None, stream: str) -> Path | None:
    """Where the scores of one of two streams are written."""
    return None if out is None else out.with_name(f"{out.stem}.{stream}{out.suffix}")


def loaded(model: str, recipe: str | None) -> Weights:
    """The weights of a model; gaps are told."""
    from i3d.weights.load import load_weights

    weights = load_weights(model, recipe=recipe)
    if weights.incomplete and is_first():
        output.say(f"warning: the weights are incomplete: {weights.incomplete}")
    return weights
