"""Checking a dataset: each fault has its name, no clip stops or outlives the run, and fixing touches no original."""

import csv
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from i3d.data.check import dataset as module
from i3d.data.check.clip import ClipJob, inspect_clip
from i3d.data.check.dataset import check_dataset
from i3d.data.check.duplicates import ClipFingerprints, find_similar, fingerprint
from i3d.data.check.report import ClipReport, DatasetReport, write_report
from i3d.data.formats.read import read_annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.pack import pack_dataset
from i3d.errors import InputError
from i3d.video.file_headers import find_truncation
from i3d.video.reader import open_video
from support.dying_jobs import inspect_or_die
from support.rendering import encode, render

check = partial(check_dataset, num_workers=1)  # a process starts in a second
CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


def scene(seed, *, num_frames=24, height=48, width=64):
    """Frames of a coloured pattern that moves; another seed is another pattern."""
    rng = np.random.default_rng(seed)
    pattern = cv2.resize(
        rng.integers(0, 256, (6, 8, 3)).astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return [np.roll(pattern, (i, 2 * i), axis=(0, 1)) for i in range(num_frames)]


def video(path, seed, *, num_frames=24, height=48, width=64, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    return encode(path, scene(seed, num_frames=num_frames, height=height, width=width), **options)


def sound(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def frame_folder(folder, seed, *, num_frames=12, first=1):
    folder.mkdir(parents=True)
    for i, frame_HWC in enumerate(scene(seed, num_frames=num_frames), start=first):
        cv2.imwrite(str(folder / f"img_{i:05d}.jpg"), frame_HWC)


def cut(path, source, share):
    path.write_bytes(source.read_bytes()[: int(source.stat().st_size * share)])


def scratch(path):
    """Overwrite a little in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    path.write_bytes(bytes(content))


def listed(root, rows, *, header="path,label,split", name="list.csv"):
    (root / name).write_text("\n".join([header, *rows]) + "\n")
    return root / name


def by_path(report):
    return {row.path: row for row in report.rows}


def statuses(report):
    return {row.path: row.status for row in report.rows}


def hashes(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def living_in_group(group):
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return sum(int(fields[2]) == group and fields[0] != "Z" for fields in stats)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One file for each fault of videos."""
    root = tmp_path_factory.mktemp("videos")
    video(root / "good.mp4", 1)
    video(root / "other.mp4", 2, num_frames=30)
    video(root / "a b" / "far.mkv", 3, num_frames=40)
    cut(root / "moov.mp4", root / "good.mp4", 0.6)
    cut(root / "cut.mkv", root / "a b" / "far.mkv", 0.6)
    scratch(video(root / "scratched.mp4", 4, num_frames=60, options={"g": "10"}))
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video at all\n")
    sound(root / "sound.mp4")
    video(root / "short.mp4", 5, num_frames=3)
    shutil.copy(root / "other.mp4", root / "copy.mp4")
    smaller = [cv2.resize(frame, (48, 36), interpolation=cv2.INTER_AREA) for frame in scene(1)]
    encode(root / "near.mp4", smaller, options={"crf": "30"})
    os.symlink("nowhere.mp4", root / "dangling.mp4")
    os.mkfifo(root / "pipe.mp4")
    return root


@pytest.fixture(scope="module")
def checked(videos):
    """The report of a list of all of them, the arguments of the callbacks, and the content of the folder before."""
    rows = [
        "good.mp4,run,train", "other.mp4,run,train", "a b/far.mkv,walk,train", "moov.mp4,run,train",
        "cut.mkv,run,train",
        "scratched.mp4,run,train", "empty.mp4,run,train", "text.mp4,run,train", "sound.mp4,run,train",
        "short.mp4,run,train", "missing.mp4,run,train", "dangling.mp4,run,train", "pipe.mp4,run,train",
        "good.mp4,run,train", "near.mp4,run,val", "copy.mp4,walk,val",
    ]  # fmt: skip
    progress, counts = [], []
    before = {path: content for path, content in hashes(videos).items() if not path.endswith("csv")}
    report = check(
        listed(videos, rows), min_frames=4, fix=videos / "fixed", on_progress=counts.append, on_clip=progress.append
    )
    return report, progress, counts, before


@pytest.mark.slow
def test_each_fault_of_a_video_has_its_name(checked):
    report, progress, counts, _ = checked
    first, second = (row for row in report.rows if row.path == "good.mp4")
    assert (first.status, first.reason, first.num_frames) == ("ok", "", 24)
    assert (second.status, second.duplicate_of) == ("duplicate", "good.mp4")
    assert second.reason == "is also on line 2; keep one"
    status_by_path = statuses(report)
    status_by_path.pop("good.mp4")
    assert status_by_path == {
        "other.mp4": "ok", "a b/far.mkv": "ok", "moov.mp4": "truncated", "cut.mkv": "truncated",
        "scratched.mp4": "damaged", "empty.mp4": "empty", "text.mp4": "unreadable", "sound.mp4": "no video",
        "short.mp4": "too short", "missing.mp4": "missing", "dangling.mp4": "missing", "pipe.mp4": "unreadable",
        "near.mp4": "near-duplicate", "copy.mp4": "duplicate",
    }  # fmt: skip
    assert report.num_bad == 13
    assert report.counts == {
        "missing": 2, "empty": 1, "unreadable": 2, "no video": 1, "truncated": 2, "damaged": 1, "too short": 1,
        "duplicate": 2, "near-duplicate": 1, "ok": 3,
    }  # fmt: skip
    assert "rows" not in repr(report)
    checking = [p for p in counts if p.stage == "check clips"]
    assert [(p.completed, p.total) for p in checking] == [(number, 16) for number in range(17)]
    assert [p.stage for p in counts[17:]] == ["compare clips", "repair clips"]
    assert sorted(row.path for row in progress) == sorted(row.path for row in report.rows)


def test_reasons_and_facts(checked, videos):
    rows = by_path(checked[0])
    far = rows["a b/far.mkv"]
    assert (far.line, far.split, far.labels, far.num_frames, far.listed_frames) == (4, "train", ("walk",), 40, None)
    assert (far.width, far.height, far.fps, far.seconds) == (
        64,
        48,
        pytest.approx(25, rel=0.01),
        pytest.approx(1.6, 0.01),
    )
    content = (videos / far.path).read_bytes()
    assert (far.bytes, far.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert rows["copy.mp4"].reason == (
        "the same content as other.mp4, which is in train, this in val, there labelled run, here walk; keep one"
    )
    near = "looks like good.mp4, which is in train, this in val; keep both in one split, or one of them"
    assert (rows["near.mp4"].reason, rows["near.mp4"].duplicate_of) == (near, "good.mp4")
    assert rows["short.mp4"].reason == "3 frames, at least 4 are required"
    assert rows["dangling.mp4"].reason.startswith("its link has no target")
    assert rows["pipe.mp4"].reason.startswith("not a regular file")
    assert "bytes are missing" in rows["cut.mkv"].reason
    assert "moov" in rows["moov.mp4"].reason
    assert 0 < rows["cut.mkv"].num_frames < 40
    assert all(row.reason.isprintable() for row in checked[0].rows)


def test_a_variable_frame_rate_that_is_made_constant_is_reported(tmp_path):
    """The new file has one rate: frames that follow each other faster are left out, slow ones repeated."""
    root = tmp_path / "d"
    root.mkdir()
    stamps = [40 * n if n < 20 else 800 + 10 * (n - 20) for n in range(60)]
    render(root / "v.mkv", num_frames=60, stamps=stamps)
    content = (root / "v.mkv").read_bytes()
    (root / "v.mkv").write_bytes(content[: len(content) * 9 // 10])
    (row,) = check_dataset(root, num_workers=1, fix=tmp_path / "fixed").rows
    with open_video(row.fixed_to) as video:
        assert video.num_frames != row.num_frames
        assert row.reason.endswith(f"{video.num_frames} of the {row.num_frames} decodable frames encoded again")


def test_fixing_makes_new_files_and_leaves_the_old(checked, videos):
    report, _, _, before = checked
    assert before.items() <= hashes(videos).items()
    fixed = {row.path: Path(row.fixed_to) for row in report.rows if row.fixed_to}
    assert fixed == {name: videos / "fixed" / f"{Path(name).stem}.mp4" for name in ("cut.mkv", "scratched.mp4")}
    assert sorted(path.name for path in (videos / "fixed").rglob("*")) == ["cut.mp4", "scratched.mp4"]
    for name, path in fixed.items():
        row = by_path(report)[name]
        assert row.reason.endswith(f"{row.num_frames} frames encoded again")
        with open_video(path) as new, open_video(videos / name) as old:
            assert (new.num_frames, new.fps) == (row.num_frames, pytest.approx(25, rel=0.01))
            assert new.timetable()[-1] == pytest.approx(row.seconds, abs=0.05)
            difference = next(new.stream()).astype(int) - next(old.stream())
            assert np.abs(difference).mean() < 8
        assert inspect_clip(ClipJob(path)).problems == ()


@pytest.mark.slow
def test_fixing_replaces_nothing(tmp_path):
    video(tmp_path / "clips" / "x" / "odd.mkv", 1, num_frames=50, height=49, width=65, pix_fmt="yuv444p")
    cut(tmp_path / "clips" / "x" / "cut.mkv", tmp_path / "clips" / "x" / "odd.mkv", 0.7)
    shutil.copy(video(tmp_path / "real.mkv", 2), tmp_path / "clips" / "x" / "named.mp4")
    shutil.copy(tmp_path / "clips" / "x" / "cut.mkv", tmp_path / "clips" / "x" / "there.mkv")
    shutil.copy(tmp_path / "clips" / "x" / "cut.mkv", tmp_path / "clips" / "x" / "cut.webm")  # both become cut.mp4
    existing = tmp_path / "new" / "x" / "there.mp4"
    existing.parent.mkdir(parents=True)
    existing.write_text("mine")
    report = check(tmp_path / "clips", fix=tmp_path / "new")
    rows = by_path(report)
    assert statuses(report) == {
        "x/cut.mkv": "truncated",
        "x/cut.webm": "truncated",
        "x/named.mp4": "ok",
        "x/odd.mkv": "ok",
        "x/there.mkv": "truncated",
    }
    assert rows["x/there.mkv"].fixed_to == ""
    assert rows["x/there.mkv"].reason.endswith(f"not encoded again: {existing} exists already")
    assert existing.read_text() == "mine"
    what = f"{tmp_path / 'new' / 'x' / 'cut.mp4'} is the new file of x/cut.mkv; rename one of them"
    assert rows["x/cut.webm"].reason.endswith(f"not encoded again: {what}")
    assert rows["x/named.mp4"].reason == (
        "it is Matroska or WebM, though its name ends in .mp4 | 24 frames encoded again"
    )
    with open_video(rows["x/cut.mkv"].fixed_to) as new:
        assert next(new.stream()).shape == (48, 64, 3)
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == ["cut.mp4", "named.mp4", "there.mp4", "x"]
    for folder in (tmp_path / "clips", tmp_path / "clips" / "x"):
        with pytest.raises(InputError, match="lies in"):
            check(tmp_path / "clips", fix=folder)
    with pytest.raises(InputError, match="is not a folder"):
        check(tmp_path / "clips", fix=tmp_path / "real.mkv")


@pytest.mark.slow
def test_no_clip_stops_the_run(tmp_path, monkeypatch):
    names = ("a", "hangs", "exits", "b", "segfaults", "sleeps", "killed", "fails", "greedy", "c")
    for i, name in enumerate(names):
        video(tmp_path / f"{name}.mp4", i)
    monkeypatch.setattr(module, "inspect_clip", inspect_or_die)
    others = set(multiprocessing.active_children())
    progress, start = [], time.monotonic()
    report = check(tmp_path, time_limit=2, memory_limit_gib=1, on_clip=progress.append, num_workers=2)
    assert time.monotonic() - start < 20
    assert {Path(path).stem: status for path, status in statuses(report).items()} == {
        "a": "ok", "b": "ok", "c": "ok", "hangs": "timeout", "sleeps": "timeout", "exits": "crashed",
        "segfaults": "crashed", "killed": "crashed", "fails": "crashed", "greedy": "crashed",
    }  # fmt: skip
    rows = by_path(report)
    assert rows["hangs.mp4"].reason == "decoding it took over 2 s; replace it, or raise the time limit"
    assert "(exit code 7)" in rows["exits.mp4"].reason
    assert "(SIGSEGV)" in rows["segfaults.mp4"].reason
    assert "(SIGKILL, perhaps because memory ran out)" in rows["killed.mp4"].reason
    assert "TypeError" in rows["fails.mp4"].reason
    assert "more memory" in rows["greedy.mp4"].reason
    assert len(progress) == len(names)
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.slow
def test_an_interruption_ends_all_processes_at_once(tmp_path):
    for name in ("hangs", "sleeps"):
        video(tmp_path / f"{name}.mp4", 1)
    script = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from i3d.data.check import dataset as check
        from support.dying_jobs import inspect_or_die
        if __name__ == "__main__":
            check.inspect_clip = inspect_or_die
            check.check_dataset(Path({str(tmp_path)!r}), on_progress=lambda _: print("begun", flush=True))
    """
    (tmp_path / "run.py").write_text(textwrap.dedent(script))
    with subprocess.Popen(
        [sys.executable, tmp_path / "run.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as running:
        assert running.stdout.readline() == b"begun\n"
        time.sleep(2)
        os.killpg(running.pid, signal.SIGINT)
        start = time.monotonic()
        _, errors = running.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert b"KeyboardInterrupt" in errors
    while living_in_group(running.pid):  # the standard library's resource tracker ends a moment later
        assert time.monotonic() - start < 10
        time.sleep(0.05)


@pytest.mark.slow
def test_nothing_is_left_open(videos):
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    others = set(multiprocessing.active_children())  # workers that a test before this one left to the collector
    check(videos / "good.mp4")
    before = open_files()
    with pytest.raises(RuntimeError, match="caller"):
        check(videos, on_clip=lambda _: (_ for _ in ()).throw(RuntimeError("the caller's own")))
    check(videos / "good.mp4")
    assert open_files() == before
    assert set(multiprocessing.active_children()) <= others
    loaded = "import sys, i3d.data.check.repair, i3d.data.frame_extraction.jobs; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.slow
def test_folders_of_frames(tmp_path):
    for i, name in enumerate(("whole", "fewer", "more", "gap", "broken", "sizes", "same", "worse")):
        frame_folder(tmp_path / name, i if name != "same" else 0, num_frames=12)
    (tmp_path / "gap" / "img_00005.jpg").unlink()
    broken = tmp_path / "broken" / "img_00007.jpg"
    cut(broken, broken, 0.5)
    cv2.imwrite(str(tmp_path / "sizes" / "img_00003.jpg"), np.zeros((30, 40, 3), np.uint8))
    for path in (tmp_path / "worse").iterdir():
        path.write_bytes(b"no image")
    (tmp_path / "none").mkdir()
    (tmp_path / "file").touch()
    rows = ["whole 12 0", "fewer 14 0", "more 10 0", "gap 12 0", "broken 12 1", "sizes 12 1", "same 12 1", "worse 12 1",
            "none 3 0", "file 3 0", "away 3 1"]  # fmt: skip
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n")
    report = check(tmp_path / "list.txt", format="frames")
    assert statuses(report) == {
        "whole": "ok", "fewer": "wrong count", "more": "wrong count", "gap": "wrong count", "broken": "damaged",
        "sizes": "damaged", "same": "duplicate", "worse": "unreadable", "none": "empty", "file": "empty",
        "away": "missing",
    }  # fmt: skip
    rows = by_path(report)
    assert rows["fewer"].reason == "its list states 14 frames, there are 12; correct the list"
    assert (rows["fewer"].num_frames, rows["fewer"].listed_frames, rows["fewer"].fps) == (12, 14, None)
    assert "img_00005.jpg is missing, and 7 frames follow it" in rows["gap"].reason
    assert rows["broken"].reason.startswith("1 of 12 frames cannot be read, the first: img_00007.jpg: ")
    assert "it is 40 x 30, the frames before 64 x 48" in rows["sizes"].reason
    assert rows["same"].reason == "the same content as whole, there labelled class 0, here class 1; keep one"
    assert rows["worse"].num_frames == 0
    assert statuses(check(tmp_path / "gap")) == {".": "damaged"}  # alone too: its numbers have a gap
    row_by_path = by_path(check(listed(tmp_path, ["gap,a,", "whole,a,"]), naming=FrameNaming("img_{:05d}.jpg")))
    assert (row_by_path["gap"].status, row_by_path["gap"].num_frames) == ("damaged", 4)
    assert check(listed(tmp_path, ["whole,a,"]), naming=FrameNaming("img_{:05d}.jpg", 3)).rows[0].num_frames == 10


@pytest.mark.slow
def test_parts_of_folders_and_of_videos(tmp_path):
    frame_folder(tmp_path / "frames", 1, num_frames=20)
    (tmp_path / "list.txt").write_text("frames 0 10 0\nframes 10 10 0\nframes 15 10 0\n")
    results = [(row.status, row.num_frames) for row in check(tmp_path / "list.txt", format="frames-offset").rows]
    assert results == [("ok", 10), ("ok", 10), ("wrong count", 5)]
    video(tmp_path / "v.mp4", 2, num_frames=50)
    parts = [
        "v.mp4,a,train,0,1",
        "v.mp4,a,train,1,2",
        "v.mp4,a,val,0.5,1.5",
        "v.mp4,a,train,2.5,3",
        "v.mp4,a,train,1,2",
    ]
    rows = check(listed(tmp_path, parts, header="path,label,split,start,end")).rows
    assert [(row.status, row.num_frames) for row in rows] == [
        ("ok", 25), ("ok", 25), ("near-duplicate", 26), ("too short", 0), ("duplicate", 25),
    ]  # fmt: skip
    with open_video(tmp_path / "v.mp4") as whole:
        first, stop = whole.frames_between(0.5, 1.5)
    assert rows[2].num_frames == stop - first  # the frame from 0.48 on is on the screen at 0.5
    assert rows[2].reason.startswith("another part of the same video as v.mp4, which is in train, this in val")
    assert rows[3].reason.startswith("the part begins at 2.500 s, the video ends at 2.000 s; give times in seconds")
    listed(tmp_path, ["frames,a,1,2"], header="path,label,start,end")
    assert "have no times" in check(tmp_path / "list.csv").rows[0].reason


@pytest.mark.slow
def test_plain_folders_and_layouts(tmp_path):
    video(tmp_path / "plain" / "b.mp4", 1)
    video(tmp_path / "plain" / "deep" / "a.mkv", 2)
    frame_folder(tmp_path / "plain" / "shots" / "one", 3)
    (tmp_path / "plain" / "notes.txt").write_text("nothing to see")
    report = check(tmp_path / "plain")
    assert statuses(report) == {"b.mp4": "ok", "deep/a.mkv": "ok", "shots/one": "ok"}
    assert [row.num_frames for row in report.rows] == [24, 24, 12]
    for split, seed in (("train", 4), ("val", 5)):
        video(tmp_path / "classes" / split / "run" / "c.mp4", seed)
    shutil.copytree(tmp_path / "classes" / "train" / "run", tmp_path / "classes" / "val" / "walk")
    rows = check(tmp_path / "classes").rows
    assert [(row.path, row.split, row.labels, row.status) for row in rows] == [
        ("train/run/c.mp4", "train", ("run",), "ok"), ("val/run/c.mp4", "val", ("run",), "ok"),
        ("val/walk/c.mp4", "val", ("walk",), "duplicate"),
    ]  # fmt: skip
    assert len(check(tmp_path / "classes", split="val").rows) == 2
    pack_dataset(read_annotations(tmp_path / "classes"), tmp_path / "packed")
    assert [row.status for row in check(tmp_path / "packed").rows] == ["ok", "ok", "duplicate"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="contains no video and no frames"):
        check(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "not one of train"),
        ({"modality": "flow"}, "flow is read from folders of frames"),
    ],
)
def test_options_that_cannot_be(videos, options, message):
    with pytest.raises(InputError, match=message):
        check(videos, **options)


def test_the_report_is_a_table_that_no_spreadsheet_runs(tmp_path):
    row = ClipReport("=1+1.mp4", 3, "val", ("-a", "b"), "ok", "@x\udcff", fps=29.97003, duplicate_of="-c.mp4")
    odd = ClipReport("a\nb\udcff.mp4", 0, "", (), "missing", "no such file", fixed_to="\ud800")
    write_report(tmp_path / "r.csv", DatasetReport("x", (row, odd), {"ok": 1, "missing": 1}, ()))
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        first, second = csv.DictReader(file)
    assert (first["path"], first["label"], first["reason"]) == ("./=1+1.mp4", "'-a|b", "'@x\udcff")
    assert (first["duplicate_of"], first["fps"], first["line"], first["bytes"]) == ("./-c.mp4", "29.970", "3", "")
    assert (second["path"], second["line"], second["fixed_to"]) == ("a\nb\udcff.mp4", "", "\\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


def test_alike_are_copies_and_not_flat_or_similar_clips():
    def fingerprint_of(frames):
        return fingerprint([frames[len(frames) * k // 4] for k in (1, 2, 3)])

    assert fingerprint_of([np.full((48, 64, 3), 3, np.uint8)] * 9) is None
    clips = [scene(seed) for seed in range(40)]
    copies = [[cv2.GaussianBlur(frame, (3, 3), 0) for frame in clip] for clip in clips[:20]]
    still = scene(99, num_frames=1)[0]  # one background, in front of it something that moves otherwise in each clip
    for seed in range(20):
        moving = [still.copy() for _ in range(24)]
        for i, frame in enumerate(moving):
            x, y = np.random.default_rng((seed, i // 6)).integers(0, 32, 2)
            frame[y : y + 14, x : x + 10] = 255 if seed % 2 else 0
        copies.append(moving)
    known = [fingerprint_of(clip) for clip in clips + copies]
    fingerprints = ClipFingerprints(
        np.stack([one.hashes_T for one in known]),
        np.stack([one.grey_THW for one in known]),
        np.full(80, 1.0),
        np.arange(80),
        np.array([1] * 40 + [2] * 40),
    )
    copied = {40 + i: i for i in range(20)}
    assert find_similar(fingerprints, across_splits=True) == copied
    assert find_similar(fingerprints, across_splits=False) == copied
    one_split = ClipFingerprints(
        fingerprints.hashes_NT,
        fingerprints.grey_NTHW,
        fingerprints.seconds_N,
        fingerprints.contents_N,
        np.ones(80, np.int64),
    )
    assert find_similar(one_split, across_splits=True) == {}
    longer = ClipFingerprints(
        fingerprints.hashes_NT,
        fingerprints.grey_NTHW,
        np.linspace(1, 100, 80),
        fingerprints.contents_N,
        fingerprints.splits_N,
    )
    assert find_similar(longer, across_splits=True) == {}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi", "a.mov"])
def test_truncated_files_are_detected(tmp_path, name):
    codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
    whole = video(tmp_path / name, 1, num_frames=40, codec=codec)
    size = whole.stat().st_size
    with whole.open("rb") as file:
        assert find_truncation(file, size)[0] == ""
    for share in (0.2, 0.5, 0.9, 1 - 1 / size):
        cut(tmp_path / f"cut-{name}", whole, share)
        with (tmp_path / f"cut-{name}").open("rb") as file:
            assert "missing" in find_truncation(file, int(size * share))[0]
        problems = inspect_clip(ClipJob(tmp_path / f"cut-{name}")).problems
        assert [status for status, _ in problems] == ["truncated"] or share > 0.9


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is not here: real clips are not part of the project")
def test_exactly_the_broken_ones_of_the_odd_clips(tmp_path):
    """Without the two that take longest to decode, which are whole."""
    for path in (CLIPS / "odd").iterdir():
        if path.name not in ("iio_cockatoo.mp4", "sam2_04_coffee.mp4"):
            (tmp_path / path.name).symlink_to(path)
    report = check(tmp_path)
    assert {row.path: row.status for row in report.rows if row.status != "ok"} == {
        "corrupted.mp4": "damaged", "abseil_truncated_nomoov.mp4": "truncated", "abseil_truncated.mkv": "truncated",
        "empty.mp4": "empty", "not_a_video.mp4": "unreadable", "audio_only.mp4": "no video",
    }  # fmt: skip
    assert len(report.rows) == 25
    index = list(csv.DictReader((CLIPS / "odd" / "index.csv").read_text(encoding="utf-8").splitlines()))
    rows = by_path(report)
    frames = {index_row["file"]: int(index_row["frames"]) for index_row in index if index_row["decodes"] == "yes"}
    assert len(frames.keys() & rows.keys()) == 19
    assert all(rows[file].num_frames == number for file, number in frames.items() if file in rows)


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is not here: real clips are not part of the project")
def test_other_people_before_the_same_background_are_not_duplicates(tmp_path):
    lines = (CLIPS / "weizmann" / "index.csv").read_text().splitlines()
    selected = [line for line in lines[1:] if line.split(",")[2] in ("p0", "p1", "p2", "p3")]
    (tmp_path / "list.csv").write_text("\n".join([lines[0], *selected]) + "\n")
    report = check(tmp_path / "list.csv", root=CLIPS / "weizmann", near_duplicates="all")
    pairs = {row.path: row.duplicate_of for row in report.rows if row.duplicate_of}
    assert len(pairs) == 16
    assert all(mirrored == original.replace(".mp4", "_mirror.mp4") for mirrored, original in pairs.items())
