"""The ground truth of the videos of a layout: segments from lists, matched to videos by their names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from i3d.data.formats.columns import find_columns
from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.data.formats.training_segments import find_videos
from i3d.data.segments.read import is_segments, read_segment_file
from i3d.data.segments.segment import UNKNOWN, VideoSegments
from i3d.errors import InputError, counted, printable
from i3d.utils.text import csv_records, parse_json, read_lines, read_text


@dataclass(frozen=True)
class Sources:
    """The videos to extract, and what happens in them."""

    videos: tuple[str, ...]  # as they are given: paths, folders, patterns, lists
    truth: tuple[VideoSegments, ...]
    has_truth: bool
    notes: tuple[str, ...] = ()


def read_sources(sources: Sequence[str], segments: Path | None) -> Sources:
    """The videos of sources, and their segments: those of lists with segments among them, and of the file `segments`.

    Videos of a list are its paths, relative to it, or the files of these names below its folder.
    """
    videos: list[str] = []
    truth: list[VideoSegments] = []
    notes: list[str] = []
    has_truth = segments is not None
    for source in sources:
        if not is_segment_list(Path(source)):
            videos.append(source)
            continue
        read, has_truth, root = read_segment_file(Path(source)), True, Path(source).parent
        renamed, of_names = find_videos([video.video for video in read.videos], source=Path(source), root=root)
        notes += [f"{printable(source)}: {note}" for note in (*read.notes, *of_names)]
        listed = [replace(video, video=str(root / renamed.get(video.video, video.video))) for video in read.videos]
        videos += [video.video for video in listed]
        truth += listed
    if segments is not None:
        read = read_segment_file(segments)
        notes += [f"{printable(str(segments))}: {note}" for note in read.notes]
        truth += read.videos
    truth, of_scores = _without_unsure(truth)
    return Sources(tuple(videos), tuple(truth), has_truth, (*notes, *of_scores))


def is_segment_list(source: Path) -> bool:
    """Whether a source is a file of segments of videos: JSON, or a table with labels and times."""
    suffix = source.suffix.lower()
    if suffix == ".json" and source.is_file():
        if not is_segments(parse_json(read_text(source), where=str(source))):
            what = 'is no list of segments; ActivityNet\'s JSON has "results" or "database"'
            raise InputError(f"{source}: {what}; give one, or videos")
        return True
    if suffix not in (".csv", ".tsv") or not source.is_file():
        return False
    for _, record in csv_records(source, read_lines(source)):
        columns = find_columns(source, record)
        return bool(columns.path and columns.label and (columns.start or columns.start_frame))
    return False


def match_truth(
    truth: Iterable[VideoSegments], names: Mapping[str, str]
) -> tuple[dict[str, VideoSegments], list[VideoSegments]]:
    """(the segments of videos by their path, those that belong to none). `names`: path of each video by its name.

    A name is that of a file without suffix, perhaps without `v_`, which ActivityNet's JSON lacks.
    """
    of_video: dict[str, VideoSegments] = {}
    others: list[VideoSegments] = []
    for video in truth:
        stem = stem_of(video.video)
        path = names.get(stem) or names.get(f"v_{stem}")
        if path is None:
            others.append(video)
        elif path in of_video:
            both = f"{printable(of_video[path].video)} and {printable(video.video)}"
            raise InputError(f"{both}: both are annotations of {printable(path)}; leave one out")
        else:
            of_video[path] = video
    return of_video, others


def stem_of(path: str) -> str:
    """The name of a video without folders and suffix; a folder of frames has none to remove."""
    name = PurePath(path)
    return name.stem if name.suffix.lower() in VIDEO_SUFFIXES else name.name


def cut_to_length(video: VideoSegments, seconds: float, tolerance: float) -> tuple[VideoSegments, list[str]]:
    """Segments within a video of this length, and notes on those that are cut or left out."""
    inside = [one for one in video.segments if one.start < seconds - tolerance]
    num_cut = sum(one.stop > seconds + tolerance for one in inside)
    notes = []
    if num_out := len(video.segments) - len(inside):
        notes.append(f"{counted(num_out, 'segment begins', 'segments begin')} after its end: left out")
    if num_cut:
        notes.append(f"{counted(num_cut, 'segment ends', 'segments end')} after its end: cut there")
    if video.seconds is not None and abs(video.seconds - seconds) > max(1.0, 0.01 * seconds):
        notes.append(f"its annotations are of a video of {video.seconds:.1f} s")
    if notes:
        notes.append(f"it is {seconds:.1f} s long; check that these are its annotations")
    cut = tuple(replace(one, stop=min(one.stop, seconds)) for one in inside)
    return replace(video, segments=cut, seconds=seconds), notes


def _without_unsure(truth: list[VideoSegments]) -> tuple[list[VideoSegments], list[str]]:
    """Without what a network was unsure about; a note where segments are predictions."""
    known = [
        replace(video, segments=tuple(one for one in video.segments if one.label != UNKNOWN or one.score == 1))
        for video in truth
    ]
    notes = []
    if num_left_out := sum(len(video.segments) for video in truth) - sum(len(video.segments) for video in known):
        notes.append(f"{counted(num_left_out, 'segment')} labelled {UNKNOWN} left out")
    scores = [one.score for video in known for one in video.segments if one.score < 1]
    if scores:
        what = f"{counted(len(scores), 'segment')} with scores below 1 (the lowest {min(scores):.2g})"
        notes.append(f"{what}: predictions become the ground truth; correct them first")
    return known, notes
