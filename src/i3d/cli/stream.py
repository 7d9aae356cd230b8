"""`i3d stream`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import flags_named
from i3d.cli.limits import WEEK, Within
from i3d.cli.usage import STDIN, STDIN_WORD, command
from i3d.streaming.names import check_used, parse_sources

MINUTE = Within(0, 60, "low")


@Parameter(name="*")
@dataclass(frozen=True)
class LiveOptions:
    """What is read, how it is labelled, and what is printed."""

    model: shared.ModelOptions = shared.ModelOptions()

    classes: Annotated[shared.Classes, Parameter(group=shared.MODEL)] = None
    """Class names: a file, kinetics400, kinetics600, ucf101 or hmdb51."""

    allow_network: Annotated[bool, Parameter(group=shared.INPUT)] = False
    """Open addresses: rtsp://, http:// and others."""

    policy: Annotated[Literal["newest", "all"] | None, Parameter(group=shared.INPUT)] = None
    """newest drops stale frames, all none (default: all for files, else newest)."""

    speed: Annotated[float, Parameter(group=shared.INPUT, validator=Within(0, 100, "low"))] = 1.0
    """Play files so many times as fast."""

    reconnect_seconds: Annotated[float | None, Parameter(group=shared.INPUT, validator=Within(0, WEEK, "low"))] = None
    """Give up a camera or an address that is lost for so long (default: never)."""

    max_seconds: Annotated[float | None, Parameter(group=shared.INPUT, validator=Within(0, WEEK, "low"))] = None
    """Stop after so long (default: when all sources have ended)."""

    window_seconds: Annotated[float | None, Parameter(group=shared.COMPUTED, validator=MINUTE)] = None
    """Length of a window (default: as the network was trained)."""

    stride_seconds: Annotated[float | None, Parameter(group=shared.COMPUTED, validator=MINUTE)] = None
    """From one window to the next (default: a quarter of a window)."""

    top_k: Annotated[int, Parameter(group=shared.COMPUTED, alias="-k"), shared.COUNT] = 5
    """Classes for each window, with --json or --show."""

    show: Annotated[bool, Parameter(group=shared.OUTPUT)] = False
    """Open a window with the frames and their labels."""

    json: Annotated[bool, Parameter(group=shared.OUTPUT)] = False
    """Print JSON lines: each label, event and second."""

    budget_ms: Annotated[float | None, Parameter(group=shared.SPEED, validator=Within(1, 60_000))] = None
    """Measure this machine, and choose stride, precision and runtime so that a frame is labelled within this time."""

    device: shared.Device = "auto"

    precision: Annotated[shared.Precision | None, Parameter(group=shared.SPEED)] = None
    """Number format; auto is the fastest that the device has (default: fp32)."""

    runtime: Annotated[shared.Runtime | None, Parameter(group=shared.SPEED)] = None
    """What runs the network; openvino needs `pip install 'i3d[export]'`."""

    cache: Annotated[Path | None, Parameter(group=shared.SPEED)] = None
    """Folder of compiled networks (default: $I3D_CACHE)."""


def stream(
    *sources: Annotated[
        shared.FileOrName,
        Parameter(group=shared.INPUT, required=True, help="Numbers of cameras, files, addresses, or - for a pipe."),
    ],
    options: LiveOptions = LiveOptions(),
) -> int:
    """Label what happens now.

    Windows of the newest frames of a camera, an address or a pipe are labelled; a file is played at its pace. A line a
    second has the label, its lag and what was dropped; Ctrl-C ends with a summary. Exit code 3: some source failed.

    Examples:
      i3d stream 0
      i3d stream rtsp://10.0.0.5/live --allow-network --budget-ms 800
      ffmpeg -i udp://@:5000 -c copy -f mpegts - | i3d stream - --json
    """
    names = [STDIN if name == STDIN_WORD else name for name in sources]
    parsed = parse_sources(names, policy=options.policy, allow_network=options.allow_network)
    with flags_named("speed", "reconnect_seconds"):
        check_used(parsed, speed=options.speed, reconnect_seconds=options.reconnect_seconds)
    return run.stream.run_stream(parsed, options)


app = command(stream, "stream")
