"""Write segments of videos in the formats of the field: whole files, or none."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Final, Literal, get_args

from i3d._version import __version__
from i3d.data.segments.activitynet import encode_activitynet
from i3d.data.segments.chapters import GAP, check_title, write_chapters
from i3d.data.segments.elan import encode_elan, merge_overlaps
from i3d.data.segments.label_studio import CONFIGURATION, encode_label_studio, label_studio_notes
from i3d.data.segments.read import decode_segments
from i3d.data.segments.segment import MIN_LEAD, Segment, VideoSegments, lead_text
from i3d.data.segments.srt import encode_srt
from i3d.data.segments.table import encode_table
from i3d.data.segments.webvtt import encode_webvtt
from i3d.errors import InputError, check_not_empty, counted, is_utf8, printable, quoted
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically
from i3d.utils.outputs import new_file

SegmentFormat = Literal["activitynet", "csv", "tsv", "srt", "vtt", "eaf", "label-studio", "chapters"]
SUFFIXES: Final[dict[SegmentFormat, str]] = {
    "activitynet": ".json",
    "csv": ".csv",
    "tsv": ".tsv",
    "srt": ".srt",
    "vtt": ".vtt",
    "eaf": ".eaf",
    "label-studio": ".json",
    "chapters": ".mp4",
}
BY_PLAYERS: Final = ("srt", "vtt", "eaf", "label-studio")  # times as players and browsers count them
OF_ONE_VIDEO: Final = ("srt", "vtt", "eaf", "chapters")
log = logging.getLogger("i3d")


@checks_types
def write_segments(
    path: Path | str,
    videos: Sequence[VideoSegments],
    *,
    format: SegmentFormat | None = None,  # noqa: A002 (the word that users know)
    force: bool = False,
    model_version: str = f"i3d {__version__}",
) -> tuple[Path, ...]:
    """Write the segments of videos to a file, or to a folder with a file for each video. Returns the files.

    `format`: by default that of the suffix (.json: ActivityNet's). SRT, WebVTT, ELAN and chapters hold one video each:
    for them, `path` is a file if there is one video, and otherwise a folder, in which files have the names of their
    videos. Labels that a format cannot hold exactly are an InputError, before anything is written; so is an existing
    file, unless `force` replaces it. `model_version`: what Label Studio displays beside predictions.
    """
    check_not_empty(path=path)
    kind = format_of(Path(path)) if format is None else format
    if kind not in get_args(SegmentFormat):
        raise InputError(f"format {format!r}: not one of {', '.join(get_args(SegmentFormat))}")
    files = files_of(Path(path), kind, videos, force=force)
    notes: list[str] = []
    if kind == "chapters":
        for file, (video,) in files.items():
            check_labels(kind, [video], file)
            notes += write_chapters(file, video)
    else:
        contents = {file: encode(kind, part, file, model_version=model_version) for file, part in files.items()}
        notes += notes_of(kind, videos)
        for file, content in contents.items():
            write_atomically(file, content)
    if kind == "label-studio":
        log.info("%s: %s", printable(str(path)), CONFIGURATION)
    for note in dict.fromkeys(notes):
        log.warning("%s: %s", printable(str(path)), note)
    return tuple(files)


def format_of(path: Path) -> SegmentFormat:
    """The format that a suffix stands for."""
    for kind, suffix in SUFFIXES.items():
        if path.suffix.lower() == suffix:
            return kind
    raise InputError(f"{path}: the name must end in {', '.join(dict.fromkeys(SUFFIXES.values()))}; or name the format")


def files_of(
    path: Path, kind: SegmentFormat, videos: Sequence[VideoSegments], *, force: bool
) -> dict[Path, Sequence[VideoSegments]]:
    """The files to write, with the videos of each. Files that must not be replaced are an InputError."""
    if repeated := next((name for name, count in Counter(one.video for one in videos).items() if count > 1), None):
        raise InputError(f"{path}: {printable(repeated)}: is listed more than once; unite its segments")
    if wrong := next((video for video in videos if not is_utf8(video.video)), None):
        raise InputError(f"{path}: {printable(wrong.video)}: its name is not UTF-8, which this file needs; rename it")
    suffix = SUFFIXES[kind]
    if kind not in OF_ONE_VIDEO or path.suffix.lower() == suffix:
        if kind in OF_ONE_VIDEO and len(videos) != 1:
            raise InputError(f"{path}: {suffix} holds one video, not {len(videos)}; name a folder")
        return {new_file(path, (suffix,), force=force): videos}
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; create it, or name a file that ends in {suffix}")
    names = file_names(path, kind, [video.video for video in videos])
    return {new_file(path / names[video.video], force=force, is_own=lambda _: False): [video] for video in videos}


def file_names(folder: Path, kind: SegmentFormat, videos: Sequence[str]) -> dict[str, str]:
    """The names of the files of some videos in a folder; two videos with the same name are an InputError."""
    suffix = SUFFIXES[kind]
    stems = Counter(PurePath(video).stem for video in videos)
    if shared := next((stem for stem, count in stems.items() if count > 1), None):
        why = f"{stems[shared]} videos would be written to {shared}{suffix}"
        raise InputError(f"{folder}: {why}; write a table (.csv), or one folder at a time")
    return {video: f"{PurePath(video).stem}{suffix}" for video in videos}


def encode(kind: SegmentFormat, videos: Sequence[VideoSegments], file: Path, *, model_version: str) -> bytes:
    """The content of a file. Labels and names of videos that it would not hold exactly are an InputError."""
    check_labels(kind, videos, file)
    return _encoder(kind, file, model_version)(videos)


def notes_of(kind: SegmentFormat, videos: Sequence[VideoSegments]) -> list[str]:
    """What a file of this format does not hold, or holds otherwise."""
    notes = _late_pictures(videos) if kind in BY_PLAYERS else []
    if kind == "label-studio":
        return notes + label_studio_notes(videos)
    if kind == "eaf":
        num_merged = sum(len(video.segments) - len(merge_overlaps(video.segments)) for video in videos)
        what = (
            f"{counted(num_merged, 'segment')} of one label that overlap another are merged with it: ELAN refuses them"
        )
        return [*notes, what] if num_merged else notes
    if kind in ("csv", "tsv") and (empty := [video for video in videos if not video.segments]):
        what = f"no row for {counted(len(empty), 'video')} without segments, such as {printable(empty[0].video)}"
        return [f"{what}; JSON holds these too"]
    return notes


def _late_pictures(videos: Sequence[VideoSegments]) -> list[str]:
    """A note on each video of which players count from a sound before the first frame."""
    why = "players count from the sound, these times from the first frame: there, add this to them"
    late = [lead_text(video.video, video.lead) for video in videos if video.lead >= MIN_LEAD]
    return [f"the first frame comes after the first sound in {text}: {why}" for text in late]


def check_labels(kind: SegmentFormat, videos: Sequence[VideoSegments], file: Path) -> None:
    """An InputError for a label, or a name of a video, that is not the same when the file is read."""
    if kind == "chapters":
        labels = {one.label for video in videos for one in video.segments}
        if wrong := next((label for label in sorted(labels) if label == GAP or label != label.strip()), None):
            raise InputError(f"{file}: label {quoted(wrong)}: cannot be the title of a chapter; write another format")
        for label in labels:
            check_title(label)
        return
    labels = {one.label for video in videos for one in video.segments}
    names = [video.video for video in videos] if kind not in OF_ONE_VIDEO else ["video.mp4"]
    probe = [VideoSegments(name, (), seconds=1.0, fps=25.0) for name in names]
    segments = tuple(Segment(k, k + 1, label) for k, label in enumerate(sorted(labels)))
    if not probe or not segments:
        return
    encoder = _encoder(kind, file, "")
    if _holds(encoder, file, [replace(one, segments=segments[:1] if k else segments) for k, one in enumerate(probe)]):
        return
    for label in sorted(labels):
        if not _holds(encoder, file, [replace(probe[0], segments=(Segment(0, 1, label),))]):
            raise _lost(kind, file, f"label {quoted(label)}")
    for one in probe:
        if not _holds(encoder, file, [replace(one, segments=(Segment(0, 1, "a"),))]):
            raise _lost(kind, file, f"video {quoted(one.video)}")
    raise _lost(kind, file, "together, some labels or names of videos")


def _holds(encoder: Callable[[Sequence[VideoSegments]], bytes], file: Path, videos: list[VideoSegments]) -> bool:
    """Whether videos and segments are the same when they are read; an InputError if the encoder refuses a label."""
    try:
        content = encoder(videos)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    try:
        read = decode_segments(file, content.decode(), fps=None).videos
    except InputError:
        return False
    if [video.segments for video in read] != [video.segments for video in videos]:
        return False
    return file.suffix.lower() in (".srt", ".vtt", ".eaf") or [one.video for one in read] == [
        one.video for one in videos
    ]


def _lost(kind: SegmentFormat, file: Path, what: str) -> InputError:
    return InputError(f"{file}: {what}: {kind} cannot hold it as it is; rename it, or write JSON")


def _encoder(kind: SegmentFormat, file: Path, model_version: str) -> Callable[[Sequence[VideoSegments]], bytes]:
    match kind:
        case "activitynet":
            return lambda videos: encode_activitynet(videos, version=f"i3d {__version__}")
        case "csv" | "tsv":
            return lambda videos: encode_table(videos, delimiter="\t" if kind == "tsv" else ",")
        case "label-studio":
            return lambda videos: encode_label_studio(videos, model_version=model_version)
        case "srt":
            return lambda videos: encode_srt(videos[0])
        case "vtt":
            return lambda videos: encode_webvtt(videos[0])
        case _:
            return lambda videos: encode_elan(
                replace(videos[0], segments=merge_overlaps(videos[0].segments)), folder=file.parent
            )
