"""The preview shows the pixels, labels and numbers of the dataset, whatever the dataset is like."""

import inspect
import shutil
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from i3d.data import preview as module
from i3d.data.annotations import build_annotations
from i3d.data.formats.read import read_annotations
from i3d.data.labels import dataset_labels
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.preview import Range, choose_clips, preview_dataset, strip_indices
from i3d.data.rows import Rows
from i3d.errors import InputError, VideoError
from i3d.recipes.augmentation import Augmentation, CenterCrop, RandomResizedCrop, TrainSampling
from i3d.recipes.settings import Preprocessing, WindowProtocol
from i3d.utils import drawing
from i3d.utils.drawing import film_strip, tile_side
from i3d.video.flow import flow_to_rgb
from support.rendering import render

ODD_LABELS = [
    "打太极",
    "عزف العود",
    "नृत्य",
    "пить чай",
    "$x_{1}$ a$",
    "a name that does not fit anywhere " * 6,
    "runner 🏃",
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    render(root / "long.mp4", num_frames=50)
    render(root / "short.mp4", num_frames=10, height=64, width=48)
    render(root / "slow.mp4", num_frames=20, fps=10)
    return root


def view(size=40, *, clip_len=16, num_clips=1, target_fps=None, **augmentation):
    settings = {"resize": size + 8, "crop": RandomResizedCrop(), "brightness": 0.4, **augmentation}
    return TrainView(
        TrainSampling(clip_len=clip_len, frame_interval=2, num_clips=num_clips, target_fps=target_fps),
        Augmentation(size=size, **settings),
    )


def table(root, rows, *, header="path,label", name="clips.csv", **options):
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return read_annotations(root / name, **options)


def made_up(tmp_path, labels):
    """Annotations of clips that are never opened."""
    rows = Rows()
    for number, label in enumerate(labels):
        rows.add(f"{number}.mp4", () if label is None else (label,))
    return build_annotations(rows, source=tmp_path, root=tmp_path)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def place_of(part_HWC, sheet_HWC):
    """(left, top) of the first part of an image that has exactly these pixels."""
    height, width = part_HWC.shape[:2]
    first_row = part_HWC[0].tobytes()
    for top in range(len(sheet_HWC) - height + 1):
        row = sheet_HWC[top].tobytes()
        at = row.find(first_row)
        while at >= 0:
            if at % 3 == 0 and np.array_equal(sheet_HWC[top : top + height, at // 3 : at // 3 + width], part_HWC):
                return at // 3, top
            at = row.find(first_row, at + 1)
    pytest.fail("the image does not contain these pixels")


@pytest.fixture
def draw_calls(monkeypatch):
    """The arguments of each call of the drawing functions."""
    calls = {name: [] for name in ("contact_sheet", "draw_clip", "draw_bars", "draw_histogram")}

    def recorded(name):
        draw = getattr(drawing, name)

        def call(*args, **kwargs):
            calls[name].append(SimpleNamespace(**inspect.signature(draw).bind(*args, **kwargs).arguments))
            return draw(*args, **kwargs)

        return call

    for name in calls:
        monkeypatch.setattr(module, name, recorded(name))
    return calls


@pytest.mark.slow
@pytest.mark.parametrize(("size", "num_clips"), [(40, 1), (56, 2), (150, 1)])
def test_the_sheet_shows_the_pixels_of_the_dataset(videos, tmp_path, size, num_clips):
    ends = {"long.mp4,a": 2, "short.mp4,a": 0.4, "slow.mp4,b": 2}
    rows = [f"{clip},{start},{end}" for start in (0, 0.1) for clip, end in ends.items()]
    annotations = table(videos, rows, header="path,label,start,end")
    dataset = ClipDataset(annotations, view(size, num_clips=num_clips), seed=3)
    preview = preview_dataset(dataset, tmp_path / "out", epoch=2)
    sheet_HWC = pixels(preview.paths[0])
    shown = choose_clips(annotations, num_clips=16, seed=3)
    assert sorted(shown) == list(range(6))
    side = tile_side(size)
    places = []
    for index in shown:
        clip_THWC = dataset[2, index].clips_NVTHWC[0, 0].numpy()
        tiles = []
        for t in (0, 3, 6, 9, 12, 15):
            if size == 150:
                tiles.append(cv2.resize(clip_THWC[t], (side, side), interpolation=cv2.INTER_AREA))
            else:
                tiles.append(np.kron(clip_THWC[t], np.ones((side // size, side // size, 1), np.uint8)))
        gap_HWC = np.full((side, 2, 3), 255, np.uint8)
        strip_HWC = np.concatenate([part for tile_HWC in tiles for part in (gap_HWC, tile_HWC)][1:], axis=1)
        places.append(place_of(strip_HWC, sheet_HWC)[::-1])
    assert places == sorted(places)  # row by row
    tops, lefts = ({place[i] for place in places} for i in (0, 1))
    assert (len(tops), len(lefts)) == (3, 2)


def test_short_clips_and_sizes_of_tiles():
    clip_THWC = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 56, 56, 3), np.uint8)
    strip_HWC = film_strip(clip_THWC)
    assert [strip_indices(clip_len).tolist() for clip_len in (1, 3, 16)] == [[0], [0, 1, 2], [0, 3, 6, 9, 12, 15]]
    assert strip_HWC.shape == (112, 3 * 112 + 2 * 2, 3)
    assert [int(strip_HWC[5, x, 0]) for x in (0, 111, 112, 113, 114, 228)] == [0, 0, 255, 255, 1, 2]
    assert [tile_side(size) for size in (224, 160, 128, 112, 64, 56, 32, 1)] == [112, 112, 128, 112, 128, 112, 128, 112]


@pytest.mark.slow
def test_labels_are_those_after_mirroring(videos, tmp_path, draw_calls):
    annotations = table(videos, ["long.mp4,left hand", "slow.mp4,right hand", "short.mp4,both"])
    mirrored = view(flip=1, mirrored=(("left hand", "right hand"),))
    preview_dataset(ClipDataset(annotations, mirrored), tmp_path)
    calls = draw_calls["draw_clip"]
    shown = {call.file: (call.label, call.facts) for call in calls}
    assert shown == {
        "long.mp4": ("right hand", "64 x 48, 50 frames, 2.00 s"),
        "slow.mp4": ("left hand", "64 x 48, 20 frames, 2.00 s"),
        "short.mp4": ("both", "48 x 64, 10 frames, 0.40 s"),
    }


@pytest.mark.slow
def test_several_labels_and_none(videos, tmp_path, draw_calls):
    rows = ["long.mp4,a|b", "slow.mp4,", "short.mp4,b"]
    annotations = table(videos, rows, multi_label=True, need_labels=False)
    preview = preview_dataset(ClipDataset(annotations, view(), multi_label=True), tmp_path)
    calls = draw_calls["draw_clip"]
    assert {call.file: call.label for call in calls} == {
        "long.mp4": "a + b", "slow.mp4": "(no label)", "short.mp4": "b"
    }  # fmt: skip
    assert preview.class_counts == {"a": 1, "b": 2}
    bars = draw_calls["draw_bars"][0]
    assert bars.subtitle == "2 classes, 1 to 2 clips each; 1 clip without a label"
    unlabelled = table(videos, ["long.mp4", "slow.mp4"], header="path", need_labels=False)
    assert preview_dataset(ClipDataset(unlabelled, view()), tmp_path).class_counts == {}


def test_clips_are_spread_over_the_classes(tmp_path):
    annotations = made_up(tmp_path, ["a"] * 100 + ["b"] * 2 + ["c"])
    shown = choose_clips(annotations, num_clips=9, seed=0)
    assert [annotations[i].labels[0] for i in shown] == [0] * 6 + [1, 1, 2]
    assert shown == choose_clips(annotations, num_clips=9, seed=0) != choose_clips(annotations, num_clips=9, seed=1)
    assert sorted(choose_clips(annotations, num_clips=500, seed=0)) == list(range(103))
    many = made_up(tmp_path, [f"class {i % 400}" for i in range(2000)])
    picked = choose_clips(many, num_clips=16, seed=0)
    assert len({many[i].labels for i in picked}) == 16
    assert picked != list(range(16))
    some = choose_clips(made_up(tmp_path, ["a"] * 9 + [None] * 9), num_clips=4, seed=0)
    assert [i < 9 for i in some].count(True) == 2


@pytest.mark.slow
def test_the_same_clips_in_another_epoch(videos, tmp_path, draw_calls):
    annotations = table(videos, [f"long.mp4,a,{i / 100},2" for i in range(30)], header="path,label,start,end")
    for epoch in (0, 1):
        preview_dataset(ClipDataset(annotations, view()), tmp_path, epoch=epoch, num_clips=3)
    first, second = draw_calls["draw_clip"][:3], draw_calls["draw_clip"][3:]
    assert [clip.facts for clip in first] == [clip.facts for clip in second]
    assert all((a.strip_HWC != b.strip_HWC).any() for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_unreadable_clips_are_shown_and_named(videos, tmp_path, draw_calls):
    for name in ("long.mp4", "slow.mp4"):
        shutil.copy(videos / name, tmp_path / name)
    (tmp_path / "empty.mp4").write_bytes(b"")
    annotations = table(tmp_path, ["long.mp4,a", "empty.mp4,a", "slow.mp4,b"])
    preview = preview_dataset(ClipDataset(annotations, view()), tmp_path / "out")
    assert [(bad.index, "empty (0 bytes)" in bad.reason) for bad in preview.unreadable] == [(1, True)]
    assert (preview.num_inspected, preview.sizes) == (2, {(64, 48): 2})
    calls = draw_calls["draw_clip"]
    assert [(call.file, call.strip_HWC is None) for call in calls] == [
        ("long.mp4", False), ("empty.mp4", True), ("slow.mp4", False)
    ]  # fmt: skip
    assert "empty (0 bytes)" in calls[1].reason
    sheet_HWC = pixels(preview.paths[0])
    left, top = place_of(np.full((20, 680, 3), (0xEB, 0xED, 0xEF), np.uint8), sheet_HWC)  # a grey box
    above, below = (place_of(calls[i].strip_HWC, sheet_HWC) for i in (0, 2))
    assert above[1] + tile_side(40) < top < below[1]
    assert (sheet_HWC[top : below[1], : left - 1] == 255).all()
    alone = preview_dataset(ClipDataset(annotations.select([1]), view()), tmp_path / "alone")
    assert len(alone.unreadable) == 1
    assert (alone.durations, alone.lengths, alone.sizes) == (None, None, {})


def test_clips_that_fail_only_when_they_are_decoded(videos, tmp_path, draw_calls, monkeypatch):
    whole = ClipDataset.read_training_clip

    def broken(self, epoch, index, view, out):
        if index == 0:
            raise VideoError("long.mp4", "decoding failed after 30 frames", "repair it")
        return whole(self, epoch, index, view, out)

    monkeypatch.setattr(ClipDataset, "read_training_clip", broken)
    preview = preview_dataset(ClipDataset(table(videos, ["long.mp4,a", "slow.mp4,b"]), view()), tmp_path)
    assert [bad.index for bad in preview.unreadable] == [0]
    first, second = draw_calls["draw_clip"]
    assert (first.strip_HWC, first.label, first.facts) == (None, "a", "64 x 48, 50 frames, 2.00 s")
    assert "after 30 frames" in first.reason
    assert second.strip_HWC is not None


@pytest.mark.slow
def test_statistics(videos, tmp_path, draw_calls):
    rows = ["long.mp4,a,,", "short.mp4,a,,", "slow.mp4,a,,", "long.mp4,b,0,1"]
    annotations = table(videos, rows, header="path,label,start,end", classes=("a", "b", "c"))
    progress = []
    preview = preview_dataset(ClipDataset(annotations, view()), tmp_path, on_clip=lambda *of: progress.append(of))
    assert preview.class_counts == {"a": 3, "b": 1, "c": 0}
    assert preview.durations == Range(min=0.4, median=1.5, max=2.0)
    assert preview.lengths == Range(min=10, median=22.5, max=50)
    assert preview.sizes == {(64, 48): 3, (48, 64): 1}
    assert progress == [(i, 8) for i in range(1, 9)]
    seconds, frames = draw_calls["draw_histogram"]
    assert seconds.mark is None
    assert frames.mark_label == "a training clip spans 31 frames: 3 of 4 are shorter and repeat frames"
    preview_dataset(ClipDataset(annotations, view(target_fps=25)), tmp_path)
    seconds, frames = draw_calls["draw_histogram"][2:]
    assert frames.mark is None
    assert seconds.mark_label == "a training clip spans 1.24 seconds: 2 of 4 are shorter and repeat frames"
    classes, sizes = draw_calls["draw_bars"][2:]
    assert classes.rows == [("a", 3), ("b", 1), ("c", 0)]
    assert sizes.rows == [("64 x 48", 3), ("48 x 64", 1)]


@pytest.mark.slow
def test_four_hundred_classes_and_very_unlike_lengths(videos, tmp_path, draw_calls):
    labels = dataset_labels("kinetics400")
    rows = [f"long.mp4,{label},{(k * 4 + i) / 2000},2" for k, label in enumerate(labels) for i in range(k % 4)]
    rows += [f"long.mp4,abseiling,{1.9 + i / 1000},1.99" for i in range(40)]
    annotations = table(videos, rows, header="path,label,start,end", classes=labels)
    preview = preview_dataset(ClipDataset(annotations, view()), tmp_path)
    assert sum(preview.class_counts.values()) == len(rows) == 640
    assert preview.lengths.max >= 10 * preview.lengths.min
    rows = draw_calls["draw_bars"][0].rows
    assert len(rows) == 31
    assert rows[0] == ("abseiling", 40)
    name, words = rows[15]
    assert name == "370 classes between"
    assert int(words.removesuffix(" clips")) + sum(count for _, count in (*rows[:15], *rows[16:])) == 640
    assert all(count == 0 for _, count in rows[16:])
    assert len(pixels(preview.paths[1])) < 1200


@pytest.mark.slow
def test_a_container_without_a_timetable(tmp_path, draw_calls, monkeypatch):
    monkeypatch.setattr(module, "MAX_DECODED", 1)
    for name in ("a", "b", "c"):
        render(tmp_path / f"{name}.webm", codec="libvpx", num_frames=20)
    preview = preview_dataset(ClipDataset(table(tmp_path, [f"{n}.webm,x" for n in "abc"]), view()), tmp_path / "out")
    assert (preview.num_inspected, preview.lengths) == (3, Range(min=20, median=20, max=20))
    assert draw_calls["draw_histogram"][1].subtitle == "20 to 20, median 20; unknown of 2 that would have to be decoded"


@pytest.mark.slow
def test_names_in_any_script_and_of_any_length(tmp_path, videos):
    long_name = "a_very_long_name_" * 12 + ".mp4"
    render(tmp_path / long_name, height=400, width=32, num_frames=12)
    render(tmp_path / "wide.mp4", height=32, width=640, num_frames=12)
    names = ["wide.mp4", long_name, *(f"名前 {i} $.mp4" for i in range(5))]
    for name in names[2:]:
        shutil.copy(videos / "slow.mp4", tmp_path / name)
    annotations = table(tmp_path, [f'{name},"{label}"' for name, label in zip(names, ODD_LABELS, strict=True)])
    preview = preview_dataset(ClipDataset(annotations, view()), tmp_path / "out")
    assert preview.sizes[32, 400] == preview.sizes[640, 32] == 1
    for path, margin in zip(preview.paths, (28, 24), strict=True):
        pixels_HWC = pixels(path)
        assert (pixels_HWC[:, -margin:] == 255).all(), "something is drawn over the right edge"
        assert (pixels_HWC[:, :20] == 255).all(), "something is drawn over the left edge"


@pytest.mark.slow
def test_flow(tmp_path, draw_calls):
    for axis, value in (("x", 200), ("y", 127)):
        (tmp_path / "flow/push/c1").mkdir(parents=True, exist_ok=True)
        for i in range(1, 21):
            image = np.full((48, 64), 127, np.uint8)
            image[16:32, 16:48] = value
            cv2.imwrite(str(tmp_path / f"flow/push/c1/flow_{axis}_{i:05d}.jpg"), image)
    augmentation = {"brightness": 0, "resize": (40, 40), "crop": CenterCrop()}
    dataset = ClipDataset(read_annotations(tmp_path / "flow"), view(flip=0, **augmentation), flow=ClipFlow())
    preview = preview_dataset(dataset, tmp_path / "out")
    assert (preview.durations, preview.lengths) == (None, Range(20, 20, 20))
    sheet_HWC = pixels(preview.paths[0])
    left, top = place_of(draw_calls["draw_clip"][0].strip_HWC, sheet_HWC)
    assert np.abs(sheet_HWC[top + 60, left + 60].astype(int) - [255, 0, 0]).max() < 6  # to the right
    assert sheet_HWC[top + 5, left + 5].min() > 245
    assert [chart.unit for chart in draw_calls["draw_histogram"]] == ["frames"]
    wheel_HWC = draw_calls["contact_sheet"][0].legend_HWC
    place_of(wheel_HWC, sheet_HWC)
    ways = [[20, 0], [-20, 0], [0, 20], [0, -20], [0, 0]]
    right, leftwards, down, up, still = flow_to_rgb(np.array([ways], np.float32))[0].tolist()
    assert np.abs(np.array([right, still]) - [[255, 0, 0], [255, 255, 255]]).max() < 6
    assert len({tuple(colour) for colour in (right, leftwards, down, up)}) == 4
    edges = wheel_HWC[[32, 32, 62, 1], [62, 1, 32, 32]].astype(int)  # each direction where it points
    assert np.abs(edges - [right, leftwards, down, up]).max() < 30


@pytest.mark.slow
def test_images_are_reproducible_and_replaced_atomically(videos, tmp_path, monkeypatch):
    import matplotlib
    from matplotlib.figure import Figure

    dataset = ClipDataset(table(videos, ["long.mp4,a", "slow.mp4,b"]), view())
    first = [path.read_bytes() for path in preview_dataset(dataset, tmp_path).paths]
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 50, "image.origin": "lower", "axes.facecolor": "red"}):
        again = preview_dataset(dataset, tmp_path)
    assert [path.read_bytes() for path in again.paths] == first

    def fail(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        preview_dataset(dataset, tmp_path)
    assert [path.read_bytes() for path in again.paths] == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips.png", "statistics.png"]


def test_errors_of_preview(videos, tmp_path):
    annotations = table(videos, ["long.mp4,a"])
    dataset = ClipDataset(annotations, view())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"):
        preview_dataset(dataset, tmp_path / "file")
    windows = TestView(WindowProtocol(), Preprocessing(short_side=48, crop=40))
    with pytest.raises(InputError, match="a preview shows clips, not windows"):
        preview_dataset(ClipDataset(annotations, windows), tmp_path)


@pytest.mark.slow
def test_matplotlib_is_loaded_when_it_draws(tmp_path):
    code = """
import sys, i3d.utils.drawing as p, i3d.data.preview, numpy as np, pathlib
assert "matplotlib" not in sys.modules
with p.contact_sheet(pathlib.Path(sys.argv[1]), 1, title="t", lines=["l"], size=40) as (figure, (axes,)):
    p.draw_clip(figure, axes, "label", "file", "facts", np.zeros((40, 100, 3), np.uint8), "")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True, timeout=60)


def test_a_drawing_leaves_no_state_behind(tmp_path):
    import matplotlib

    before = matplotlib.rcParams.copy()
    with drawing.contact_sheet(tmp_path / "a.png", 1, title="t", lines=["l"], size=40) as (figure, (axes,)):
        drawing.draw_clip(figure, axes, "label", "file", "facts", np.zeros((40, 100, 3), np.uint8), "")
    assert matplotlib.rcParams.copy() == before
