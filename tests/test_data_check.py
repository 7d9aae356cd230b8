"""`i3d data check`: every way in which a clip can be bad is found and named, and no clip can stop the run."""

import csv
import json
import os
import shutil
import signal
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from i3d.data import check as module
from i3d.data.check import check, clips_of, write_report
from i3d.data.read import read_annotations
from i3d.data.workers import Died, each_job
from i3d.errors import InputError
from i3d.video.reader import open_video
from i3d.video.writer import write_video
from rendering import numbered_frame, read_number, render
from test_cli import run

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
BROKEN = {
    "abseil_truncated.mkv": "truncated",
    "abseil_truncated_nomoov.mp4": "unreadable",
    "audio_only.mp4": "no video",
    "corrupted.mp4": "damaged",
    "empty.mp4": "empty",
    "not_a_video.mp4": "unreadable",
}


def sound(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A list with one clip of each kind of fault, and good ones."""
    root = tmp_path_factory.mktemp("bad")
    render(root / "good (1) é.mp4", num_frames=30)
    render(root / "short.mp4", num_frames=3, height=64)
    shutil.copy(root / "good (1) é.mp4", root / "copy.mp4")
    render(root / "whole.mkv", num_frames=60, options={"g": "10"}, height=64)
    cut = (root / "whole.mkv").read_bytes()
    (root / "cut.mkv").write_bytes(cut[: len(cut) * 6 // 10])
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("hello")
    sound(root / "sound.mp4")
    names = ["good (1) é.mp4", "short.mp4", "copy.mp4", "cut.mkv", "empty.mp4", "text.mp4", "sound.mp4", "gone.mp4"]
    rows = [f"{name},{'b' if name == 'copy.mp4' else 'a'},{'val' if name == 'copy.mp4' else 'train'}" for name in names]
    (root / "list.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    return root


def test_every_fault_is_named(bad, tmp_path):
    told = []
    report = check(read_annotations(bad / "list.csv"), min_frames=4, on_clip=told.append)
    assert [(row.path, row.problem) for row in report.rows] == [
        ("good (1) é.mp4", "ok"), ("short.mp4", "too short"), ("copy.mp4", "duplicate"), ("cut.mkv", "truncated"),
        ("empty.mp4", "empty"), ("text.mp4", "unreadable"), ("sound.mp4", "no video"), ("gone.mp4", "missing"),
    ]  # fmt: skip
    good, short, copy, cut, *_ = report.rows
    assert (good.num_frames, good.width, good.height, good.line, good.label) == (30, 64, 48, 2, "a")
    assert good.seconds == pytest.approx(1.2)
    assert short.reason == "3 frames, at least 4 are wanted"
    assert copy.reason == "the same bytes as good (1) é.mp4, which is labelled a (in val and in train)"
    assert "cut short" in cut.reason
    assert report.num_bad == 7
    assert report.counts["missing"] == 1
    assert len(told) == 7  # all that were there
    write_report(tmp_path / "r.csv", report)
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["problem"] for row in rows] == [row.problem for row in report.rows]
    assert rows[0]["path"] == "good (1) é.mp4"


def test_the_command(bad, tmp_path):
    done = run("data", "check", bad / "list.csv", "--out", tmp_path / "r.csv", "--workers", "1")
    assert done.returncode == 3
    assert (
        "2 of 8 clips are sound; 1 missing, 1 empty, 1 unreadable, 1 no video, 1 truncated, 1 duplicate" in done.stdout
    )
    assert (tmp_path / "r.csv").exists()
    told = json.loads(run("data", "check", bad / "list.csv", "--json").stdout)
    assert told["problems"] == {
        "missing": 1,
        "empty": 1,
        "unreadable": 1,
        "no video": 1,
        "truncated": 1,
        "duplicate": 1,
    }
    wrong = run("data", "check", bad / "list.csv", "--out", "r.txt")
    assert (wrong.returncode, wrong.stderr) == (2, "error: --out r.txt: must be a .csv in a folder that is there\n")
    good = tmp_path / "clips"
    good.mkdir()
    render(good / "a.mp4", num_frames=5)
    fine = run("data", "check", good)
    assert (fine.returncode, fine.stdout) == (0, "1 of 1 clips are sound\n")


def test_what_can_be_decoded_is_encoded_anew_and_the_original_stays(bad, tmp_path):
    before = {path.name: path.read_bytes() for path in bad.iterdir()}
    report = check(read_annotations(bad / "list.csv"), fix=tmp_path / "fixed")
    assert {path.name: path.read_bytes() for path in bad.iterdir()} == before
    assert [path.name for path in (tmp_path / "fixed").rglob("*") if path.is_file()] == ["cut.mp4"]
    cut = next(row for row in report.rows if row.path == "cut.mkv")
    assert cut.fixed_to == str(tmp_path / "fixed/cut.mp4")
    with open_video(cut.fixed_to) as video:
        assert [read_number(frame) for frame in video.stream()] == list(range(cut.num_frames))
        assert video.notes == ()
    again = check(read_annotations(bad / "list.csv"), fix=tmp_path / "fixed")
    assert "not mended: " in next(row for row in again.rows if row.path == "cut.mkv").reason
    with pytest.raises(InputError, match="holds the dataset, or is no folder"):
        check(read_annotations(bad / "list.csv"), fix=bad)


def test_frame_folders(tmp_path):
    lines = []
    for name, there, listed in [("whole", 6, 6), ("fewer", 4, 6), ("more", 6, 4), ("torn", 6, 6)]:
        folder = tmp_path / name
        folder.mkdir()
        for i in range(there):
            frame = numbered_frame(i + len(name) * 7)
            cv2.imwrite(str(folder / f"img_{i + 1:05d}.jpg"), frame)
        lines.append(f"{name} {listed} 0")
    torn = tmp_path / "torn" / "img_00003.jpg"
    torn.write_bytes(torn.read_bytes()[:500])
    (tmp_path / "empty").mkdir()
    lines.append("empty 5 0")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    report = check(read_annotations(tmp_path / "list.txt"))
    assert [(row.path, row.problem) for row in report.rows] == [
        ("whole", "ok"), ("fewer", "wrong count"), ("more", "wrong count"), ("torn", "damaged"),
        ("empty", "unreadable"),
    ]  # fmt: skip
    assert report.rows[1].reason == "4 frames are there, the list says 6"
    assert report.rows[3].reason.startswith("img_00003.jpg: not a picture that can be read")


def test_a_plain_folder_needs_no_classes(bad):
    found = clips_of(bad)
    assert found is not None
    assert "cut.mkv" in [clip.path for clip in found]
    assert clips_of(bad / "list.csv") is None


def scene(seed, *, height=96, width=128):
    """Frames of something that moves, unlike those of another seed."""
    rng = np.random.default_rng(seed)
    field = cv2.resize(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8), (256, 192), interpolation=cv2.INTER_CUBIC)
    return [field[i : i + height, i : i + width].copy() for i in range(30)]


def test_near_duplicates_across_splits(tmp_path):
    for seed in range(8):
        write_video(tmp_path / f"s{seed}.mp4", scene(seed), fps=Fraction(25))
    smaller = [cv2.resize(frame, (96, 72)) for frame in scene(3)]
    write_video(tmp_path / "again.mp4", smaller, fps=Fraction(25))
    write_video(tmp_path / "same-split.mp4", [cv2.resize(frame, (64, 48)) for frame in scene(4)], fps=Fraction(25))
    write_video(tmp_path / "longer.mp4", [f for f in scene(5) for _ in range(2)], fps=Fraction(25))
    for name in ("black1.mp4", "black2.mp4"):
        write_video(
            tmp_path / name, [np.full((48, 64, 3), len(name) + i // 20, np.uint8) for i in range(30)], fps=Fraction(25)
        )
    rows = [f"s{seed}.mp4,a,train" for seed in range(8)]
    rows += ["again.mp4,a,val", "same-split.mp4,a,train", "longer.mp4,a,val", "black1.mp4,a,train"]
    (tmp_path / "l.csv").write_text("path,label,split\n" + "\n".join(rows))
    report = check(read_annotations(tmp_path / "l.csv"))
    bad = {row.path: row.reason for row in report.rows if row.problem != "ok"}
    assert bad == {"again.mp4": "looks like s3.mp4 (in val and in train); look at both"}


def hang(job):
    if job == "hang":
        time.sleep(60)
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "exit":
        os._exit(7)
    return job.upper()


def test_a_job_that_hangs_or_crashes_takes_only_itself():
    start = time.monotonic()
    jobs = ["a", "hang", "b", "crash", "exit", "c"]
    answers = dict(each_job(hang, jobs, num_workers=2, time_limit=2.0))
    assert {number: answer for number, answer in answers.items() if isinstance(answer, str)} == {0: "A", 2: "B", 5: "C"}
    assert answers[1] == Died("SIGKILL", timed_out=True)
    assert answers[3] == Died("SIGSEGV")
    assert answers[4] == Died("exit code 7")
    assert time.monotonic() - start < 30


def test_timeouts_and_crashes_become_rows(bad, monkeypatch):
    def each(_run, jobs, **_options):
        yield from ((i, Died("SIGSEGV", timed_out=i == 0)) for i in range(len(jobs)))

    monkeypatch.setattr(module, "each_job", each)
    report = check(read_annotations(bad / "list.csv"), time_limit=2.5)
    assert (report.rows[0].problem, report.rows[1].problem) == ("timeout", "crashed")
    assert report.rows[0].reason == "not decoded in 2.5 s; check the file, or raise --time-limit"
    assert report.rows[1].reason == "decoding it ended the process (SIGSEGV); replace the file"


def test_a_slow_clip_is_killed(tmp_path):
    render(tmp_path / "a.mp4", num_frames=5)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "l.txt").write_text("a.mp4 0\npipe.mp4 0\n")
    report = check(read_annotations(tmp_path / "l.txt"), time_limit=20)
    assert [row.problem for row in report.rows] == ["ok", "unreadable"]
    assert "not a regular file" in report.rows[1].reason


def test_nothing_is_left_running(bad):
    import multiprocessing

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        check(read_annotations(bad / "list.csv"))
    assert multiprocessing.active_children() == []
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the resource tracker of `multiprocessing`


@pytest.mark.parametrize("wrong", [{"min_frames": 0}, {"num_workers": 0}, {"time_limit": 0}])
def test_settings_that_make_no_sense(bad, wrong):
    with pytest.raises(InputError, match="must be at least 1"):
        check(read_annotations(bad / "list.csv"), **wrong)


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is not here: real clips are not part of the project")
@pytest.mark.parametrize("source", ["odd", "odd/index.csv"])
def test_exactly_the_broken_ones_of_the_odd_clips(source):
    found = clips_of(CLIPS / source) or read_annotations(CLIPS / source, need_labels=False)
    report = check(found)
    assert {row.path: row.problem for row in report.rows if row.problem != "ok"} == BROKEN


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is not here: real clips are not part of the project")
def test_sound_sets_are_sound():
    report = check(read_annotations(CLIPS / "weizmann" / "index.csv"))
    assert [row for row in report.rows if row.problem != "ok"] == []
