"""Pictures of a dataset as training will see it, and of how many clips of which kind there are.

preview(dataset, Path("preview"))      # preview/clips.png, preview/statistics.png
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import Annotations
from i3d.data.loading.batch import UnreadableClip
from i3d.data.loading.dataset import ClipDataset, TrainView
from i3d.errors import InputError, VideoError, printable
from i3d.utils.drawing import Bars, Entry, Histogram, draw_sheet, draw_statistics, frames_shown, strip

CLIPS: Final = "clips.png"
STATISTICS: Final = "statistics.png"
MAX_LOOKED_AT: Final = 200  # clips that are opened for lengths and sizes
MAX_DECODED: Final = 20  # of them, those that are decoded because their container does not tell their length
MOST, LEAST = 15, 15  # classes in the chart if there are many
MAX_SIZES: Final = 8


@dataclass(frozen=True)
class Range:
    """The smallest, the middle and the largest of some values."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Preview:
    """What was drawn, and the numbers in it."""

    pictures: tuple[Path, ...]
    num_clips: int
    class_counts: dict[str, int]  # clips of each class; those of several classes count in each
    num_looked_at: int  # clips that the three below are of
    durations: Range | None  # seconds; None: not known, or folders of frames, which have no times
    lengths: Range | None  # frames
    sizes: dict[tuple[int, int], int]  # (width, height) of the frames as they are stored: number of clips
    unreadable: tuple[UnreadableClip, ...]


@dataclass(frozen=True)
class _Facts:
    width: int
    height: int
    num_frames: int | None
    fps: float | None
    told: bool  # by the container, without decoding

    @property
    def seconds(self) -> float | None:
        return self.num_frames / self.fps if self.num_frames and self.fps else None


def preview(
    dataset: ClipDataset,
    out: Path,
    *,
    num_clips: int = 16,
    epoch: int = 0,
    on_clip: Callable[[int, int], None] | None = None,
) -> Preview:
    """Draw `num_clips` clips as training gets them in `epoch`, and charts of classes, lengths and sizes.

    The clips are spread over the classes and drawn by the seed of the dataset, so that another epoch shows the same
    clips otherwise changed; of several views of a clip, the first is shown. Lengths and frame sizes are those of at
    most 200 clips. The pictures are `clips.png` and `statistics.png` in the folder `out`, which is made if it is not
    there. `on_clip` is told how many clips are done, of how many. Unreadable clips are in the result and on the sheet.
    A dataset without a training view, and a folder that cannot be written, are an InputError.
    """
    view, annotations = dataset.view, dataset.annotations
    if not isinstance(view, TrainView):
        raise InputError("a preview shows what training sees: give a dataset with a training view")
    if num_clips < 1 or not len(dataset):
        raise InputError(f"num_clips {num_clips} of {len(dataset)} clips: a preview needs at least 1")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{printable(str(out))}: cannot be made ({error.strerror}); choose another folder") from error
    shown = choose(annotations, num_clips=num_clips, seed=dataset.seed)
    sample = _sample(len(dataset), seed=dataset.seed)
    to_open = sorted({*shown, *sample})
    facts = _look_at_all(dataset, to_open, lambda done: on_clip and on_clip(done, len(to_open) + len(shown)))
    bad = {index: found for index, found in facts.items() if isinstance(found, UnreadableClip)}
    entries = []
    for done, index in enumerate(shown, start=1):
        entries.append(_entry(dataset, epoch, index, facts[index], bad))
        if on_clip is not None:
            on_clip(len(to_open) + done, len(to_open) + len(shown))
    pictures = (out / CLIPS, out / STATISTICS)
    classes = _count(len(annotations.classes), "class", "classes")
    source = f"{annotations.source}: {_count(len(annotations), 'clip')}, {classes}"
    draw_sheet(
        pictures[0],
        entries,
        title=f"What training sees: {len(shown)} of {_count(len(annotations), 'clip')}",
        lines=(source, *_describe(dataset, view, epoch)),
        size=view.augmentation.size,
        is_flow=dataset.num_channels == 2,
    )
    known = [found for index in sample if isinstance(found := facts[index], _Facts)]
    draw_statistics(
        pictures[1],
        title="What there is to train on",
        lines=(source, _looked_at(len(known), len(sample), len(annotations))),
        bars=[_class_bars(annotations), _size_bars(known)],
        histograms=_lengths(known, view),
    )
    return Preview(
        pictures=pictures,
        num_clips=len(annotations),
        class_counts=dict(zip(annotations.classes, annotations.class_counts_K.tolist(), strict=True)),
        num_looked_at=len(known),
        durations=_range([found.seconds for found in known]),
        lengths=_range([found.num_frames for found in known]),
        sizes=dict(_sizes(known)),
        unreadable=tuple(found for _, found in sorted(bad.items())),
    )


