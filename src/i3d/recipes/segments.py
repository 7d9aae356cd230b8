"""How segments are found in the scores of a video: settings, and those that a checkpoint holds."""

from pydantic import Field, model_validator

from i3d.errors import InputError
from i3d.recipes.names import SegmentMetric
from i3d.recipes.settings import Settings


class SegmentSettings(Settings):
    """How segments are found. `i3d timeline --tune` chooses the values on videos with known segments."""

    smooth: float = Field(default=1.0, ge=0, le=3600)  # seconds over which scores are averaged
    enter: float = Field(default=0.5, ge=0, le=1)  # a score from which a class begins
    leave: float = Field(default=0.3, ge=0, le=1)  # a score below which it ends
    min_length: float = Field(default=0.5, ge=0, le=3600)  # seconds; shorter segments are dropped
    min_gap: float = Field(default=0.5, ge=0, le=3600)  # seconds; shorter gaps in a class are filled

    @model_validator(mode="after")
    def _leave_is_lower(self) -> "SegmentSettings":
        if self.leave > self.enter:
            raise ValueError(f"leave ({self.leave:g}) must be at most enter ({self.enter:g})")
        return self


class TunedSegments(Settings):
    """What `i3d timeline --tune` chose, as a checkpoint holds it."""

    settings: SegmentSettings
    metric: SegmentMetric  # that was maximised
    value: float = Field(ge=0, le=1)  # on the videos of the choice
    held_out: float | None = Field(default=None, ge=0, le=1)  # each video with settings of the others; None: too few
    num_videos: int = Field(ge=1)
    window_seconds: float | None = Field(default=None, gt=0, le=3600)  # None: as the network was trained
    stride_seconds: float | None = Field(default=None, gt=0, le=3600)  # None: a quarter of a window

    @property
    def line(self) -> str:
        """In words."""
        of = "1 video" if self.num_videos == 1 else f"{self.num_videos:,} videos"
        held_out = "" if self.held_out is None else f", {self.held_out:.2f} held out"
        return f"tuned on {of} by {self.metric} ({self.value:.2f} there{held_out})"


def completed(given: SegmentSettings, tuned: TunedSegments | None) -> SegmentSettings:
    """What is not set in `given` is as it was tuned, or as the default is.

    Of `leave` that is at most `enter`: a score above would end a class where it begins. `leave` above it is an
    InputError.
    """
    rest = SegmentSettings() if tuned is None else tuned.settings
    values = {**dict(rest), **given.model_dump(exclude_unset=True)}
    if "leave" not in given.model_fields_set:
        values["leave"] = min(values["leave"], values["enter"])
    check_thresholds(values["enter"], values["leave"])
    return SegmentSettings(**values)


def check_thresholds(enter: float, leave: float) -> None:
    """An InputError if a class would end at a score that lets it begin."""
    if leave > enter:
        raise InputError(f"leave {leave:g}: is above the score from which a label begins, {enter:g}; give enter too")


def origin(given: SegmentSettings, tuned: TunedSegments | None) -> str:
    """Where the completed settings come from, in words."""
    names = [name.replace("_", " ") for name in SegmentSettings.model_fields if name in given.model_fields_set]
    rest = "defaults" if tuned is None else tuned.line
    if len(names) == len(SegmentSettings.model_fields):
        return "as given"
    return f"{', '.join(names)} as given, else {rest}" if names else rest
