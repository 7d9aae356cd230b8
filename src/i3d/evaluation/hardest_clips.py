"""The most confident errors and the least confident clips of a test, with a few small stills of each.

Letters in names: N clips, K classes, H rows, W columns, C channels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from i3d.data.frame_folders import FrameNaming, open_frames
from i3d.data.shards import Shards, is_packed, open_stored_video
from i3d.errors import InputError, VideoError, first_line
from i3d.evaluation.metrics import Labels
from i3d.evaluation.result import ClipRange, Evaluation
from i3d.video.base import FrameHWC, Limits, Video
from i3d.video.flow import bytes_to_flow, flow_to_rgb

STILL: Final = 160  # pixels of the longer side
NUM_STILLS: Final = 4
JPEG_QUALITY: Final = 80
WHOLE_FILE: Final = ClipRange()
LIMITS: Final = Limits(max_seconds=10.0)  # per clip, so that one damaged file does not delay a report


@dataclass(frozen=True)
class Still:
    """A small frame of a clip."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True)
class HardClip:
    """A misclassified clip, or one with low confidence."""

    file: str
    name: str  # as listed
    labels: tuple[int, ...]
    predicted: int
    confidence: float  # the probability of the predicted class
    label_probabilities: tuple[float, ...]
    stills: tuple[Still, ...]
    note: str  # why there are no stills

    @property
    def is_correct(self) -> bool:
        return self.predicted in self.labels


def select_hardest_clips(evaluation: Evaluation, *, max_clips: int) -> list[HardClip]:
    """The most confident errors, then the least confident correct clips, with stills or a note why there are none."""
    probabilities_NK, is_correct_N = evaluation.probabilities_NK, evaluation.is_correct_N
    confidence_N, predicted_N = probabilities_NK.max(axis=1), evaluation.predicted_N
    clips = []
    for n in np.lexsort((np.where(is_correct_N, confidence_N, -confidence_N), is_correct_N))[:max_clips]:
        labels = evaluation.labels_N[n]
        clip_range = evaluation.ranges_N[n] if evaluation.ranges_N else WHOLE_FILE
        stills = read_stills(evaluation.files_N[n], clip_range=clip_range, naming=evaluation.frame_naming)
        clips.append(
            HardClip(
                file=evaluation.files_N[n],
                name=evaluation.names_N[n],
                labels=labels,
                predicted=int(predicted_N[n]),
                confidence=float(confidence_N[n]),
                label_probabilities=tuple(float(probabilities_NK[n, label]) for label in labels),
                stills=() if isinstance(stills, str) else stills,
                note=stills if isinstance(stills, str) else "",
            )
        )
    return clips


def read_stills(
    file: str, *, clip_range: ClipRange = WHOLE_FILE, naming: FrameNaming | None = None
) -> tuple[Still, ...] | str:
    """Small JPEGs of the middle frames of equal parts of a clip; or why it is unreadable. Flow is coloured."""
    try:
        with _open(file, clip_range, naming) as video:
            first, stop = video.frames_between(clip_range.start_seconds, clip_range.end_seconds)
            indices = first + middle_frames(stop - first, num_parts=NUM_STILLS)
            frames = [frame for _, frame, _ in video.iter_frames_at(np.unique(indices), transform=_shrink)]
    except VideoError as error:
        return f"{error.why}; {error.todo}"
    except (OSError, ValueError, InputError) as error:  # an impossible file name, a missing disk
        return first_line(error)
    return tuple(_encode(frame_HWC) for frame_HWC in frames)


def _open(file: str, clip_range: ClipRange, naming: FrameNaming | None) -> Video:
    """A video or a frame folder, on disk or in shards."""
    root = next((root for root in Path(file).parents if is_packed(root)), None) if not Path(file).exists() else None
    path: Any = Path(file) if root is None else Shards(root).path(Path(file).relative_to(root).as_posix())
    if naming is not None:
        first, num_frames = clip_range.first_frame, clip_range.num_frames
        return open_frames(path, naming, num_frames=num_frames, first_frame=first, limits=LIMITS)
    return open_stored_video(path, limits=LIMITS)


def middle_frames(num_frames: int, *, num_parts: int) -> Labels:
    """The middle frames of equal parts: 40 frames, 4 parts -> 5 15 25 35; 2 frames, 4 parts -> 0 0 1 1."""
    return (2 * np.arange(num_parts) + 1) * num_frames // (2 * num_parts)


def _shrink(frame_HWC: FrameHWC) -> FrameHWC:
    """Reduce a frame until its longer side is at most `STILL`."""
    if frame_HWC.shape[2] == 2:
        frame_HWC = flow_to_rgb(bytes_to_flow(frame_HWC))
    height, width = frame_HWC.shape[:2]
    scale = min(1.0, STILL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller_HWC: FrameHWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return smaller_HWC


def _encode(frame_HWC: FrameHWC) -> Still:
    bgr_HWC = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Still(jpeg.tobytes(), frame_HWC.shape[1], frame_HWC.shape[0])
