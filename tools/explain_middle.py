"""Render a clip that moves in its middle third only, explain its label, and draw the explanation (docs/explain.md).

    python tools/explain_middle.py build/middle.mp4 --plot docs/explained.png

The scene and its motion are those of `make tour` (tools/render_tour.py): the object stands still, moves to the right
for 16 frames, and stands still again. Without --model it is explained by the shipped network, which has no class for
it: the label means little, but the curve has to peak in the middle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

import i3d
from i3d.explanations import draw_explanation
from i3d.video import write_video
from render_tour import FPS, frames, scenes


def render_middle(out: Path, *, seed: int = 0, still: int = 16) -> Path:
    """Write the clip: `still` frames without motion, 16 that move, `still` without."""
    scene = next(each for split, each in scenes(4, seed=seed) if split == "test")
    moving = frames(scene, "side")
    write_video(out, [moving[0]] * still + moving + [moving[-1]] * still, fps=FPS, force=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clip", type=Path, help="the clip to write")
    parser.add_argument("--plot", type=Path, required=True, help="the image to write")
    parser.add_argument("--model", default="inception_rgb_kinetics400")
    parser.add_argument("--still", type=int, default=16, help="frames that stand still, before and after")
    arguments = parser.parse_args()
    explanation = i3d.explain(render_middle(arguments.clip, still=arguments.still), model=arguments.model)
    print(explanation.view_line, explanation.curve_line, *explanation.map_lines, sep="\n")
    draw_explanation(explanation, arguments.plot, force=True)
    with Image.open(arguments.plot) as image:
        smaller = image.convert("RGB").quantize(256)
    smaller.save(arguments.plot, optimize=True)


if __name__ == "__main__":
    main()
