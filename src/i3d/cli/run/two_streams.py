"""The networks of `i3d test`: one, or one of RGB and one of flow whose scores are fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import FrameOptions, StreamOptions
from i3d.cli.run.setup import is_first_rank
from i3d.cli.streams import Fusion, check_flow_method, parse_streams
from i3d.cli.test import TestOptions
from i3d.errors import InputError, printable
from i3d.evaluation.exports import write_results
from i3d.evaluation.fuse import align_evaluations, fuse_scores, hold_out, sweep_weights
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.evaluation.result_file import read_evaluations
from i3d.weights.load import Weights, load_weights


@dataclass(frozen=True)
class Network:
    """One of the networks that are tested."""

    name: str
    weights: Weights

    @property
    def stream(self) -> str:
        return "rgb" if self.weights.card.recipe.flow is None else "flow"

    def flow_settings(self, flow_method: str | None) -> list[str]:
        """The setting of --flow-method, if this is a network of flow."""
        return [] if flow_method is None or self.stream == "rgb" else [f"preprocessing.flow={flow_method}"]


def load(model: str, recipe: str | None) -> Weights:
    """The weights of a model; missing ones are logged."""
    weights = load_weights(model, recipe=recipe)
    if weights.incomplete and is_first_rank():
        log.warning("the weights are incomplete: %s", weights.incomplete)
    return weights


def load_networks(model: str, recipe: str | None, streams: StreamOptions) -> list[Network]:
    """The networks of a test: one, or one of RGB and one of flow."""
    named = ((model, recipe), (streams.flow_model, streams.flow_recipe))
    networks = [Network(name, load(name, its_recipe)) for name, its_recipe in named if name is not None]
    check_flow_method(streams.flow_method, has_flow=networks[-1].stream == "flow")
    given = ",".join(network.stream for network in networks)
    if len(networks) == 2 and given != "rgb,flow":
        first, second = (network.stream for network in networks)
        raise InputError(
            f"MODEL is a network of {first}, --flow-model of {second}; give that of RGB, then that of flow"
        )
    asked = parse_streams(streams.streams)
    if asked not in (None, given):
        raise InputError(f"--streams {asked}: the networks that are named are of {given}; name those of {asked}")
    return networks


def average_of_streams(options: TestOptions, fusion: Fusion, frames: FrameOptions, *, force: bool) -> str | None:
    """How the views of each stream are averaged: as logits if these are added, else as each network has it.

    Options that two streams do not take, and existing files, are refused before the work.
    """
    for option, is_given in (
        ("--average-clips", options.average_clips is not None),
        ("--template", frames.template is not None),
        (f"--out-format {options.out_format}", options.out_format != "i3d"),
    ):
        if is_given:
            raise InputError(f"{option}: is for one network; test each, then `i3d fuse` their results")
    if fusion.weights is None and len(options.protocol_names) > 1:
        raise InputError("--stream-weights sweep: is for one protocol; name one")
    out = options.out
    if out is not None and not force:
        resume_log = out.with_name(f".{out.stem}.rgb{out.suffix}.resume")  # of an earlier test of these streams
        for place in (out, *(out.with_name(f"{out.stem}.{name}{out.suffix}") for name in ("rgb", "flow"))):
            if place.exists() and not resume_log.exists():
                raise InputError(f"{printable(str(place))}: exists already; choose another --out, or use --force")
    return "score" if fusion.average == "score" else None


def fused_evaluations(
    tested: Sequence[tuple[Evaluation, ...]],
    networks: Sequence[Network],
    fusion: Fusion,
    out: Path | None,
    *,
    bad_as_wrong: bool,
    json: bool,
) -> tuple[Evaluation, ...]:
    """The fused evaluation of each protocol; those of the streams are written beside `out`, and printed."""
    for network, evaluations in zip(networks, tested, strict=True):
        place = beside(out, network.stream)
        if place is not None:
            pairs = [(e, compute_metrics(e, bad_as_wrong=bad_as_wrong)) for e in evaluations]
            write_results(place, pairs, out_format="i3d")
            log.info("scores of %s: %s", network.stream, printable(str(place)))
    results = []
    for each in zip(*tested, strict=True):
        streams, swept = list(each), None
        if fusion.weights is None:
            held_out, streams = hold_out(streams)
            swept = sweep_weights(held_out, average=fusion.average)
        weights = fusion.weights or (swept.weights if swept else None)
        fused = fuse_scores(streams, weights=weights, average=fusion.average)
        results.append(replace(fused, name=each[0].name))
        if not json:
            pairs = [(e, compute_metrics(e, bad_as_wrong=bad_as_wrong)) for e in (*align_evaluations(streams), fused)]
            output.print_fusion(pairs, [*(network.stream for network in networks), "fused"], swept)
    return tuple(results)


def check_same(result: Sequence[Evaluation], out: Path | None, *, force: bool) -> None:
    """The file of another fusion is not replaced."""
    if out is None or force or not out.exists():
        return
    for before, now in zip(read_evaluations(out), result, strict=False):
        if (before.weights_sha256, before.protocol) != (now.weights_sha256, now.protocol):
            what = f"holds another test ({printable(before.protocol)})"
            raise InputError(f"--out {printable(str(out))}: {what}; choose another --out, or use --force")


def beside(out: Path | None, stream: str) -> Path | None:
    """Where the scores of one of two streams are written."""
    return None if out is None else out.with_name(f"{out.stem}.{stream}{out.suffix}")
