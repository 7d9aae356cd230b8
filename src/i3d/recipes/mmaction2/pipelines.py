"""Translate MMAction2's pipelines into settings. The order of steps is fixed here; another order is refused."""

from dataclasses import dataclass, field
from typing import Any, Final

from i3d.errors import InputError
from i3d.recipes.mmaction2.section import Section

INTO_VIDEOS: Final = ("DecordInit", "OpenCVInit", "PyAVInit", "PIMSInit", "DecordDecode", "OpenCVDecode", "PyAVDecode",
                      "PIMSDecode")  # fmt: skip
INTO_FRAMES: Final = ("RawFrameDecode", "FrameSelector")
PACKING: Final = ("FormatShape", "Collect", "ToTensor", "PackActionInputs")
COLOURS: Final = {"brightness", "contrast", "saturation", "hue"}  # of ColorJitter
CROPS: Final = {"CenterCrop": "center", "ThreeCrop": "three", "TenCrop": "ten"}
# The order of steps.
ORDER: Final = ("sample", "frames", "flip", "rotate", "colour", "normalise")
RANDOM_CROPS: Final = ("random_resized", "multi_scale", "random")
LAZY: Final = ("Resize", "CenterCrop", "RandomCrop", "RandomResizedCrop", "MultiScaleCrop", "Flip")  # can be so


