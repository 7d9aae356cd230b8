"""What a user names as a source: a camera, an address, a pipe or a file. Nothing is opened here."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from i3d.errors import InputError, printable
from i3d.utils.remote import LIVE, camera_number, why_no_file, without_password

STDIN: Final = "-"
Kind = Literal["camera", "address", "pipe", "file"]
Policy = Literal["newest", "all"]


@dataclass(frozen=True)
class LiveSource:
    """A source by its name."""

    name: str  # as it is printed: without a password
    kind: Kind
    target: str
    policy: Policy

    @property
    def reconnects(self) -> bool:
        """Whether it is opened again when it breaks off: cameras and addresses have no end."""
        return self.kind in ("camera", "address")

    @property
    def line(self) -> str:
        """How its frames are treated, in words."""
        how = "the newest frames, stale ones are dropped" if self.policy == "newest" else "all frames, none is dropped"
        return f"{self.name}: {self.kind}; {how}"


def parse_sources(
    names: Sequence[str], *, policy: Policy | None = None, allow_network: bool = False
) -> list[LiveSource]:
    """The sources of these names. One that is refused is an InputError, before any of them is opened.

    `policy`: None is "all" for files, and "newest" for others. A camera or an address cannot wait: "all" is refused.
    """
    if not names:
        raise InputError("no source is given; name a camera, a file, an address, or - for a pipe")
    sources = [_parse(name, policy, allow_network) for name in names]
    if repeated := next((name for name, count in Counter(s.target for s in sources).items() if count > 1), None):
        raise InputError(f"{without_password(repeated)}: is named more than once; name each source once")
    return sources


def _parse(name: str, policy: Policy | None, allow_network: bool) -> LiveSource:
    shown = printable(without_password(name))
    if name == STDIN:
        return LiveSource(name, "pipe", name, policy or "newest")
    if LIVE.match(name):
        if not allow_network:
            raise InputError(f"{shown}: is an address; add --allow-network (in Python, allow_network=True) to open it")
        source = LiveSource(shown, "address", name, "newest")
    elif (number := camera_number(name)) is not None:
        source = LiveSource(shown, "camera", str(number), "newest")
    elif why := why_no_file(name):
        raise InputError(f"{shown}: {why.replace(name, shown)}")
    elif not os.path.lexists(name) and "%" not in name:
        raise InputError(f"{shown}: no such file; check the path")
    else:
        return LiveSource(shown, "file", name, policy or "all")
    if policy == "all":
        raise InputError(f"{shown}: --policy all makes a source wait, which no {source.kind} does; leave it out")
    return source


def check_used(sources: Sequence[LiveSource], *, speed: float, reconnect_seconds: float | None) -> None:
    """An InputError for a setting that none of the sources has."""
    if speed != 1 and not any(source.kind == "file" for source in sources):
        raise InputError(f"speed {speed:g}: is that of files, and no source is one; leave it out")
    if reconnect_seconds is not None and not any(source.reconnects for source in sources):
        what = "is for cameras and addresses, and no source is one"
        raise InputError(f"reconnect_seconds {reconnect_seconds:g}: {what}; leave it out")
