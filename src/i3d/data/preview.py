"""Images of a dataset: a contact sheet of training clips, and statistics of classes, lengths and frame sizes.

preview_dataset(dataset, Path("preview"))      # preview/clips.png, preview/statistics.png
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import Annotations
from i3d.data.loading.batch import UnreadableClip
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.errors import I3DError, InputError, VideoError, counted
from i3d.recipes.augmentation import TrainSampling
from i3d.recipes.settings import ClipProtocol
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import writing_to
from i3d.utils.drawing import contact_sheet, draw_bars, draw_clip, draw_histogram, film_strip, statistics_sheet
from i3d.utils.outputs import check_new, check_outside, is_drawing, output_folder
from i3d.video.flow import bytes_to_flow, flow_to_rgb

Sampling = TrainSampling | ClipProtocol
CLIPS: Final = "clips.png"
STATISTICS: Final = "statistics.png"
MAX_INSPECTED: Final = 200  # clips that are opened for lengths and sizes
MAX_DECODED: Final = 20  # of them, those that are decoded because their container does not store their length
MOST, LEAST = 15, 15  # classes in the chart if there are many
MAX_SIZES: Final = 8
STRIP_FRAMES: Final = 6


@dataclass(frozen=True)
class Range:
    """Minimum, median and maximum of some values."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Preview:
    """The images that were drawn, and the numbers in them."""

    paths: tuple[Path, ...]  # of the PNG files
    num_clips: int
    class_counts: dict[str, int]  # clips of each class; those of several classes count in each
    num_inspected: int  # clips that the three below describe
    durations: Range | None  # seconds; None: unknown, or folders of frames, which have no times
    lengths: Range | None  # frames
    sizes: dict[tuple[int, int], int]  # (width, height) of the stored frames: number of clips
    unreadable: tuple[UnreadableClip, ...]


@dataclass(frozen=True)
class _VideoInfo:
    width: int
    height: int
    num_frames: int | None
    seconds: float | None
    has_timetable: bool  # in its container, so that its length is known without decoding


@checks_types
def preview_dataset(
    dataset: ClipDataset,
    out: Path,
    *,
    num_clips: int = 16,
    epoch: int = 0,
    plan: str = "",
    on_clip: Callable[[int, int], None] | None = None,
    force: bool = False,
) -> Preview:
    """Draw `num_clips` clips with the augmentation of `epoch`, and charts of classes, lengths and frame sizes.

    The clips are spread over the classes and drawn with the seed of the dataset: another epoch shows the same clips
    with other augmentation. Of several views of a clip, the first is shown. Lengths and sizes come from at most 200
    clips. `plan` is a line about where the settings come from. `clips.png` and `statistics.png` are written to the
    folder `out`, which is created if needed. `on_clip` gets the numbers of finished and of all clips. Unreadable clips
    are in the result and on the sheet. A dataset with a view of windows, a folder that cannot be written, and (unless
    `force`) files there that i3d did not draw, are an
    InputError.
    """
    view, annotations = dataset.view, dataset.annotations
    sampling = _sampling(view)
    check_outside(out, annotations.source)
    paths = _output_files(out, force=force)
    chosen = choose_clips(annotations, num_clips=num_clips, seed=dataset.seed)
    sample = np.sort(np.random.default_rng((dataset.seed, 1)).permutation(len(dataset))[:MAX_INSPECTED]).tolist()
    to_open = sorted({*chosen, *sample})
    num_steps = len(to_open) + len(chosen)
    infos: dict[int, _VideoInfo | UnreadableClip] = {}
    for completed, (index, info) in enumerate(_inspect_clips(dataset, to_open), start=1):
        infos[index] = info
        if on_clip is not None:
            on_clip(completed, num_steps)
    bad = {index: info for index, info in infos.items() if isinstance(info, UnreadableClip)}
    num_clips_text, classes = counted(len(annotations), "clip"), counted(len(annotations.classes), "class", "classes")
    source = f"{annotations.source}: {num_clips_text}, {classes}"
    with contact_sheet(
        paths[0],
        len(chosen),
        title=f"Training clips {_changes(view)} augmentation: {len(chosen)} of {num_clips_text}",
        lines=(source, *([plan] if plan else []), *_describe(dataset, view, epoch)),
        size=_side(view),
        legend_HWC=_flow_wheel() if dataset.num_channels == 2 else None,
    ) as (figure, grid):
        for completed, (index, axes) in enumerate(zip(chosen, grid, strict=True), start=len(to_open) + 1):
            draw_clip(figure, axes, *_shown_clip(dataset, epoch, index, infos[index], bad))
            if on_clip is not None:
                on_clip(completed, num_steps)
    known = [info for index in sample if isinstance(info := infos[index], _VideoInfo)]
    _draw_statistics(paths[1], annotations, known, len(sample), sampling, source)
    return Preview(
        paths=paths,
        num_clips=len(annotations),
        class_counts=dict(zip(annotations.classes, annotations.class_counts_K.tolist(), strict=True)),
        num_inspected=len(known),
        durations=_range([info.seconds for info in known]),
        lengths=_range([info.num_frames for info in known]),
        sizes=dict(_sizes(known)),
        unreadable=tuple(clip for _, clip in sorted(bad.items())),
    )


