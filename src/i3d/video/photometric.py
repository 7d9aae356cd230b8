"""Random changes of pixel values after the crop: drawn once per clip, applied equally to all frames of it.

Letters in names: T frames, H rows, W columns, C channels. Clips are uint8, RGB, changed in place.
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from i3d.recipes.augmentation import Augmentation, RandAugment, RandomErasing
from i3d.video.transforms import FrameArray

GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def augment_pixels(clip_THWC: FrameArray, augmentation: Augmentation, *, rng: np.random.Generator) -> None:
    """Apply the changes of `augmentation` after the flip, in its order, in place."""
    a = augmentation
    if a.rotation_degrees:
        rotate(clip_THWC, degrees=float(rng.uniform(-a.rotation_degrees, a.rotation_degrees)))
    if a.pixel_dropout:
        drop_pixels(clip_THWC, fraction=float(rng.uniform(0, a.pixel_dropout)), rng=rng)
    if a.brightness or a.contrast or a.saturation or a.hue:
        jitter_colours(
            clip_THWC,
            brightness=_factor(a.brightness, rng),
            contrast=_factor(a.contrast, rng),
            saturation=_factor(a.saturation, rng),
            hue=float(rng.uniform(-a.hue, a.hue)),
        )
    if a.rand_augment is not None and not a.rand_augment.before_crop:
        rand_augment(clip_THWC, a.rand_augment, rng=rng)
    if a.erasing is not None:
        erase(clip_THWC, a.erasing, rng=rng)


def rotate(clip_THWC: FrameArray, *, degrees: float) -> None:
    """Rotate every frame about its centre, counter-clockwise; pixels from outside are black."""
    height, width = clip_THWC.shape[1:3]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    for frame_HWC in clip_THWC:
        cv2.warpAffine(frame_HWC.copy(), matrix, (width, height), dst=frame_HWC, flags=cv2.INTER_LINEAR)


def drop_pixels(clip_THWC: FrameArray, *, fraction: float, rng: np.random.Generator) -> None:
    """Set a fraction of the pixels to black, the same ones in every frame."""
    clip_THWC[:, rng.random(clip_THWC.shape[1:3]) < fraction] = 0


def jitter_colours(clip_THWC: FrameArray, *, brightness: float, contrast: float, saturation: float, hue: float) -> None:
    """Scale brightness, contrast (about the mean grey) and saturation; rotate the hue by a fraction of the circle."""
    if clip_THWC.shape[-1] != 3:
        raise ValueError(f"colours need 3 channels, got {clip_THWC.shape[-1]}; leave colour changes out for flow")
    if (brightness, contrast) != (1, 1):
        grey = float(clip_THWC.reshape(-1, 3).mean(axis=0, dtype=np.float64) @ GREY) * brightness
        values = np.arange(256) * brightness
        table = np.clip(np.rint((values - grey) * contrast + grey), 0, 255).astype(np.uint8)
        for frame_HWC in clip_THWC:
            cv2.LUT(frame_HWC, table, dst=frame_HWC)
    if saturation != 1:
        mix = np.eye(3, dtype=np.float32) * saturation + (1 - saturation) * GREY[None]
        for frame_HWC in clip_THWC:
            cv2.transform(frame_HWC, mix, dst=frame_HWC)
    if hue:
        rotated = ((np.arange(256) + round(hue * 256)) % 256).astype(np.uint8)
        for frame_HWC in clip_THWC:
            hsv_HWC = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2HSV_FULL)
            hsv_HWC[..., 0] = rotated[hsv_HWC[..., 0]]
            cv2.cvtColor(hsv_HWC, cv2.COLOR_HSV2RGB_FULL, dst=frame_HWC)


def erase(clip_THWC: FrameArray, erasing: RandomErasing, *, rng: np.random.Generator) -> None:
    """With the given probability, fill the same box of every frame with the same noise (Zhong et al. 2017)."""
    if rng.random() >= erasing.probability:
        return
    height, width, channels = clip_THWC.shape[1:]
    for _ in range(10):
        area = rng.uniform(*erasing.area) * height * width
        aspect = float(np.exp(rng.uniform(np.log(erasing.aspect[0]), np.log(erasing.aspect[1]))))
        box_height, box_width = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
        if 0 < box_height <= height and 0 < box_width <= width:
            top, left = int(rng.integers(height - box_height + 1)), int(rng.integers(width - box_width + 1))
            noise = rng.integers(256, size=(box_height, box_width, channels), dtype=np.uint8)
            clip_THWC[:, top : top + box_height, left : left + box_width] = noise
            return


def rand_augment(clip_THWC: FrameArray, settings: RandAugment, *, rng: np.random.Generator) -> None:
    """Apply operations of RandAugment (Cubuk et al. 2019) to all frames alike, by Pillow."""
    operations = OPERATIONS if settings.operations == "paper" else PYTORCHVIDEO_OPERATIONS
    names, is_repeated = sorted(operations), settings.operations == "paper"
    for number in rng.choice(len(names), settings.num_ops, replace=is_repeated):
        magnitude = settings.magnitude
        if settings.magnitude_std:
            magnitude = float(np.clip(rng.normal(magnitude, settings.magnitude_std), 0, 10))
        level = magnitude / 10 * (1 if rng.random() < 0.5 else -1)
        if settings.probability < 1 and rng.random() >= settings.probability:
            continue
        for frame_HWC in clip_THWC:
            frame_HWC[...] = np.asarray(operations[names[number]](Image.fromarray(frame_HWC), level))


def _affine(a: float, b: float, c: float, d: float) -> Callable[[Image.Image, float], Image.Image]:
    """Shear by a and b, translate by c and d (fractions of width and height), times the level."""
    return lambda image, level: image.transform(
        image.size,
        Image.Transform.AFFINE,
        (1, a * level, c * level * image.width, b * level, 1, d * level * image.height),
        resample=Image.Resampling.BILINEAR,
    )


OPERATIONS: Final[dict[str, Callable[[Image.Image, float], Image.Image]]] = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "rotate": lambda image, level: image.rotate(30 * level, resample=Image.Resampling.BILINEAR),
    "posterize": lambda image, level: ImageOps.posterize(image, 8 - round(4 * abs(level))),
    "solarize": lambda image, level: ImageOps.solarize(image, round(256 * (1 - abs(level)))),
    "color": lambda image, level: ImageEnhance.Color(image).enhance(1 + 0.9 * level),
    "contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(1 + 0.9 * level),
    "brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(1 + 0.9 * level),
    "sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * level),
    "shear_x": _affine(0.3, 0, 0, 0),
    "shear_y": _affine(0, 0.3, 0, 0),
    "translate_x": _affine(0, 0, 0.45, 0),
    "translate_y": _affine(0, 0, 0, 0.45),
}

PYTORCHVIDEO_OPERATIONS: Final = {
    **{name: operation for name, operation in OPERATIONS.items() if name != "identity"},
    "invert": lambda image, _: ImageOps.invert(image),
    "posterize": lambda image, level: _posterize(image, 4 - int(4 * abs(level))),
    "solarize": lambda image, level: ImageOps.solarize(image, 1 if abs(level) < 1 else 0),
}


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


def _factor(strength: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(1 - strength, 1 + strength))
