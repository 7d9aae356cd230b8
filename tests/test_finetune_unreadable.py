"""Clips that cannot be read, at the start or later, in guided training: one line, or left out and named."""

import json

import pytest

import i3d.finetuning.finetune
import i3d.utils.process_pool
from support.finetuning_runs import make_clip, make_folder, save_tiny, splits_in, train

FAST = ("--views", 1, "--head", "prototype", "--precision", "fp32", "--no-overfit-check")


@pytest.fixture
def root(tmp_path):
    make_folder(tmp_path / "clips", ("a", "b"), 6)
    save_tiny(tmp_path / "tiny.safetensors")
    return tmp_path


def refusal(root, data):
    message = train(data, root / "W", root / "tiny.safetensors", *FAST, expected=2)
    assert message.count("\n") == 0
    assert not (root / "W").exists()
    return message


@pytest.mark.parametrize(
    "paths",
    [
        ["elsewhere/a/0.mp4", "elsewhere/b/0.mp4"],
        ['"clips/a/0.mp4"', '"clips/b/0.mp4"'],
        ["clips\\a\\0.mp4", "clips\\b\\0.mp4"],
        [f"gone/{i}.mp4" for i in range(20)],
    ],
    ids=["another root", "quotes", "backslashes", "twenty"],
)
def test_a_list_whose_clips_are_all_missing_is_one_line_with_the_next_step(root, paths):
    (root / "list.txt").write_text("".join(f"{path} {i % 2}\n" for i, path in enumerate(paths)))
    message = refusal(root, root / "list.txt")
    assert f"none of {len(paths)} clips is below {root}" in message
    assert paths[0] in message
    assert message.endswith("(--root)")


@pytest.mark.parametrize("form", ["path label", "frames", "table", "one of them"])
def test_a_wrong_root_is_named_for_every_list(root, form):
    names = [f"{name}/{i}" for name in "ab" for i in range(3)]
    (root / "other" / "a").mkdir(parents=True)
    if form == "one of them":
        (root / "clips/a/0.mp4").rename(root / "other/a/0.mp4")
    line, header = {"frames": ("{} 7 0", ""), "table": ("{}.mp4,x", "path,label\n")}.get(form, ("{}.mp4 0", ""))
    (root / "list.txt").write_text(header + "".join(f"{line.format(name)}\n" for name in names))
    message = train(
        root / "list.txt", root / "W", root / "tiny.safetensors", *FAST, "--root", root / "other", expected=2
    )
    assert str(root / "other") in message
    assert "--root" in message
    assert ("'a/0" in message) == (form != "one of them")
    assert "contains no frame" not in message


def test_a_folder_of_damaged_clips_is_one_line_with_the_first(root):
    for path in (root / "clips").rglob("*.mp4"):
        path.write_bytes(path.read_bytes()[:450])
    message = refusal(root, root / "clips")
    assert "none of 12 clips can be read: a/0.mp4: " in message
    assert "`i3d data check`" in message
    assert "add clips of another class" not in message


def lose(monkeypatch, *paths):
    """Cut clips off after they were inspected."""
    write_start = i3d.finetuning.finetune.write_start

    def cut_and_write(*arguments):
        for path in paths:
            path.write_bytes(path.read_bytes()[:450])
        write_start(*arguments)

    monkeypatch.setattr(i3d.finetuning.finetune, "write_start", cut_and_write)


@pytest.mark.parametrize("more", [(), ("--views", 3), ("--cv-folds", 3)], ids=["plain", "views", "folds"])
def test_a_clip_that_is_lost_after_the_inspection_is_left_out_and_named(root, monkeypatch, more):
    lose(monkeypatch, root / "clips/a/3.mp4")
    output = train(root / "clips", root / "W", root / "tiny.safetensors", *FAST, *more, draw=not more)
    (line,) = (line for line in output.splitlines() if "the clip is left out" in line)
    assert "a/3.mp4" in line
    assert len(splits_in(root / "W")) == 11
    record = json.loads((root / "W/finetune.json").read_text())
    tested = record["metrics"] if "--cv-folds" in more else record["cross_validation"]
    assert tested["num_clips"] == 11


def test_too_many_lost_clips_stop_the_run(root, monkeypatch):
    lose(monkeypatch, *(root / f"clips/a/{i}.mp4" for i in range(3)))
    message = train(root / "clips", root / "W", root / "tiny.safetensors", *FAST, expected=2)
    assert "3 of 12 clips cannot be read, more than --max-bad 10% allows: " in message
    assert "a/0.mp4" in message


def test_no_workers_are_no_processes(root, monkeypatch):
    monkeypatch.setattr(i3d.utils.process_pool.WorkerProcess, "start", lambda _: 1 / 0)
    train(root / "clips", root / "W", root / "tiny.safetensors", *FAST)  # with --workers 0


def test_a_run_with_a_damaged_clip_can_be_repeated(root):
    """The damaged clip is then the only one whose features are not cached: no other takes its place."""
    make_clip(root / "clips/a/9.mp4", 0, num_frames=60)
    content = bytearray((root / "clips/a/9.mp4").read_bytes())
    middle = len(content) // 4
    content[middle : middle + len(content) // 4] = bytes(len(content) // 4)
    (root / "clips/a/9.mp4").write_bytes(content)
    several = (*FAST, "--views", 3)
    first, again = (train(root / "clips", root / "W", root / "tiny.safetensors", *several) for _ in range(2))
    for output in (first, again):
        assert "a/9.mp4" in output
        assert "in a row" not in output