def _sampling(view: TrainView | TestView) -> Sampling:
    """How the frames of a clip are chosen."""
    if isinstance(view, TrainView):
        return view.sampling
    if isinstance(view.protocol, ClipProtocol):
        return view.protocol
    raise InputError("a preview shows clips, not windows: give a dataset with a training view, or a protocol of clips")


def _changes(view: TrainView | TestView) -> str:
    return "after" if isinstance(view, TrainView) else "without"


def _side(view: TrainView | TestView) -> int:
    """Pixels of a side of a shown frame."""
    return view.augmentation.size if isinstance(view, TrainView) else view.preprocessing.crop


def _inspect_clips(dataset: ClipDataset, indices: Sequence[int]) -> Iterator[tuple[int, _VideoInfo | UnreadableClip]]:
    """What is known of each clip. Only the first `MAX_DECODED` without a timetable are decoded for their length."""
    num_decoded = 0
    for index in indices:
        info = _inspect_clip(dataset, index, may_decode=num_decoded < MAX_DECODED)
        num_decoded += isinstance(info, _VideoInfo) and not info.has_timetable
        yield index, info


def _output_files(out: Path, *, force: bool) -> tuple[Path, Path]:
    """The two images in a folder, which is created; they may replace only drawings of i3d."""
    out = output_folder("out", out)
    with writing_to(f"{out}:", "choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
    check_drawings(out, force=force)
    return out / CLIPS, out / STATISTICS


def check_drawings(out: Path, *, force: bool) -> None:
    """An InputError if the images of a preview in a folder would replace a file that i3d did not draw."""
    for path in (out / CLIPS, out / STATISTICS):
        check_new(str(path), path, force=force, is_own=is_drawing)


def choose_clips(annotations: Annotations, *, num_clips: int, seed: int) -> list[int]:
    """Indices of clips that are spread over the classes, drawn with `seed`, in the order of their classes.

    Classes take turns in a random order; in its turn a class gives one random clip, without replacement.
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


def _inspect_clip(dataset: ClipDataset, index: int, *, may_decode: bool) -> _VideoInfo | UnreadableClip:
    """Size and length of the listed part of a video. Only its first frame is decoded, where that suffices."""
    clip = dataset.annotations[index]
    try:
        with dataset.open_clip(index) as video:
            height, width = next(video.stream()).shape[:2]
            has_timetable = video.timetable() is not None
            if not has_timetable and not may_decode:
                return _VideoInfo(width, height, None, None, has_timetable)
            first, stop = video.frames_between(clip.start_seconds, clip.end_seconds)
            seconds = (stop - first) / video.fps if video.fps else None
            return _VideoInfo(width, height, stop - first, seconds, has_timetable)
    except VideoError as error:
        return UnreadableClip(index, str(error))


def _shown_clip(
    dataset: ClipDataset, epoch: int, index: int, info: _VideoInfo | UnreadableClip, bad: dict[int, UnreadableClip]
) -> tuple[str, str, str, npt.NDArray[np.uint8] | None, str]:
    """Label, file, facts and the strip of the first view of an augmented clip, or why there is none.

    A clip that cannot be read is put into `bad`.
    """
    annotations = dataset.annotations
    labels, strip_HWC = annotations.labels_of(index), None
    if isinstance(info, _VideoInfo):
        try:
            labels, clip_THWC = _read_clip(dataset, epoch, index)
            strip_HWC = film_strip(_shown_frames(clip_THWC))
        except I3DError as error:
            bad[index] = UnreadableClip(index, str(error))
    listed, names = annotations[index], [annotations.classes[label] for label in labels]
    words = []
    if listed.start_seconds is not None or listed.end_seconds is not None:
        end = "the end" if listed.end_seconds is None else f"{listed.end_seconds:g}"
        words.append(f"{listed.start_seconds or 0:g} to {end} s")
    if isinstance(info, _VideoInfo):
        words.append(f"{info.width} x {info.height}")
        if info.num_frames is not None:
            words.append(counted(info.num_frames, "frame") + (f", {info.seconds:.2f} s" if info.seconds else ""))
    reason = bad[index].reason if index in bad else ""
    return " + ".join(names) or "(no label)", listed.path, ", ".join(words), strip_HWC, reason


def _read_clip(dataset: ClipDataset, epoch: int, index: int) -> tuple[tuple[int, ...], npt.NDArray[np.uint8]]:
    """The labels and frames of the first view of a clip. One that cannot be read is a VideoError."""
    view = dataset.view
    if isinstance(view, TrainView):
        s, size = view.sampling, view.augmentation.size
        clip_VTHWC = np.empty((s.num_clips, s.clip_len, size, size, dataset.num_channels), np.uint8)
        return dataset.read_training_clip(epoch, index, view, clip_VTHWC), clip_VTHWC[0]
    batch = dataset[(epoch, index)]
    if batch.bad:
        raise InputError(batch.bad[0].reason)
    return dataset.annotations.labels_of(index), batch.views_N[0].clips()[0].numpy()


def strip_indices(clip_len: int) -> npt.NDArray[np.int64]:
    """Which frames of a clip its strip shows, the first and the last among them: 16 -> 0 3 6 9 12 15."""
    return np.unique(np.linspace(0, clip_len - 1, STRIP_FRAMES).round().astype(np.int64))


def _shown_frames(clip_THWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The frames of a strip as RGB. Of flow, the fastest hundredth of the whole clip has full saturation."""
    chosen_THWC = clip_THWC[strip_indices(len(clip_THWC))]
    if clip_THWC.shape[-1] == 3:
        return chosen_THWC
    bound = max(float(np.percentile(np.linalg.norm(bytes_to_flow(clip_THWC), axis=-1), 99)), 1.0)
    return np.stack([flow_to_rgb(bytes_to_flow(flow_HW2), bound=bound) for flow_HW2 in chosen_THWC])


def _flow_wheel(side: int = 64) -> npt.NDArray[np.uint8]:
    """The colours of all directions of flow, each where it points."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    wheel_HWC = flow_to_rgb(np.stack([x, y], axis=-1).astype(np.float32), bound=1)
    wheel_HWC[np.hypot(x, y) > 1] = 255
    return wheel_HWC


def _describe(dataset: ClipDataset, view: TrainView | TestView, epoch: int) -> tuple[str, str]:
    """Two lines: how the clips were sampled and augmented, and which frames are shown."""
    s = _sampling(view)
    words = _words_on_changes(view) if isinstance(view, TrainView) else [view.protocol.line, "as in a test"]
    numbers = " ".join(str(t + 1) for t in strip_indices(s.clip_len))
    views = f" of the first of {s.num_clips} clips" if s.num_clips > 1 else ""
    flow = "; flow: hue is the direction, as in the colour wheel, saturation the speed"
    flow = flow if dataset.num_channels == 2 else ""
    drawn = f"; seed {dataset.seed}, epoch {epoch}" if isinstance(view, TrainView) else ""
    return ", ".join(words), f"frames {numbers}{views}{drawn}{flow}"


def _words_on_changes(view: TrainView) -> list[str]:
    s, a = view.sampling, view.augmentation
    words = [f"{s.clip_len} frames at an interval of {s.frame_interval}"]
    words += [f"at {s.target_fps:g} fps"] if s.target_fps else []
    words += ["dense"] if s.placement == "dense" else []
    words += ["temporal_jitter"] if s.temporal_jitter else []
    words += map(str, a.steps)
    match a.resize:
        case None if a.steps:
            pass
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
    return words + (["erasing"] if a.erasing else [])


def _draw_statistics(
    path: Path, annotations: Annotations, known: list[_VideoInfo], num_opened: int, s: Sampling, source: str
) -> None:
    """Histograms of the lengths in seconds, unless clips have no times, and in frames; bars of classes and sizes.

    Marked is the span of a training clip, in seconds if the sampling has a target frame rate, else in frames.
    """
    seconds = [info.seconds for info in known if info.seconds is not None]
    lengths = [float(info.num_frames) for info in known if info.num_frames is not None]
    span = (s.clip_len - 1) * s.frame_interval + 1
    marks = {"seconds": span / s.target_fps} if s.target_fps and seconds else {"frames": float(span)}
    charts = [(unit, values) for unit, values in (("seconds", seconds), ("frames", lengths)) if values]
    class_subtitle, class_rows = _class_rows(annotations)
    size_rows, num_charts = _size_rows(known), max(len(charts), 1)
    num_rows = max(3, len(class_rows), len(size_rows))
    which = "all clips" if num_opened == len(annotations) else f"{counted(num_opened, 'clip')} drawn at random"
    unread = f" without {num_opened - len(known):,} that cannot be read" if len(known) < num_opened else ""
    lines = (source, f"Lengths and sizes: {which}{unread}.")
    with statistics_sheet(
        path, title="Dataset statistics", lines=lines, num_histograms=num_charts, num_rows=num_rows
    ) as (figure, upper, (left, right)):
        for axes, (unit, values) in zip(upper, charts, strict=False):
            subtitle, label = _words_on_lengths(unit, values, len(known) - len(values), marks.get(unit))
            draw_histogram(axes, f"Length of clips in {unit}", subtitle, values, unit, marks.get(unit), label)
        if not charts:
            draw_histogram(upper[0], "Length of clips", "no length is known", [], "frames", None, "")
        draw_bars(figure, left, "Clips per class", class_subtitle, class_rows, num_rows=num_rows)
        subtitle = "width x height in pixels, before resizing" if size_rows else "no size is known"
        draw_bars(figure, right, "Frame sizes", subtitle, size_rows, num_rows=num_rows)


def _words_on_lengths(unit: str, values: list[float], num_unknown: int, mark: float | None) -> tuple[str, str]:
    """Subtitle, and the label of the mark."""
    digits, label = 2 if unit == "seconds" else 0, ""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), np.median(values), max(values)))
    subtitle = f"{low} to {high}, median {middle}"
    if num_unknown:
        subtitle += f"; unknown of {num_unknown} that would have to be decoded"
    if mark is not None:
        num_short = sum(value < mark for value in values)
        shorter = f"{num_short} of {len(values)} are shorter and repeat frames" if num_short else "none is shorter"
        label = f"a training clip spans {mark:,.{digits}f} {unit}: {shorter}"
    return subtitle, label


def _class_rows(annotations: Annotations) -> tuple[str, list[tuple[str, int | str]]]:
    """A subtitle, and all classes in the order of their numbers; of many classes the largest and the smallest."""
    counts = annotations.class_counts_K.tolist()
    rows: list[tuple[str, int | str]] = list(zip(annotations.classes, counts, strict=True))
    if not rows:
        return "no clip has a label", rows
    fewest = "" if min(counts) == max(counts) else f"{min(counts):,} to "
    subtitle = f"{counted(len(rows), 'class', 'classes')}, {fewest}{counted(max(counts), 'clip')} each"
    if num_unlabelled := int((np.diff(annotations.label_ends_N, prepend=0) == 0).sum()):
        subtitle += f"; {counted(num_unlabelled, 'clip')} without a label"
    if len(rows) > MOST + LEAST + 1:
        order = sorted(range(len(rows)), key=lambda k: (-counts[k], k))
        between = sum(counts[k] for k in order[MOST:-LEAST])
        others = (f"{len(rows) - MOST - LEAST:,} classes between", f"{between:,} clips")
        rows = [*(rows[k] for k in order[:MOST]), others, *(rows[k] for k in order[-LEAST:])]
        subtitle += f"; the {MOST} largest and the {LEAST} smallest"
    return subtitle, rows


def _size_rows(known: list[_VideoInfo]) -> list[tuple[str, int | str]]:
    sizes = _sizes(known)
    rows: list[tuple[str, int | str]] = [(f"{width} x {height}", count) for (width, height), count in sizes[:MAX_SIZES]]
    if others := sizes[MAX_SIZES:]:
        rows.append((f"{len(others)} other sizes", sum(count for _, count in others)))
    return rows


def _sizes(known: list[_VideoInfo]) -> list[tuple[tuple[int, int], int]]:
    """(width, height) and how many clips have it, the most frequent first."""
    return sorted(Counter((info.width, info.height) for info in known).items(), key=lambda item: (-item[1], item[0]))


def _range(values: Sequence[float | None]) -> Range | None:
    numbers = [value for value in values if value is not None]
    return Range(float(min(numbers)), float(np.median(numbers)), float(max(numbers))) if numbers else None
