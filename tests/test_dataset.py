"""Clips from annotations: the right frames, the same stream for any number of workers and ranks, and bad files."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from i3d.data.formats.read import read_annotations
from i3d.data.frame_folders import FrameNaming, infer_naming
from i3d.data.loading import loader as loader_module
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.data.loading.samplers import epoch_order, evaluation_batches, training_batches
from i3d.data.pack import pack_dataset
from i3d.data.shards import Shards
from i3d.errors import InputError
from i3d.recipes.augmentation import Augmentation, CenterCrop, RandAugment, RandomResizedCrop, TrainSampling
from i3d.recipes.settings import ClipProtocol, Preprocessing
from i3d.video.container import ContainerVideo
from i3d.video.sampling import protocol_clips, random_clips
from i3d.video.transforms import crop_views
from support.rendering import numbered_frame, read_number, render
from support.resizing import resize_short_side

PLAIN = Augmentation(resize=None, crop=CenterCrop(), size=48, flip=0.0)
SHORT = TrainSampling(clip_len=4, frame_interval=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    lines = ["path,label,split,group"]
    for i in range(12):
        name = f"clip {i} (ü).mp4"
        render(root / name, num_frames=20 + i, options={"g": "8"})
        lines.append(f"{name},{('run', 'walk', 'left')[i % 3]},{'train' if i < 9 else 'val'},p{i // 2}")
    (root / "clips.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    lines = []
    for i in range(4):
        folder = root / f"c {i}"
        folder.mkdir()
        for k in range(12):
            frame = numbered_frame(k + 1)
            cv2.imwrite(str(folder / f"img_{k + 1:05d}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
            for axis, shift in (("x", 10), ("y", 60)):
                flow = np.full((48, 64), shift + k, np.uint8)
                cv2.imwrite(str(folder / f"flow_{axis}_{k + 1:05d}.jpg"), flow)
        lines.append(f"c {i} 12 {i % 2}")
    (root / "list.txt").write_text("\n".join(lines) + "\n")
    return root


def digests(loader, *, epoch=0, first=0):
    return [
        hashlib.sha256(
            batch.clips_NVTHWC.numpy().tobytes() + batch.labels_N.numpy().tobytes() + batch.indices_N.numpy().tobytes()
        ).hexdigest()
        for batch in loader.batches(epoch=epoch, first=first)
    ]


def train_view(**changes):
    augmentation = Augmentation(
        resize=48, size=40, crop=RandomResizedCrop(), brightness=0.3, rand_augment=RandAugment(num_ops=1)
    )
    return TrainView(SHORT, augmentation.model_copy(update=changes))


# the right frames


def test_a_training_clip_holds_the_frames_that_were_drawn(videos):
    annotations = read_annotations(videos / "clips.csv")
    dataset = ClipDataset(annotations, TrainView(SHORT, PLAIN), seed=5)
    for index in range(len(annotations)):
        batch = dataset[2, index]
        assert batch.clips_NVTHWC.shape == (1, 1, 4, 48, 48, 3)
        rng = np.random.default_rng((5, 2, index))
        drawn = random_clips(20 + index, clip_len=4, frame_interval=2, num_clips=1, rng=rng)
        assert numbers_of(batch.clips_NVTHWC[0, 0].numpy()) == [(int(i) >> 1) & 63 for i in drawn[0]]
        assert batch.labels_N.tolist() == list(annotations.labels_of(index))


def numbers_of(clip_THWC):
    """The middle 48 of 64 columns show bits 1 to 6 of each frame's number."""
    return [
        sum(int(frame[:24, 8 * bit + 2 : 8 * bit + 6].mean() > 128) << bit for bit in range(6)) for frame in clip_THWC
    ]