@dataclass
class Pipeline:
    """A pipeline, translated: fields of `TrainSampling` or `ClipProtocol`, of `Augmentation` and so on."""

    sampling: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)  # but for the geometry
    norm: dict[str, tuple[float, ...]] = field(default_factory=dict)
    crops: str = "center"
    frames: bool | None = None  # whether it decodes folders of frames; None: it has no such step
    operations: list[tuple[Section, dict[str, Any]]] = field(default_factory=list)  # resizes and crops, as settings
    placement: str = ""  # of test clips, by the version of the config
    end: str = "end with CenterCrop, or with Resize(scale=(224, 224), keep_ratio=False)"  # where it ends otherwise
    stage: int = 0  # in ORDER
    changed: tuple[Section, int] | None = None  # the step that is RandAugment, and how many operations precede it
    lazy: list[Section] = field(default_factory=list)  # steps that are to be fused
    first_lazy: int = 0  # the number of operations before them
    fused: tuple[int, int] | None = None  # the operations from..to which, with a random crop, are fused

    def comes(self, stage: str, step: Section) -> None:
        if ORDER.index(stage) < self.stage:
            raise InputError(
                f"{step.place('type')}: {step.path}: this step comes later than in ours, which are in the order "
                f"{', '.join(ORDER)} (resizes and crops); move it, or leave it out"
            )
        self.stage = ORDER.index(stage)

    def check_last_change(self, step: Section) -> None:
        """Only a crop may follow RandAugment, which comes last of what changes the input of the network."""
        if self.changed is not None:
            if step.kind == self.changed[0].kind:
                raise step.wrong("type", "is there twice", "leave one out")
            if self.changed[1] == len(self.operations):
                raise step.wrong("type", "follows RandAugment", "move RandAugment to the end")

    def note_lazy(self, step: Section) -> None:
        """Note a lazy step. Only lazy ones may come between the first of them and Fuse, as in MMAction2."""
        if step.kind in LAZY and step.take("lazy", False):
            if step.kind == "Flip" and any(one.kind == "Flip" for one in self.lazy):
                raise step.wrong("type", "is there twice before Fuse", "flip once")
            self.first_lazy = self.first_lazy if self.lazy else len(self.operations)
            self.lazy.append(step)
        elif step.kind == "Fuse":
            if not self.lazy:
                raise step.wrong("type", "has no lazy step before it", "leave it out, or write lazy=True in them")
            self._fuse(self.first_lazy)
        elif self.lazy:
            raise step.wrong("type", f"follows {self.lazy[-1].kind}(lazy=True)", "put Fuse between the two")

    def _fuse(self, first: int) -> None:
        """The operations from `first` on become one crop and one resize of the frame."""
        self.lazy = []
        kinds = [operation["kind"] for _, operation in self.operations[first:]]
        if "resize" not in kinds[:-1]:
            return  # crops, then at most one resize: the same as one after the other
        if set(kinds) & set(RANDOM_CROPS):
            self.fused = first, len(self.operations)
            return
        steps = tuple(operation for _, operation in self.operations[first:])
        self.operations[first:] = [(self.operations[-1][0], {"kind": "fused", "steps": steps})]

    def scored(self) -> dict[str, Any]:
        """The fields of `FrameGeometry`; {} without resizes and crops. The last crop, if nothing follows, is scored."""
        if not self.operations:
            return {}
        *before, (step, last) = self.operations
        if last["kind"] in ("resize", "fused"):
            before = self.operations  # the whole of a square frame
        crop = self._square(step, last)
        steps, short_side = _split([_fixed(*one) for one in before])
        return {"steps": steps, "short_side": short_side, "crop": crop}

    def augmented(self) -> dict[str, Any]:
        """The geometry of `Augmentation` and its other fields; {} without resizes and crops.

        The last random crop is that of the augmentation, or the last one at all. Only a resize to a square follows it.
        """
        if not self.operations:
            return {}
        kinds = [operation["kind"] for _, operation in self.operations]
        random = [place for place, kind in enumerate(kinds) if kind in RANDOM_CROPS]
        centre = [i for i, kind in enumerate(kinds) if kind == "crop_center" and "fused" not in kinds[i:]]
        at = (random or centre or [len(kinds)])[-1]
        size = self._square(*self.operations[-1])
        for step, _ in self.operations[at + 1 : -1]:
            raise step.wrong("type", "comes between a crop and the last resize", "leave it out")
        if at < len(kinds) - 1 and kinds[-1] != "resize":
            raise self.operations[-1][0].wrong("type", "follows a random crop", "crop the middle before it")
        crop: dict[str, Any] = {"kind": "center"}
        if at < len(kinds):
            step, crop = self.operations[at]
            side = self._square(step, crop) if "size" in crop else size
            snapped = self._square(step, {"size": crop["input_size"]}) if crop.get("input_size") else size
            crop = {key: value for key, value in crop.items() if key not in ("size", "input_size")}
            crop |= {} if snapped == size else {"input_size": snapped}
            crop |= {"kind": "center"} if crop["kind"] == "crop_center" else {}
            crop |= {} if side == size else {"side": side}
        if self.changed is not None and (place := self.changed[1]) < len(self.operations):
            if place != at:
                raise self.changed[0].wrong("type", "is not next to a crop", "move it before the random crop, or last")
            self.augmentation["rand_augment"]["before_crop"] = True
        resizes = self._before_crop(at)
        return {**self.augmentation, **resizes, "crop": crop, "size": size}

    def _before_crop(self, at: int) -> dict[str, Any]:
        """The fields of `Augmentation` for what comes before the crop, which is the operation `at`."""
        first, end = self.fused or (at, at)
        steps, resize = _split([_fixed(*one) for one in self.operations[:at]], exact=True)
        if not first < at < end:
            return {"steps": steps, "resize": resize}
        if at - first > 1 or resize is None:
            why = "is lazy before a random crop, where one Resize to a short side or to a size may be"
            raise self.operations[first][0].wrong("type", why, "write lazy=False")
        return {"steps": steps, "resize": resize, "fused": True if end == len(self.operations) else "crop"}

    def _square(self, step: Section, operation: dict[str, Any]) -> int:
        """The side of what a resize or crop leaves. Anything but a square is an InputError."""
        size: tuple[int, int] | None = operation.get("steps", (operation,))[-1].get("size")  # height, width
        if size is None or size[0] != size[1]:
            raise step.wrong("type", "does not bring frames to squares of one size", self.end)
        return size[0]


def _fixed(step: Section, operation: dict[str, Any]) -> dict[str, Any]:
    """A resize or a centre crop, which are the same for all frames; another operation is an InputError."""
    if operation["kind"] not in ("resize", "crop_center", "fused"):
        raise step.wrong("type", "is followed by a resize or a crop that ours have before it", "change the order")
    return operation


def _split(operations: list[dict[str, Any]], *, exact: bool = False) -> tuple[tuple[dict[str, Any], ...], Any]:
    """(the steps, the last resize): to a short side, or if `exact` also to a size; None if it is another step."""
    last = operations[-1] if operations else {}
    resize = last.get("short_side") or (last.get("size") if exact and last.get("kind") == "resize" else None)
    return (tuple(operations), None) if resize is None else (tuple(operations[:-1]), resize)


