"""The result of FVD: the value, what it is made of, and how it was computed, in one line and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from i3d.errors import abridged, counted
from i3d.video_distance.embed_set import EmbeddedSet
from i3d.video_distance.statistics import Bias, KernelDistance

FVD = "FVD"


@dataclass(frozen=True)
class SetSummary:
    """What a set is."""

    name: str
    clips: int
    videos: int
    left_out: int  # videos, or rows of features, behind the last clip of `max_clips`
    short: tuple[tuple[str, int], ...]  # videos without a clip, and how many frames they have
    errors: tuple[str, ...]  # why videos could not be read
    encodings: Mapping[str, int]  # container and codec, and the number of clips
    origin: str  # of features that were extracted before; "" for clips
    sha256: str  # of the content of all videos, whatever their order
    chance: Bias | None  # how far sets of its kind and number are apart by chance; None: not measured

    @classmethod
    def of(cls, embedded: EmbeddedSet, chance: Bias | None) -> "SetSummary":
        """The summary of the statistics of a set."""
        return cls(
            name=embedded.name,
            clips=embedded.number,
            videos=embedded.num_videos,
            left_out=embedded.num_unread,
            short=tuple(embedded.short),
            errors=tuple(embedded.errors),
            encodings=dict(embedded.encodings),
            origin=embedded.origin,
            sha256=embedded.sha256,
            chance=chance,
        )

    @property
    def words(self) -> str:
        """Number of clips, and how they are stored."""
        return f"{counted(self.clips, 'clip')} ({self.origin or abridged(sorted(self.encodings), 4)})"

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "name": self.name,
            "clips": self.clips,
            "videos": self.videos,
            "left_out": self.left_out,
            "short": [{"video": name, "frames": frames} for name, frames in self.short],
            "errors": list(self.errors),
            "encodings": dict(self.encodings),
            "features": self.origin or None,
            "sha256": self.sha256,
            "chance": None if self.chance is None else self.chance._asdict(),
        }


@dataclass(frozen=True)
class FvdResult:
    """The distance between two sets of videos. `float(result)` is its value."""

    value: float
    metric: str  # "FVD"; with a condition for given features, another name if the layer or the network are others
    kernel: KernelDistance
    control: Mapping[str, float]  # the distance with the frames of generated clips shuffled, and frozen; {}: not asked
    interval: tuple[float, float] | None  # 95 %, by bootstrap over clips, of the biased value
    runs: tuple[float, ...]  # values of several draws of clips; the first is `value`
    real: SetSummary
    generated: SetSummary
    protocol: Mapping[str, Any]  # everything the value depends on
    protocol_line: str
    warnings: tuple[str, ...]

    def __float__(self) -> float:
        return self.value

    @property
    def kernel_name(self) -> str:
        """ "KVD" beside FVD only, under the same condition."""
        is_fvd = self.metric.startswith(FVD)
        return self.metric.replace(FVD, "KVD", 1) if is_fvd else "Kernel distance of the same features"

    @property
    def mean_of_runs(self) -> float:
        """The mean over draws of clips."""
        return sum(self.runs) / len(self.runs)

    @property
    def spread_of_runs(self) -> float:
        """The standard deviation over draws of clips, 0 of one."""
        mean = self.mean_of_runs
        number = max(len(self.runs) - 1, 1)
        return float((sum((value - mean) ** 2 for value in self.runs) / number) ** 0.5)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "metric": self.metric,
            "value": self.value,
            "kvd": self.kernel._asdict(),
            "control": dict(self.control),
            "interval_95": None if self.interval is None else list(self.interval),
            "runs": list(self.runs),
            "real": self.real.as_dict(),
            "generated": self.generated.as_dict(),
            "protocol": dict(self.protocol),
            "protocol_line": self.protocol_line,
            "warnings": list(self.warnings),
        }
