"""`i3d timeline`: windows of each video are scored, and segments found."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from i3d.cli import output
from i3d.cli.checks import comma_names, flags_named
from i3d.cli.messages import if_interrupted, log, unreadable_code
from i3d.cli.run.annotate import LabelDrawer
from i3d.cli.run.network import one_network
from i3d.cli.run.timeline_files import SegmentOutput, labels_to_draw
from i3d.cli.timeline import SegmentOptions, TimelineOptions
from i3d.data.resume import ResumeLog
from i3d.errors import abridged, counted, printable
from i3d.inference.predictor import Predictor
from i3d.recipes.segments import SegmentSettings, check_thresholds
from i3d.timelines import find as timelines
from i3d.timelines.annotate import TimelineDrawing
from i3d.timelines.drawing import draw_timelines
from i3d.timelines.find import BETWEEN, Block, Timeline, TimelineFinder, find_timelines
from i3d.video.base import Limits

FLAGS: Final = {
    "only_labels": "--labels", "window": "--window-seconds", "stride": "--stride-seconds", "leave": "--leave",
}  # fmt: skip
MOST: Final = 5  # names in a message


def run_timeline(videos: Sequence[str], options: TimelineOptions) -> int:
    """Find the timeline of each video, print and write the segments; the exit code."""
    out = options.out
    paths, labels = labels_to_draw(videos, options)
    files = SegmentOutput(videos, paths, options)
    files.check_apart(labels)
    with flags_named(**FLAGS):
        how = _finder_options(options)
        finder = TimelineFinder(build_predictor(options), how)
    files.check_labels(how.labels or finder.predictor.card.labels)
    with files.locked(), labels.locked() if labels else nullcontext():
        rows = _find(finder, paths, options, files, labels)
        bad = sum(bool(row.error) for row in rows)
        files.finish(rows)
    if options.plot is not None and bad < len(rows):
        for note in draw_timelines(options.plot, rows):
            log.warning("%s: %s", printable(str(options.plot)), note)
        log.info("%s: the segments", printable(str(options.plot)))
    if options.json:
        output.print_json(rows)
    elif bad < len(rows):
        print(f"protocol: {next(row.protocol for row in rows if not row.error)}")
    if out and 0 < bad < len(rows):
        which = abridged([printable(row.path) for row in rows if row.error], MOST)
        what = f"has no segments of {counted(bad, 'video')} that cannot be read: {which}"
        log.warning("%s: %s", printable(str(out)), what)
    if len(rows) > 1 or out is not None:
        where = "" if out is None else f", in {printable(str(out))}" if bad < len(rows) else "; no output is written"
        log.info("timelines of %d of %s%s", len(rows) - bad, counted(len(rows), "video"), where)
    if labels:
        labels.log_result()
    return unreadable_code(bad + files.num_failed + (labels.num_failed if labels else 0), "video")


def _find(
    finder: TimelineFinder,
    paths: list[str],
    options: TimelineOptions,
    files: SegmentOutput,
    labels: LabelDrawer | None,
) -> list[Timeline]:
    """The timelines of all videos. What is of one video alone is written when it is done."""
    out, rows = options.out, list[Timeline]()
    saved = (
        "nothing is saved without --out" if out is None else f"scores so far are stored beside {printable(str(out))}"
    )
    with (
        if_interrupted(saved, resumes=out is not None),
        nullcontext() if files.log_of is None else scores_log(files.log_of, paths, finder, options) as results_log,
        output.ProgressBar("timeline", len(paths), "video") as bar,
    ):
        timelines_of_paths = find_timelines(
            finder, paths,
            log=results_log, frames_fps=options.frames_fps, limits=Limits(max_seconds=options.max_decode_lag),
            on_progress=bar.within,
        )  # fmt: skip
        for path, row in zip(paths, timelines_of_paths, strict=True):
            rows.append(row)
            bar.advance()
            with bar.paused():
                output.print_timeline(row, json=options.json, many=len(paths) > 1)
            files.add(row)
            if labels and not row.error:
                labels.draw(path, TimelineDrawing(row), on_progress=bar)
    return rows


def build_predictor(options: TimelineOptions) -> Predictor:
    """The network of the options."""
    return one_network(options.model, options.classes, options.flow_method, options.compute)


def _finder_options(options: TimelineOptions) -> timelines.TimelineOptions:
    labels = tuple(comma_names("--labels", options.labels)) if options.labels else ()
    return timelines.TimelineOptions(
        options.window_seconds, options.stride_seconds, labels, _segment_settings(options.segments)
    )


def _segment_settings(options: SegmentOptions) -> SegmentSettings:
    """What was given, so far unchecked with what was not."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    settings = SegmentSettings.model_construct(set(given), **given)
    if {"enter", "leave"} <= given.keys():
        check_thresholds(given["enter"], given["leave"])  # refused before the network is loaded
    return settings


def scores_log(out: Path, paths: list[str], finder: TimelineFinder, options: TimelineOptions) -> ResumeLog[Block]:
    """The resume log of an output, with blocks of scores."""
    settings: dict[str, Any] = {**finder.settings, "frames_fps": options.frames_fps}
    return ResumeLog(
        out, settings, paths,
        encode=dict, decode=dict, force=options.force, item_of=lambda key: key.partition(BETWEEN)[0],
    )  # fmt: skip