def read_pipeline(steps: list[Section], *, for_training: bool, placement: str) -> Pipeline:
    """Translate the steps of a pipeline. `placement`: where `SampleFrames` of this version puts test clips."""
    pipeline = Pipeline(placement=placement)
    for step in steps:
        kind = step.kind
        pipeline.note_lazy(step)
        if kind in INTO_VIDEOS or kind in INTO_FRAMES:
            step.only("mode", "accurate")  # others give frames nearby
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
            pipeline.comes("frames", step)
            pipeline.operations.append((step, _resize(step)))
        elif kind == "CenterCrop":
            pipeline.comes("frames", step)
            pipeline.operations.append((step, {"kind": "crop_center", "size": _sides(step, "crop_size")}))
        elif for_training:
            _train_step(step, kind, pipeline)
        else:
            _test_step(step, kind, pipeline)
    if pipeline.lazy:
        raise pipeline.lazy[-1].wrong("type", "is lazy, and no Fuse follows", "add dict(type='Fuse') after lazy steps")
    return pipeline


def normalisation(step: Section) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation, of a step or of 1.x's data_preprocessor."""
    step.only("to_bgr", False, why="must be False: networks take RGB here")
    step.only("to_rgb", False, why="must be False: frames are RGB already")
    step.only("adjust_magnitude", False)
    for key, other in (("mean", "std"), ("std", "mean")):
        if key not in step and other in step:
            raise step.wrong(key, f"is missing beside {other}", "give both, or neither")
    return {key: tuple(float(v) for v in step.numbers(key)) for key in ("mean", "std") if key in step}


def check_normalised(part: Section, norm: dict[str, Any], model_norm: dict[str, Any], *, key: str = "pipeline") -> None:
    """An InputError unless either the pipeline of a data set normalises, or the model does."""
    if bool(norm) == bool(model_norm):
        why = "normalises a second time, after data_preprocessor" if norm else "has no Normalize"
        raise part.wrong(key, why, "normalise once")


def _sampling(step: Section, *, dense: bool, for_training: bool, placement: str) -> dict[str, Any]:
    if "clip_len" not in step:
        raise step.wrong("clip_len", "is missing", "write clip_len=32")
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
        if sampling["clip_len"] == 1 and placement == "end_to_end" and not dense:  # the middle of each segment
            sampling |= {"placement": "centred", "frame_interval": 1}
            sampling.pop("target_fps", None)
    return sampling


def _resize(step: Section) -> dict[str, Any]:
    """The fields of `Resize`. (-1, S) and (inf, S) keep the shape with a short side of S."""
    keep = step.take("keep_ratio", True)
    step.only("interpolation", "bilinear")
    scale = step.any("scale")
    if type(scale) in (int, float):
        raise step.wrong("scale", "is a factor of the frame's own size", "give (-1, SIDE), or (WIDTH, HEIGHT)")
    width, height = (int(side) for side in step.pair("scale"))
    if not keep:
        return {"kind": "resize", "size": (height, width)}
    if min(width, height) == -1:
        return {"kind": "resize", "short_side": max(width, height)}
    return {"kind": "resize", "within": (max(width, height), min(width, height))}


def _train_step(step: Section, kind: str, pipeline: Pipeline) -> None:
    augmentation = pipeline.augmentation
    match kind:
        case "RandomResizedCrop" | "MultiScaleCrop" | "RandomCrop":
            pipeline.comes("frames", step)
            pipeline.operations.append((step, _random_crop(step, kind)))
        case "Flip":
            ratio, before = _flip(step), augmentation.get("flip", 0.0)
            if ratio:
                pipeline.comes("flip", step)
            augmentation["flip"] = _either(ratio, before)
        case "Fuse":
            pass
        case "ColorJitter":
            pipeline.comes("colour", step)
            pipeline.check_last_change(step)
            if pipeline.placement == "centred" and not COLOURS & step.table.keys():
                raise step.wrong("type", "has no values, which differ between versions of 0.x", "write brightness=0.5")
            augmentation |= step.fields(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1)
        case "PytorchVideoWrapper":
            pipeline.check_last_change(step)
            augmentation["rand_augment"] = _rand_augment(step)
            pipeline.changed = (step, len(pipeline.operations))
        case "Imgaug":
            pipeline.comes("rotate", step)
            pipeline.check_last_change(step)
            _imgaug(step, augmentation)
        case _:
            raise step.unknown(
                "a step",
                "SampleFrames, DenseSampleFrames, Resize, RandomResizedCrop, MultiScaleCrop, RandomCrop, CenterCrop, "
                "Flip, Fuse, ColorJitter, Imgaug, PytorchVideoWrapper, Normalize and what decodes and packs",
            )


