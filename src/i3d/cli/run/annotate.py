"""`--annotate`: what is recognised drawn on one video, or on a copy of each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from i3d.cli.messages import log
from i3d.data.formats.inputs import STDIN, expand_inputs
from i3d.errors import InputError, VideoError, counted, printable
from i3d.inference.annotate_folder import AnnotatedFolder, Copy, copy_names
from i3d.inference.drawn_video import SUFFIXES, Drawing, draw_on_video
from i3d.inference.predict_many import read_stdin
from i3d.utils.progress import ProgressCallback
from i3d.video.base import Limits


class LabelDrawer:
    """Draws labels on videos: on one, to a file; or on a copy of each, in a folder. `paths` are those of all videos."""

    def __init__(
        self, videos: Sequence[str], out: Path, *, frames_fps: float | None, limits: Limits, force: bool
    ) -> None:
        self.out, self.frames_fps, self.limits = out, frames_fps, limits
        self.num_drawn = self.num_reused = self.num_failed = 0
        self._folder: AnnotatedFolder | None = None
        if out.suffix.lower() in SUFFIXES and not out.is_dir():
            self.paths = _one_video(videos, out)
        else:
            self._folder = AnnotatedFolder(out, copy_names(videos, out), force=force)
            self.paths = list(self._folder.names)
        self.stdin = read_stdin() if STDIN in self.paths else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder of the copies."""
        if self._folder is None:  # `guarded` has locked the file
            yield
            return
        with self._folder.locked():
            yield

    @property
    def files(self) -> list[Path]:
        """The copies."""
        return [self.out] if self._folder is None else [self.out / name for name in self._folder.names.values()]

    def draw(self, path: str, drawing: Drawing, *, on_progress: ProgressCallback) -> None:
        """Draw on a video. A failure is logged."""
        result = self._draw(path, drawing, on_progress)
        self.num_drawn += result.path is not None
        self.num_reused += result.reused
        if result.error:
            self.num_failed += 1
            log.error("labels not drawn: %s", result.error)
        for note in result.notes:
            log.warning("%s: %s", printable(path), note)

    def _draw(self, path: str, drawing: Drawing, on_progress: ProgressCallback) -> Copy:
        content = self.stdin if path == STDIN else None
        if self._folder is not None:
            return self._folder.draw(
                path, drawing, content=content, frames_fps=self.frames_fps, limits=self.limits, on_progress=on_progress
            )
        try:
            notes = draw_on_video(
                path if content is None else content,
                drawing,
                self.out,
                frames_fps=self.frames_fps,
                limits=self.limits,
                force=True,
                on_progress=on_progress,
            )
        except VideoError as error:
            return Copy(None, error=str(error))
        return Copy(self.out, notes=notes)

    def log_result(self) -> None:
        """Log where the copies are."""
        out = printable(str(self.out))
        if self._folder is None:
            if self.num_drawn:
                log.info("labels drawn on the video: %s", out)
            return
        reused = f", {self.num_reused} reused" if self.num_reused else ""
        log.info("labels drawn on %d of %s%s, in %s", self.num_drawn, counted(len(self.paths), "video"), reused, out)


def _one_video(videos: Sequence[str], out: Path) -> list[str]:
    """The path of the only video, which the copy never replaces."""
    paths = expand_inputs(videos)
    if len(paths) > 1:
        todo = f"name a folder for a copy of each, such as {out.stem}"
        raise InputError(f"--annotate {out}: is one file, and {len(paths)} videos were given; {todo}")
    if out.exists() and Path(paths[0]).exists() and out.samefile(paths[0]):
        raise InputError(f"--annotate {out}: is the video itself; choose another name")
    return paths
