"""What `i3d timeline` writes: one file of all videos, a file for each, and copies with labels on them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from i3d.cli.messages import log
from i3d.cli.run.annotate import LabelDrawer
from i3d.cli.timeline import TimelineOptions
from i3d.data.formats.inputs import STDIN, expand_inputs
from i3d.data.resume import finish_log
from i3d.data.segments.folder import SegmentFolder
from i3d.data.segments.segment import UNKNOWN, Segment, VideoSegments
from i3d.data.segments.write import OF_ONE_VIDEO, SUFFIXES, SegmentFormat, check_labels, format_of, write_segments
from i3d.errors import InputError, VideoError, printable
from i3d.timelines.find import Timeline
from i3d.utils.outputs import check_outside
from i3d.video.base import Limits
from i3d.video.writer import check_can_be_copied

LOG: Final = "timelines"  # in a folder: `.timelines.resume` is the log of its run


def labels_to_draw(videos: Sequence[str], options: TimelineOptions) -> tuple[list[str], LabelDrawer | None]:
    """The paths of all videos, and what draws on them if --annotate names a place."""
    if STDIN in videos:
        raise InputError("-: a timeline reads files; name one")
    if options.annotate is None:
        return expand_inputs(videos), None
    limits = Limits(max_seconds=options.max_decode_lag)
    labels = LabelDrawer(videos, options.annotate, frames_fps=options.frames_fps, limits=limits, force=options.force)
    if options.frames_fps is None and (images := next(filter(_is_images, labels.paths), None)):
        raise InputError(f"--annotate: {printable(images)}: images have no times; give their rate with --frames-fps")
    return labels.paths, labels


class SegmentOutput:
    """The output of --out: a file, or a folder with a file for each video. What it cannot hold is an InputError.

    `log_of`: the output whose resume log has the scores so far.
    """

    def __init__(self, videos: Sequence[str], paths: Sequence[str], options: TimelineOptions) -> None:
        self.out = out = _named(options.out)
        self.kind = _format(out, options.segment_format)
        self.folder: SegmentFolder | None = None
        self.log_of = out
        self.num_failed = 0
        if out is None or self.kind is None:
            return
        if repeated := next((path for path, count in Counter(paths).items() if count > 1), None):
            raise InputError(f"{printable(repeated)}: is named more than once; name each video once")
        if self.kind == "chapters":
            _check_chapters(out, videos, paths)
        if _is_folder(out):
            self.folder = SegmentFolder(out, self.kind, paths, force=options.force)
            self.log_of = out / LOG
        elif len(paths) > 1 and self.kind in OF_ONE_VIDEO:
            todo = f"name a .csv, .tsv or .json, or a folder with --segment-format {self.kind}"
            raise InputError(f"--out {out}: holds one video, not {len(paths)}; {todo}")

    @property
    def files(self) -> list[Path]:
        """What is written."""
        if self.out is None:
            return []
        return [self.out] if self.folder is None else [self.out / name for name in self.folder.names.values()]

    def check_apart(self, labels: LabelDrawer | None) -> None:
        """An InputError if a copy with labels would have the name of one of the files."""
        drawn = {path.resolve() for path in labels.files} if labels else set()
        if both := next((path for path in self.files if path.resolve() in drawn), None):
            raise InputError(f"--annotate: {both}: would be written by --out too; choose another place")

    def check_labels(self, labels: Sequence[str]) -> None:
        """An InputError if the format cannot hold one of the labels that may be found."""
        if self.out is not None and self.kind is not None:
            segments = tuple(Segment(k, k + 1, label) for k, label in enumerate((*labels, UNKNOWN)))
            check_labels(self.kind, [VideoSegments("video.mp4", segments)], self.out.with_suffix(SUFFIXES[self.kind]))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder; the resume log of a file is a lock."""
        if self.folder is None:
            yield
            return
        with self.folder.locked():
            yield

    def add(self, row: Timeline) -> None:
        """Write the file of a video, if each has its own. A failure is logged."""
        if self.folder is None or row.error:
            return
        try:
            path, notes = self.folder.write(row.video_segments)
        except VideoError as error:
            self.num_failed += 1
            log.error("%s: segments not written: %s", printable(str(self.out)), error)
            return
        for note in notes:
            log.warning("%s: %s", printable(str(path)), note)

    def finish(self, rows: Sequence[Timeline]) -> None:
        """Write the file of all videos that could be read, if there is one; remove the log if none is missing."""
        read = [row.video_segments for row in rows if not row.error]
        if self.out is None or self.log_of is None or not read:
            return
        is_complete = len(read) == len(rows) and not self.num_failed
        if self.folder is None:
            write_segments(self.out, read, format=self.kind, force=True)
        if self.folder is None or is_complete:  # else it stays as it is: the record of the folder guards its files
            finish_log(self.log_of, is_complete=is_complete)


def _named(out: Path | None) -> Path | None:
    """The current folder by its name: the log of "." would have none."""
    return Path.cwd() if out == Path() else out


def _is_folder(out: Path) -> bool:
    return out.is_dir() or not out.suffix


def _is_images(path: str) -> bool:
    return Path(path).is_dir() or ("%" in path and not Path(path).exists())


def _format(out: Path | None, kind: SegmentFormat | None) -> SegmentFormat | None:
    """The format of an output. One that its name does not have is an InputError."""
    if out is None:
        if kind is not None:
            raise InputError(f"--segment-format {kind}: is of files; name one with --out")
        return None
    formats = ", ".join(OF_ONE_VIDEO[:-1]) + f" or {OF_ONE_VIDEO[-1]}"
    if _is_folder(out):
        if kind is None:
            raise InputError(
                f"--out {out}: is a folder; choose the format of its files with --segment-format {formats}"
            )
        if kind not in OF_ONE_VIDEO:
            raise InputError(f"--segment-format {kind}: one file holds all videos; name a .json with --out")
        return kind
    if kind is not None and out.suffix.lower() != SUFFIXES[kind]:
        more = " or a folder" if kind in OF_ONE_VIDEO else ""
        todo = f"name a file that ends in {SUFFIXES[kind]}{more}"
        raise InputError(f"--segment-format {kind}: --out {out} has another suffix; {todo}")
    return kind or format_of(out)


def _check_chapters(out: Path, videos: Sequence[str], paths: Sequence[str]) -> None:
    """An InputError for a video that chapters cannot be written into, and for a place in which it would be replaced."""
    for path in paths:
        if _is_images(path):
            raise InputError(f"--out {out}: {printable(path)}: chapters are of video files, not of images")
        if out.is_file() and Path(path).exists() and out.samefile(path):
            raise InputError(f"--out {out}: is the video itself; choose another name")
        try:
            check_can_be_copied(Path(path))
        except VideoError as error:
            raise InputError(f"--out {out}: {error}, or choose another format") from error
    if _is_folder(out):
        for source in videos:
            check_outside(out, source)