def _look_at_all(
    dataset: ClipDataset, indices: Sequence[int], on_done: Callable[[int], object]
) -> dict[int, _Facts | UnreadableClip]:
    """The facts of these clips; of those that must be decoded for them, only of the first."""
    facts: dict[int, _Facts | UnreadableClip] = {}
    for done, index in enumerate(indices, start=1):
        num_decoded = sum(isinstance(found, _Facts) and not found.told for found in facts.values())
        facts[index] = _look(dataset, index, may_decode=num_decoded < MAX_DECODED)
        on_done(done)
    return facts


def choose(annotations: Annotations, *, num_clips: int, seed: int) -> list[int]:
    """Clips spread over the classes, drawn by `seed`, in the order of their classes.

    Classes take turns in a random order, each with a clip of its own that was not drawn before.
    """
    rng = np.random.default_rng((seed, 0))
    order = rng.permutation(len(annotations))
    lengths_N = np.diff(annotations.label_ends_N, prepend=0)
    first_N = annotations.label_ends_N - lengths_N
    class_N = np.full(len(annotations), -1)  # the first, of several
    class_N[lengths_N > 0] = annotations.labels[first_N[lengths_N > 0]]
    turn_of_class = rng.permutation(len(annotations.classes) + 1)
    by_class = order[np.argsort(class_N[order], kind="stable")]
    sorted_class = class_N[by_class]
    round_N = np.arange(len(by_class)) - np.searchsorted(sorted_class, sorted_class)  # 0 for the first of its class
    chosen = by_class[np.lexsort((turn_of_class[sorted_class], round_N))][:num_clips]
    return [int(index) for index in sorted(chosen, key=lambda index: (class_N[index], index))]


def _sample(num_clips: int, *, seed: int) -> list[int]:
    """The clips that are opened for lengths and sizes."""
    order = np.random.default_rng((seed, 1)).permutation(num_clips)
    return [int(index) for index in np.sort(order[:MAX_LOOKED_AT])]


def _look(dataset: ClipDataset, index: int, *, may_decode: bool) -> _Facts | UnreadableClip:
    """Size and length of the listed part of a video. Only its first frame is decoded, where that suffices."""
    clip = dataset.annotations[index]
    try:
        with dataset.open_clip(index) as video:
            height, width = next(video.stream()).shape[:2]
            told = video.timetable() is not None
            if not told and not may_decode:
                return _Facts(width, height, None, None, told)
            first, stop = video.frames_between(clip.start_seconds, clip.end_seconds)
            return _Facts(width, height, stop - first, video.fps, told)
    except VideoError as error:
        return UnreadableClip(index, str(error))


def _entry(
    dataset: ClipDataset, epoch: int, index: int, facts: _Facts | UnreadableClip, bad: dict[int, UnreadableClip]
) -> Entry:
    """One clip as the dataset gives it, with the label that it has then; it is put into `bad` if it gives none."""
    annotations = dataset.annotations
    found = facts if isinstance(facts, UnreadableClip) else _draw(dataset, epoch, index)
    if isinstance(found, UnreadableClip):
        bad[index] = found
        labels, strip_HWC, reason = annotations.labels_of(index), None, found.reason
    else:
        labels, strip_HWC, reason = found[0], strip(found[1]), ""
    clip, names = annotations[index], [annotations.classes[label] for label in labels]
    words = []
    if clip.start_seconds is not None or clip.end_seconds is not None:
        end = "the end" if clip.end_seconds is None else f"{clip.end_seconds:g}"
        words.append(f"{clip.start_seconds or 0:g} to {end} s")
    if isinstance(facts, _Facts):
        words.append(f"{facts.width} x {facts.height}")
        if facts.num_frames is not None:
            words.append(f"{facts.num_frames} frames" + (f", {facts.seconds:.2f} s" if facts.seconds else ""))
    return Entry(" + ".join(names) or "(no label)", clip.path, ", ".join(words), strip_HWC, reason)


def _draw(
    dataset: ClipDataset, epoch: int, index: int
) -> tuple[tuple[int, ...], npt.NDArray[np.uint8]] | UnreadableClip:
    """Class numbers and frames (T, H, W, C) of the first view of a clip; of none that would take its place."""
    try:
        batch = dataset[epoch, index]
    except InputError as error:  # nor is there one that could
        return UnreadableClip(index, str(error))
    if found := next((one for one in batch.bad if one.index == index), None):
        return found
    labels = batch.labels_N[0]
    numbers = labels.nonzero().flatten().tolist() if dataset.multi_label else [int(labels)] * int(labels >= 0)
    return tuple(numbers), batch.clips_NVTHWC[0, 0].numpy()


