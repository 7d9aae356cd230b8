"""`i3d stream`: sources are opened, their windows labelled, and a line printed each second."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from i3d.cli import output
from i3d.cli.checks import flags_named
from i3d.cli.messages import log
from i3d.cli.run.setup import cache_in, warn_if_incomplete
from i3d.cli.stream import LiveOptions
from i3d.data.class_files import class_names
from i3d.errors import counted, printable
from i3d.streaming.budget import candidates, scorer_within
from i3d.streaming.capture import Shared
from i3d.streaming.display import Display
from i3d.streaming.names import LiveSource
from i3d.streaming.scorer import WindowScorer
from i3d.streaming.session import Stream, StreamSettings, windows_of
from i3d.streaming.sources import opened
from i3d.utils.device import ComputeConfig
from i3d.video.live import LiveVideo
from i3d.weights.load import load_weights
from i3d.weights.pretrained import DEFAULT


def run_stream(sources: Sequence[LiveSource], options: LiveOptions) -> int:
    """Label the sources until they end, or Ctrl-C; the exit code."""
    settings = StreamSettings(
        options.window_seconds, options.stride_seconds, options.policy, options.speed, options.top_k,
        options.max_seconds, options.reconnect_seconds,
    )  # fmt: skip
    shared = Shared()
    with (
        _display(sources, shared, options) as display,
        opened(sources, shared.stop, speed=options.speed) as videos,
    ):
        for source in sources:
            log.info("%s", source.line)
        with flags_named(window="--window-seconds", stride="--stride-seconds"):
            scorer, settings = _scorer(videos, settings, options)
            stream = Stream(scorer, sources, videos, settings, shared, display=display)
        warn_if_incomplete(scorer.weights)
        log.info("%s; %s", stream.windows[0].line, scorer.engine.requested)
        lines = output.StreamLines(many=len(sources) > 1, json=options.json)
        with closing(stream):
            try:
                for item in stream.run():
                    lines.add(item)
            except KeyboardInterrupt:
                stream.abandon()
                raise
            finally:
                lines.summarise(stream.stats())
    for error in stream.failed:
        log.error("%s", error)
    if stream.failed and len(sources) > 1:
        log.warning("%s of %d failed", counted(len(stream.failed), "source"), len(sources))
    return 3 if stream.failed else 0


@contextmanager
def _display(sources: Sequence[LiveSource], shared: Shared, options: LiveOptions) -> Iterator[Display | None]:
    """The window of --show, until the stream ends."""
    display = Display([source.name for source in sources], shared.stop) if options.show else None
    try:
        yield display
    finally:
        if display is not None:
            display.close()


def _scorer(
    videos: Sequence[LiveVideo], settings: StreamSettings, options: LiveOptions
) -> tuple[WindowScorer, StreamSettings]:
    """The network, and the settings with the stride that a budget chooses."""
    model, recipe = options.model.model or DEFAULT, options.model.recipe
    labels = None if options.classes is None else class_names(options.classes)
    its_recipe = load_weights(model, recipe=recipe, labels=labels, takes_exports=True).card.recipe
    cut = [windows_of(its_recipe, video, settings) for video in videos]
    for note in filter(None, (note for _, note in cut)):
        log.warning("%s", printable(note))
    windows, step = cut[0][0], settings.step
    make_scorer = partial(_make_scorer, model, recipe, labels, windows.frames)
    compute = ComputeConfig(options.device, cache=cache_in(options.cache))
    if options.budget_ms is None:
        compute = replace(compute, precision=options.precision, runtime=options.runtime or "torch")
        return make_scorer(compute), settings
    ways = candidates(compute, options.precision, options.runtime)
    batch, fixed = len(videos), None if step is None else windows.step
    scorer, choice = scorer_within(options.budget_ms / 1000, make_scorer, ways, windows, batch=batch, step=fixed)
    return scorer, replace(settings, step=choice.step)


def _make_scorer(
    model: str, recipe: str | None, labels: Sequence[str] | None, frames: int, compute: ComputeConfig
) -> WindowScorer:
    return WindowScorer(model, recipe=recipe, labels=labels, compute=compute, frames=frames)
