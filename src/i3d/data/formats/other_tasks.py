"""Annotation files of other tasks. Some would read as lists of clips, others as damaged ones: each is refused by name.

AVA           ava_train_v2.1.csv       -5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1    boxes of persons in films
Charades      charades.json            {"7UPGT": {"subset": "training", "actions": [[12, 3.1, 9.0]]}}    pytorch-i3d's
proposals     ..._proposal_list.txt    # 0, then video, frames, and actions with their times
HVU           hvu_train_video.json     [{"filename": "a.mp4", "label": {"action": [2], "scene": [7, 9]}}]
"""

import re
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError, printable
from i3d.utils.text import numbered_lines

SEGMENTS: Final = "write a table path,start,end,label with a line for each segment"
_AVA_LINE: Final = re.compile(r"[^,]+,\d+(\.\d+)?(,[01]?\.\d+){4},-?\d+(,-?\d+)?")
_AVA_EXCLUDED: Final = re.compile(r"ava_.*excluded_timestamps.*\.csv", re.IGNORECASE)
_PICKLES: Final = (".pkl", ".pickle")


def refuse_pickle(path: Path) -> None:
    """An InputError for a pickled list, before it is read as text."""
    if path.suffix.lower() in _PICKLES:
        what = "a pickle, which can run any code when it is read"
        raise InputError(f"{path}: {what}; MMAction2 has skeletons and boxes in such files; give a list of clips")


def refuse_other_lines(path: Path, lines: list[str], *, todo: str = SEGMENTS) -> None:
    """An InputError for lines of AVA or of proposals. `todo`: the next step."""
    first = [line.strip() for _, line in zip(range(3), (text for _, text in numbered_lines(lines)), strict=False)]
    if first and (_AVA_LINE.fullmatch(first[0]) or _AVA_EXCLUDED.fullmatch(path.name)):
        what = "annotations of AVA: persons in boxes, at seconds of films; i3d recognises whole clips"
        raise InputError(f"{path}:1: {what}; {todo}")
    if len(first) == 3 and re.fullmatch(r"# ?\d+", first[0]) and first[2].replace(".", "", 1).isdigit():
        what = "a proposal list, of actions and where in a video they may be; i3d recognises clips"
        raise InputError(f"{path}:1: {what}; {todo}")


def refuse_other_json(path: Path, content: Any) -> None:
    """An InputError for the JSON of Charades, Kinetics and HVU."""
    if isinstance(content, dict) and isinstance(content.get("database"), dict):
        content = content["database"]
    first = next(iter(content.values()), None) if isinstance(content, dict) else None
    described = first.get("annotations") if isinstance(first, dict) else None
    if isinstance(described, dict):
        raise InputError(f"{path}: annotations of Kinetics in JSON; give the .csv, with label and youtube_id")
    if isinstance(first, dict) and isinstance(first.get("actions"), list):
        raise InputError(f"{path}: annotations of Charades, segments of actions in videos; {SEGMENTS}")
    if isinstance(content, list) and content and isinstance(content[0], dict):
        label = content[0].get("label")
        if isinstance(label, dict):
            names = ", ".join(printable(str(name)) for name in list(label)[:4])
            todo = "choose one category, and write its numbers as the label of each clip"
            raise InputError(f"{path}: clip 0: labels by category ({names}), as in HVU; {todo}")
