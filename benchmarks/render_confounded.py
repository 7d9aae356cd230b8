"""Two sets of rendered motions (those of `make tour`) whose scenes mislead a classifier.

- ground: in nine of ten training scenes the colour of the ground names the class; in the tested ones it is random.
- uneven: 16, 16, 16, 8, 3 and 3 training clips of the six classes, and 8 tested ones of each.

python benchmarks/render_confounded.py OUT          # OUT/ground/clips.csv, OUT/uneven/clips.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from i3d.video.writer import write_video
from render_tour import CLASSES, FPS, GROUND_CELLS, MOTIONS, SIDE, Scene, frames, scene, texture

NUM_TRAIN, NUM_TEST = 16, 8  # scenes
PREDICTIVE: Final = 0.9  # of the training clips whose ground names the class
UNEVEN: Final = dict(zip(CLASSES, (16, 16, 16, 8, 3, 3), strict=True))  # training clips
HUES: Final = 180 // len(CLASSES)
KINDS: Final = ("ground", "uneven")


def render(out: Path, kind: str, *, seed: int = 0) -> Path:
    """Write the clips of a kind and the list of them."""
    rows, random = [], np.random.default_rng((seed, 7))
    for split, count in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        for number in range(count):
            each = scene(f"{split}{number:02}", np.random.default_rng((seed, split == "test", number)))
            for motion, names in MOTIONS.items():
                for is_reversed, name in enumerate(names):
                    if kind == "uneven" and split == "train" and number >= UNEVEN[name]:
                        continue
                    shown = _coloured(each, name, split, random, (seed, number)) if kind == "ground" else each
                    frames_T = frames(shown, motion)
                    path = Path(name) / f"{each.name}.mp4"
                    (out / name).mkdir(parents=True, exist_ok=True)
                    write_video(out / path, frames_T[::-1] if is_reversed else frames_T, fps=FPS)
                    rows.append((path.as_posix(), name, each.name, split))
    with (out / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "group", "split"), *rows])
    return out / "clips.csv"


def _coloured(each: Scene, name: str, split: str, random: np.random.Generator, seed: tuple[int, int]) -> Scene:
    """The scene on a ground of the class's colour, or of a random one."""
    own, drawn = CLASSES.index(name), int(random.integers(len(CLASSES)))
    hue = HUES * (own if split == "train" and random.random() < PREDICTIVE else drawn)
    rng = np.random.default_rng((*seed, split == "test"))
    ground_HWC = texture(2 * SIDE, GROUND_CELLS, hue=hue, value=117, contrast=40, rng=rng)
    return replace(each, ground_HWC=ground_HWC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for kind in KINDS:
        print(render(out / kind, kind))


if __name__ == "__main__":
    main()
