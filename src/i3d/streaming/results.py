"""What a stream yields: labels, events, and how far labels are behind and how many frames were dropped.

Times are arguments: no clock is read here.
"""

from collections import deque
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Final, Literal

from i3d.inference.prediction import LabelScore

LAGS: Final = 1000  # the newest, of which quantiles are computed: memory stays flat

State = Literal["connected", "lost", "ended", "failed"]


class LagLog:
    """Seconds from the arrival of the newest frame of a window to its label."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=LAGS)
        self.max: float | None = None

    def add(self, lag: float) -> None:
        self._lags.append(lag)
        self.max = lag if self.max is None else max(self.max, lag)

    def quantile(self, q: float) -> float | None:
        """By nearest rank, of the newest 1,000; None before the first."""
        ranked = sorted(self._lags)
        return ranked[max(ceil(q * len(ranked)), 1) - 1] if ranked else None


@dataclass(frozen=True)
class StreamStats:
    """A source at one time. Lags are seconds from the arrival of the newest frame of a window to its label."""

    source: str
    state: State
    seconds: float  # since the start of the stream
    captured: int  # = used + dropped + left_out + waiting
    used: int
    dropped: int
    left_out: int
    waiting: int
    windows: int
    skipped: int
    reconnects: int
    lag_p50: float | None  # of the newest 1,000 windows; None: no label yet
    lag_p95: float | None
    lag_max: float | None  # of all
    label_age: float | None  # since the newest frame of the last label arrived

    @property
    def dropped_share(self) -> float:
        """The fraction of captured frames that were dropped."""
        return self.dropped / self.captured if self.captured else 0.0

    @property
    def skipped_share(self) -> float:
        """The fraction of windows that were skipped, of those that were due."""
        due = self.windows + self.skipped
        return self.skipped / due if due else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        shares = {"dropped_share": self.dropped_share, "skipped_share": self.skipped_share}
        return {name: _rounded(value) for name, value in {**asdict(self), **shares}.items()}


@dataclass(frozen=True)
class StreamEvent:
    """Something that happened to a source: it was lost, it came back, its frames changed their size ..."""

    source: str
    what: str


@dataclass(frozen=True)
class StreamLabel:
    """The most likely labels of a window of one source, best first."""

    source: str
    predictions: tuple[LabelScore, ...]
    seconds: float  # when the newest frame arrived, since the start of the stream
    time: str  # when it was labelled, by the clock of the system (UTC)
    lag: float  # seconds from the arrival of the newest frame to the label
    window_age: float  # seconds from the arrival of the oldest frame to the label
    first_pts: float | None  # time stamps of the source, in seconds; None: it has none
    last_pts: float | None
    is_padded: bool  # the source ended before the window was full: its last frame is repeated

    @property
    def top1(self) -> LabelScore:
        """The most likely label."""
        return self.predictions[0]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        scores = [{"label": one.label, "score": round(one.score, 4)} for one in self.predictions]
        return {**{name: _rounded(value) for name, value in vars(self).items()}, "predictions": scores}


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
