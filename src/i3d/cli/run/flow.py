"""`i3d flow` and `i3d flow show`."""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

from i3d.cli.flow import FlowOptions
from i3d.cli.messages import log
from i3d.cli.options import FlowMethod
from i3d.cli.run.data import extract_clips
from i3d.data.annotations import Annotations, build_annotations
from i3d.data.flow_files import FILES
from i3d.data.formats.inputs import expand_inputs
from i3d.data.frame_extraction.jobs import FlowSettings, FrameSettings
from i3d.data.frame_folders import RECORD, infer_naming, open_frames
from i3d.data.resume import read_record
from i3d.data.rows import Rows
from i3d.errors import InputError, VideoError, first_line, printable
from i3d.utils.folders import is_missing, walk_folders
from i3d.utils.outputs import check_outside
from i3d.video.flow import BOUND, Flow, bytes_to_flow, consecutive_flows, flow_to_rgb
from i3d.video.reader import open_video
from i3d.video.writer import write_video


def run_flow(videos: Sequence[str], options: FlowOptions, fps: float | None) -> int:
    """Write the flow of videos; the exit code."""
    files = options.files
    annotations, missing = _annotations(videos, options.out)
    flow = FlowSettings(options.flow_method, files.flow_bound, files.flow_align, files.flow_format)
    settings = FrameSettings(options.short_side or None, jpeg_quality=100, fps=fps, flow=flow)
    return extract_clips("compute flow", annotations, settings, options, missing=missing)


def run_show(source: Path, out: Path, flow_method: FlowMethod | None, *, max_displacement: float) -> None:
    """Draw the flow of a video, or stored flow, as a video."""
    source = source.parent if source.name in FILES.values() else source
    if not source.is_dir():
        with open_video(source) as video:
            fps = Fraction(video.fps or 25).limit_denominator(1000)
            flows = consecutive_flows(video.stream(), method=flow_method or "dis")
            _draw(out, source, flows, fps=fps, max_displacement=max_displacement)
            notes = video.notes
    elif flow_method is not None:
        raise InputError(f"--flow-method {flow_method}: {source} holds flow already; leave it out")
    else:
        notes = _draw_folder(out, source, max_displacement=max_displacement)
    for note in notes:
        log.warning("%s: %s", printable(str(source)), note)
    log.info("flow in colours: %s", printable(str(out)))


def _draw(out: Path, source: Path, flows: Iterator[Flow], *, fps: Fraction, max_displacement: float) -> None:
    """Flow after flow: no more than two are in memory."""
    first_HW2 = next(flows, None)
    if first_HW2 is None:
        raise VideoError(str(source), "it has one frame, and flow needs two", "give a longer one")
    height, width = (side - side % 2 for side in first_HW2.shape[:2])
    images = (flow_to_rgb(f, bound=max_displacement)[:height, :width] for f in chain([first_HW2], flows))
    write_video(out, images, fps=fps, force=True)


def _draw_folder(out: Path, folder: Path, *, max_displacement: float) -> tuple[str, ...]:
    """Stored flow; the record of its folder has the displacement that its bytes stand for."""
    record = read_record(folder / RECORD)
    if record is not None and "made_with" not in record:
        raise InputError(f"{folder / RECORD}: is damaged; compute the flow again")
    settings = (record or {}).get("made_with", {})
    if settings.get("flow") is None or "video" not in settings:
        places = (place for place, _, files in walk_folders(folder) if RECORD in files)
        inner = next((place for place in places if place != str(folder)), "")
        if inner:
            what = f"holds a folder for each video; name one, such as {inner}"
            raise InputError(f"{folder}: {what}")
    try:
        stored = float((settings.get("flow") or {}).get("bound", BOUND))
        fps = Fraction(settings.get("fps") or 25).limit_denominator(1000)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{folder / RECORD}: is damaged ({first_line(error)}); compute the flow again") from error
    try:
        names = infer_naming(folder, modality="flow")
    except InputError as error:
        what = "holds no flow; name a video, or a folder that `i3d flow` wrote"
        raise InputError(f"{folder}: {what}") from error
    with open_frames(folder, names) as video:
        flows = (bytes_to_flow(frame_HW2, bound=stored) for frame_HW2 in video.stream())
        _draw(out, folder, flows, fps=fps, max_displacement=max_displacement)
        return video.notes


def _annotations(videos: Sequence[str], out: Path) -> tuple[Annotations, list[str]]:
    """The videos as clips without classes, by their paths below a common folder; and those that are missing."""
    for name in videos:
        check_outside(out, name)
    named = list(dict.fromkeys(expand_inputs(videos)))
    if inside := next((path for path in named if Path(path).resolve().is_relative_to(out.resolve())), None):
        raise InputError(f"{inside}: lies in --out {out}; leave it out, or choose another --out")
    missing = [path for path in named if is_missing(path)]
    paths = [os.path.abspath(path) for path in named if path not in missing]  # noqa: PTH100 (links stay)
    if not paths:
        raise InputError(f"{missing[0]}: no such file; check the path")
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))  # noqa: PTH120
    rows = Rows()
    for path in dict.fromkeys(paths):
        rows.add(os.path.relpath(path, root), ())
    source = Path(videos[0]) if len(videos) == 1 else root / "*"  # the root itself is not read
    return build_annotations(rows, source=source, root=root), missing
