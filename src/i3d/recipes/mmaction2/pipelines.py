"""Translate MMAction2's pipelines into settings. The order of steps is fixed here; another order is refused."""

from dataclasses import dataclass, field
from typing import Any, Final

from i3d.errors import InputError
from i3d.recipes.mmaction2.section import Section

INTO_VIDEOS: Final = ("DecordInit", "OpenCVInit", "PyAVInit", "PIMSInit", "DecordDecode", "OpenCVDecode", "PyAVDecode",
                      "PIMSDecode")  # fmt: skip
INTO_FRAMES: Final = ("RawFrameDecode", "FrameSelector")
PACKING: Final = ("FormatShape", "Collect", "ToTensor", "PackActionInputs")
CROPS: Final = {"CenterCrop": "center", "ThreeCrop": "three", "TenCrop": "ten"}
# The order of steps. A flip may come anywhere.
ORDER: Final = ("sample", "resize", "crop", "size", "rotate", "colour", "normalise")


@dataclass
class Pipeline:
    """A pipeline, translated: fields of `TrainSampling` or `ClipProtocol`, of `Augmentation` and so on."""

    sampling: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    norm: dict[str, tuple[float, ...]] = field(default_factory=dict)
    crops: str = "center"
    crop: int = 0  # of a test pipeline
    frames: bool | None = None  # whether it decodes folders of frames; None: it has no such step
    stage: int = 0  # in ORDER

    def comes(self, stage: str, step: Section) -> None:
        if ORDER.index(stage) < self.stage:
            raise InputError(
                f"{step.place('type')}: {step.path}: this step comes later than in ours, which are in the order "
                f"{', '.join(ORDER)}; move it, or leave it out"
            )
        self.stage = ORDER.index(stage)

    @property
    def short_side(self) -> int:
        """The short side after the resize before the crop; without a resize, the size of the crop."""
        resize = self.augmentation.get("resize")
        return resize if isinstance(resize, int) else self.crop


def read_pipeline(steps: list[Section], *, for_training: bool, placement: str) -> Pipeline:
    """Translate the steps of a pipeline. `placement`: where `SampleFrames` of this version puts test clips."""
    pipeline = Pipeline()
    for step in steps:
        kind = step.kind
        if kind in INTO_VIDEOS or kind in INTO_FRAMES:
            step.ignore(*step.table)  # the decoder does not change the frames
            if pipeline.frames is not (kind in INTO_FRAMES) and pipeline.frames is not None:
                raise step.wrong("type", "decodes something else than the step before it")
            pipeline.frames = kind in INTO_FRAMES
        elif kind in PACKING:
            step.only("input_format", "NCTHW")
            step.ignore(*step.table)
        elif kind in ("SampleFrames", "DenseSampleFrames"):
            pipeline.comes("sample", step)
            pipeline.sampling = _sampling(step, dense=kind[0] == "D", for_training=for_training, placement=placement)
        elif kind == "Normalize":
            pipeline.comes("normalise", step)
            pipeline.norm = normalisation(step)
        elif kind == "Resize":
            _resize(step, pipeline)
        elif for_training:
            _train_step(step, kind, pipeline)
        else:
            _test_step(step, kind, pipeline)
    return pipeline


def normalisation(step: Section) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation, of a step or of 1.x's data_preprocessor."""
    step.only("to_bgr", False, why="must be False: networks take RGB here")
    step.only("to_rgb", False, why="must be False: frames are RGB already")
    step.only("adjust_magnitude", False)
    return {key: tuple(float(v) for v in step.numbers(key)) for key in ("mean", "std") if key in step}


def _sampling(step: Section, *, dense: bool, for_training: bool, placement: str) -> dict[str, Any]:
    sampling = step.fields(clip_len=1, frame_interval=1, num_clips=1)
    step.only("keep_tail_frames", False)
    step.ignore("start_index")  # that of the dataset applies
    if dense:
        sampling |= {"placement": "dense", "sample_range": step.take("sample_range", 64)}
        step.only("num_sample_positions", 10)
    elif not for_training:
        sampling["placement"] = placement
    if not dense and "target_fps" in step:
        sampling["target_fps"] = step.take("target_fps", 0.0)
    sampling["out_of_bound"] = step.take("out_of_bound_opt", "loop")
    if for_training:
        step.only("test_mode", False)
        step.only("twice_sample", False)
        sampling["temporal_jitter"] = step.take("temporal_jitter", False)
    else:
        if not step.take("test_mode", False):
            raise step.wrong("test_mode", "is not True: clips would be drawn at random", "write test_mode=True")
        step.only("temporal_jitter", False)
        sampling["twice"] = step.take("twice_sample", False)
    return sampling


