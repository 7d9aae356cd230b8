"""From Python: the distance between two sets of videos."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from i3d.errors import InputError, printable
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig, Precision
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import Limits
from i3d.video_distance.clips import ClipReader, Order
from i3d.video_distance.embed_set import MAX_SAMPLE, EmbeddedSet, SizeCheck, embed_set
from i3d.video_distance.embedding import Embedder, load_embedder
from i3d.video_distance.feature_files import FeatureSource, check_same_origin, check_widths
from i3d.video_distance.protocols import FvdProtocol, fvd_protocol
from i3d.video_distance.report import (
    USUAL_CLIPS,
    bias_warnings,
    metric_name,
    protocol_line,
    protocol_record,
    set_warnings,
    video_notes,
)
from i3d.video_distance.result import FvdResult, SetSummary
from i3d.video_distance.sources import ClipSource, VideoSet, open_set
from i3d.video_distance.statistics import (
    Moments,
    bootstrap_values,
    chance_distance,
    frechet_distance,
    interval_around,
    kernel_distance,
)
from i3d.weights.pretrained import DEFAULT

CONTROLS: Final[tuple[Order, ...]] = ("shuffled", "frozen")
MAX_BOOTSTRAP: Final = 100_000
MAX_RUNS: Final = 1000
log = logging.getLogger("i3d")


@dataclass(frozen=True)
class FvdOptions:
    """What is computed beside the value, and how sets are read."""

    seed: int = 0  # of random clips, shuffled frames, subsets and bootstrap
    control: bool = False  # the distance with generated frames shuffled, and frozen
    bootstrap: int = 0  # draws of clips for the interval; 0: none
    runs: int = 1  # draws of random clips
    mixed_sizes: bool = False  # clips may have different heights and widths
    limits: Limits = field(default_factory=Limits)

    def check(self, protocol: FvdProtocol) -> None:
        """An InputError for options that make no sense, or not with this protocol."""
        for name, value, low, high in (
            ("seed", self.seed, 0, 2**63 - 1),
            ("bootstrap", self.bootstrap, 0, MAX_BOOTSTRAP),
            ("runs", self.runs, 1, MAX_RUNS),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} {value}: must be from {low} to {high:,}")
        if self.bootstrap == 1:
            raise InputError("bootstrap 1: one draw has no interval; use 200 or more")
        if self.runs > 1 and not protocol.draws:
            what = f"the protocol {protocol.name} draws no clips at random"
            raise InputError(f"runs {self.runs}: {what}; use --clips random, or --bootstrap")


@checks_types
def fvd(
    real: VideoSet,
    generated: VideoSet,
    *,
    protocol: str | FvdProtocol = "original",
    model: str | os.PathLike[str] = DEFAULT,
    seed: int = 0,
    control: bool = False,
    bootstrap: int = 0,
    runs: int = 1,
    mixed_sizes: bool = False,
    device: str = "auto",
    precision: Precision | None = None,
    time_limit: float = 60.0,
    on_progress: ProgressCallback = ignore_progress,
) -> FvdResult:
    """The Frechet Video Distance (Unterthiner et al. 2018, arXiv:1812.01717) between two sets of videos.

    A set is a folder, a list file or a pattern of videos or folders of frames; a `.npy` or `.npz` file or an array
    (N, T, H, W, 3), (N, T, 3, H, W) or (N, 3, T, H, W); an iterable of videos and clips; or features (N, 400) as an
    array or a file. Arrays are uint8, or floats from -1 to 1. `protocol`: a preset, or that of `fvd_protocol`.
    `control` adds the distance with generated frames shuffled, and frozen; `bootstrap` an interval by so many draws;
    `runs` the values of so many draws of random clips. Features of clips are cached, and memory does not grow with
    their number. Warnings are logged, and in the result. Raises InputError for sets that cannot be compared.
    """
    chosen = fvd_protocol(protocol) if isinstance(protocol, str) else protocol
    options = FvdOptions(seed, control, bootstrap, runs, mixed_sizes, Limits(max_seconds=time_limit))
    compute = ComputeConfig(device=device, precision=precision)
    return compute_fvd(real, generated, chosen, options, compute=compute, model=model, on_progress=on_progress)


def compute_fvd(
    real: VideoSet,
    generated: VideoSet,
    protocol: FvdProtocol,
    options: FvdOptions,
    *,
    compute: ComputeConfig,
    model: str | os.PathLike[str] = DEFAULT,
    on_progress: ProgressCallback = ignore_progress,
) -> FvdResult:
    """`fvd` with all options; what cannot be compared is refused before the network is loaded, as far as possible."""
    options.check(protocol)
    sources = {"real": open_set(real, "real"), "generated": open_set(generated, "generated")}
    notes = [printable(note) for source in sources.values() if isinstance(source, ClipSource) for note in source.notes]
    for note in notes:  # also if the sets are refused
        log.warning("%s", note)
    embedder = _embedder(sources, protocol, options, compute, model)
    first, sizes = _embed_both(sources, protocol, options, embedder, compute, on_progress)
    sets, later = (first["real"], first["generated"]), []
    for run in range(1, options.runs):
        drawn = replace(options, seed=options.seed + run, control=False)
        pair, _ = _embed_both(sources, protocol, drawn, embedder, compute, on_progress)
        later.append(_distance(pair["real"], pair["generated"], protocol))
    value = _distance(*sets, protocol)
    control = {str(order): _distance(*sets, protocol, order) for order in CONTROLS if options.control}
    interval = _interval(value, *sets, protocol, options, on_progress)
    kernel = kernel_distance(*(one.sample.rows_ND for one in sets), seed=options.seed)
    summaries = [_summary(one, other, protocol, options) for one, other in (sets, sets[::-1])]
    width = sets[0].sample.rows_ND.shape[1]
    metric = metric_name(protocol, embedder, width=width, has_features=any(one.origin for one in sets))
    warnings = [
        *video_notes(sets),
        *set_warnings(protocol, *sets, sizes),
        *bias_warnings(summaries[0], summaries[1], metric, value),
    ]
    warnings += [
        f"{one.name}: KVD and chance are of a random sample of {len(one.sample.rows_ND):,} clips"
        for one in sets
        if not one.sample.is_whole
    ]
    for warning in warnings:
        log.warning("%s", warning)
    return FvdResult(
        value=value,
        metric=metric,
        kernel=kernel,
        control=control,
        interval=interval,
        runs=(value, *later),
        real=summaries[0],
        generated=summaries[1],
        protocol=protocol_record(protocol, embedder, seed=options.seed, mixed_sizes=options.mixed_sizes),
        protocol_line=protocol_line(protocol, embedder, *summaries, width=width, seed=options.seed),
        warnings=(*notes, *warnings),
    )


def _embedder(
    sources: Mapping[str, ClipSource | FeatureSource],
    protocol: FvdProtocol,
    options: FvdOptions,
    compute: ComputeConfig,
    model: str | os.PathLike[str],
) -> Embedder | None:
    """The network; None: both sets are features. What cannot be compared is an InputError before it is loaded."""
    features = [source for source in sources.values() if isinstance(source, FeatureSource)]
    check_widths(features, features=protocol.features)
    if len(features) == len(sources):
        check_same_origin(*features)
    if features and options.control and isinstance(sources["generated"], FeatureSource):
        raise InputError(
            f"{features[-1].name}: has features, no frames to shuffle; leave --control out, or give videos"
        )
    if len(features) == len(sources):
        _check_features(protocol, options, model)
    for side, source in sources.items():
        if isinstance(source, ClipSource) and source.is_once and options.runs > 1:
            raise InputError(f"{side}: an iterator is read once, for {options.runs} runs; pass a list")
    if options.bootstrap:
        _check_bootstrap(sources, protocol)
    if len(features) == len(sources):
        return None
    embedder = load_embedder(model, protocol, compute)
    check_widths(features, features=protocol.features, num_logits=embedder.num_features)
    return embedder


def _check_features(protocol: FvdProtocol, options: FvdOptions, model: str | os.PathLike[str]) -> None:
    """An InputError for options that cannot act on two sets of features."""
    if options.runs > 1:
        raise InputError(f"runs {options.runs}: both sets are features, of which nothing is drawn; use --bootstrap")
    ignored = [f"model {printable(os.fspath(model))}"] if os.fspath(model) != DEFAULT else []
    ignored += ["mixed_sizes"] if options.mixed_sizes else []
    ignored += protocol.not_of_features
    if ignored:
        what = "both sets are features, on which only covariance, max_clips, bootstrap and seed act"
        raise InputError(f"{', '.join(ignored)}: {what}; leave this out, or give videos")


def _check_bootstrap(sources: Mapping[str, ClipSource | FeatureSource], protocol: FvdProtocol) -> None:
    """An InputError for a set of more videos than a bootstrap takes; that of an iterator is known at its end."""
    for source in sources.values():
        number = source.number if isinstance(source, ClipSource) else len(source.rows_ND)
        if number is not None and min(number, protocol.max_clips or number) > MAX_SAMPLE:
            raise _too_many(source.name, number)


def _too_many(name: str, number: int) -> InputError:
    what = f"has {number:,} clips or videos, a bootstrap takes {MAX_SAMPLE:,}"
    return InputError(f"{name}: {what}; leave --bootstrap out, or set --max-clips {MAX_SAMPLE}")


def _embed_both(
    sources: Mapping[str, ClipSource | FeatureSource],
    protocol: FvdProtocol,
    options: FvdOptions,
    embedder: Embedder | None,
    compute: ComputeConfig,
    on_progress: ProgressCallback,
) -> tuple[dict[str, EmbeddedSet], SizeCheck]:
    """The statistics of both sets, whose clips have one size."""
    sizes, sets = SizeCheck(is_off=options.mixed_sizes), dict[str, EmbeddedSet]()
    for side, source in sources.items():
        orders: tuple[Order, ...] = ("forward", *(CONTROLS if options.control and side == "generated" else ()))
        reader = None
        if embedder is not None:
            reader = ClipReader(side, protocol, embedder, compute.cache, options.seed, orders, options.limits)
        sets[side] = embed_set(
            source, reader, sizes, max_clips=protocol.max_clips, seed=options.seed, on_progress=on_progress
        )
    return sets, sizes


def _distance(real: EmbeddedSet, generated: EmbeddedSet, protocol: FvdProtocol, order: Order = "forward") -> float:
    """The distance of the real clips from the generated ones in an order of frames; rounding errors below 0 are 0."""
    moments: Moments = generated.moments[order]
    return max(frechet_distance(real.moments["forward"], moments, divisor=protocol.covariance), 0.0)


def _interval(
    value: float,
    real: EmbeddedSet,
    generated: EmbeddedSet,
    protocol: FvdProtocol,
    options: FvdOptions,
    on_progress: ProgressCallback,
) -> tuple[float, float] | None:
    if not options.bootstrap:
        return None
    for one in (real, generated):
        if not one.sample.is_whole:
            raise _too_many(one.name, one.number)
    draws: list[float] = []
    features = real.sample.rows_ND, generated.sample.rows_ND
    for draw in bootstrap_values(*features, options.bootstrap, divisor=protocol.covariance, seed=options.seed):
        draws.append(draw)
        on_progress(Progress("bootstrap", len(draws), options.bootstrap, "draw"))
    return interval_around(value, draws)


def _summary(one: EmbeddedSet, other: EmbeddedSet, protocol: FvdProtocol, options: FvdOptions) -> SetSummary:
    """The summary of a set; how far such sets are apart by chance is measured if a warning needs it."""
    if one.number == other.number >= USUAL_CLIPS:
        return SetSummary.of(one, None)
    return SetSummary.of(one, chance_distance(one.sample.rows_ND, divisor=protocol.covariance, seed=options.seed))