def _describe(dataset: ClipDataset, view: TrainView, epoch: int) -> tuple[str, str]:
    """Two lines on how the clips were drawn."""
    s, a = view.sampling, view.augmentation
    words = [f"{s.clip_len} frames at an interval of {s.frame_interval}"]
    words += [f"at {s.target_fps:g} fps"] if s.target_fps else []
    words += ["dense"] if s.placement == "dense" else []
    words += ["temporal_jitter"] if s.temporal_jitter else []
    match a.resize:
        case None:
            words.append("not resized")
        case int():
            words.append(f"resized to short side {a.resize}")
        case height, width:
            words.append(f"resized to {width} x {height}")
    words += [f"{a.crop.kind} crop to {a.size} x {a.size}", f"flip {a.flip:g}"]
    changes = ("rotation_degrees", "pixel_dropout", "brightness", "contrast", "saturation", "hue")
    words += [f"{name} {getattr(a, name):g}" for name in changes if getattr(a, name)]
    words += ["rand_augment"] if a.rand_augment else []
    words += ["erasing"] if a.erasing else []
    shown = " ".join(str(t + 1) for t in frames_shown(s.clip_len))
    views = f" of the first of {s.num_clips} clips" if s.num_clips > 1 else ""
    flow = "; hue: where to, as in the disc, brightness: how fast" if dataset.num_channels == 2 else ""
    return ", ".join(words), f"frames {shown}{views}; seed {dataset.seed}, epoch {epoch}{flow}"


def _class_bars(annotations: Annotations) -> Bars:
    """All classes in the order of their numbers, or of many the largest and the smallest."""
    counts = annotations.class_counts_K.tolist()
    rows: list[tuple[str, int | str]] = list(zip(annotations.classes, counts, strict=True))
    subtitle = "no clip has a label"
    if rows:
        fewest = "" if min(counts) == max(counts) else f"{min(counts):,} to "
        subtitle = f"{_count(len(rows), 'class', 'classes')}, {fewest}{_count(max(counts), 'clip')} each"
    num_unlabelled = int((np.diff(annotations.label_ends_N, prepend=0) == 0).sum())
    if rows and num_unlabelled:
        subtitle += f"; {_count(num_unlabelled, 'clip')} without a label"
    if len(rows) > MOST + LEAST + 1:
        order = sorted(range(len(rows)), key=lambda k: (-counts[k], k))
        between = sum(counts[k] for k in order[MOST:-LEAST])
        others = (f"{len(rows) - MOST - LEAST:,} classes between", f"{between:,} clips")
        rows = [*(rows[k] for k in order[:MOST]), others, *(rows[k] for k in order[-LEAST:])]
        subtitle += f"; the {MOST} largest and the {LEAST} smallest"
    return Bars("Clips per class", subtitle, tuple(rows))


def _lengths(known: list[_Facts], view: TrainView) -> list[Histogram]:
    """How long the clips are in seconds, unless they have no times, and in frames; and how much a training clip takes.

    That is so many seconds if the sampling has a rate of its own, else so many frames.
    """
    s = view.sampling
    span = (s.clip_len - 1) * s.frame_interval + 1
    seconds = tuple(found.seconds for found in known if found.seconds is not None)
    lengths = tuple(float(found.num_frames) for found in known if found.num_frames is not None)
    marks = {"seconds": span / s.target_fps} if s.target_fps and seconds else {"frames": float(span)}
    charts = []
    for unit, values, digits in (("seconds", seconds, 2), ("frames", lengths, 0)):
        found = _range(values)
        if found is None:
            continue
        low, middle, high = (f"{value:,.{digits}f}" for value in (found.min, found.median, found.max))
        subtitle = f"{low} to {high}, median {middle}"
        if num_unknown := len(known) - len(values):
            subtitle += f"; {num_unknown} more would have to be decoded to tell"
        mark = marks.get(unit)
        label = ""
        if mark is not None:
            num_short = sum(value < mark for value in values)
            shorter = f"too long for {num_short} of {len(values)}, which repeat" if num_short else "none is shorter"
            label = f"a training clip takes {mark:,.{digits}f} {unit}: {shorter}"
        charts.append(Histogram(f"Length of clips in {unit}", subtitle, values, unit, mark, label))
    return charts or [Histogram("Length of clips", "no length is known", (), "frames")]


def _size_bars(known: list[_Facts]) -> Bars:
    sizes = _sizes(known)
    rows: list[tuple[str, int | str]] = [(f"{width} x {height}", count) for (width, height), count in sizes[:MAX_SIZES]]
    if others := sizes[MAX_SIZES:]:
        rows.append((f"{len(others)} other sizes", sum(count for _, count in others)))
    subtitle = "width x height in pixels, before resizing" if rows else "no size is known"
    return Bars("Frame sizes", subtitle, tuple(rows))


def _sizes(known: list[_Facts]) -> list[tuple[tuple[int, int], int]]:
    """(width, height) and how many clips have it, the commonest first."""
    return sorted(Counter((found.width, found.height) for found in known).items(), key=lambda item: (-item[1], item[0]))


def _range(values: Sequence[float | None]) -> Range | None:
    numbers = [value for value in values if value is not None]
    return Range(float(min(numbers)), float(np.median(numbers)), float(max(numbers))) if numbers else None


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _looked_at(num_known: int, num_opened: int, num_clips: int) -> str:
    which = "all clips" if num_opened == num_clips else f"{num_opened:,} clips drawn at random"
    bad = f", but for {num_opened - num_known:,} that cannot be read" if num_known < num_opened else ""
    return f"Lengths and sizes are those of {which}{bad}."
