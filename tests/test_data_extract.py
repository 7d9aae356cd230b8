"""Videos as folders of frames: the right frames, resumed, named when bad, and safe from each other."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from i3d.data.annotations import build_annotations
from i3d.data.class_files import class_names
from i3d.data.formats.read import read_annotations
from i3d.data.frame_extraction import extract as module
from i3d.data.frame_extraction.extract import extract_frames
from i3d.data.frame_extraction.jobs import FrameSettings
from i3d.data.frame_folders import RECORD
from i3d.data.loading.dataset import ClipDataset, TrainView
from i3d.data.pack import pack_dataset
from i3d.data.rows import Rows
from i3d.errors import InputError
from i3d.recipes.augmentation import Augmentation, CenterCrop, TrainSampling
from i3d.utils.atomic_files import UNFINISHED, unfinished_folder
from i3d.video.reader import open_video
from i3d.video.transforms import resize_frame
from support.dying_jobs import DyingJob
from support.processes import locked_in_another_process, start
from support.rendering import read_number, render

VIDEOS = {"run/a.mp4": 40, "run/b 2.mp4": 23, "walk/c.mp4": 31}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name, num_frames in VIDEOS.items():
        (root / name).parent.mkdir(exist_ok=True)
        render(root / name, num_frames=num_frames)
    return root


def extract(annotations, out, *, num_workers=0, on_clip=None, force=False, **settings):
    counts = [0]

    def count(progress):
        if on_clip is not None and progress.unit == "clip" and int(progress.completed) > counts[-1]:
            counts.append(int(progress.completed))
            on_clip(counts[-1])

    options = {"num_workers": num_workers, "on_progress": count, "force": force}
    return extract_frames(annotations, out, FrameSettings(**settings), **options)


def unfinished(out):
    return list(out.glob(f"{UNFINISHED}*"))


def table(root, rows, *, header="path,label", name="clips.csv", **options):
    """Annotations of a table beside the videos."""
    (root / name).write_text("\n".join([header, *rows]) + "\n")
    return read_annotations(root / name, **options)


def listed(*paths, root):
    """Annotations without a file: any path, existing or not."""
    rows = Rows()
    for path in paths:
        rows.add(path, ("x",))
    return build_annotations(rows, source=Path("made-up"), root=root, allow_outside=True)


def numbers_in(folder):
    return [read_number(cv2.imread(str(path))[..., ::-1]) for path in sorted(folder.glob("*.jpg"))]


def stamps(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


def clip_numbers(annotations):
    """The numbers of the frames that training reads of each clip in epoch 0."""
    view = TrainView(
        TrainSampling(clip_len=8, frame_interval=2),
        Augmentation(resize=(48, 48), crop=CenterCrop(), size=48, flip=0),
    )
    dataset = ClipDataset(annotations, view, seed=5)
    return [
        [read_number(frame_HWC) for frame_HWC in dataset[0, i].clips_NVTHWC[0, 0].numpy()] for i in range(len(dataset))
    ]


@pytest.mark.slow
def test_frames_read_back_as_the_videos_themselves(videos, tmp_path):
    annotations, out, progress = read_annotations(videos, format="folders"), tmp_path / "frames", []
    result = extract(annotations, out, num_workers=2, on_clip=progress.append)
    assert (result.num_written, result.num_reused, result.bad, result.num_frames) == (3, 0, (), sum(VIDEOS.values()))
    assert progress == [1, 2, 3]
    for name, num_frames in VIDEOS.items():
        assert numbers_in(out / Path(name).with_suffix("")) == list(range(num_frames))
    assert result.list_file.read_text() == "run/a 40 0\nrun/b 2 23 0\nwalk/c 31 1\n"
    assert not unfinished(out)
    back = read_annotations(out / "list.txt", classes=class_names(str(out / "classes.txt")))
    assert back.is_frames
    assert back.classes == annotations.classes == ("run", "walk")
    numbers = clip_numbers(back)
    assert numbers == clip_numbers(annotations)
    assert {b - a for clip in numbers for a, b in zip(clip[:-1], clip[1:], strict=True)} == {2}


def test_pixels_are_resized_and_encoded_as_set(videos, tmp_path):
    annotations = table(videos, ["run/a.mp4,run"])
    extract(annotations, tmp_path, short_side=24, jpeg_quality=80, template="f_{:03d}.jpeg", first=0, num_workers=0)
    with open_video(videos / "run/a.mp4") as video:
        frame_HWC = video.frames_at([7]).frames_THWC[0]
    small_HWC = resize_frame(frame_HWC, height=24, width=32)
    expected = cv2.imencode(".jpg", small_HWC[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    assert (tmp_path / "run/a/f_007.jpeg").read_bytes() == expected
    assert sorted(p.name for p in (tmp_path / "run/a").glob("*.jpeg"))[0] == "f_000.jpeg"


def test_a_frame_rate_gives_the_frames_of_the_stream(videos, tmp_path):
    extract(table(videos, ["run/a.mp4,run"]), tmp_path, fps=10)
    with open_video(videos / "run/a.mp4") as video:
        expected = [read_number(frame_HWC) for frame_HWC in video.stream(fps=10)]
    assert numbers_in(tmp_path / "run/a") == expected
    assert len(expected) == 16


def test_only_the_listed_part_is_written(videos, tmp_path):
    rows = ["run/a.mp4,run,0.4,0.8", "run/a.mp4,walk,1.2,", "walk/c.mp4,walk,,0.2"]
    annotations = table(videos, rows, header="path,label,start,end")
    extract(annotations, tmp_path / "all")
    assert numbers_in(tmp_path / "all/run/a_0.400_0.800") == list(range(10, 20))
    assert numbers_in(tmp_path / "all/run/a_1.200_end") == list(range(30, 40))
    assert numbers_in(tmp_path / "all/walk/c_0.000_0.200") == list(range(5))
    assert (tmp_path / "all/list.txt").read_text().splitlines()[0] == "run/a_0.400_0.800 10 0"
    extract(annotations, tmp_path / "slow", fps=12.5)
    assert numbers_in(tmp_path / "slow/run/a_0.400_0.800") == numbers_in(tmp_path / "all/run/a_0.400_0.800")[::2]
    extract(annotations, tmp_path / "fast", fps=50)
    assert numbers_in(tmp_path / "fast/walk/c_0.000_0.200") == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_part_of_a_video_without_a_timetable(tmp_path):
    render(tmp_path / "v.webm", codec="libvpx", num_frames=20)
    extract(table(tmp_path, ["v.webm,run,0.2,0.6"], header="path,label,start,end"), tmp_path / "out", fps=12.5)
    assert numbers_in(tmp_path / "out/v_0.200_0.600") == [5, 7, 9, 11, 13]


@pytest.mark.slow
def test_bad_videos_are_named_and_leave_nothing(videos, tmp_path):
    content = (videos / "run/a.mp4").read_bytes()
    for name, damaged in {"cut.mp4": content[: len(content) // 2], "empty.mp4": b"", "fine.mp4": content}.items():
        (tmp_path / name).write_bytes(damaged)
    annotations = table(tmp_path, ["cut.mp4,x", "empty.mp4,x", "fine.mp4,y"])
    progress = []
    result = extract(annotations, tmp_path / "out", num_workers=2, on_clip=progress.append)
    assert [bad.path for bad in result.bad] == ["cut.mp4", "empty.mp4"]
    assert "empty (0 bytes)" in result.bad[1].reason
    assert (result.num_clips, result.num_written, progress) == (3, 1, [1, 2, 3])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [RECORD, "classes.txt", "fine", "list.txt"]
    assert result.list_file.read_text() == "fine 40 1\n"


def test_damage_in_the_middle_leaves_nothing(videos, tmp_path, monkeypatch):
    stream = "i3d.video.base.Video.stream"

    def broken(self, **_):
        yield np.zeros((8, 8, 3), np.uint8)
        raise MemoryError

    monkeypatch.setattr(stream, broken)
    result = extract(table(videos, ["run/a.mp4,run"]), tmp_path)
    assert [bad.path for bad in result.bad] == ["run/a.mp4"]
    assert "MemoryError" in result.bad[0].reason
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_second_run_extracts_only_missing_clips(videos, tmp_path):
    annotations = read_annotations(videos, format="folders")
    extract(annotations, tmp_path)
    listing = (tmp_path / "list.txt").read_bytes()
    (tmp_path / "run/b 2").rename(tmp_path.parent / "elsewhere")  # as if it had not been written
    frame = tmp_path / "walk/c/img_00003.jpg"
    frame.write_bytes(frame.read_bytes()[:100])  # as after a power cut
    before = stamps(tmp_path / "run/a")
    result = extract(annotations, tmp_path)
    assert (result.num_reused, result.num_written, result.num_frames) == (1, 2, sum(VIDEOS.values()))
    assert stamps(tmp_path / "run/a") == before
    assert numbers_in(tmp_path / "run/b 2") == list(range(23))
    assert numbers_in(tmp_path / "walk/c") == list(range(31))
    assert (tmp_path / "list.txt").read_bytes() == listing
    assert extract(annotations, tmp_path).num_reused == 3


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_interrupted_run_resumes(videos, tmp_path, num_workers):
    annotations = read_annotations(videos, format="folders")

    def stop(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(annotations, tmp_path, num_workers=num_workers, on_clip=stop)
    assert not unfinished(tmp_path)
    assert not (tmp_path / "list.txt").exists()
    before = stamps(tmp_path / "run/a")
    result = extract(annotations, tmp_path)
    assert result.num_reused >= 1
    assert result.num_reused + result.num_written == 3
    assert stamps(tmp_path / "run/a") == before


@pytest.mark.slow
def test_two_runs_at_once_leave_whole_folders(videos, tmp_path):
    """Each starts while the other writes: partial folders of a running process stay, and no row of a list is lost."""
    annotations = table(videos, ["run/a.mp4,run"])
    with unfinished_folder(tmp_path) as part:
        (part / "img_00001.jpg").write_bytes(b"half")
        assert extract(annotations, tmp_path).num_written == 1
        assert (part / "img_00001.jpg").exists()
    options = ["--out", tmp_path / "flow", "--flow-method", "dis", "--short-side", "32"]
    runs = []
    for name in ("run/a.mp4", "walk/c.mp4"):
        log = tmp_path / f"{len(runs)}.log"
        runs.append((start(["i3d", "flow", videos / name, videos / "run" / "b 2.mp4", *options], log), log))
    for process, log in runs:
        assert process.wait(120) == 0, log.read_text()
    lines = (tmp_path / "flow" / "list.txt").read_text().splitlines()
    assert sorted(lines) == ["a 39", "walk/c 30"]  # "run/b 2 22" would be ambiguous without a label
    for record in (tmp_path / "flow").rglob(RECORD):
        document = json.loads(record.read_text())
        if "num_frames" in document:
            assert len(list(record.parent.glob("*.jpg"))) == 2 * document["num_frames"]
    assert not unfinished(tmp_path / "flow")


def test_two_labelled_runs_at_once_are_refused(videos, tmp_path):
    """Their lists hold one dataset each."""
    annotations = table(videos, ["run/a.mp4,run"])
    with (
        locked_in_another_process(tmp_path / "list.txt"),
        pytest.raises(InputError, match="another run is writing it; wait for that run"),
    ):
        extract(annotations, tmp_path)
    extract(annotations, tmp_path)


@pytest.mark.parametrize("name", ["list.txt", "list_val.txt"])
def test_a_list_that_was_edited_is_not_replaced_without_force(videos, tmp_path, name):
    both = table(videos, ["run/a.mp4,run,train", "walk/c.mp4,walk,val"], header="path,label,split")
    extract(both, tmp_path)
    before = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(before.replace(b" 1\n", b" 0\n"))
    edited = contents(tmp_path)
    with pytest.raises(InputError, match=rf"/{name}: was edited since it was written, .*; move it away, or .*--force"):
        extract(both, tmp_path)
    assert contents(tmp_path) == edited
    extract(both, tmp_path, force=True)
    assert (tmp_path / name).read_bytes() == before
    changed = replace(both, labels=both.labels[::-1].copy())
    record = (tmp_path / RECORD).read_bytes()
    extract(changed, tmp_path)  # other labels: a kill before the list leaves the old list and the new record
    (tmp_path / name).write_bytes(before)
    extract(both, tmp_path)
    (tmp_path / RECORD).write_bytes(record)  # the record of another run
    extract(both, tmp_path)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_clips_that_left_the_dataset_are_reported(videos, tmp_path, caplog):
    both = table(videos, ["run/a.mp4,run,train", "walk/c.mp4,walk,val"], header="path,label,split")
    extract(both, tmp_path)
    assert (tmp_path / "list_val.txt").exists()
    extract(replace(both.select([0]), classes=both.classes), tmp_path)
    assert "list.txt: 1 clip of earlier runs, not in this dataset, are removed; their folders stay" in caplog.text
    assert not (tmp_path / "list_val.txt").exists()  # it would hold clips of the earlier run


def test_files_of_a_user_in_the_folder_of_a_clip_stay(videos, tmp_path):
    """The folder is replaced as a whole, by --force or if the video has changed."""
    annotations = table(videos, ["run/a.mp4,run", "walk/c.mp4,walk"])
    extract(annotations, tmp_path)
    (tmp_path / "run" / "a" / "boxes.json").write_text("mine")
    result = extract(annotations, tmp_path, force=True, short_side=24)
    assert [bad.path for bad in result.bad] == ["run/a.mp4"]
    assert "also holds boxes.json, which i3d did not write; move such files away" in result.bad[0].reason
    assert (tmp_path / "run" / "a" / "boxes.json").read_text() == "mine"
    assert len(list((tmp_path / "run" / "a").glob("*.jpg"))) == VIDEOS["run/a.mp4"]


def test_a_video_of_the_same_length_and_ends_is_another(videos, tmp_path):
    """The content decides, as copies may restore the time of a file."""
    (tmp_path / "v").mkdir()
    video = tmp_path / "v" / "a.mp4"
    content = bytearray(render(video, num_frames=40, height=480, width=640, options={"crf": "0"}).read_bytes())
    annotations = table(tmp_path / "v", ["a.mp4,run"])
    stat = video.stat()
    assert extract(annotations, tmp_path / "out").num_written == 1
    content[len(content) // 2] ^= 1
    video.write_bytes(content)
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert extract(annotations, tmp_path / "out").num_written == 1
    assert extract(annotations, tmp_path / "out").num_reused == 1


def test_partial_output_of_a_killed_run_is_replaced(videos, tmp_path):
    annotations = table(videos, ["run/a.mp4,run"])
    for _ in range(2):
        child = os.fork()
        if child == 0:
            with unfinished_folder(tmp_path) as part:
                (part / "img_00099.jpg").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(tmp_path.glob(f"{UNFINISHED}*/*.jpg"))) == 1  # the second removed that of the first
    assert extract(annotations, tmp_path).num_written == 1
    assert len(list((tmp_path / "run/a").glob("*.jpg"))) == 40
    assert not unfinished(tmp_path)


def test_other_settings_need_another_place_or_force(videos, tmp_path):
    annotations = table(videos, ["run/a.mp4,run", "walk/c.mp4,walk"])
    extract(annotations, tmp_path)
    with pytest.raises(
        InputError, match=r"i3d-frames\.json: made with other settings \(jpeg_quality was 95, now 50\); .*--force"
    ):
        extract(annotations, tmp_path, jpeg_quality=50)
    size = (tmp_path / "run/a/img_00001.jpg").stat().st_size
    result = extract(annotations.select([0]), tmp_path, jpeg_quality=50, force=True)
    assert (result.num_written, result.num_reused) == (1, 0)
    assert (tmp_path / "run/a/img_00001.jpg").stat().st_size < size
    with pytest.raises(
        InputError, match="walk/c: made with other settings .jpeg_quality was 95, now 50."
    ):  # left from before
        extract(annotations, tmp_path, jpeg_quality=50)
    result = extract(annotations, tmp_path, jpeg_quality=50, force=True)
    assert (result.num_written, result.num_reused) == (1, 1)


def test_a_folder_of_another_video_is_not_reused(tmp_path):
    render(tmp_path / "a.avi", num_frames=9)
    render(tmp_path / "a.mp4", num_frames=12)
    extract(table(tmp_path, ["a.avi,x"]), tmp_path / "out")
    with pytest.raises(InputError, match=r"out/a: made with other settings \(video was a\.avi, now a\.mp4\)"):
        extract(table(tmp_path, ["a.mp4,x"]), tmp_path / "out")
    extract(table(tmp_path, ["a.mp4,x"]), tmp_path / "out", force=True)
    assert numbers_in(tmp_path / "out/a") == list(range(12))


def test_foreign_files_are_not_deleted(videos, tmp_path):
    annotations = table(videos, ["run/a.mp4,run"])
    (tmp_path / "run/a").mkdir(parents=True)
    (tmp_path / "run/a/mine.jpg").write_bytes(b"mine")
    for force in (False, True):
        with pytest.raises(InputError, match="run/a: exists and was not written by i3d"):
            extract(annotations, tmp_path, force=force)
    (tmp_path / "run/a/mine.jpg").unlink()
    (tmp_path / "run/a").rmdir()
    (tmp_path / "classes.txt").write_text("mine\n")
    with pytest.raises(InputError, match=r"classes\.txt: exists and was not written by i3d"):
        extract(annotations, tmp_path)
    assert (tmp_path / "classes.txt").read_text() == "mine\n"


def test_lists_of_one_place_number_the_same_classes(videos, tmp_path):
    extract(table(videos, ["run/a.mp4,run", "walk/c.mp4,walk"]), tmp_path)
    with pytest.raises(InputError, match=r"classes\.txt: other classes than those of .*--classes"):
        extract(table(videos, ["walk/c.mp4,walk"]), tmp_path)
    extract(table(videos, ["walk/c.mp4,walk"], classes=("run", "walk")), tmp_path)
    assert (tmp_path / "list.txt").read_text() == "walk/c 31 1\n"


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["a.mp4", "a.avi"], r"'a\.avi': its frames and those of 'a\.mp4' would be in one folder, a;"),
        (["a/b.mp4", "a.mp4"], r"'a/b\.mp4': its frames and those of 'a\.mp4' would be in one folder, a;"),
        (["../a.mp4"], "outside the new folder"),
        (["list.txt.mp4"], r"would replace list\.txt"),
        (["a .mp4"], "cannot represent this name"),
        (["#a.mp4"], "cannot represent this name"),
        (["a\nb.mp4"], "cannot represent this name"),
    ],
)
def test_clips_that_cannot_have_folders_are_refused_before_any_work(tmp_path, paths, why):
    root = tmp_path / "root" / "in"
    root.mkdir(parents=True)
    for path in paths:
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"")
    with pytest.raises(InputError, match=why) as error:
        extract(listed(*paths, root=root), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"fps": 0}, {"template": "img.jpg"}, {"template": "img_{:05d}.png"}, {"template": "a/{:05d}.jpg"}],
)
def test_impossible_settings(videos, tmp_path, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        extract(table(videos, ["run/a.mp4,run"]), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_frames_missing_videos_and_places_that_cannot_be_written(videos, tmp_path):
    annotations = table(videos, ["run/a.mp4,run"])
    with pytest.raises(InputError, match="these are folders of frames; give videos"):
        extract(replace(annotations, is_frames=True), tmp_path)
    with pytest.raises(InputError, match="no such file"):
        extract(table(videos, ["run/a.mp4,run", "gone.mp4,run"]), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/out: cannot be written"):
        extract(annotations, tmp_path / "file/out")


def test_splits_repeats_and_several_labels(videos, tmp_path):
    rows = ["run/a.mp4,run|walk,train", "walk/c.mp4,walk,val", "run/a.mp4,walk|run,train"]
    annotations, progress = table(videos, rows, header="path,label,split", multi_label=True), []
    result = extract(annotations, tmp_path, on_clip=progress.append)
    assert (result.num_written, result.num_clips, progress) == (2, 3, [2, 3])
    assert (tmp_path / "list.txt").read_text() == "run/a 40 0 1\nwalk/c 31 1\nrun/a 40 1 0\n"
    assert (tmp_path / "list_train.txt").read_text() == "run/a 40 0 1\nrun/a 40 1 0\n"
    assert (tmp_path / "list_val.txt").read_text() == "walk/c 31 1\n"
    back = read_annotations(tmp_path / "list_train.txt", classes=annotations.classes, multi_label=True)
    assert back[0].labels == (0, 1)


def test_clips_without_labels(videos, tmp_path):
    rows = ["walk/c.mp4", "run/a.mp4"]
    extract(table(videos, rows, header="path", need_labels=False), tmp_path)
    back = read_annotations(tmp_path / "list.txt", need_labels=False)
    assert [(clip.path, clip.num_frames, clip.labels) for clip in back] == [("walk/c", 31, ()), ("run/a", 40, ())]


def test_a_name_that_a_list_without_labels_cannot_hold(videos, tmp_path):
    result = extract(table(videos, ["run/b 2.mp4", "walk/c.mp4"], header="path", need_labels=False), tmp_path)
    assert result.notes == (("run/b 2.mp4", module.UNLISTED),)
    assert (tmp_path / "run/b 2/img_00001.jpg").exists()
    assert (tmp_path / "list.txt").read_text() == "walk/c 31\n"


@pytest.mark.slow
def test_videos_in_shards(videos, tmp_path):
    annotations = table(videos, ["run/a.mp4,run", "walk/c.mp4,walk"])
    pack_dataset(annotations, tmp_path / "packed")
    extract(read_annotations(tmp_path / "packed"), tmp_path / "out", num_workers=1)
    assert numbers_in(tmp_path / "out/walk/c") == list(range(31))
    assert (tmp_path / "out/list.txt").read_text() == "run/a 40 0\nwalk/c 31 1\n"


def test_notes_are_saved(videos, tmp_path):
    content = render(tmp_path / "a.mkv", num_frames=40, container={"cluster_time_limit": "100"}).read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) * 3 // 4])
    annotations = table(tmp_path, ["a.mkv,x"])
    first, second = extract(annotations, tmp_path / "out"), extract(annotations, tmp_path / "out")
    assert (first.num_written, second.num_reused) == (1, 1)
    assert first.notes == second.notes
    assert first.notes[0][0] == "a.mkv"
    assert json.loads((tmp_path / "out/a" / RECORD).read_text())["num_frames"] == first.num_frames < 40


@pytest.mark.slow
def test_a_process_that_dies_takes_only_its_clip(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FrameJob", DyingJob)
    annotations = read_annotations(videos, format="folders").select([1, 0, 2])
    result = extract(annotations, tmp_path, num_workers=1)
    assert [bad.path for bad in result.bad] == ["run/b 2.mp4"]
    assert "its worker process died (SIGKILL)" in result.bad[0].reason
    assert (tmp_path / "list.txt").read_text() == "run/a 40 0\nwalk/c 31 1\n"
    assert not unfinished(tmp_path)


def test_a_replaced_video_is_extracted_again(videos, tmp_path):
    render(tmp_path / "a.mp4", num_frames=6)
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    extract(read_annotations(tmp_path / "list.txt"), tmp_path / "out", num_workers=0)
    render(tmp_path / "a.mp4", num_frames=9)
    result = extract(read_annotations(tmp_path / "list.txt"), tmp_path / "out", num_workers=0)
    assert (result.num_written, result.num_reused, result.num_frames) == (1, 0, 9)
    with pytest.raises(InputError, match="is the folder of the videos"):
        extract(read_annotations(tmp_path / "list.txt"), tmp_path)
