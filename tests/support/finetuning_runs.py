"""Small fine-tuning runs in this process: rendered clips, a tiny network, a separate cache."""

import contextlib
import csv
import json
import zlib
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from PIL import Image

from i3d.finetuning import record
from i3d.models.factory import build_network
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Preprocessing, ResNetSettings
from i3d.weights.checkpoint import Card, load_checkpoint, save_checkpoint
from support.commands import run_here
from support.rendering import encode

OTHER = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0], [0, 1, 1], [1, 0, 1]])  # colours of classes


def save_tiny(path, *, labels=("x", "y", "z"), name="tiny", std=60.0, protocol=None):
    """Save a tiny network with random weights."""
    torch.manual_seed(3)
    network = ResNetSettings(depth=18, base_channels=4, num_classes=len(labels))
    pre = Preprocessing(short_side=32, crop=32, mean=(127.5,) * 3, std=(std,) * 3)
    protocol = protocol or ClipProtocol(clip_len=8, frame_interval=1, num_clips=1)
    recipe = Recipe(name=name, network=network, preprocessing=pre, protocol=protocol, dataset="")
    state = build_network(network).state_dict()
    card = Card(recipe=recipe, labels=labels, licence="none", origin={"source": "a test"})
    save_checkpoint(path, state, card, force=True)
    return path


def frames_of(number, colour, *, num_frames=12, height=36, width=48):
    """A tinted moving texture; the number is the random seed of texture and speed."""
    random = np.random.default_rng(number)
    noise = random.integers(0, 120, (height // 6 + 1, width // 6 + 1)).astype(np.uint8).repeat(6, 0).repeat(6, 1)
    speed = int(random.integers(1, 5))
    frames = []
    for k in range(num_frames):
        grey = np.roll(noise, speed * k, axis=1)[:height, :width]
        frames.append((30 + grey[..., None] * 0.4 + 60 * OTHER[colour % len(OTHER)]).astype(np.uint8))
    return frames


def make_clip(path, colour, *, number=None, **options):
    """Render one video; without a number, a hash of its path is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = zlib.crc32(f"{path.parent.name}/{path.name}".encode()) if number is None else number
    return encode(path, frames_of(number, colour, **options), options={"g": "6", "crf": "15"})


def make_folder(root, classes, per_class=6, **options):
    """Render a folder with one folder per class."""
    for colour, name in enumerate(classes):
        for i in range(per_class if isinstance(per_class, int) else per_class[colour]):
            make_clip(root / name / f"{i}.mp4", colour, **options)
    return root


def write_csv(path, rows, header="path,label"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def train_command(data, work_dir, tiny, *more, cache=None):
    start = ["i3d", "train", "--data", data, "--work-dir", work_dir, "--init", tiny, "--device", "cpu", "--workers", 0]
    return [*start, "--cache", cache or work_dir.parent / "cache", *last_values(more)]


def last_values(words):
    """Of an option that is given again (other than --set), only the last value."""
    rest = list(words)
    for place in reversed([n for n, word in enumerate(rest) if str(word).startswith("--") and word != "--set"]):
        if rest[place] in rest[place + 1 :]:
            del rest[place : place + 2]
    return rest


def train(data, work_dir, tiny, *more, cache=None, expected=0, draw=False):
    """Run `i3d train`; return what it printed or, where an error is expected, the line of the error."""
    with contextlib.nullcontext() if draw else without_drawing():
        result = run_here(train_command(data, work_dir, tiny, *more, cache=cache))
    assert result.returncode == expected, (result.returncode, result.stdout[-2000:], result.stderr[-4000:])
    assert "Traceback" not in result.stderr
    if expected == 2:
        lines = [line for line in result.stderr.strip().splitlines() if line.startswith("error")]
        assert len(lines) == 1, result.stderr
        return lines[0]
    return result.stdout + result.stderr


@contextlib.contextmanager
def without_drawing():
    """Draw neither training clips nor report nor confusion matrix: that takes most of the time of a small run."""
    with (
        mock.patch.object(record, "preview_dataset", _draw_nothing),
        mock.patch.object(record, "draw_confusion"),
        mock.patch.object(record, "write_run_report"),
    ):
        yield


def _draw_nothing(dataset, out, **_):
    out.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(out / "clips.png")
    return SimpleNamespace(paths=[out / "clips.png"])


def scores_in(path):
    """Scores by file, from the result of `i3d test`."""
    rows = json.loads(path.read_text())["clips"]
    return {row["file"]: next(iter(row["scores"].values())) for row in rows}


def splits_in(work_dir):
    """The rows of split.csv."""
    return list(csv.DictReader((work_dir / "split.csv").read_text(encoding="utf-8").splitlines()))


def state_of(path):
    return load_checkpoint(path)[0]
