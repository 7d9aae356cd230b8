"""The sound of a video file, to be copied beside its changed frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.logging
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from i3d.video.base import DEFAULT_LIMITS
from i3d.video.opening import BUFFER_BYTES, DECODE_ERRORS, open_container, reason, video_stream

COPIED: Final = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})  # what players read in an mp4
MAX_LEAD: Final = Fraction(1, 10)  # seconds that sound begins before the frames: the priming of its codec


@dataclass(frozen=True)
class Sound:
    """The first sound track of an open file. Times count from the first frame of the video."""

    container: InputContainer
    stream: AudioStream
    first_frame: Fraction  # its time stamp, in seconds
    note: Callable[[str], None]  # of what is left out

    @property
    def is_copied(self) -> bool:
        """Whether its packets fit into an mp4 as they are; others are decoded and encoded again."""
        return self.stream.codec_context.codec.canonical_name in COPIED

    @property
    def lead(self) -> Fraction:
        """How long the sound begins before the first frame, in seconds, if that is more than priming."""
        time_base = self.stream.time_base or Fraction(0)
        lead = self.first_frame - (self.stream.start_time or 0) * time_base
        return lead if lead > MAX_LEAD else Fraction(0)

    def packets(self) -> Iterator[Packet[AudioStream]]:
        """Its packets in order. Damage ends them, which is noted."""
        last = None
        try:
            for packet in self.container.demux(self.stream):
                if packet.dts is not None and packet.size and (last is None or packet.dts > last):
                    last = packet.dts
                    yield packet
        except DECODE_ERRORS as error:
            self.note(f"its sound ends early ({reason(error)})")

    def frames(self) -> Iterator[AudioFrame]:
        """Its decoded frames. Damage ends them, which is noted."""
        try:
            yield from self.container.decode(self.stream)
        except DECODE_ERRORS as error:
            self.note(f"its sound ends early ({reason(error)})")


@contextmanager
def open_sound(source: Path | bytes, note: Callable[[str], None]) -> Iterator[Sound | None]:
    """The sound of a video file or of its bytes; None if it has none, or none that can be read, which is noted."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb", BUFFER_BYTES) as file:
        container = None
        try:
            with av.logging.Capture():
                container = open_container(file, max_pixels=str(DEFAULT_LIMITS.max_pixels))
            sound = _first(container, note)
        except DECODE_ERRORS as error:
            note(f"its sound cannot be read, and is left out ({reason(error)})")
            sound = None
        try:
            yield sound
        finally:
            if container is not None:
                container.close()


def _first(container: InputContainer, note: Callable[[str], None]) -> Sound | None:
    stream = next((s for s in container.streams.audio if s.codec_context is not None and s.time_base), None)
    if stream is None:
        if container.streams.audio:
            note("its sound is in an unknown format, and left out")
        return None
    video = video_stream(container, "")
    return Sound(container, stream, (video.start_time or 0) * (video.time_base or Fraction(0)), note)
