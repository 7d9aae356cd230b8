"""A folder of outputs with a hidden record of what was written: our files may be replaced, any other file stays."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from i3d.data.resume import read_record
from i3d.errors import InputError
from i3d.utils.atomic_files import write_atomically, writing_to
from i3d.utils.outputs import check_new, file_sha256, locked_output, recorded


class RecordedFolder:
    """The folder, its record, and which names will be written. `what` the files are and `todo` are for messages."""

    def __init__(self, out: Path, record: str, *, what: str, todo: str) -> None:
        self.out, self.record, self._what, self._todo = out, out / record, what, todo

    def check_names(self, names: Collection[str], *, force: bool) -> None:
        """An InputError for a folder of one of these names, and for a file that is not ours, unless `force`."""
        before = read_record(self.record)
        for name in names:
            path, own = self.out / name, recorded(before, name)
            edited = "; it was edited since it was written, and the edits would be lost" * bool(own)
            check_new(str(path), path, force=force, note=edited, is_own=lambda p, own=own: file_sha256(p) in own)  # type: ignore[misc]
            if path.is_dir():
                raise InputError(f"{path}: is a folder; choose another folder for the {self._what}")

    @contextmanager
    def locked(self) -> Iterator[Self]:
        """Make the folder, and lock it: two runs cannot write to it at a time."""
        with writing_to(f"{self.out}:", self._todo):
            self.out.mkdir(parents=True, exist_ok=True)
        with locked_output(str(self.out), self.record):
            if read_record(self.record) is None:
                write_atomically(self.record, b"{}\n")
            yield self
