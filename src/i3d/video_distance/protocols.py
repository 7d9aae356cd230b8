"""Protocols of FVD: everything that changes its value, and the published ones by name.

Each preset is one function that names its source. Facts were read in the sources on 2026-11-30; no code was copied.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from i3d.errors import InputError, quoted
from i3d.recipes.settings import Settings, first_error
from i3d.utils.arguments import checks_types

Resize = Literal["stretch-tf1", "stretch", "short-side", "twice"]
Clips = Literal["first", "random", "all"]
SIZE: Final = 224  # pixels: the sides of what the network takes

RESIZES: Final[Mapping[Resize, str]] = {
    "stretch-tf1": f"stretched to {SIZE} x {SIZE}, bilinear without half-pixel centres",
    "stretch": f"stretched to {SIZE} x {SIZE}, bilinear with half-pixel centres",
    "short-side": f"short side to {SIZE}, bilinear with half-pixel centres, then centre crop",
    "twice": "short side to {resolution} with antialiasing, centre crop, cut to 8 bits, then stretched as in `stretch`",
}
CLIPS: Final[Mapping[Clips, str]] = {
    "first": "the first clip of each video",
    "random": "one random clip of each video",
    "all": "all clips of each video, end to end",
}
OF_CLIPS: Final = ("frames", "stride", "clips", "generated_clips", "resize", "resolution")  # fields, not of features


class FvdProtocol(Settings):
    """How FVD is computed from two sets of videos."""

    name: str = "original"  # of the preset
    frames: int = Field(default=16, ge=1, le=10_000)  # of a clip
    stride: int = Field(default=1, ge=1, le=10_000)  # frames of the video from one frame of a clip to the next
    clips: Clips = "first"  # which clips of a video
    generated_clips: Clips | None = None  # which clips of a generated video; None: as of a real one
    max_clips: int | None = Field(default=None, ge=2, le=10_000_000)  # the first of each set, in its order; None: all
    resize: Resize = "stretch-tf1"
    resolution: int = Field(default=256, ge=1, le=7680)  # pixels of the first resize of "twice"; not of arrays
    covariance: Literal["n-1", "n"] = "n-1"  # the sum of products is divided by
    features: Literal["logits", "pooled"] = "logits"  # "pooled" (1024 numbers) is another metric than FVD

    @property
    def span(self) -> int:
        """Frames of a video from the first frame of a clip to its last."""
        return (self.frames - 1) * self.stride + 1

    @property
    def draws(self) -> bool:
        """Whether clips are drawn at random, so that another seed gives another value."""
        return "random" in (self.clips, self.clips_of("generated"))

    def clips_of(self, side: str) -> Clips:
        """Which clips of the videos of a set are taken: of "real" or of "generated"."""
        return self.generated_clips or self.clips if side == "generated" else self.clips

    @property
    def not_of_features(self) -> list[str]:
        """The changed fields that act on videos and clips, not on features: ["frames 10"]."""
        preset = PRESETS.get(self.name.split(",")[0], original)()
        pairs = {name: getattr(self, name) for name in OF_CLIPS if getattr(self, name) != getattr(preset, name)}
        return [f"{name} {value}" for name, value in pairs.items() if value is not None]

    def steps(self, width: int) -> list[str]:
        """The steps in words. `width`: numbers of a feature."""
        clips, generated = CLIPS[self.clips], self.clips_of("generated")
        if generated != self.clips:
            clips = f"{clips.replace('each', 'each real')}, {CLIPS[generated].replace('each', 'each generated')}"
        return [
            f"{width} logits before softmax" if self.features == "logits" else f"{width} pooled features, not logits",
            f"{self.frames} frames, stride {self.stride}",
            clips if self.max_clips is None else f"{clips}, at most {self.max_clips:,} clips of a set",
            RESIZES[self.resize].format(resolution=self.resolution),
            "range 2 x / 255 - 1",
            self._divisor,
        ]

    def steps_of_features(self, width: int) -> list[str]:
        """The steps that apply to features which were extracted before."""
        rows = f"features of {width} numbers"
        return [rows if self.max_clips is None else f"{rows}, at most {self.max_clips:,} rows of a set", self._divisor]

    @property
    def _divisor(self) -> str:
        return f"covariance over {self.covariance.upper()}"


def original() -> FvdProtocol:
    """The reference code of FVD: google-research, `frechet_video_distance.py` (Unterthiner et al. 2018).

    `resize_bilinear` of TensorFlow 1 at its defaults: source = target x in / out, without half-pixel centres and
    without antialiasing, stretched to 224 x 224, float32. Then 2 x / 255 - 1. The layer is `RGB/inception_i3d/Mean`.
    TF-GAN divides the covariance by N - 1. The source takes tensors: which frames of a video it leaves to its user;
    here the first 16.
    """
    return FvdProtocol(name="original")


def stylegan_v() -> FvdProtocol:
    """`fvd2048_16f` of StyleGAN-V, `src/metrics/frechet_video_distance.py` (Skorokhodov et al. 2022).

    16 consecutive frames; one clip at a random place of a real video, the first of a generated one; shorter videos
    are dropped; the first 2,048 of each set. `FeatureStats` divides the covariance by N. The network file resizes
    (`resize=True`), and its code is not published: half-pixel bilinear, stretched, is assumed and could not be
    verified ("matches the original up to the upsampling operation"). The data set is resized, to 256 as a rule, by
    other tools before: this is not done here.
    """
    return FvdProtocol(
        name="stylegan-v", clips="random", generated_clips="first", max_clips=2048, resize="stretch", covariance="n"
    )


def stylegan_v_128() -> FvdProtocol:
    """`fvd2048_128f` of StyleGAN-V: as `stylegan_v`, with 128 consecutive frames."""
    return stylegan_v().model_copy(update={"name": "stylegan-v-128", "frames": 128})


def stylegan_v_128_by_8() -> FvdProtocol:
    """`fvd2048_128f_subsample8f` of StyleGAN-V: as `stylegan_v`, with every eighth of 128 frames.

    The source demands 128 frames, the clip itself needs 121.
    """
    return stylegan_v().model_copy(update={"name": "stylegan-v-128-by-8", "stride": 8})


def videogpt() -> FvdProtocol:
    """VideoGPT, `videogpt/fvd/fvd.py` and `data.py` (Yan et al. 2021).

    `F.interpolate`, bilinear with half-pixel centres, of the short side to 224 (the other side rounded up), then a
    centre crop at (side - 224) // 2, then (x / 255 - 0.5) x 2; two stored versions of that file lack the factor 2.
    Covariance over N - 1. The source draws 256 of all windows of the test videos, which its loader has resized to the
    resolution of the model, and averages 4 runs (`--runs 4`): give videos of that resolution. One window of each
    video is drawn here.
    """
    return FvdProtocol(name="videogpt", clips="random", resize="short-side")


def common_metrics() -> FvdProtocol:
    """JunyaoHu/common_metrics_on_video_quality, `fvd/styleganv/fvd.py` and `fvd/videogpt/fvd.py`.

    The resize of VideoGPT; the first frames of each video; `numpy.cov`, over N - 1. The source takes arrays.
    """
    return FvdProtocol(name="common-metrics", resize="short-side")


def cd_fvd() -> FvdProtocol:
    """The I3D of cd-fvd, songweige/content-debiased-fvd, `cdfvd/fvd.py` (Ge et al. 2024).

    Videos of files are resized twice: the short side to `resolution` (256) with antialiasing, a centre crop, cut to
    8 bits (not rounded), then stretched to 224 with half-pixel centres; arrays are stretched only. One random clip of
    16 frames of each video; `FeatureStats` divides the covariance by N. The source repeats videos up to 2,048
    generated clips, which is not done here. Its reader of image folders resizes by Lanczos, which is not done either.
    """
    return FvdProtocol(name="cd-fvd", clips="random", resize="twice", covariance="n")


PRESETS: Final[Mapping[str, Callable[[], FvdProtocol]]] = {
    "original": original,
    "stylegan-v": stylegan_v,
    "stylegan-v-128": stylegan_v_128,
    "stylegan-v-128-by-8": stylegan_v_128_by_8,
    "videogpt": videogpt,
    "common-metrics": common_metrics,
    "cd-fvd": cd_fvd,
}


@checks_types
def fvd_protocol(preset: str = "original", **changes: Any) -> FvdProtocol:
    """The protocol of a preset, with changed fields, which its name lists. An unknown one is an InputError.

    >>> fvd_protocol("original", frames=30).name
    'original, changed: frames 30'
    """
    if preset not in PRESETS:
        raise InputError(f"preset {quoted(preset)}: there are {', '.join(PRESETS)}")
    protocol = PRESETS[preset]()
    try:
        changed = FvdProtocol(**{**dict(protocol), **changes})
    except ValidationError as error:
        raise InputError(f"FVD: {first_error(error)}") from error
    if "resolution" in changes and changed.resize != "twice":
        raise InputError(f"resolution {changed.resolution}: is of the resize twice; set that too, or leave it out")
    differing = [f"{name} {value}" for name, value in changes.items() if value != getattr(protocol, name)]
    if "clips" in changes and "generated_clips" not in changes:  # both sets, as a rule
        changed = changed.model_copy(update={"generated_clips": None})
    if not differing:
        return changed
    return changed.model_copy(update={"name": f"{preset}, changed: {', '.join(differing)}"})
