"""When things happen in one video or in many: windows are scored, and segments found in the scores.

    timelines = i3d.timeline(["a.mp4", "b.mp4"], model="my")
    timelines[0].segments          # Segment(start, stop, label, score), in seconds

An interrupted run continues inside a video: scores are logged in blocks of windows.

Letters in names: W windows, K classes.
"""

import base64
import logging
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from i3d.data.content import Stamp, check_unchanged, file_signature, file_stamp, signature_of_read
from i3d.data.labels import class_number
from i3d.data.resume import ResumeLog
from i3d.data.segments.segment import UNKNOWN, Segment, VideoSegments
from i3d.errors import InputError, VideoError, counted, quoted
from i3d.inference.predictor import Predictor, source_name
from i3d.recipes.segments import SegmentSettings, TunedSegments, completed, origin
from i3d.timelines.scores import Scores, SlidingWindows, check_windows, score_blocks, sliding_windows, window_shape
from i3d.timelines.segmentation import find_segments
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import Limits, Source, Video
from i3d.video.reader import open_video

BETWEEN: Final = "\0"  # a video and the number of a block in the key of a log
MILLISECOND: Final = 1e-3
WORDS: Final = {"span": "window", "step": "stride"}
log = logging.getLogger("i3d")
Block = dict[str, Any]  # "scores" of windows in base64, or what is known of the whole video


@dataclass(frozen=True)
class Timeline:
    """The segments of one video, or the reason why there are none."""

    path: str
    segments: tuple[Segment, ...]
    protocol: str  # how they were found
    seconds: float = 0.0  # length of the video
    fps: float | None = None  # of the video; None: variable, or images without times
    notes: tuple[str, ...] = ()  # about the file
    lead: float = 0.0  # seconds from where players begin to count to the first frame, at which times here are 0
    error: str = ""

    @property
    def video_segments(self) -> VideoSegments:
        """As files of segments have them."""
        return VideoSegments(
            self.path, self.segments, self.seconds, self.fps, is_variable=self.fps is None, lead=self.lead
        )


@dataclass(frozen=True, eq=False)
class ScoredVideo:
    """The scores of all windows of a video: segments follow from them by settings."""

    path: str
    scores_WK: Scores
    windows: SlidingWindows
    seconds: float  # length of the video
    fps: float | None  # of the video; None: variable, or images without times
    notes: tuple[str, ...]  # about the file
    lead: float = 0.0  # as in `Timeline`


@dataclass(frozen=True)
class TimelineOptions:
    """How segments are found."""

    span: float | None = None  # seconds of a window; None: as the network was trained
    step: float | None = None  # seconds from one window to the next; None: a quarter of a window
    labels: tuple[str, ...] = ()  # only these; empty: all
    segments: SegmentSettings = field(default_factory=SegmentSettings)  # what is not set is as in the checkpoint
    use_tuned: bool = True  # settings of the checkpoint; False: the defaults instead

    def __post_init__(self) -> None:
        for name in ("span", "step"):
            if (value := getattr(self, name)) is not None and not 0 < value <= 3600:
                raise InputError(f"{WORDS[name]} {value:g} s: must be above 0 and at most 3600")
        if repeated := next((label for label, count in Counter(self.labels).items() if count > 1), None):
            raise InputError(f"only_labels: {quoted(repeated)} is named more than once; name each label once")