def test_parts_of_a_video(videos):
    source = videos / "parts.csv"
    source.write_text('path,label,start,end\n"clip 0 (ü).mp4",a,0.2,0.52\n"clip 0 (ü).mp4",a,0.6,1.5\n')
    annotations = read_annotations(source)
    protocol = ClipProtocol(clip_len=4, frame_interval=2, num_clips=1, placement="end_to_end", crops="center")
    pre = Preprocessing(short_side=48, crop=48)
    dataset = ClipDataset(annotations, TestView(protocol, pre))
    shown = [dataset[0, index].views_N[0] for index in range(2)]
    numbers = [[read_number(frame) for frame in views.frames_DHWC.numpy()] for views in shown]
    assert numbers[0] == [5, 7, 9, 11]  # frames 5 to 12 (8 of them): start 0 of room 1
    assert numbers[1][0] == 15
    late = source.with_name("late.csv")
    late.write_text('path,label,start,end\n"clip 0 (ü).mp4",a,7,\n')
    batch = ClipDataset(read_annotations(late), TestView(protocol, pre))[0, 0]
    assert "the part begins at 7.000 s, the video ends at 0.800 s" in batch.bad[0].reason


def test_test_views_are_the_clips_and_crops_of_the_protocol(videos):
    annotations = read_annotations(videos / "clips.csv")
    protocol = ClipProtocol(clip_len=4, frame_interval=3, num_clips=3, crops="ten")
    dataset = ClipDataset(annotations, TestView(protocol, Preprocessing(short_side=40, crop=36)))
    views = dataset[0, 3].views_N[0]
    assert len(views) == 30
    clips = views.clips()
    assert clips.shape == (30, 4, 36, 36, 3)
    assert torch.equal(views.clips(7, 12), clips[7:12])
    frames = views.frames_DHWC.numpy()
    whole = np.concatenate([
        crop_views(frames[indices.numpy()], size=36, crops="ten") for indices in views.indices_VT[::10]
    ])  # fmt: skip
    assert np.array_equal(clips.numpy(), whole)
    from i3d.video.reader import open_video

    with open_video(annotations.file(3)) as video:
        every = video.frames_at(range(video.num_frames)).frames_THWC
        resized = resize_short_side(every, short_side=40)
    assert all((resized == frame).all(axis=(1, 2, 3)).any() for frame in frames)


def test_frame_folders(folders):
    annotations = read_annotations(folders / "list.txt")
    dataset = ClipDataset(annotations, TrainView(TrainSampling(clip_len=12, frame_interval=1), PLAIN))
    assert dataset.naming == FrameNaming("img_{:05d}.jpg", 1)
    assert numbers_of(dataset[0, 1].clips_NVTHWC[0, 0].numpy()) == [(k + 1) >> 1 & 63 for k in range(12)]


@pytest.mark.parametrize("template", ["flow_{axis}_{:05d}.jpg", "flow_{}_{:05d}.jpg", None])
def test_flow_folders(folders, template):
    annotations = read_annotations(folders / "list.txt")
    naming = None if template is None else FrameNaming(template, 1, "flow")
    view = TrainView(TrainSampling(clip_len=12, frame_interval=1), PLAIN)
    clip = ClipDataset(annotations, view, flow=ClipFlow(), naming=naming)[0, 0].clips_NVTHWC[0, 0]
    assert clip.shape == (12, 48, 48, 2)
    assert clip[:, 0, 0].tolist() == [[10 + k, 60 + k] for k in range(12)]
    mirrored = TrainView(view.sampling, PLAIN.model_copy(update={"flip": 1.0}))
    clip = ClipDataset(annotations, mirrored, flow=ClipFlow(), naming=naming)[0, 0].clips_NVTHWC[0, 0]
    assert clip[:, 0, 0].tolist() == [[245 - k, 60 + k] for k in range(12)]


def test_packed_flow_and_numbers_from_0(tmp_path):
    for k in range(5):
        packed = np.zeros((48, 64, 3), np.uint8)
        packed[..., 0], packed[..., 1] = 50 + k, 100 + k
        (tmp_path / "a").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"a/{k}.png"), packed[..., ::-1])
    (tmp_path / "list.txt").write_text("a 5 0\n")
    assert infer_naming(tmp_path / "a", modality="rgb") == FrameNaming("{:d}.png", 0)
    view = TrainView(TrainSampling(clip_len=5, frame_interval=1), PLAIN)
    naming = FrameNaming("{:d}.png", 0, "flow")
    clip = ClipDataset(read_annotations(tmp_path / "list.txt"), view, flow=ClipFlow(), naming=naming)[0, 0].clips_NVTHWC
    assert clip[0, 0, :, 0, 0].tolist() == [[50 + k, 100 + k] for k in range(5)]
    with pytest.raises(InputError, match="which images are its optical flow is unclear"):
        ClipDataset(read_annotations(tmp_path / "list.txt"), view, flow=ClipFlow())


