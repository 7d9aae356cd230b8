"""The pipelines of the MindSpore port's config, `map.operations`, as settings: resizes and crops in their order."""

from typing import Any, Final

from i3d.errors import InputError
from i3d.recipes.mmaction2.pipelines import Pipeline
from i3d.recipes.mmaction2.section import Section

FLIP, LAST = "VideoRandomHorizontalFlip", "VideoToTensor"
TEST_STEPS: Final = ("VideoResize", "VideoShortEdgeResize", "VideoCenterCrop")
TRAIN_STEPS: Final = (*TEST_STEPS, "VideoRandomCrop", FLIP)
MAX_SIDE: Final = 7680
CHANNELS_FIRST: Final = [3, 0, 1, 2]
END: Final = "end with VideoCenterCrop, or with VideoResize to a square"


def read_augmentation(part: Section, unused: list[str]) -> dict[str, Any]:
    """The `map` of training as settings of `Augmentation`."""
    pipeline, flip = _read(part, TRAIN_STEPS, unused)
    return {"flip": flip, **pipeline.augmented()}


def read_geometry(part: Section, unused: list[str]) -> dict[str, Any]:
    """The `map` of the evaluation as settings of `FrameGeometry`. Without a resize frames have their own size."""
    return _read(part, TEST_STEPS, unused)[0].scored()


def _read(part: Section, names: tuple[str, ...], unused: list[str]) -> tuple[Pipeline, float]:
    """The resizes and crops, and the probability of a flip, which follows them. VideoToTensor is the last step."""
    part.only("input_columns", ["video"])
    pipeline, flip, kinds = Pipeline(end=END), 0.0, [""]
    for step in part.each("operations"):
        kind = step.choose("the step", *names, LAST)
        if kinds[-1] in (FLIP, LAST) and kind != LAST:
            raise step.wrong("type", f"follows {kinds[-1]}", "move it before that step")
        if kind == kinds[-1] == LAST:
            raise step.wrong("type", "is there twice", "leave one out")
        kinds.append(kind)
        if kind == LAST:
            step.only("order", CHANNELS_FIRST)
        elif kind == FLIP:
            flip = step.take("prob", 0.5)
            if not 0 <= flip <= 1:
                raise step.wrong("prob", "must be from 0 to 1")
        else:
            pipeline.operations.append((step, _operation(kind, step, unused)))
    if kinds[-1] != LAST:
        raise part.wrong("operations", f"does not end with {LAST}", f"add `- type: {LAST}`")
    if not pipeline.operations:
        raise part.wrong("operations", "has no resize and no crop", END)
    return pipeline, flip


def _operation(kind: str, step: Section, unused: list[str]) -> dict[str, Any]:
    """A resize or a crop as settings of a step of frames."""
    if kind == "VideoRandomCrop":
        return {"kind": "random", "size": _sides(step, may_be_one=True)}
    if kind == "VideoCenterCrop":
        return {"kind": "crop_center", "size": _sides(step) if "size" in step.table else [224, 224]}
    _check_interpolation(step, unused)
    if kind == "VideoResize":
        return {"kind": "resize", "size": _sides(step)}
    if type(side := step.any("size")) is not int:
        raise step.wrong("size", "must be a whole number, the short side")
    _check_side(step, side)
    return {"kind": "resize", "short_side": side}


def _check_interpolation(step: Section, unused: list[str]) -> None:
    """`linear` is ours. The port resamples by area for what it names `bilinear`, which is its default."""
    if "interpolation" not in step.table:
        return
    if (name := step.take("interpolation", "")) not in ("linear", "bilinear"):
        raise step.wrong("interpolation", "is not supported: frames are resampled bilinearly", "write linear")
    if name == "bilinear":
        unused.append(f"{step.path}.interpolation (bilinear as OpenCV's; in the port this name averages areas)")


def _sides(step: Section, *, may_be_one: bool = False) -> list[int]:
    """`size: [height, width]`, or one number for both."""
    size = step.any("size")
    sides = [size, size] if may_be_one and type(size) is int else size
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int for side in sides):
        raise step.wrong("size", "must be [height, width] in whole pixels", "write size: [224, 224]")
    for side in sides:
        _check_side(step, side)
    return sides


def _check_side(step: Section, side: int) -> None:
    if not 1 <= side <= MAX_SIDE:
        raise InputError(f"{step.place('size')}: {step.path}.size has {side}, must be from 1 to {MAX_SIDE} pixels")
