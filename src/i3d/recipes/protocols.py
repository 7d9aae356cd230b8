"""Protocols by short names: 10x3 is 10 clips x 3 crops, "windows" is all frames, "mindspore" is that port's test."""

import re
from typing import Any, Final

from i3d.errors import InputError, quoted
from i3d.recipes.io import with_overrides
from i3d.recipes.names import MINDSPORE
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Protocol, WindowProtocol
from i3d.utils.arguments import checks_types

CROPS: Final = {1: "center", 2: "two", 3: "three", 10: "ten"}
WINDOWS: Final = "windows"
MIDDLE_CROPS: Final = {"center": 0, "two": 0, "three": 2, "ten": 8}  # in the order of `crop_views`
CLIP_LEN: Final = 64  # of clips for networks with windows: what the paper trains on
USUAL_FPS: Final = 25.0  # of the videos of Kinetics-400
SETTABLE: Final = ("protocol", "preprocessing")


def protocol_name(protocol: Protocol) -> str:
    """The short name of a protocol: clips x crops."""
    if isinstance(protocol, WindowProtocol):
        return WINDOWS
    if protocol.placement == "scattered" and (protocol.num_clips, protocol.crops) == (1, "center"):
        return MINDSPORE
    num_crops = next(number for number, name in CROPS.items() if name == protocol.crops)
    return f"{protocol.num_views // num_crops}x{num_crops}"


def middle_view(protocol: Protocol, num_views: int) -> int:
    """The number, from 0, of the middle crop of the middle clip."""
    if not isinstance(protocol, ClipProtocol):
        return num_views // 2
    crops = protocol.num_crops
    return num_views // crops // 2 * crops + MIDDLE_CROPS[protocol.crops]


def name_of_middle(protocol: Protocol, num_views: int) -> str:
    """What the view of `middle_view` is, in words."""
    if not isinstance(protocol, ClipProtocol):
        return "the middle window"
    parts = [
        name for name, count in (("crop", protocol.num_crops), ("clip", num_views // protocol.num_crops)) if count > 1
    ]
    return " of ".join(f"the middle {part}" for part in parts)


@checks_types
def with_protocol(recipe: Recipe, name: str) -> Recipe:
    """The recipe with the clips and crops of a short name, or with windows of all frames.

    For networks with windows, clips have 64 frames at the same frame rate. For networks with clips, windows have the
    length and the frame rate of a clip; without a rate of its own, videos are taken as 25 fps. "mindspore" is one clip
    of 64 frames that are drawn from the whole video and sorted.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})x(1|2|3|10)", name)
    own = recipe.protocol
    if name == WINDOWS:
        return recipe if isinstance(own, WindowProtocol) else _with_windows(recipe, own)
    if name == MINDSPORE:
        scattered = ClipProtocol(
            clip_len=CLIP_LEN, frame_interval=1, num_clips=1, placement="scattered", crops="center", average="score"
        )
        return Recipe(**dict(recipe) | {"protocol": scattered})
    if match is None:
        also = f", {WINDOWS} or {MINDSPORE}"
        raise InputError(f"protocol {quoted(name)}: write CLIPSxCROPS with 1, 2, 3 or 10 crops, such as 10x3{also}")
    num_clips, crops = int(match[1]), CROPS[int(match[2])]
    if isinstance(own, WindowProtocol):
        fields: dict[str, Any] = {"clip_len": CLIP_LEN, "frame_interval": 1, "target_fps": own.fps}
        fields["average"] = own.average
    else:
        if own.placement == "dense" and num_clips % 10:
            raise InputError(
                f"protocol {quoted(name)}: the recipe {quoted(recipe.name)} samples densely, 10 clips at a time; "
                "take 10x1 or 10x3, or another placement (--set protocol.placement=centred)"
            )
        num_clips //= 10 if own.placement == "dense" else 1
        fields = own.model_dump() | {"twice": False}
    protocol = ClipProtocol(**fields | {"num_clips": num_clips, "crops": crops})
    return Recipe(**dict(recipe) | {"protocol": protocol})


def _with_windows(recipe: Recipe, own: ClipProtocol) -> Recipe:
    fps = (own.target_fps or USUAL_FPS) / own.frame_interval
    protocol = WindowProtocol(fps=fps, max_window_frames=own.clip_len, average=own.average)
    return Recipe(**dict(recipe) | {"protocol": protocol})


def with_views(recipe: Recipe, *, protocol: str | None, num_clips: int | None) -> Recipe:
    """The recipe with the protocol of a short name, or with another number of clips and the crops that it has."""
    if protocol is not None and num_clips is not None:
        raise InputError(f"protocol {protocol}, num_clips {num_clips}: choose one of them")
    if num_clips is not None:
        crops = protocol_name(recipe.protocol).partition("x")[2] if isinstance(recipe.protocol, ClipProtocol) else "1"
        protocol = f"{num_clips}x{crops}"
    return recipe if protocol is None else with_protocol(recipe, protocol)


def with_test_settings(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with `key=value` overrides of protocol or preprocessing; other settings belong to the weights."""
    for setting in settings:
        if setting.partition(".")[0] not in SETTABLE:
            raise InputError(f"--set {quoted(setting)}: a test can change {' and '.join(SETTABLE)}, nothing else")
    return with_overrides(recipe, settings, page="docs/testing.md")


def with_average(recipe: Recipe, average: str | None) -> Recipe:
    """The recipe with another way to average views: "prob" or "score" (logits)."""
    if average is None:
        return recipe
    if average not in ("prob", "score"):
        raise InputError(f"--average-clips {quoted(average)}: is not one of prob, score, none")
    return Recipe(**dict(recipe) | {"protocol": recipe.protocol.model_copy(update={"average": average})})
