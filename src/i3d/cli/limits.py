"""Which numbers an option takes."""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Within:
    """A validator: numbers from `low` to `high`, or above `low`, or below `high`."""

    low: float
    high: float
    excluded: Literal["", "low", "high"] = ""

    def __call__(self, _: object, value: float | None) -> None:
        if value is None:
            return
        is_excluded = value == {"low": self.low, "high": self.high}.get(self.excluded)
        if is_excluded or not self.low <= value <= self.high:  # nan is not within either
            raise ValueError(f"must be {self}")

    def __str__(self) -> str:
        first, last = f"{self.low:,}", f"{self.high:,}"
        if self.excluded == "low":
            return f"above {first} and at most {last}"
        return f"at least {first} and {'below' if self.excluded else 'at most'} {last}"


RATE: Final = Within(0, 1000, "low")  # frames per second
BELOW_1: Final = Within(0, 1, "high")
WORKERS: Final = Within(0, 1024)
BATCH: Final = Within(1, 65_536)
SIDE: Final = 7680  # pixels: 8K
WEEK: Final = 7 * 86_400  # seconds
