"""The explanation of one answer.

Letters in names: T frames, H rows, W columns, C channels, S windows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from i3d.errors import counted, quoted
from i3d.evaluation.occlusion import FLAT
from i3d.evaluation.occlusion import OcclusionCurve as OcclusionCurve
from i3d.explanations.grad_cam import ActivationMap
from i3d.explanations.perturbation import PerturbationScores
from i3d.explanations.views import ChosenView


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a network gives a video a label, by one view of the video."""

    path: str
    label: str
    score: float  # of the video, as `predict` gives it
    top1: str  # the label that `predict` gives
    view: ChosenView
    view_score: float
    view_top1: str
    curve: OcclusionCurve
    map: ActivationMap | None  # None: only the curve was asked for
    trust: PerturbationScores | None  # None: there is no map, or it is empty
    protocol: str
    notes: tuple[str, ...] = ()  # about the file

    @property
    def view_line(self) -> str:
        """Which part of the video is explained, in words."""
        one, number = self.view, self.view.number
        middle = f", {one.which}" if one.which else ""
        which = "the only one" if one.num_views == 1 else f"{number} of {one.num_views}{middle}"
        repeated = f", {one.num_repeated} of them repeated: the video is shorter" if one.num_repeated else ""
        line = f"view: {which}, {counted(len(one.clip_THWC), 'frame')}{self.span(0, len(one.clip_THWC))}{repeated}"
        return f"{line}; its score is {self.view_score:.3f}"

    @property
    def has_one_frame(self) -> bool:
        """Whether all frames of the view are the same one: none can be hidden."""
        return self.view.num_repeated == len(self.view.clip_THWC) - 1

    @property
    def curve_line(self) -> str:
        """The peak of the curve in words."""
        if self.has_one_frame:
            return "one frame: no curve"
        curve, (start, stop) = self.curve, self.curve.windows[self.curve.peak]
        frames = f"frames {start + 1} to {stop}" if stop - start > 1 else f"frame {stop}"
        drop = float(curve.drops_S.max())
        if drop < FLAT * curve.score:
            most = f"at most {drop:.3f} lower" if drop > 0 else "nowhere lower"
            length = counted(stop - start, "frame")
            return f"no moment matters by itself: with {length} hidden the score is {most}"
        fall = f"the score falls from {curve.score:.3f} to {curve.scores_S[curve.peak]:.3f}"
        return f"without {frames}{self.span(start, stop)} {fall}, the most of all windows"

    @property
    def map_lines(self) -> tuple[str, ...]:
        """The resolution of the map, and how far it can be trusted, in words."""
        if self.map is None:
            return ()
        if self.trust is None:
            empty = f"the map is zero everywhere: no place of {self.map.layer} speaks for {quoted(self.label)}"
            return self.map.line, f"{empty}; try another layer"
        return (self.map.line, *self.trust.lines)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a reader could mistake."""
        doubts = []
        if self.label != self.top1:
            doubts.append(f"the video's label is {quoted(self.top1)}, not {quoted(self.label)}, which is explained")
        if self.view_top1 != self.top1:
            doubts.append(f"this view alone would be {quoted(self.view_top1)}, the video is {quoted(self.top1)}")
        return tuple(doubts)

    def span(self, start: int, stop: int) -> str:
        """When frames are shown, in words: " (0.4 to 0.8 s)"; empty if the frames have no times."""
        if self.view.seconds_T is None:
            return ""
        seconds = self.view.seconds_T[start:stop]
        return f" ({seconds.min():.2f} to {seconds.max():.2f} s)"

    @property
    def fps(self) -> float | None:
        """At which rate the frames of the view follow each other; None: they have no times."""
        if self.view.seconds_T is None:
            return None
        steps: npt.NDArray[np.float64] = np.diff(self.view.seconds_T)
        steps = steps[steps > 0]
        return float(1 / np.median(steps)) if len(steps) else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        seconds_T, curve = self.view.seconds_T, self.curve
        return {
            "path": self.path,
            "label": self.label,
            "score": round(self.score, 6),
            "top1": self.top1,
            "view": {
                "number": self.view.number,
                "views": self.view.num_views,
                "frames": len(self.view.clip_THWC),
                "repeated_frames": self.view.num_repeated,
                "seconds": None if seconds_T is None else np.round(seconds_T, 6).tolist(),
                "score": round(self.view_score, 6),
                "top1": self.view_top1,
            },
            "curve": {
                "windows": [list(window) for window in curve.windows],
                "scores": np.round(curve.scores_S, 6).tolist(),
                "drops": np.round(curve.drops_S, 6).tolist(),
                "drops_of_frames": np.round(curve.drops_T, 6).tolist(),
                "peak": list(curve.windows[curve.peak]),
                "meaning": self.curve_line,
            },
            "map": None if self.map is None else _map_dict(self.map, self.trust),
            "doubts": list(self.doubts),
            "protocol": self.protocol,
            "notes": list(self.notes),
        }


def _map_dict(activation: ActivationMap, trust: PerturbationScores | None) -> dict[str, Any]:
    random = trust and {
        "deletion": trust.random_deletion_R.round(6).tolist(),
        "insertion": trust.random_insertion_R.round(6).tolist(),
        "seed": trust.seed,
    }
    return {
        "method": "Grad-CAM",
        "layer": activation.layer,
        "resolution": list(activation.values_THW.shape),
        "view": list(activation.view_THW),
        "frames_rows_columns_of_a_number": [round(size, 4) for size in activation.cell_THW],
        "values": np.round(activation.values_THW.astype(np.float64), 4).tolist(),
        "empty": activation.is_empty,
        "deletion": trust and round(trust.deletion, 6),
        "insertion": trust and round(trust.insertion, 6),
        "random_maps": random,
        "better_than_random": trust and trust.is_better,
        "meaning": trust and trust.verdict,
    }
