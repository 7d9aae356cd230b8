"""Make `assets/int8_ranges.json`, by which `--precision int8` runs the network of the package.

    python tools/make_int8.py

The clips are rendered here, as films of three photographs that may be used freely: `china.jpg` and `flower.jpg` of
scikit-learn (CC BY 2.0, by danielbuechele and vultilion on Flickr), and `grace_hopper.jpg` of matplotlib (public
domain, by the US Navy). A camera pans, zooms, turns and shakes, a piece of another photograph moves in front, and the
light changes. `docs/performance.md` has the accuracy on real clips, which are not used here.

Letters in names: T frames, H rows, W columns, C channels.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
import sklearn
from PIL import Image

from i3d.exporting.calibrate import calibrate
from i3d.exporting.formats import GraphFile
from i3d.exporting.graph import build_graph, trace
from i3d.exporting.int8 import classifier_of
from i3d.exporting.shipped_int8 import RANGES, graph_input
from i3d.utils.atomic_files import write_atomically
from i3d.utils.progress import Progress
from i3d.weights.load import build_model, load_weights
from i3d.weights.pretrained import DEFAULT

FRAMES: Final = 64
SEED: Final = 0
Frames = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RANGES)
    options = parser.parse_args()
    weights = load_weights(DEFAULT)
    net, pre = build_model(weights), weights.card.recipe.preprocessing
    takes = graph_input(net, weights.card.recipe)
    graph = build_graph(net, pre, takes.dtype, softmax=False)
    clips = (clip_THWC[None] for clip_THWC in rendered_clips(options.windows, takes.size))
    with tempfile.TemporaryDirectory() as folder:
        file = GraphFile(trace(graph, takes), takes, graph.outputs)
        model = file.read_openvino(Path(folder) / "graph.onnx")
        windows = list(clips)
        classifier = classifier_of(model, net.head_prefix)
        calibration, _ = calibrate(model, windows, len(windows), classifier=classifier, on_progress=report)
    text = json.dumps({weights.sha256: calibration.model_dump(mode="json")}, separators=(",", ":"))
    write_atomically(options.out, text.encode() + b"\n")
    print(f"{options.out}: {len(calibration.layers)} layers, {len(text) / 1000:.1f} kB")


def rendered_clips(number: int, size: int) -> Iterator[Frames]:
    """Clips (T, H, W, C) of a camera that moves over photographs."""
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in photographs()]
    for k in range(number):
        rng = np.random.default_rng((SEED, k))
        behind, front = photos[k % len(photos)], photos[(k + 1 + k // len(photos)) % len(photos)]
        yield film(behind, front, size, rng)


def photographs() -> list[Path]:
    """The files of the photographs."""
    of_sklearn = Path(sklearn.__file__).parent / "datasets" / "images"
    return [*(of_sklearn / f"{name}.jpg" for name in ("china", "flower")),
            Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]  # fmt: skip


def film(behind: Frames, front: Frames, size: int, rng: np.random.Generator) -> Frames:
    """A clip: the camera over one photograph, a piece of another one in front."""
    camera = Camera(behind, size, rng)
    piece = Camera(front, size // 2, rng)
    start, speed = rng.uniform(0, size // 2, 2), rng.uniform(-2.5, 2.5, 2)
    light, flicker = rng.uniform(0.5, 1.3), rng.uniform(0, 0.25)
    has_piece, is_mirrored = rng.random() < 0.6, rng.random() < 0.5
    frames = []
    for t in range(FRAMES):
        frame_HWC = camera.frame(t)
        if has_piece:
            row, column = (int(abs((start[k] + speed[k] * t) % size - size / 2)) for k in range(2))
            frame_HWC[row : row + size // 2, column : column + size // 2] = piece.frame(t)
        bright = light * (1 + flicker * np.sin(t / 5)) * frame_HWC.astype(np.float32)
        bright += rng.normal(0, 4, bright.shape)
        frames.append(np.clip(bright, 0, 255).astype(np.uint8))
    clip_THWC = np.stack(frames)
    return np.ascontiguousarray(clip_THWC[:, :, ::-1]) if is_mirrored else clip_THWC


class Camera:
    """A view of a photograph that pans, zooms, turns and shakes."""

    def __init__(self, photo_HWC: Frames, size: int, rng: np.random.Generator) -> None:
        self.photo_HWC, self.size = photo_HWC, size
        self.centre = rng.uniform(0.35, 0.65, 2) * photo_HWC.shape[1::-1]
        self.pan, self.turn = rng.uniform(-2, 2, 2), rng.uniform(-0.6, 0.6)
        self.zoom = rng.uniform(0.4, 1.6), rng.uniform(-0.006, 0.006)
        self.shakes = rng.normal(0, rng.choice([0.0, 0.5, 2.5]), (FRAMES, 2))

    def frame(self, t: int) -> Frames:
        """Frame number `t`."""
        centre = self.centre + self.pan * t + self.shakes[t]
        scale = max(0.2, self.zoom[0] * (1 + self.zoom[1] * t))
        matrix = cv2.getRotationMatrix2D(tuple(centre), self.turn * t, scale)
        matrix[:, 2] += self.size / 2 - centre
        size = self.size, self.size
        values: Any = cv2.warpAffine(
            self.photo_HWC, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101
        )
        return values  # type: ignore[no-any-return]


def report(progress: Progress) -> None:
    """Print the progress of the calibration."""
    print(progress, flush=True)


if __name__ == "__main__":
    main()