@dataclass(frozen=True, eq=False)
class TimelineFinder:
    """A network and options, for any number of videos."""

    predictor: Predictor
    options: TimelineOptions
    _logged: set[str] = field(default_factory=set, init=False)  # messages that are of all videos

    def __post_init__(self) -> None:
        for label in self.options.labels:
            class_number(label, self.predictor.card.labels, option="only_labels")
        completed(self.options.segments, self.tuned)
        min_frames = self.predictor.engine.min_frames
        check_windows(self.predictor.card.recipe, self.span, self.step, min_frames=min_frames)
        if UNKNOWN in self.predictor.card.labels:
            what = "what no label is certain of has the same label"
            log.warning("the network has a class %s: %s; rename the class", UNKNOWN, what)

    @property
    def tuned(self) -> TunedSegments | None:
        """The settings of the checkpoint."""
        return self.predictor.card.timeline if self.options.use_tuned else None

    @property
    def span(self) -> float | None:
        """Seconds of a window; None: as the network was trained."""
        return self.options.span or (self.tuned.window_seconds if self.tuned else None)

    @property
    def step(self) -> float | None:
        """Seconds from one window to the next; None: a quarter of a window."""
        return self.options.step or (self.tuned.stride_seconds if self.tuned else None)

    @property
    def settings(self) -> dict[str, Any]:
        """What the scores of windows depend on, besides the video."""
        return {**self.predictor.settings, "span": self.span, "step": self.step}

    def __call__(
        self,
        source: Source,
        *,
        log: ResumeLog[Block] | None = None,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Timeline:
        """The timeline of one video. Raises VideoError if it cannot be read."""
        scored = self.score(source, log=log, frames_fps=frames_fps, limits=limits, on_progress=on_progress)
        return Timeline(
            path=scored.path,
            segments=self.find(scored.scores_WK, scored.windows, seconds=scored.seconds),
            protocol=self.protocol_line(scored.windows),
            seconds=scored.seconds,
            fps=scored.fps,
            notes=scored.notes,
            lead=scored.lead,
        )

    def score(
        self,
        source: Source,
        *,
        log: ResumeLog[Block] | None = None,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> ScoredVideo:
        """The scores of all windows of one video. Raises VideoError if it cannot be read."""
        stamp = file_stamp(source) if isinstance(source, str) else ()
        store = _BlockStore(log, source, stamp)
        blocks = store.blocks()
        known = store.whole()
        with open_video(source, frames_fps=frames_fps, limits=limits or Limits()) as video:
            lead = video.lead_seconds
            windows = sliding_windows(self.predictor.card.recipe, video, span=self.span, step=self.step)
            self._log_once(windows.rounding(self.span))
            if known is None:
                self.predictor.engine.build_for(window_shape(self.predictor.card.recipe, windows))
                first = sum(map(len, blocks))
                self.predictor.engine.reset_used_runtimes()
                scored = score_blocks(self.predictor, video, windows, first=first, on_progress=on_progress)
                seconds = _collect(scored, blocks, store)
                known = {"seconds": seconds, "fps": constant_rate(video), "notes": list(video.notes)}
                store.add_whole(known)
        if isinstance(source, str):
            check_unchanged(source, stamp)
        return ScoredVideo(
            path=source_name(source),
            scores_WK=np.concatenate(blocks),
            windows=windows,
            seconds=known["seconds"],
            fps=known["fps"],
            notes=tuple(known["notes"]),
            lead=lead,
        )

    def _log_once(self, message: str) -> None:
        if message and message not in self._logged:
            self._logged.add(message)
            log.warning("%s", message)

    def find(self, scores_WK: Scores, windows: SlidingWindows, *, seconds: float) -> tuple[Segment, ...]:
        """The segments of a video of this length."""
        labels = self.predictor.card.labels
        chosen = [labels.index(label) for label in self.options.labels] or list(range(len(labels)))
        return find_segments(
            scores_WK[:, chosen].astype(np.float64), [labels[k] for k in chosen],
            completed(self.options.segments, self.tuned),
            step=windows.step, seconds=seconds, multi_label=self.predictor.card.recipe.multi_label,
        )  # fmt: skip

    def protocol_line(self, windows: SlidingWindows) -> str:
        """How segments are found, in words."""
        given, labels, tuned = self.options.segments, self.predictor.card.labels, self.tuned
        s, origins = completed(given, tuned), origin(given, tuned)
        if tuned is not None and (self.span, self.step) != (tuned.window_seconds, tuned.stride_seconds):
            origins += ", with other windows"
        some = self.options.labels
        restricted = f"{counted(len(some), 'label')} of {len(labels)}, scores as among all; " if some else ""
        return (
            f"{self._windows_line(windows)}; {restricted}smoothed over {s.smooth:g} s; "
            f"from a score of {s.enter:g} to below {s.leave:g}, at least {s.min_length:g} s, gaps from "
            f"{s.min_gap:g} s ({origins}); {self.predictor.engine.description}"
        )

    def scores_line(self, windows: SlidingWindows) -> str:
        """How windows are scored, in words."""
        return f"{self._windows_line(windows)}; {self.predictor.engine.description}"

    def _windows_line(self, windows: SlidingWindows) -> str:
        return f"{self.predictor.card.recipe.name}: {windows.line}"


def find_timelines(
    finder: TimelineFinder,
    sources: Iterable[Source],
    *,
    log: ResumeLog[Block] | None = None,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> Iterator[Timeline]:
    """The timeline of each video, in order; one that cannot be read has an `error`."""
    for source in sources:
        try:
            yield finder(source, log=log, frames_fps=frames_fps, limits=limits, on_progress=on_progress)
        except VideoError as error:
            yield Timeline(source_name(source), (), finder.predictor.protocol_line, error=str(error))


class _BlockStore:
    """The blocks of one video in a resume log."""

    def __init__(self, log: ResumeLog[Block] | None, source: Source, stamp: Stamp) -> None:
        self._log = log if isinstance(source, str) else None
        self._source, self._stamp, self._number = str(source), stamp, 0

    def blocks(self) -> list[Scores]:
        """The logged blocks from the first on."""
        blocks: list[Scores] = []
        while (entry := self._get(str(len(blocks)))) is not None:
            values = np.frombuffer(base64.b64decode(entry["scores"]), "<f4")
            blocks.append(values.reshape(-1, entry["classes"]))
        self._number = len(blocks)
        return blocks

    def whole(self) -> Block | None:
        """What is known of a video whose blocks are all logged."""
        return self._get("")

    def add(self, scores_WK: Scores) -> None:
        """Log the next block."""
        scores = base64.b64encode(scores_WK.astype("<f4").tobytes()).decode()
        self._add(str(self._number), {"scores": scores, "classes": scores_WK.shape[1]})
        self._number += 1

    def add_whole(self, known: Block) -> None:
        self._add("", known)

    def _get(self, name: str) -> Block | None:
        if self._log is None:
            return None
        return self._log.get(f"{self._source}{BETWEEN}{name}", partial(file_signature, self._source))

    def _add(self, name: str, entry: Block) -> None:
        if self._log is not None:
            self._log.add(f"{self._source}{BETWEEN}{name}", signature_of_read(self._source, self._stamp), entry)


def _collect(scored: Generator[Scores, None, float], blocks: list[Scores], store: _BlockStore) -> float:
    """Append and log blocks as they are scored; the length of the video."""
    while True:
        try:
            block_WK = next(scored)
        except StopIteration as end:
            return float(end.value)
        blocks.append(block_WK)
        store.add(block_WK)


def constant_rate(video: Video) -> float | None:
    """Frames per second; None if they vary by more than a millisecond, or frames have no times."""
    times = video.timetable() if video.timed else None
    if times is None or len(times) < 2:
        return video.fps
    durations = np.diff(np.fromiter(map(float, times), np.float64, len(times)))[:-1]  # the last one is a guess
    if len(durations) and np.ptp(durations) > 2 * MILLISECOND:
        return None
    return video.fps
