"""The folder of a run: whose it is, states and log that do not match, and what a kill or a refusal leaves."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from i3d.training.run_folder import RunFolder
from i3d.utils.atomic_files import replacing, unfinished_folder
from support.training_runs import command, digests, finish, make_clips, make_unfinished

STEPS = ("--epochs", "3", "--workers", "0")  # nine steps, a state after each


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def complete(clips, tmp_path_factory):
    run = tmp_path_factory.mktemp("complete") / "run"
    finish(command(clips, run, *STEPS))
    return run


@pytest.fixture
def stopped(complete, tmp_path):
    """A run that was stopped before its last step."""
    shutil.copytree(complete, tmp_path / "run")
    make_unfinished(tmp_path / "run")
    return tmp_path / "run"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def states(run):
    return sorted((run / "checkpoints").glob("step-*"))


def test_a_refused_run_leaves_no_new_parents(tmp_path):
    for name in ("a/b/c", "old/d"):
        (tmp_path / "old").mkdir(exist_ok=True)
        folder = RunFolder(tmp_path / name)
        folder.lock()
        folder.release()
        assert [path.name for path in tmp_path.rglob("*")] == ["old"]
    folder.lock()
    (tmp_path / "old/d/mine").write_text("")
    folder.release()
    assert (tmp_path / "old/d/mine").exists()


@pytest.mark.slow
def test_a_run_without_its_states_is_not_started_again(clips, stopped):
    """They alone make it resume: its log and its best weights stay."""
    for path in states(stopped):
        path.unlink()
    for _ in range(2):
        before = contents(stopped)
        message = finish(command(clips, stopped, *STEPS), expected=2)
        assert f"{stopped / 'checkpoints'}: has no state, but the run has saved some; restore them" in message
        assert contents(stopped) == before


@pytest.mark.slow
def test_a_log_that_does_not_end_with_the_state_is_reported(clips, stopped, complete):
    assert [path.stem for path in states(stopped)] == ["step-00000008"]
    message = finish(command(clips, stopped, *STEPS))
    assert "log.jsonl ends at step 9, the newest state at 8: the steps between run again" in message
    assert digests(stopped) == digests(complete)


@pytest.mark.slow
def test_a_log_that_lost_its_lines_is_reported(clips, stopped):
    lines = (stopped / "log.jsonl").read_text().splitlines(keepends=True)
    early = [line for line in lines if json.loads(line)["step"] <= 3]
    (stopped / "log.jsonl").write_text("".join(early))
    (stopped / "best.safetensors").unlink()
    message = finish(command(clips, stopped, *STEPS))
    assert "log.jsonl: ends at step 3 of 6 that the state has; the others are lost" in message
    assert "best.safetensors: is missing; the next validation writes it, whatever its result" in message
    assert (stopped / "best.safetensors").exists()


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_state_starts_again(clips, stopped):
    for path in states(stopped):
        path.unlink()
    record = json.loads((stopped / "run.json").read_text())
    (stopped / "run.json").write_text(json.dumps({**record, "saved": False}))
    (stopped / "log.jsonl").write_text('{"step": 1, "epoch": 0, "loss": 1.0, "top1": 0.0, "lr": 0.1}\n')
    assert "has no state: training starts again" in finish(command(clips, stopped, *STEPS))


def killed_in(block):
    """Run a block in a process that is killed in the middle of it."""
    child = os.fork()
    if child == 0:
        with block() as place:
            (place / "half" if place.is_dir() else place).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.slow
def test_the_next_start_removes_what_a_kill_left(clips, stopped):
    """States, weights and records that were being written; files of others with such names stay."""
    names = ["checkpoints/step-00000008.safetensors", "best.safetensors", "run.json", "log.jsonl", "curves.png"]
    for name in names:
        killed_in(lambda name=name: replacing(stopped / name))
    assert len([path for path in stopped.rglob(".*") if path.is_file()]) == len(names)
    (stopped / ".notes-of-mine").write_text("stay")
    finish(command(clips, stopped, *STEPS))
    assert [path.name for path in stopped.rglob(".*")] == [".notes-of-mine"]


def test_the_next_write_removes_what_a_kill_left(tmp_path):
    for _ in range(2):
        killed_in(lambda: replacing(tmp_path / "r.csv"))
        killed_in(lambda: unfinished_folder(tmp_path))
    assert len(list(tmp_path.iterdir())) == 3  # one file, one folder with its lock
    with replacing(tmp_path / "r.csv") as file, unfinished_folder(tmp_path):
        file.write_text("complete")
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


@pytest.mark.parametrize("more", [["--lr", "inf"], ["--init", "clips.csv"], ["--set", "training.sync_norms=true"]])
def test_a_run_that_is_refused_leaves_no_folder(clips, tmp_path, monkeypatch, more):
    monkeypatch.chdir(clips)
    finish(command(clips, tmp_path / "run", *more), expected=2)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("stay")
    finish(command(clips, tmp_path / "run", *more), expected=2)
    assert [str(path.relative_to(tmp_path)) for path in Path(tmp_path).rglob("*")] == ["run", "run/mine.txt"]
