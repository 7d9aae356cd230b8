"""Segments of many videos in formats that hold one video: a folder with a file for each.

    folder = SegmentFolder(Path("subtitles"), "srt", ["a.mp4", "b.mp4"])
    with folder.locked():
        folder.write(VideoSegments("a.mp4", (Segment(1, 2, "run"),)))

A hidden record in the folder has the digest of every file that was written. A file that is still as it was written may
be replaced; any other file stays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from i3d._version import __version__
from i3d.data.recorded_folder import RecordedFolder
from i3d.data.segments.chapters import write_chapters
from i3d.data.segments.segment import VideoSegments
from i3d.data.segments.write import SegmentFormat, check_labels, encode, file_names, notes_of
from i3d.errors import InputError
from i3d.utils.atomic_files import write_atomically, writing_to
from i3d.utils.outputs import recorded_files

RECORD: Final = ".i3d-segments.json"
TODO: Final = "free disk space, or choose another folder"


class SegmentFolder(RecordedFolder):
    """The files of some videos in a folder. Existing files that are not ours are an InputError, unless `force`."""

    def __init__(self, out: Path, kind: SegmentFormat, videos: Sequence[str], *, force: bool = False) -> None:
        super().__init__(out, RECORD, what="files", todo=TODO)
        self.kind, self.names = kind, file_names(out, kind, videos)
        for video, name in self.names.items():
            path = out / name
            if path.exists() and Path(video).exists() and path.samefile(video):
                raise InputError(f"{path}: is the video itself; choose another folder")
        self.check_names(self.names.values(), force=force)

    def write(self, video: VideoSegments) -> tuple[Path, list[str]]:
        """Write the file of a video; its path, and what it does not hold. An unreadable video is a VideoError."""
        path = self.out / self.names[video.video]
        with writing_to(f"{path}:", TODO), recorded_files(self.out, self.record) as temporary:
            if self.kind == "chapters":
                check_labels(self.kind, [video], path)
                return path, write_chapters(temporary / path.name, video)
            content = encode(self.kind, [video], path, model_version=f"i3d {__version__}")
            write_atomically(temporary / path.name, content)
        return path, notes_of(self.kind, [video])
