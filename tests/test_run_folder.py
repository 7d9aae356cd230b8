"""The folder of a run: whose it is, states and log that do not match, and what a kill or a refusal leaves."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from unittest import mock

import pytest
from safetensors import SafetensorError

from i3d.data import read_annotations
from i3d.errors import InputError
from i3d.training.run import TrainingRun
from i3d.training.run_folder import RunFolder, check_outside
from i3d.utils.atomic_files import disk_todo, replacing, unfinished_folder
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


def stopped_run(clips, run, harm):
    """What a run prints that is harmed after step 4 of 9 and stopped after step 7."""

    def sync(self, stopping):
        if self.step == 4:
            harm(self.folder)
        return signal.SIGINT if self.step == 7 else 0

    with mock.patch.object(TrainingRun, "sync_stop_signal", sync), mock.patch.object(TrainingRun, "validate"):
        return finish(command(clips, run, *STEPS), expected=130).splitlines()


def fail_to_save(code):
    def fail(path, *_args, **_options):
        raise OSError(code, os.strerror(code), str(path))

    return lambda _: mock.patch("i3d.training.state.save_with_checksum", fail).start()


def remove_states(folder):
    shutil.rmtree(folder.checkpoints)


def replace_states(folder):
    remove_states(folder)
    folder.checkpoints.write_text("")


def remove_everything(folder):
    shutil.rmtree(folder.path)


LOST = "; no state is saved, so that the run cannot be resumed"
OLDER = ", which is not saved; the same command resumes from step 3"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "warning", "end", "resumes"),
    [
        (remove_states, "created again", ", saved; the same command resumes from there", 7),
        (replace_states, "File exists*; move away what is in the place of the folder", LOST, None),
        (remove_everything, "No such file*; restore the file or its folder", LOST, None),
        (fail_to_save(errno.ENOSPC), "No space left*; make room on the disk", OLDER, 3),
        (fail_to_save(errno.EACCES), "denied*; check the rights", OLDER, 3),
    ],
)
def test_a_run_that_cannot_save_ends_with_what_is_saved(clips, tmp_path, harm, warning, end, resumes):
    try:
        lines = stopped_run(clips, tmp_path / "run", harm)
    finally:
        mock.patch.stopall()
    assert any(line.startswith(f"stopped after step 7 of 9{end}") for line in lines)
    warnings = [line for line in lines if "could not be saved" in line or "created again" in line]
    assert all(part in warnings[0] for part in warning.split("*")), warnings
    assert len(warnings) == (1 if resumes == 7 else 5)  # steps 4 to 7, and before the validation
    if resumes is not None:
        assert f"resuming from step {resumes} of 9" in finish(command(clips, tmp_path / "run", *STEPS))


def test_the_next_step_after_an_error_of_a_library_is_that_of_its_number():
    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert disk_todo(error) == disk_todo(OSError(errno.ENOSPC, "")) == "make room on the disk"
    assert disk_todo(SafetensorError("header too large")) == "check disk and rights"


@pytest.mark.parametrize(
    ("listed", "work_dir", "what"),
    [
        ("lists/a.txt", "v", "which has a folder for each class"),
        ("lists/a.txt", "v/run", "which has a folder for each class"),
        ("lists/a.txt", "v/a", "which has "),
        ("lists/a.txt", "v/b/run", "which has "),
        ("lists/a.txt", "run", ""),
        ("lists/flat.txt", "v/a/run", "which has clips"),
        ("lists/flat.txt", "v/run", ""),
        ("v/a/inside.txt", "v/a/run", ""),  # a project
        ("v/a/inside.txt", "v/a", "which has clips"),
        ("v", "v/run", "which has a folder for each class"),
    ],
)
def test_a_run_among_clips_is_refused(tmp_path, listed, work_dir, what):
    for name in ("lists", "v/a", "v/b"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("v/a/1.mp4", "v/a/2.mp4", "v/b/1.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "lists/a.txt").write_text("a/1.mp4 0\na/2.mp4 0\nb/1.mp4 1\n")
    for name in ("lists/flat.txt", "v/a/inside.txt"):
        (tmp_path / name).write_text("1.mp4 0\n2.mp4 1\n")
    root = {"lists/a.txt": "v", "v": None}.get(listed, "v/a")
    clips = read_annotations(tmp_path / listed, root=root and tmp_path / root)
    for sources in ((clips,), (None, clips)):
        if what:
            with pytest.raises(InputError, match=rf"--work-dir .*{work_dir}: lies in .*, {what}.*; choose a folder"):
                check_outside(tmp_path / work_dir, *sources)
        else:
            check_outside(tmp_path / work_dir, *sources)
