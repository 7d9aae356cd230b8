"""`i3d data` and `i3d benchmark data` as a user calls them."""

import json
import re

import pytest

from i3d.data.formats.read import read_annotations
from support.commands import run
from support.rendering import render


@pytest.fixture
def actions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label, quality in (("run (fast)", "20"), ("wälk", "22")):  # no two files are the same
        for i in range(6):
            path = tmp_path / "actions" / label / f"p{i // 2}_{i} é.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            render(path, num_frames=12 + i, options={"crf": quality})
    return tmp_path


def test_split_then_read(actions):
    result = run(
        "data", "split", "actions", "--out", "actions/clips.csv", "--val-fraction", "0.34", "--group-by", r"(p\d)_"
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"run \(fast\) +4 +2 +0", result.stdout)
    assert result.stderr == "12 clips in 3 groups divided, in actions/clips.csv\n"
    annotations = read_annotations(actions / "actions/clips.csv")
    assert [len(annotations.select_split(split)) for split in ("train", "val")] == [8, 4]
    completed = run("data", "split", "actions", "--out", "elsewhere.csv", "--json", "--group-by", r"(p\d)_")
    assert json.loads(completed.stdout)["clips"]["train"] == {"run (fast)": 4, "wälk": 4}
    assert "use --root actions with it" in completed.stderr
    wrong = run("data", "split", "actions", "--out", "clips.txt")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "error: --out clips.txt: the name must end in .csv or .tsv or .jsonl\n"


def test_list_writes_the_classes_beside(actions):
    result = run("data", "list", "actions", "--out", "actions/l.txt")
    assert result.returncode == 0, result.stderr
    assert (actions / "actions/l.txt").read_text().splitlines()[0] == "run (fast)/p0_0 é.mp4 0"
    assert (actions / "actions/l.classes.txt").read_text() == "run (fast)\nwälk\n"
    again = read_annotations(actions / "actions/l.txt", classes=("run (fast)", "wälk"))
    assert len(again) == 12
    wrong = run("data", "list", "actions/l.txt", "--out", "x.csv", "--classes", "ucf1O1")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: --classes ucf1O1: no such file or folder, and none of kinetics400, ")


@pytest.mark.slow
def test_pack_and_benchmark(actions):
    result = run("data", "pack", "actions", "--out", "packed")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "12 files of 12 clips packed; use packed wherever a dataset is expected\n"
    speed = run("benchmark", "data", "packed", "--num-clips", "4", "--batch-size", "2", "--workers", "1", "--json")
    assert speed.returncode == 0, speed.stderr
    output = json.loads(speed.stdout)
    assert set(output["stage_ms"]) == {"open", "seek", "decode", "resize", "crop", "change", "collate"}
    assert output["clip_ms"] == pytest.approx(sum(output["stage_ms"].values()))
    assert set(output["clips_per_second"]) == {"0", "1"}
    assert max(output["stage_ms"], key=output["stage_ms"].get) == output["bottleneck"].split(",")[0]
    table = run("benchmark", "data", "actions", "--num-clips", "2", "--phase", "test", "--workers", "1")
    assert "bottleneck: " in table.stdout
    assert "of the test view" in table.stdout


@pytest.mark.slow
def test_extract_frames_and_resume(actions):
    (actions / "actions/wälk/broken.mp4").write_bytes(b"")
    result = run("data", "extract-frames", "actions", "--out", "frames", "--short-side", "32", "--workers", "1")
    assert result.returncode == 3
    assert "broken.mp4: the file is empty (0 bytes)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("12 of 13 clips, 174 frames; the list is frames/list.txt")
    assert len(read_annotations(actions / "frames/list.txt")) == 12
    again = run("data", "extract-frames", "actions", "--out", "frames", "--short-side", "32", "--workers", "0")
    assert "12 reused" in again.stderr


@pytest.mark.slow
def test_preview(actions):
    """Of the training clips of the plan."""
    result = run("data", "preview", "actions", "--out", "look", "--num-clips", "4")
    assert result.returncode == 0, result.stderr
    assert re.search(r"wälk +5", result.stdout)
    assert "sizes    64x48 (10)" in result.stdout
    assert "plan of `i3d train --data actions`; with --recipe, that of a recipe\n" in result.stderr
    assert result.stderr.endswith("images: look/clips.png and look/statistics.png\n")
    output = json.loads(run("data", "preview", "actions", "--out", "look", "--num-clips", "4", "--json").stdout)
    assert output["sizes"] == {"64x48": 10}
    assert output["class_counts"] == {"run (fast)": 5, "wälk": 5}


@pytest.mark.slow
def test_check(actions):
    (actions / "actions/wälk/broken.mp4").write_bytes(b"")
    result = run("data", "check", "actions", "--out", "report.csv", "--workers", "1")
    assert result.returncode == 3
    assert re.search(r"empty +wälk/broken\.mp4 +the file is empty \(0 bytes\)", result.stdout)
    assert "12 of 13 clips are sound; 1 empty" in result.stdout
    assert len((actions / "report.csv").read_text().splitlines()) == 14
    output = json.loads(run("data", "check", "actions", "--min-frames", "13", "--json", "--workers", "1").stdout)
    assert output["counts"] == {"empty": 1, "too short": 2, "ok": 10}
    (actions / "actions/wälk/broken.mp4").unlink()
    fine = run("data", "check", "actions", "--workers", "1")
    assert (fine.returncode, fine.stdout, fine.stderr) == (0, "12 of 12 clips are sound\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "list", "nowhere", "--out", "x.csv"], "nowhere: no such file or folder; check the path"),
        (
            ["data", "preview", "actions", "--out", "p", "--flip", "maybe"],
            "--flip 'maybe': is not one of on, off, swap",
        ),
        (["data", "preview", "actions", "--out", "p", "--recipe", "r50"], "there is no recipe 'r50'"),
        (["data", "preview", "actions", "--out", "p", "--recipe", "i3d_rgb", "--num-clips", "0"], "clips"),
        (["benchmark", "data", "actions", "--phase", "all"], "--phase 'all': is not one of train, test"),
        (["benchmark", "data", "actions", "--recipe", "inception_rgb_kinetics400"], "scores all frames of a video"),
        (["data", "check", "actions", "--out", "r.txt"], "--out r.txt: the name must end in .csv"),
        (["data", "check", "actions", "--near-duplicates", "some"], "is not one of across-splits, all, none"),
        (["data", "split", "actions", "--out", "x.csv", "--val-fraction", "2"], "2: must be at least 0 and below 1"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(actions, arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr.replace("\n", " ")
    assert result.stdout == ""