def test_a_clip_with_fewer_frames_than_listed_is_bad(folders, tmp_path):
    shutil.copytree(folders / "c 0", tmp_path / "c 0")
    (tmp_path / "l.txt").write_text("c 0 13 0\n")
    view = TestView(
        ClipProtocol(clip_len=13, frame_interval=1, num_clips=1, crops="center"), Preprocessing(short_side=48, crop=48)
    )
    batch = ClipDataset(read_annotations(tmp_path / "l.txt"), view)[0, 0]
    assert "img_00013.jpg: no such file" in batch.bad[0].reason
    assert len(batch) == 0


@pytest.mark.parametrize(
    ("template", "modality", "message"),
    [
        ("img.jpg", "rgb", "not a file name with a number"),
        ("{:05d}/{:d}.jpg", "rgb", "not a file name with a number"),
        ("flow_{axis}_{:05d}.jpg", "rgb", "{axis} is for flow"),
        ("{nonsense}_{:05d}.jpg", "flow", "not a file name with a number"),
    ],
)
def test_templates_that_make_no_sense(template, modality, message):
    with pytest.raises(InputError, match=message):
        FrameNaming(template, 1, modality)


# one stream


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_the_stream_does_not_depend_on_workers(videos, workers):
    dataset = ClipDataset(read_annotations(videos / "clips.csv"), train_view(), seed=3)
    alone = [digests(ClipLoader(dataset, batch_size=5, num_workers=0), epoch=epoch) for epoch in (0, 1)]
    loader = ClipLoader(dataset, batch_size=5, num_workers=workers)
    assert [digests(loader, epoch=epoch) for epoch in (0, 1)] == alone
    assert alone[0] != alone[1]


@pytest.mark.slow
def test_a_resumed_epoch_continues_at_its_position(videos):
    dataset = ClipDataset(read_annotations(videos / "clips.csv"), train_view(), seed=3)
    whole = digests(ClipLoader(dataset, batch_size=2, num_workers=0), epoch=4)
    for first, workers in ((3, 0), (3, 2), (5, 1)):
        assert digests(ClipLoader(dataset, batch_size=2, num_workers=workers), epoch=4, first=first) == whole[first:]


def test_a_sample_does_not_depend_on_the_rank(videos):
    dataset = ClipDataset(read_annotations(videos / "clips.csv"), train_view(), seed=3)

    def samples(rank, world_size, batch_size):
        loader = ClipLoader(dataset, batch_size=batch_size, num_workers=0, rank=rank, world_size=world_size)
        return {
            int(index): clip.numpy().tobytes()
            for batch in loader.batches(epoch=1)
            for index, clip in zip(batch.indices_N, batch.clips_NVTHWC, strict=True)
        }

    assert samples(0, 2, 2) | samples(1, 2, 2) == samples(0, 1, 5)


@pytest.mark.slow
def test_another_seed_is_another_stream_and_the_global_generators_do_not_matter(videos):
    annotations = read_annotations(videos / "clips.csv")
    stream = digests(ClipLoader(ClipDataset(annotations, train_view(), seed=3), batch_size=4, num_workers=0))
    torch.manual_seed(99)
    np.random.seed(99)
    state = torch.get_rng_state()
    again = digests(ClipLoader(ClipDataset(annotations, train_view(), seed=3), batch_size=4, num_workers=1))
    assert again == stream
    assert torch.equal(torch.get_rng_state(), state)
    assert digests(ClipLoader(ClipDataset(annotations, train_view(), seed=4), batch_size=4, num_workers=0)) != stream


