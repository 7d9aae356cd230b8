"""The clips that a model is most wrong about, or least sure of, with a few small stills of each.

Letters in names: N clips, K classes, H rows, W columns, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from i3d.data.frame_folders import FrameNaming, open_frames
from i3d.data.shards import Shards, is_packed
from i3d.errors import InputError, VideoError, first_line
from i3d.evaluation.metrics import Labels
from i3d.evaluation.result import Evaluation, Part
from i3d.video.base import FrameHWC, Limits, Video
from i3d.video.flow import bytes_to_flow, flow_to_rgb
from i3d.video.reader import open_video

STILL: Final = 160  # pixels of the longer side
NUM_STILLS: Final = 4
JPEG_QUALITY: Final = 80
LIMITS: Final = Limits(max_seconds=10.0)  # per clip: a report must not wait for one damaged file


@dataclass(frozen=True)
class Still:
    """A small picture of a clip."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True)
class HardClip:
    """A clip whose highest score is that of a class it has not, or is low."""

    file: str
    name: str  # as it is listed
    labels: tuple[int, ...]
    said: int
    said_probability: float
    label_probabilities: tuple[float, ...]
    stills: tuple[Still, ...]
    note: str  # why there are no stills

    @property
    def is_right(self) -> bool:
        return self.said in self.labels


def wrong_clips(evaluation: Evaluation) -> Labels:
    """The clips that are not recognised, those first that are given to a wrong class with the highest probability."""
    probabilities_NK = evaluation.probabilities_NK
    said_N = np.argmax(evaluation.scores_NK, axis=1)
    wrong = [i for i, said in enumerate(said_N) if said not in evaluation.labels_N[i]]
    return np.array(sorted(wrong, key=lambda i: (-probabilities_NK[i, said_N[i]], i)), np.int64)


def unsure_clips(evaluation: Evaluation) -> Labels:
    """The clips that are recognised, the lowest probabilities first."""
    probabilities_NK = evaluation.probabilities_NK
    said_N = np.argmax(evaluation.scores_NK, axis=1)
    right = [i for i, said in enumerate(said_N) if said in evaluation.labels_N[i]]
    return np.array(sorted(right, key=lambda i: (probabilities_NK[i, said_N[i]], i)), np.int64)


def worst_clips(evaluation: Evaluation, *, most: int) -> list[HardClip]:
    """The first of the wrong clips, then of those that are recognised hardly, with their stills.

    A video that cannot be read (any more) has a note instead.
    """
    probabilities_NK = evaluation.probabilities_NK
    clips = []
    for i in [*wrong_clips(evaluation), *unsure_clips(evaluation)][:most]:
        file, labels = evaluation.files_N[i], evaluation.labels_N[i]
        said = int(np.argmax(evaluation.scores_NK[i]))
        part = evaluation.parts_N[i] if evaluation.parts_N else None
        found = stills_of(file, part=part, pictures=evaluation.pictures)
        stills, note = ((), found) if isinstance(found, str) else (found, "")
        of_labels = tuple(float(probabilities_NK[i, label]) for label in labels)
        name = evaluation.names_N[i]
        clips.append(HardClip(file, name, labels, said, float(probabilities_NK[i, said]), of_labels, stills, note))
    return clips


def stills_of(
    file: str, *, part: Part | None = None, pictures: FrameNaming | None = None, num_stills: int = NUM_STILLS
) -> tuple[Still, ...] | str:
    """Frames from the middles of equal parts of a clip, as small JPEGs; or why it cannot be read. Flow is coloured."""
    which = part or Part()
    try:
        with _opened(file, which, pictures) as video:
            first, stop = video.frames_between(which.start_seconds, which.end_seconds)
            indices = first + middles(stop - first, num_parts=num_stills)
            frames = [
                frame
                for _, frame, _ in video.iter_frames_at(np.unique(indices), transform=partial(_shrunk, side=STILL))
            ]
    except VideoError as error:
        return f"{error.why}; {error.todo}"
    except (OSError, ValueError, InputError) as error:  # a name that no file can have, a disk that is gone
        return first_line(error)
    return tuple(_still(frame_HWC) for frame_HWC in frames)


def _opened(file: str, part: Part, pictures: FrameNaming | None) -> Video:
    """A video, or frames in a folder; on the disk or in shards."""
    root = next((root for root in Path(file).parents if is_packed(root)), None) if not Path(file).exists() else None
    shards = None if root is None else Shards(root)
    name = file if root is None else Path(file).relative_to(root).as_posix()
    if pictures is not None:
        folder: Any = Path(file) if shards is None else shards.folder(name)
        return open_frames(folder, pictures, num_frames=part.num_frames, first_frame=part.first_frame, limits=LIMITS)
    return open_video(file if shards is None else shards.file(name).read_bytes(), name=file, limits=LIMITS)


def middles(num_frames: int, *, num_parts: int) -> Labels:
    """The frames in the middles of equal parts: 40 frames, 4 parts -> 5 15 25 35; 2 frames, 4 parts -> 0 0 1 1."""
    return np.array([(2 * i + 1) * num_frames // (2 * num_parts) for i in range(num_parts)], np.int64)


def _shrunk(frame_HWC: FrameHWC, *, side: int) -> FrameHWC:
    """Its longer side at most `side`."""
    if frame_HWC.shape[2] == 2:
        frame_HWC = flow_to_rgb(bytes_to_flow(frame_HWC))
    height, width = frame_HWC.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller_HWC: FrameHWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return smaller_HWC


def _still(frame_HWC: FrameHWC) -> Still:
    bgr_HWC = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Still(jpeg.tobytes(), frame_HWC.shape[1], frame_HWC.shape[0])