def _resize(step: Section, pipeline: Pipeline) -> None:
    """Either the first resize, of whole frames, or that of the crop to the input size."""
    keep = step.take("keep_ratio", True)
    step.only("interpolation", "bilinear")
    width, height = (int(side) for side in step.pair("scale"))
    if keep and min(width, height) != -1:
        why = "keeps the shape within a box"
        raise step.wrong("scale", why, "write (-1, SIDE) for a short side of SIDE, or keep_ratio=False")
    if pipeline.stage >= ORDER.index("crop"):
        pipeline.comes("size", step)
        if keep or height != width:
            raise step.wrong("scale", "must be square after a crop, with keep_ratio=False")
        pipeline.augmentation["size"] = width
    else:
        pipeline.comes("resize", step)
        pipeline.augmentation["resize"] = max(width, height) if keep else (height, width)
    if step.take("lazy", False):
        pipeline.augmentation["fused"] = True


def _train_step(step: Section, kind: str, pipeline: Pipeline) -> None:
    augmentation = pipeline.augmentation
    if kind in ("RandomResizedCrop", "MultiScaleCrop", "RandomCrop", "CenterCrop"):
        pipeline.comes("crop", step)
        if step.take("lazy", False):
            augmentation["fused"] = True
    match kind:
        case "RandomResizedCrop":
            augmentation["crop"] = {
                "kind": "random_resized",
                "area": step.pair("area_range", (0.08, 1.0)),
                "aspect": step.pair("aspect_ratio_range", (3 / 4, 4 / 3)),
            }
        case "MultiScaleCrop":
            places = "random" if step.take("random_crop", False) else str(step.take("num_fixed_crops", 5))
            augmentation["crop"] = {
                "kind": "multi_scale",
                "scales": tuple(float(scale) for scale in step.numbers("scales") or (1.0,)),
                "max_gap": step.take("max_wh_scale_gap", 1),
                "places": places,
            }
            step.ignore("input_size", "num_fixed_crops")  # the Resize after it sets the size
        case "RandomCrop" | "CenterCrop":
            is_random = kind == "RandomCrop"
            augmentation["crop"] = {"kind": "random" if is_random else "center"}
            augmentation["size"] = _side(step, "size" if is_random else "crop_size")
        case "Flip":
            augmentation["flip"] = _flip(step)
        case "Fuse":
            augmentation["fused"] = True
        case "ColorJitter":
            pipeline.comes("colour", step)
            augmentation |= step.fields(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1)
        case "Imgaug":
            pipeline.comes("rotate", step)
            _imgaug(step, augmentation)
        case _:
            raise step.unknown(
                "a step",
                "SampleFrames, DenseSampleFrames, Resize, RandomResizedCrop, MultiScaleCrop, RandomCrop, CenterCrop, "
                "Flip, Fuse, ColorJitter, Imgaug, Normalize and what decodes and packs",
            )


def _side(step: Section, key: str) -> int:
    """The side of a square, given as one number or as two equal ones."""
    value = step.any(key)
    sides = value if isinstance(value, list) else [value]
    if not sides or any(type(side) is not int or side != sides[0] for side in sides):
        raise step.wrong(key, "must be a whole number, of a square")
    return int(sides[0])


def _flip(step: Section) -> float:
    step.only("direction", "horizontal")
    step.ignore("lazy")
    todo = "write class names: --set 'training.augmentation.mirrored=[[push left, push right]]' of `i3d train`"
    for key in ("flip_label_map", "left_kp", "right_kp"):
        if key in step:
            raise step.wrong(key, "is inferred from class names here", todo)
        step.ignore(key)
    return step.take("flip_ratio", 0.5)


def _imgaug(step: Section, augmentation: dict[str, Any]) -> None:
    if not isinstance(step.any("transforms"), list):
        raise step.wrong("transforms", "is a set of imgaug's own", "list Fliplr, Rotate and Dropout")
    for one in step.each("transforms"):
        match one.kind:
            case "Fliplr":
                augmentation["flip"] = one.take("p", 0.5)
            case "Rotate":
                low, high = one.pair("rotate")
                if low != -high:
                    raise one.wrong("rotate", "must reach as far to both sides")
                augmentation["rotation_degrees"] = float(high)
            case "Dropout":
                low, high = one.pair("p")
                if low != 0:
                    raise one.wrong("p", "must begin with 0")
                augmentation["pixel_dropout"] = float(high)
            case _:
                raise one.unknown("imgaug's", "Fliplr, Rotate, Dropout")


def _test_step(step: Section, kind: str, pipeline: Pipeline) -> None:
    match kind:
        case "CenterCrop" | "ThreeCrop" | "TenCrop":
            pipeline.comes("crop", step)
            pipeline.crops, pipeline.crop = CROPS[kind], _side(step, "crop_size")
            step.ignore("lazy")
        case "Flip":
            step.only("flip_ratio", 0, 0.0, why="must be 0 in a test")
            step.ignore("direction", "lazy", "flip_label_map", "left_kp", "right_kp")
        case "Fuse":
            pass
        case _:
            raise step.unknown(
                "a step of a test",
                "SampleFrames, DenseSampleFrames, Resize, CenterCrop, ThreeCrop, TenCrop, Flip, Fuse, Normalize "
                "and what decodes and packs",
            )
