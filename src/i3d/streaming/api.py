"""From Python: labels of live sources, as they are computed."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import closing

from i3d.errors import InputError, check_not_empty
from i3d.streaming.capture import Shared
from i3d.streaming.names import Policy, check_used, parse_sources
from i3d.streaming.results import StreamEvent, StreamLabel
from i3d.streaming.scorer import WindowScorer
from i3d.streaming.session import Stream, StreamSettings, windows_of
from i3d.streaming.sources import opened
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig
from i3d.weights.pretrained import DEFAULT

log = logging.getLogger("i3d")


@checks_types
def stream(
    sources: str | os.PathLike[str] | int | Sequence[str | os.PathLike[str] | int],
    *,
    model: str | os.PathLike[str] = DEFAULT,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    compute: ComputeConfig | None = None,
    policy: Policy | None = None,
    allow_network: bool = False,
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    speed: float = 1.0,
    top_k: int = 5,
    max_seconds: float | None = None,
    reconnect_seconds: float | None = None,
) -> Iterator[StreamLabel]:
    """Yield the labels of live sources: numbers of cameras, files played at their pace, addresses, "-" for a pipe.

    `policy`: "newest" frames, of which stale ones are dropped, or "all"; None is "all" for files. Windows and strides
    are in seconds; None: as the network was trained, and a quarter of it. `speed` is that of files. A source that is
    lost is opened again, for at most `reconnect_seconds` (None: for ever); what happens to it is logged. The generator
    ends when all sources have ended, or after `max_seconds`; close it to stop earlier.

    Raises InputError for a bad option, WeightsError if the weights cannot be read, VideoError if a source cannot be
    opened; one that fails later is a VideoError when the others have ended.
    """
    check_not_empty(sources=sources if isinstance(sources, str) else None, model=model)
    names = [sources] if isinstance(sources, str | os.PathLike | int) else list(sources)
    settings = StreamSettings(
        window_seconds, stride_seconds, policy, speed, top_k, max_seconds, give_up_seconds=reconnect_seconds
    )
    parsed = parse_sources([_name(name) for name in names], policy=policy, allow_network=allow_network)
    check_used(parsed, speed=speed, reconnect_seconds=reconnect_seconds)

    def run() -> Iterator[StreamLabel]:
        shared = Shared()
        with opened(parsed, shared.stop, speed=speed) as videos:
            scorer = WindowScorer(model, recipe=recipe, labels=labels, compute=compute)
            for note in filter(None, (windows_of(scorer.recipe, video, settings)[1] for video in videos)):
                log.warning("%s", note)
            session = Stream(scorer, parsed, videos, settings, shared)
            with closing(session):
                for item in session.run():
                    if isinstance(item, StreamLabel):
                        yield item
                    elif isinstance(item, StreamEvent):
                        log.warning("%s: %s", item.source, item.what)
        for error in session.failed:
            raise error

    return run()


def _name(source: object) -> str:
    if isinstance(source, bool) or not isinstance(source, str | os.PathLike | int):
        raise InputError(f"sources: {source!r} is of type {type(source).__name__}; give a path, a number or an address")
    return os.fspath(source) if not isinstance(source, int) else str(source)
