"""What a test has done so far, so that the same command goes on where it was ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from i3d.data.annotations import Annotations
from i3d.data.resume import Resume, ResumeLog, file_signature
from i3d.data.shards import INDEX, Shards
from i3d.errors import InputError
from i3d.evaluation.scorer import Scored
from i3d.utils.distributed import World

OfClip = dict[str, Scored]  # by the names of the variants


class ScoreCache:
    """The scores of clips beside an output file; without one, nothing is kept."""

    def __init__(self, resume: Resume | None, settings: dict[str, Any], clips: Annotations, *, world: World) -> None:
        self._clips, self._shards, self._world = clips, Shards.find(Path(clips.root)), world
        self._journal: ResumeLog | None = None
        if resume is not None:
            keys = {self._key(index) for index in range(len(clips))}
            self._journal = ResumeLog(
                resume.out, settings, keys, force=resume.force, rank=world.rank, wait=world.barrier
            )

    def close(self) -> None:
        if self._journal is not None:
            self._journal.__exit__()

    def known(self) -> dict[int, OfClip]:
        """Clips that are done, and whose files have not changed since, by their indices: what the first rank finds."""
        if self._journal is None:
            return {}
        lines = []
        for index in range(len(self._clips)) if self._world.rank == 0 else ():
            row = self._journal.done(self._key(index), partial(self._signature, index))
            if row is not None:
                lines.append(json.dumps([index, row]))
        found = map(json.loads, self._world.all_gather(lines))
        return {index: scored_of(row, str(self._journal.path)) for index, row in found}

    def keep(self, index: int, scored: OfClip) -> None:
        """One more clip is done."""
        if self._journal is not None:
            self._journal.add(self._key(index), self._signature(index), row_of(scored))

    def _key(self, index: int) -> str:
        """What a clip is known by: its name, and of a folder how many of its frames are meant."""
        num_frames = self._clips[index].num_frames
        return self._clips.name(index) + ("" if num_frames is None else f" ({num_frames} frames)")

    def _signature(self, index: int) -> Sequence[int]:
        if self._shards is None:
            return file_signature(self._clips.file(index))
        return file_signature(str(self._shards.root / INDEX))


def row_of(scored: OfClip) -> dict[str, Any]:
    return {name: found.as_row() for name, found in scored.items()}


def scored_of(row: dict[str, Any], where: str) -> OfClip:
    """The inverse of `row_of`; what is none is an InputError."""
    try:
        return {name: Scored.from_row(found) for name, found in row.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: damaged ({error}); delete it, or start again with --force") from error