SCRIPT = """
import sys
from i3d.data.formats.read import read_annotations
from i3d.data.loading import loader
from i3d.data.loading.dataset import ClipDataset, TrainView
from i3d.recipes.augmentation import Augmentation, TrainSampling
loader.WORKERS = loader.WORKER_CONTEXT
print("the script runs", flush=True)
annotations = read_annotations(sys.argv[1])
view = TrainView(TrainSampling(clip_len=4, frame_interval=2), Augmentation(resize=48, size=40))
for num_workers in (0, 1):
    clips = loader.ClipLoader(ClipDataset(annotations, view, seed=3), batch_size=6, num_workers=num_workers)
    print([batch.clips_NVTHWC.sum(dim=(1, 2, 3, 4, 5)).tolist() for batch in clips.batches()], flush=True)
"""  # no guard: a worker that runs it again would start workers of its own


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file", "standard input"])
def test_a_script_without_a_main_guard_can_use_workers(videos, tmp_path, place):
    """Spawned workers, which get the columns of the annotations as shared memory; all other tests fork them."""
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = [sys.executable, "-" if place == "standard input" else "script.py", videos / "clips.csv"]
    with (tmp_path / "script.py").open() as stdin:
        run = subprocess.run(arguments, cwd=tmp_path, stdin=stdin, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    first, *sums = run.stdout.splitlines()
    assert first == "the script runs"
    assert len(sums) == 2
    assert sums[0] == sums[1]


OWN_PROCESS = """
import multiprocessing, sys, time
from i3d.data.formats.read import read_annotations
from i3d.data.loading.dataset import ClipDataset, TrainView
from i3d.data.loading.loader import ClipLoader
from i3d.recipes.augmentation import Augmentation, TrainSampling
def work():
    time.sleep(1)
    print("work is done", flush=True)
multiprocessing.get_context("fork").Process(target=work).start()
view = TrainView(TrainSampling(clip_len=4, frame_interval=2), Augmentation(resize=48, size=40))
batches = ClipLoader(ClipDataset(read_annotations(sys.argv[1]), view), batch_size=2, num_workers=1).batches()
print(len(next(batches)), flush=True)
"""


@pytest.mark.slow
def test_processes_of_the_user_outlive_the_workers(videos):
    run = subprocess.run(
        [sys.executable, "-c", OWN_PROCESS, videos / "clips.csv"], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout) == (0, "2\nwork is done\n"), run.stderr


def test_batches_of_workers_lie_in_shared_memory(videos):
    dataset = ClipDataset(read_annotations(videos / "clips.csv"), train_view())
    batch = next(ClipLoader(dataset, batch_size=2, num_workers=1).batches())
    assert batch.clips_NVTHWC.is_shared()
    assert batch.clips_NVTHWC.dtype == torch.uint8


def test_clips_come_in_the_order_of_the_list_and_a_short_batch_is_left_out(videos):
    dataset = ClipDataset(read_annotations(videos / "clips.csv"), train_view())
    how = {"batch_size": 5, "num_workers": 0, "shuffle": False}
    orders = [
        [batch.indices_N.tolist() for batch in ClipLoader(dataset, drop_last=drop_last, **how).batches(epoch=epoch)]
        for drop_last in (False, True) for epoch in (0, 3)
    ]  # fmt: skip
    assert orders[0] == orders[1] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert orders[2] == orders[3] == orders[0][:2]
    with pytest.raises(InputError, match=r"drop_last: 12 clips make no whole step of 3 x 5; set it to false"):
        ClipLoader(dataset, **how, drop_last=True, world_size=3)


def test_every_rank_has_equal_batches_and_no_clip_is_lost():
    for num_clips in (1, 2, 3, 10, 17):
        for world_size in (1, 2, 3):
            parts = [
                training_batches(np.arange(num_clips), batch_size=2, rank=rank, world_size=world_size)
                for rank in range(world_size)
            ]
            assert len({tuple(map(len, part)) for part in parts}) == 1
            trained = sorted(int(i) for part in parts for batch in part for i in batch)
            assert set(trained) == set(range(num_clips))
            assert len(trained) == num_clips + -num_clips % world_size
            tested = [
                i for rank in range(world_size)
                for batch in evaluation_batches(num_clips, batch_size=2, rank=rank, world_size=world_size)
                for i in batch
            ]  # fmt: skip
            assert sorted(tested) == list(range(num_clips))


# labels


def test_classes_that_may_not_flip_or_turn_into_others(videos):
    annotations = read_annotations(videos / "clips.csv")
    run, walk, left = (annotations.classes.index(name) for name in ("run", "walk", "left"))
    mirrored = PLAIN.model_copy(update={"flip": 1.0, "no_flip": ("run",), "mirrored": (("left", "walk"),)})
    dataset = ClipDataset(annotations, TrainView(SHORT, mirrored))
    straight = ClipDataset(annotations, TrainView(SHORT, PLAIN))
    for index, expected, flips in ((0, run, False), (1, left, True), (2, walk, True)):
        batch, plain = dataset[0, index], straight[0, index]
        assert batch.labels_N.tolist() == [expected]
        shown = plain.clips_NVTHWC.flip(4) if flips else plain.clips_NVTHWC
        assert torch.equal(batch.clips_NVTHWC, shown)
    with pytest.raises(InputError, match="'jump': is not one of the 3 classes"):
        ClipDataset(annotations, TrainView(SHORT, mirrored.model_copy(update={"no_flip": ("jump",)})))


def test_classes_that_go_together_are_rows_of_0_and_1(videos):
    source = videos / "multi.csv"
    source.write_text('path,label\n"clip 0 (ü).mp4",a|c\n"clip 1 (ü).mp4",b\n')
    annotations = read_annotations(source, multi_label=True)
    dataset = ClipDataset(annotations, TrainView(SHORT, PLAIN), multi_label=True)
    assert dataset.__getitems__([(0, 0), (0, 1)]).labels_N.tolist() == [[1, 0, 1], [0, 1, 0]]


# bad files


def test_each_frame_is_decoded_and_converted_once(tmp_path, monkeypatch):
    """Of 30 views, which show 320 frames, and of a clip to train; counted at the decoder."""
    render(tmp_path / "a.mp4", num_frames=200, options={"g": "8"})
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    counts, decode, rgb = Counter(), ContainerVideo.decode_packet, ContainerVideo.to_rgb

    def counting_decode(self, packet):
        frames, errors = decode(self, packet)
        counts["decoded"] += len(frames)
        return frames, errors

    def counting_rgb(self, frame):
        counts["converted"] += 1
        return rgb(self, frame)

    monkeypatch.setattr(ContainerVideo, "decode_packet", counting_decode)
    monkeypatch.setattr(ContainerVideo, "to_rgb", counting_rgb)
    annotations = read_annotations(tmp_path / "list.txt")
    thirty = ClipProtocol(clip_len=32, frame_interval=2, num_clips=10, crops="three")
    (views,) = ClipDataset(annotations, TestView(thirty, Preprocessing(short_side=48, crop=40)))[0, 0].views_N
    assert views.indices_VT.shape == (30, 32)
    num_shown = len(np.unique(protocol_clips(200, thirty, fps=None)))
    assert 100 < num_shown == len(views.frames_DHWC) == counts["converted"]
    assert counts["decoded"] <= 200
    counts.clear()
    ClipDataset(annotations, train_view())[0, 0]
    assert counts["converted"] == SHORT.clip_len
    assert counts["decoded"] <= SHORT.clip_len * SHORT.frame_interval + 8  # and those from the key frame before


@pytest.fixture
def some_bad(videos, tmp_path):
    for path in videos.glob("*.mp4"):
        os.link(path, tmp_path / path.name)
    shutil.copy(videos / "clips.csv", tmp_path)
    for index in (4, 7):
        (tmp_path / f"clip {index} (ü).mp4").unlink()
        (tmp_path / f"clip {index} (ü).mp4").write_bytes(b"<html>404</html>")
    return tmp_path


@pytest.mark.slow
def test_bad_clips_are_replaced_by_the_next_of_the_order_and_counted(some_bad):
    dataset = ClipDataset(read_annotations(some_bad / "clips.csv"), train_view(), seed=1)
    order = [int(i) for batch in training_batches(epoch_order(12, seed=1, epoch=0), batch_size=12) for i in batch]
    expected = [
        next(order[(place + k) % 12] for k in range(12) if order[(place + k) % 12] not in (4, 7)) for place in range(12)
    ]
    loader = ClipLoader(dataset, batch_size=4, num_workers=2, max_bad=0.2)
    batches = list(loader.batches())
    assert [int(i) for batch in batches for i in batch.indices_N] == expected
    assert [int(label) for batch in batches for label in batch.labels_N] == [
        dataset.annotations.labels_of(i)[0] for i in expected
    ]
    assert sorted(loader.bad) == [4, 7]
    assert "clip 4 (ü).mp4: it is a web page" in loader.bad[4].reason
    assert digests(ClipLoader(dataset, batch_size=4, num_workers=0, max_bad=0.2)) == digests(loader)


def test_too_many_bad_clips_stop_the_run(some_bad):
    dataset = ClipDataset(read_annotations(some_bad / "clips.csv"), train_view(), seed=1)
    with pytest.raises(
        InputError, match=r"1 of 12 clips cannot be read, more than --max-bad 1% allows; the first: .*ü"
    ):
        list(ClipLoader(dataset, batch_size=4, num_workers=0).batches())
    for path in some_bad.glob("*.mp4"):
        path.unlink()
        path.touch()
    for workers in (0, 1):
        loader = ClipLoader(dataset, batch_size=4, num_workers=workers, max_bad=1.0)
        with pytest.raises(InputError, match="12 clips in a row cannot be read; the first: .* empty") as error:
            list(loader.batches())
        assert "\n" not in str(error.value)


def test_unsuitable_frames_are_errors(videos, folders, tmp_path):
    small = TrainView(SHORT, Augmentation(resize=None, crop=CenterCrop(), size=99))
    with pytest.raises(InputError, match="a crop of 99 does not fit into frames of 64 x 48; resize them first"):
        ClipDataset(read_annotations(videos / "clips.csv"), small)[0, 0]
    coloured = TrainView(SHORT, PLAIN.model_copy(update={"hue": 0.1}))
    with pytest.raises(InputError, match="flow has no colours"):
        ClipDataset(read_annotations(folders / "list.txt"), coloured, flow=ClipFlow())
    render(tmp_path / "sliver.mp4", num_frames=4, height=2, width=2000)
    (tmp_path / "l.txt").write_text("sliver.mp4 0\n")
    view = TestView(
        ClipProtocol(clip_len=2, frame_interval=1, num_clips=1, crops="center"), Preprocessing(short_side=256, crop=256)
    )
    [bad] = ClipDataset(read_annotations(tmp_path / "l.txt"), view)[0, 0].bad
    assert "its frames of 2000 x 2 are too narrow" in bad.reason


def test_in_testing_nothing_is_replaced(some_bad):
    view = TestView(
        ClipProtocol(clip_len=4, frame_interval=2, num_clips=1, crops="center"), Preprocessing(short_side=48, crop=48)
    )
    dataset = ClipDataset(read_annotations(some_bad / "clips.csv"), view)
    with pytest.raises(InputError, match="1 of 12 clips cannot be read, more than --max-bad 0%"):
        list(ClipLoader(dataset, batch_size=4, num_workers=0).batches())
    loader = ClipLoader(dataset, batch_size=4, num_workers=1, max_bad=0.5)
    assert [int(i) for batch in loader.batches() for i in batch.indices_N] == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert sorted(loader.bad) == [4, 7]


def test_missing_files_are_fatal_at_once(videos, tmp_path):
    shutil.copy(videos / "clips.csv", tmp_path)
    with pytest.raises(InputError, match=r"clips\.csv:2: .*none of 12 clips is below .*--root"):
        ClipDataset(read_annotations(tmp_path / "clips.csv"), train_view())
    for path in videos.glob("*.mp4"):
        os.link(path, tmp_path / path.name)
    (tmp_path / "clip 3 (ü).mp4").unlink()
    with pytest.raises(
        InputError, match=r"clips\.csv:5: 'clip 3 \(ü\)\.mp4': no such file below .*; 1 of 12 clips are missing"
    ):
        ClipDataset(read_annotations(tmp_path / "clips.csv"), train_view())


# shards


@pytest.mark.slow
def test_shards_give_the_same_stream_as_the_files(videos, tmp_path):
    annotations = read_annotations(videos / "clips.csv")
    assert pack_dataset(annotations, tmp_path / "packed", shard_bytes=20_000) == 12
    packed = read_annotations(tmp_path / "packed")
    assert len(list((tmp_path / "packed").glob("shard-*.tar"))) > 1
    assert packed.classes == annotations.classes
    assert [replace(clip, line=0) for clip in packed] == [replace(clip, line=0) for clip in annotations]
    loaders = [
        ClipLoader(ClipDataset(a, train_view(), seed=3), batch_size=5, num_workers=2) for a in (annotations, packed)
    ]
    assert digests(loaders[0]) == digests(loaders[1])
    import tarfile

    with tarfile.open(tmp_path / "packed/shard-00000.tar") as tar:
        name = tar.getnames()[0]
        assert tar.extractfile(name).read() == (videos / name).read_bytes()


def test_shards_of_frames(folders, tmp_path):
    annotations = read_annotations(folders / "list.txt")
    pack_dataset(annotations, tmp_path / "packed")
    packed = read_annotations(tmp_path / "packed")
    assert packed.is_frames
    view = TrainView(TrainSampling(clip_len=6, frame_interval=1), PLAIN)
    for modality in ("rgb", "flow"):
        sets = [
            ClipDataset(a, view, seed=2, flow=ClipFlow() if modality == "flow" else None) for a in (annotations, packed)
        ]
        for index in range(4):
            assert torch.equal(*(s[0, index].clips_NVTHWC for s in sets))


def test_damaged_shards_are_errors(videos, tmp_path):
    annotations = read_annotations(videos / "clips.csv")
    pack_dataset(annotations, tmp_path / "packed")
    with pytest.raises(InputError, match="exists; choose a new folder"):
        pack_dataset(annotations, tmp_path / "packed")
    shard = tmp_path / "packed/shard-00000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-600])
    with pytest.raises(InputError, match=r"shard-00000\.tar: has [\d,]+ bytes, not"):
        Shards(tmp_path / "packed")
    shard.unlink()
    with pytest.raises(InputError, match="is missing; copy it again"):
        Shards(tmp_path / "packed")
    shard.write_bytes(whole)
    index = tmp_path / "packed/index.npz"
    index.write_bytes(index.read_bytes()[:200])
    with pytest.raises(InputError, match="not the index of shards"):
        Shards(tmp_path / "packed")


def test_an_interrupted_packing_leaves_nothing(videos, tmp_path):
    def stop(number):
        if number == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_dataset(read_annotations(videos / "clips.csv"), tmp_path / "packed", on_clip=stop)
    assert list(tmp_path.iterdir()) == []


# what lasts


@pytest.mark.slow
def test_1500_opens_a_third_of_them_broken_leak_no_memory_or_descriptors(some_bad):
    names = sorted(some_bad.glob("*.mp4"))
    broken = some_bad / "cut.mp4"
    broken.write_bytes(names[0].read_bytes()[:900])
    lines = ["path,label"] + [f"{path.name},a" for path in names[:2]] + ["cut.mp4,a"]
    (some_bad / "mixed.csv").write_text("\n".join(lines))
    view = TestView(
        ClipProtocol(clip_len=2, frame_interval=1, num_clips=1, crops="center"), Preprocessing(short_side=48, crop=48)
    )
    dataset = ClipDataset(read_annotations(some_bad / "mixed.csv"), view)

    def memory():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(100):
        dataset.__getitems__([(0, 0), (0, 1), (0, 2)])
    before, descriptors = memory(), len(os.listdir("/proc/self/fd"))
    for _ in range(1500 // 3):
        batch = dataset.__getitems__([(0, 0), (0, 1), (0, 2)])
        assert len(batch.bad) == 1
    assert memory() - before < 6e6  # 4 KB of each
    assert len(os.listdir("/proc/self/fd")) == descriptors


# cases from an audit


def test_missing_numbers_are_errors_and_one_folder_does_not_shift_the_others(folders, tmp_path):
    for i in range(4):
        shutil.copytree(folders / f"c {i}", tmp_path / f"run/c {i}")
    (tmp_path / "run/c 0/img_00001.jpg").unlink()
    (tmp_path / "run/c 1/img_00005.jpg").unlink()
    annotations = read_annotations(tmp_path)
    dataset = ClipDataset(
        annotations, TestView(ClipProtocol(clip_len=2, frame_interval=1, num_clips=1, crops="center"), Preprocessing())
    )
    assert dataset.naming == FrameNaming("img_{:05d}.jpg", 1)
    reasons = {bad.index: bad.reason for i in range(4) for bad in dataset[0, i].bad}
    assert reasons.keys() == {0, 1}
    assert "img_00001.jpg is missing, img_00002.jpg exists" in reasons[0]
    assert "img_00005.jpg is missing, img_00006.jpg exists" in reasons[1]


def test_an_empty_first_folder_does_not_hide_the_names(folders, tmp_path):
    shutil.copytree(folders / "c 1", tmp_path / "c 1")
    (tmp_path / "c 0").mkdir()
    (tmp_path / "list.txt").write_text("c 0 12 0\nc 1 12 1\n")
    view = ClipProtocol(clip_len=2, frame_interval=1, num_clips=1, crops="center")
    dataset = ClipDataset(read_annotations(tmp_path / "list.txt"), TestView(view, Preprocessing()))
    assert dataset[0, 1].labels_N.tolist() == [1]
    assert re.search(r"img_\d+\.jpg: no such file", dataset[0, 0].bad[0].reason)


def test_a_link_to_nothing_is_a_missing_file(videos, tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    with pytest.raises(InputError, match="none of 1 clip is below"):
        ClipDataset(read_annotations(tmp_path / "list.txt"), train_view())


class _Deadly(ClipDataset):
    def __getitems__(self, keys):
        os._exit(9)


def test_a_worker_that_dies_names_its_clips(videos):
    loader = ClipLoader(_Deadly(read_annotations(videos / "clips.csv"), train_view()), batch_size=2, num_workers=1)
    with pytest.raises(InputError, match=r"died \(.*\) at one of these: .*clip \d+ .*i3d data check"):
        list(loader.batches())


class _Sleepy(ClipDataset):
    def __getitems__(self, keys):
        time.sleep(3 if (0, 5) in keys else 0)
        return super().__getitems__(keys)


@pytest.mark.slow
def test_a_slow_worker_is_awaited_and_a_hanging_one_is_an_error(videos, monkeypatch):
    monkeypatch.setattr(loader_module, "POLL_SECONDS", 1)
    loader = ClipLoader(_Sleepy(read_annotations(videos / "clips.csv"), train_view()), batch_size=2, num_workers=1)
    assert len(list(loader.batches())) == 6
    monkeypatch.setattr(loader_module, "CLIP_SECONDS", 1)
    loader = ClipLoader(_Sleepy(read_annotations(videos / "clips.csv"), train_view()), batch_size=2, num_workers=1)
    with pytest.raises(InputError, match=r"hangs \(.*\) at one of these: .*clip 5"):
        list(loader.batches())


def test_one_iteration_at_a_time(videos):
    loader = ClipLoader(ClipDataset(read_annotations(videos / "clips.csv"), train_view()), batch_size=2, num_workers=0)
    first = loader.batches()
    next(first)
    next(loader.batches(epoch=1))
    with pytest.raises(RuntimeError, match="another iteration of this loader has begun"):
        next(first)


def test_packing_reports_missing_frames_and_packs_nothing_twice(folders, tmp_path):
    shutil.copytree(folders / "c 1", tmp_path / "c 1")
    (tmp_path / "list.txt").write_text("c 1 40 0\n")
    with pytest.raises(InputError, match=r"list.txt:1: 'c 1': contains 36 images, its list states 40"):
        pack_dataset(read_annotations(tmp_path / "list.txt"), tmp_path / "packed")
    (tmp_path / "list.txt").write_text("c 1 12 0\n")
    pack_dataset(read_annotations(tmp_path / "list.txt"), tmp_path / "packed")
    with pytest.raises(InputError, match="is already packed"):
        pack_dataset(read_annotations(tmp_path / "packed"), tmp_path / "again")


def test_a_foreign_index_file_does_not_make_a_folder_packed(videos, tmp_path):
    shutil.copytree(videos, tmp_path / "v")
    np.savez(tmp_path / "v/index.npz", a=np.zeros(3))
    assert len(ClipDataset(read_annotations(tmp_path / "v/clips.csv"), train_view())) == 12
