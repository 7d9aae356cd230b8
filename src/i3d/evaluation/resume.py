"""The scores of an interrupted test, so that the same command computes only the missing ones."""

import base64
import json
from functools import partial
from typing import Any, Self

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.content import Stamp, check_unchanged, file_signature, file_stamp, signature_of_read
from i3d.data.resume import Resume, ResumeLog
from i3d.data.shards import INDEX
from i3d.errors import counted
from i3d.evaluation.occlusion import OcclusionCurve
from i3d.evaluation.scorer import ClipScores, ProtocolScores
from i3d.utils.distributed import World


class ScoreCache:
    """The resume log of a test, with clips instead of keys. Without a `Resume` it is empty and stays so."""

    def __init__(self, resume: Resume | None, settings: dict[str, Any], clips: Annotations, *, world: World) -> None:
        self._clips, self._world = clips, world
        self._log: ResumeLog[ProtocolScores] | None = None
        if resume is not None:
            self._log = ResumeLog(
                resume.out,
                settings,
                {self._key(index) for index in range(len(clips))},
                encode=encode_scores,
                decode=decode_scores,
                force=resume.force,
                rank=world.rank,
                all_gather=world.all_gather,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._log is not None:
            self._log.__exit__(kind, error, trace)

    def load(self) -> dict[int, ProtocolScores]:
        """The logged scores of unchanged clips by their indices. All ranks get those that the first rank has."""
        if self._log is None:
            return {}
        lines = []
        for index in range(len(self._clips)) if self._world.rank == 0 else ():
            scores = self._log.get(self._key(index), partial(file_signature, self._source(index)))
            if scores is not None:
                lines.append(json.dumps([index, encode_scores(scores)]))
        return {index: decode_scores(row) for index, row in map(json.loads, self._world.all_gather(lines))}

    def add(self, index: int, stamp: Stamp, scores: ProtocolScores) -> None:
        """Log the scores of a clip, whose file had this stamp before it was read. A VideoError if it changed."""
        check_unchanged(self._source(index), stamp)
        if self._log is not None:
            self._log.add(self._key(index), signature_of_read(self._source(index), stamp), scores)

    def _key(self, index: int) -> str:
        """The name of a clip; of a folder, also how many of its frames belong to the clip."""
        num_frames = self._clips[index].num_frames
        return self._clips.name(index) + ("" if num_frames is None else f" ({counted(num_frames, 'frame')})")

    def stamp(self, index: int) -> Stamp:
        """What changes with the file of a clip."""
        return file_stamp(self._source(index))

    def _source(self, index: int) -> str:
        """The file of a clip; of packed clips, the index of the shards."""
        shards = self._clips.shards
        return self._clips.file(index) if shards is None else str(shards.root / INDEX)


def encode_scores(scores: ProtocolScores) -> dict[str, Any]:
    """As JSON values, with all bits."""
    return {
        name: {
            "values": base64.b64encode(clip.values_RK.astype("<f8").tobytes()).decode(),
            "rows": len(clip.values_RK),
            "frames": list(clip.num_frames_V),
            "note": clip.note,
            **({} if clip.curve is None else {"curve": _encode_curve(clip.curve)}),
        }
        for name, clip in scores.items()
    }


def decode_scores(row: dict[str, Any]) -> ProtocolScores:
    """The inverse of `encode_scores`."""
    scores = {}
    for name, clip in row.items():
        values_RK = np.frombuffer(base64.b64decode(clip["values"], validate=True), "<f8").reshape(clip["rows"], -1)
        num_frames_V = tuple(int(frames) for frames in clip["frames"])
        curve = _decode_curve(clip["curve"]) if "curve" in clip else None
        scores[name] = ClipScores(values_RK.astype(np.float64), num_frames_V, str(clip.get("note", "")), curve)
    return scores


def _encode_curve(curve: OcclusionCurve) -> dict[str, Any]:
    windows = [list(window) for window in curve.windows]
    return {
        "score": curve.score,
        "windows": windows,
        "scores": curve.scores_S.tolist(),
        "frames": curve.num_frames,
    }


def _decode_curve(row: dict[str, Any]) -> OcclusionCurve:
    windows = tuple((int(start), int(stop)) for start, stop in row["windows"])
    return OcclusionCurve(float(row["score"]), windows, np.array(row["scores"], np.float64), int(row["frames"]))