def _rand_augment(step: Section) -> dict[str, Any]:
    """The fields of `RandAugment` of pytorchvideo's, with its defaults."""
    step.only("op", "RandAugment")
    step.only("sampling_type", "gaussian")
    return {
        "operations": "pytorchvideo",
        "num_ops": step.take("num_layers", 2),
        "magnitude": step.take("magnitude", 9.0),
        "probability": step.take("prob", 0.5),
        "magnitude_std": step.sub("sampling_hparas").take("sampling_std", 0.5),
    }


def _random_crop(step: Section, kind: str) -> dict[str, Any]:
    """The fields of a crop of `Augmentation`; of RandomCrop with its `size`."""
    if kind == "RandomCrop":
        return {"kind": "random", "size": _sides(step, "size")}
    if kind == "RandomResizedCrop":
        area, aspect = step.pair("area_range", (0.08, 1.0)), step.pair("aspect_ratio_range", (3 / 4, 4 / 3))
        return {"kind": "random_resized", "area": area, "aspect": aspect}
    step.ignore("num_fixed_crops")
    return {
        "kind": "multi_scale",
        "input_size": _sides(step, "input_size") if "input_size" in step else None,
        "scales": tuple(float(scale) for scale in step.numbers("scales") or (1.0,)),
        "max_gap": step.take("max_wh_scale_gap", 1),
        "places": "random" if step.take("random_crop", False) else str(step.take("num_fixed_crops", 5)),
    }


def _sides(step: Section, key: str) -> tuple[int, int]:
    """(height, width), given as one number or as (width, height)."""
    value = step.any(key)
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise step.wrong(key, "must be a whole number, or two")
    return sides[1], sides[0]


def _flip(step: Section) -> float:
    step.only("direction", "horizontal")
    step.ignore("lazy")
    todo = "write class names: --set 'training.augmentation.mirrored=[[push left, push right]]' of `i3d train`"
    for key in ("flip_label_map", "left_kp", "right_kp"):
        if key in step:
            raise step.wrong(key, "is inferred from class names here", todo)
        step.ignore(key)
    return step.take("flip_ratio", 0.5)


def _either(one: float, other: float) -> float:
    """The probability of exactly one of two flips: two are none."""
    return one * (1 - other) + other * (1 - one)


def _imgaug(step: Section, augmentation: dict[str, Any]) -> None:
    if not isinstance(step.any("transforms"), list):
        raise step.wrong("transforms", "is a set of imgaug's own", "list Fliplr, Rotate and Dropout")
    for one in step.each("transforms"):
        match one.kind:
            case "Fliplr":
                if "p" not in one:
                    raise one.wrong("p", "is missing, which differs between versions of imgaug", "write p=0.5")
                augmentation["flip"] = _either(one.take("p", 0.5), augmentation.get("flip", 0.0))
            case "Rotate" | "Dropout" if "pixel_dropout" in augmentation:
                raise one.wrong("type", "comes after Dropout", "rotate once, then drop pixels once")
            case "Rotate" if "rotation_degrees" in augmentation:
                raise one.wrong("type", "is there twice", "rotate once")
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
        case "ThreeCrop" | "TenCrop":
            pipeline.comes("frames", step)
            pipeline.crops = CROPS[kind]
            name = f"crop_{pipeline.crops}"
            pipeline.operations.append((step, {"kind": name, "size": _sides(step, "crop_size")}))
            step.only("lazy", False)
        case "Flip":
            if "flip_ratio" not in step:
                raise step.wrong(
                    "flip_ratio", "is missing, and 0.5 by default", "write flip_ratio=0, or leave the step out"
                )
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
