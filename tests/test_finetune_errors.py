"""Errors of `i3d train` on clips: one line that names the next step, and no partial output."""

import os
import shutil

import numpy as np
import pytest

import i3d.finetuning.record as record_module
import i3d.finetuning.steps
from i3d.errors import InputError
from i3d.finetuning import finetune as finetune_module
from i3d.training.run_folder import RunFolder
from support.commands import run_here
from support.finetuning_runs import make_clip, make_folder, save_tiny, train, train_command, without_drawing, write_csv
from support.rendering import encode

FAST = ("--views", 1, "--head", "prototype", "--precision", "fp32")
OUTPUTS = (
    "split.csv", "split.classes.txt", "test.json", "confusion.png", "report.html", "labels.csv",
    "best.safetensors", "last.safetensors",
)  # fmt: skip


def states(folder):
    """Of each file, the content and when it was written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("errors")
    make_folder(root / "clips", ("a", "b"), 5)
    save_tiny(root / "tiny.safetensors")
    train(root / "clips", root / "done", root / "tiny.safetensors", *FAST, draw=True)
    return root


def error(root, *more, work_dir="W", data="clips", fast=FAST, draw=False):
    tiny = root / "tiny.safetensors"
    message = train(root / data, root / work_dir, tiny, *fast, *more, expected=2, draw=draw)
    assert not (root / work_dir / "best.safetensors").exists() or work_dir in ("done", "state")
    return message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cv-folds", 1], "--cv-folds 1: must be at least 2"),
        (["--cv-folds", 1000], "--cv-folds 1000: must be at least 2 and at most 10"),
        (["--balance", "magic"], "none, sampler, loss, focal, logit-adjust"),
        (["--train-layers", "most"], "head, last, all"),
        (["--norms", "batch"], "frozen, trained, re-estimated"),
        (["--norms", "trained"], "--train-layers"),
        (["--precision", "fp8"], "fp32, bf16"),
        (["--train-layers", "head", "--lr", 0.1], "--lr"),
        (["--train-layers", "head", "--epochs", 3], "--epochs"),
        (["--train-layers", "head", "--batch-size", 3], "--batch-size"),
        (["--train-layers", "head", "--layer-decay", 0.5], "--layer-decay"),
        (["--recipe", "i3d_rgb", "--cv-folds", 3], "--cv-folds"),
        (["--recipe", "i3d_rgb", "--train-layers", "head"], "--train-layers"),
        (["--recipe", "i3d_rgb", "--no-overfit-check"], "--no-overfit-check"),
        (["--val-list", "v.csv"], "--val-list"),
        (["--benchmark-steps", 3], "--benchmark-steps"),
        (["--fsdp"], "--fsdp"),
        (["--runtime", "openvino"], "--runtime 'openvino': is not one of torch, compile"),
        (["--runtime", "compile"], "--runtime compile: no layers are trained (--train-layers head); leave it out"),
        (["--max-bad", "lots"], "lots"),
        (["--group-by", "("], "not a regular expression"),
        (["--val-fraction", 1.5], "1.5"),
        (["--deterministic"], "--deterministic: no layers are trained (--train-layers head); leave it out"),
        (
            ["--train-layers", "last", "--val-fraction", 0, "--set", "training.patience=2"],
            "--set 'training.patience=2': has no effect, as no clip is for validation; leave it out",
        ),
        (["--train-layers", "last", "--cv-folds", 2, "--validate-every", 2], "--cv-folds trains on all clips"),
        (["--train-layers", "last", "--accumulate", 2, "--set", "training.accumulate=4"], "as 4 and as 2"),
        (["--set", "training.nonsense=1"], "nonsense"),
        (["--balance", "focal"], "--balance focal"),
        (["--cv-folds", 3, "--norms", "re-estimated"], "use --norms frozen"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_wrong_options_are_one_line(root, words, expected):
    fast = FAST if "--recipe" not in words and "--precision" not in words else ()
    assert expected in error(root, *words, fast=fast)


def test_weights_that_do_not_exist_are_one_line(root):
    assert "nothing-of-this-name" in train(root / "clips", root / "W", "nothing-of-this-name", *FAST, expected=2)


@pytest.mark.parametrize("words", [["--views", 0], ["--test-clips", 0], ["--cv-folds", -1], ["--layer-decay", 2]])
def test_numbers_out_of_range(root, words):
    result = run_here(train_command(root / "clips", root / "W", root / "tiny.safetensors", *words))
    assert result.returncode == 2
    assert str(words[0]) in result.stderr
    assert not (root / "W" / "best.safetensors").exists()


@pytest.mark.slow
def test_the_folder_of_another_run_is_not_changed(root):
    before = (root / "done" / "best.safetensors").read_bytes()
    assert "seed was 0, now 5" in error(root, "--seed", 5, work_dir="done")
    assert "views was 1, now 3" in error(root, fast=("--views", 3, *FAST[2:]), work_dir="done")
    shutil.copytree(root / "clips", root / "more")
    make_clip(root / "more" / "b" / "new.mp4", 1)
    assert "clips" in error(root, work_dir="done", data="more")
    assert (root / "done" / "best.safetensors").read_bytes() == before
    train(root / "clips", root / "done", root / "tiny.safetensors", *FAST)
    assert (root / "done" / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_was_edited_is_not_replaced(root, name):
    edited = shutil.copytree(root / "done", root / f"edited {name}") / name
    edited.write_bytes(edited.read_bytes() + b"\n")
    before = states(edited.parent)
    message = train(root / "clips", edited.parent, root / "tiny.safetensors", *FAST, expected=2)
    assert f"{edited}: was edited since it was written, or is of another run; choose another --work-dir" in message
    assert states(edited.parent) == before


@pytest.mark.parametrize(
    "more", [(), pytest.param(("--train-layers", "last", "--epochs", 1, "--lr", 0.001), marks=pytest.mark.slow)]
)
def test_a_complete_run_leaves_its_files_as_they_are(root, more):
    """One that was removed is written again."""
    out = root / f"complete {len(more)}"
    command = (root / "clips", out, root / "tiny.safetensors", *FAST, *more)
    train(*command, draw=True)
    before = states(out)
    train(*command, draw=True)
    assert states(out) == before
    (out / "test.json").unlink()
    train(*command, draw=True)
    assert {path: before[path] for path in before if path.name != "test.json"}.items() <= states(out).items()
    assert (out / "test.json").read_bytes() == before[out / "test.json"][0]


def test_a_record_that_cannot_be_read(root):
    shutil.copytree(root / "done", root / "hurt")
    (root / "hurt" / "finetune.json").write_text("{")
    message = train(root / "clips", root / "hurt", root / "tiny.safetensors", *FAST, expected=2)
    assert "finetune.json" in message


@pytest.mark.slow
@pytest.mark.parametrize("content", ['{"my": "settings"}', "my notes", ""])
def test_a_record_of_others_is_not_replaced(root, content):
    (root / "mine").mkdir(exist_ok=True)
    (root / "mine/finetune.json").write_text(content)
    assert "finetune.json: was not written by a run, or is damaged" in error(root, work_dir="mine")
    assert (root / "mine/finetune.json").read_text() == content


def test_a_folder_that_cannot_be_written(root):
    (root / "file").write_text("")
    message = train(
        root / "clips", root / "file" / "W", root / "tiny.safetensors", *FAST, cache=root / "cache", expected=2
    )
    assert "choose another --work-dir" in message
    message = train(root / "clips", root / "W3", root / "tiny.safetensors", *FAST, cache=root / "file", expected=2)
    assert "--cache" in message


@pytest.mark.slow
def test_the_state_of_a_run_is_no_model(root):
    more = ["--train-layers", "last", "--epochs", 1, "--no-overfit-check", *FAST]
    train(root / "clips", root / "state", root / "tiny.safetensors", *more)
    state = max((root / "state" / "checkpoints").glob("step-*.safetensors"))
    message = train(root / "clips", root / "W2", state, *FAST, expected=2)
    assert state.name in message


@pytest.mark.slow
@pytest.mark.parametrize("step", ["fit", "test", "see"])
def test_an_interrupt_leaves_no_half_of_a_file(root, monkeypatch, step):
    def stop(*_, **__):
        raise KeyboardInterrupt

    work_dir = root / f"stopped-{step}"
    name = {"fit": "write_model", "test": "score_clips", "see": "clip_features"}[step]
    monkeypatch.setattr(i3d.finetuning.steps, name, stop)
    train(root / "clips", work_dir, root / "tiny.safetensors", *FAST, expected=130)
    assert not [path for path in work_dir.rglob(".*") if path.name != ".i3d-lock"]
    assert (work_dir / "best.safetensors").exists() == (step == "test")
    monkeypatch.undo()
    train(root / "clips", work_dir, root / "tiny.safetensors", *FAST)
    assert (work_dir / "best.safetensors").read_bytes() == (root / "done" / "best.safetensors").read_bytes()


def is_refused(work_dir):
    """Whether a second process may not use the folder."""
    child = os.fork()
    if child == 0:
        try:
            folder = RunFolder(work_dir)
            folder.lock()
            folder.release()
        except InputError as error:
            os._exit(0 if "in use by another run" in str(error) else 2)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "more",
    [
        (),
        pytest.param(("--train-layers", "last", "--epochs", 1, "--lr", 0.001, "--cv-folds", 2), marks=pytest.mark.slow),
    ],
    ids=["head", "layers in folds"],
)
def test_a_second_run_is_refused_until_the_last_file(root, monkeypatch, more):
    """Training locks and releases the same folder, and those of folds, in the middle."""
    work_dir, stages = root / f"locked {len(more)}", {}
    places = {"inspect_clips": finetune_module, "check_labels": finetune_module, "next_steps": finetune_module}
    places |= {"score_clips": i3d.finetuning.steps, "metrics_as_dict": record_module}

    def watched(name, call):
        def spy(*arguments, **options):
            stages[name] = stages.get(name, True) and is_refused(work_dir)
            return call(*arguments, **options)

        return spy

    for name, module in places.items():
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    train(root / "clips", work_dir, root / "tiny.safetensors", *FAST, *more)
    assert stages == dict.fromkeys(places, True)
    assert not list(work_dir.rglob("*.i3d-lock"))
    assert not is_refused(work_dir)


@pytest.mark.parametrize("place", ["i3d.finetuning.inspect_data.check_annotations", "i3d.finetuning.steps.fit_head"])
def test_an_interrupt_names_what_is_saved_by_then(root, monkeypatch, place):
    def stop(*_, **__):
        raise KeyboardInterrupt

    work_dir, cache = root / place, root / f"cache of {place}"
    monkeypatch.setattr(place, stop)
    with without_drawing():
        result = run_here(train_command(root / "clips", work_dir, root / "tiny.safetensors", *FAST, cache=cache))
    assert result.returncode == 130
    assert work_dir.exists() == ("fit_head" in place)
    assert (f"nothing is saved in {work_dir} yet" in result.stderr) != work_dir.exists()
    assert (f"results so far are saved in {work_dir} and in the cache" in result.stderr) == work_dir.exists()


# clips


@pytest.mark.slow
def test_unreadable_clips_are_named_and_skipped_and_too_many_are_an_error(root):
    shutil.copytree(root / "clips", root / "broken")
    (root / "broken" / "a" / "broken.mp4").write_bytes(b"no video at all" * 100)
    assert "more than --max-bad" not in train(
        root / "broken", root / "most", root / "tiny.safetensors", *FAST, "--max-bad", "10%"
    )
    assert "a/broken.mp4" not in (root / "most" / "split.csv").read_text()
    assert "a/broken.mp4" in (root / "most" / "finetune.json").read_text()
    message = error(root, "--max-bad", "0", data="broken")
    assert "1 of 11 clips cannot be read" in message
    assert "broken.mp4" in message


@pytest.mark.slow
def test_one_class_is_an_error(root):
    shutil.copytree(root / "clips" / "a", root / "single" / "a")
    assert "all training clips are of one class, 'a'" in error(root, data="single")


@pytest.mark.slow
def test_the_same_clip_in_two_classes_fails_the_overfit_check_by_name(root):
    for i in range(3):
        make_clip(root / "twice" / "a" / f"{i}.mp4", 0)
        make_clip(root / "twice" / "b" / f"{i}.mp4", 1)
    shutil.copy(root / "twice" / "a" / "1.mp4", root / "twice" / "b" / "wrong.mp4")
    rows = [f"{p.parent.name}/{p.name},{p.parent.name},train" for p in sorted((root / "twice").rglob("*.mp4"))]
    write_csv(root / "twice" / "clips.csv", rows, header="path,label,split")
    message = error(root, data="twice/clips.csv", draw=True)
    assert "overfit check failed" in message
    assert "a/1.mp4 (a)" in message
    assert "b/wrong.mp4 (b)" in message
    before = (root / "W" / "preview" / "clips.png").read_bytes()
    right = [row for row in rows if "wrong" not in row]
    write_csv(root / "twice" / "clips.csv", right[:-1], header="path,label,split")
    work_dir = shutil.copytree(root / "W", root / "corrected")
    train(root / "twice" / "clips.csv", work_dir, root / "tiny.safetensors", *FAST, draw=True)  # the same command
    assert (work_dir / "preview" / "clips.png").read_bytes() != before


@pytest.mark.slow
def test_blank_clips_fail_the_overfit_check(root):
    rows = []
    for i in range(8):
        black = [np.zeros((36, 48, 3), np.uint8)] * (12 + i)
        (root / "black").mkdir(exist_ok=True)
        encode(root / "black" / f"{i}.mp4", black)
        rows.append(f"{i}.mp4,{'ab'[i % 2]},train")
    write_csv(root / "black" / "clips.csv", rows, header="path,label,split")
    assert "they are duplicates, or blank" in error(root, data="black/clips.csv")


@pytest.mark.slow
def test_a_diverging_lr_fails_the_overfit_check(root):
    message = error(root, "--train-layers", "all", "--lr", "1e5")
    assert "overfit check failed" in message
    assert "--lr" in message


def test_a_work_dir_among_the_clips_is_refused(root, monkeypatch):
    clips = root / "clips"
    clips.mkdir(exist_ok=True)
    monkeypatch.chdir(clips)
    for data, work_dir in ((".", "run"), (clips, clips), (clips, "../clips/a/b")):
        result = run_here(["i3d", "train", "--data", data, "--work-dir", work_dir])
        assert result.returncode == 2
        assert "choose a folder beside it" in result.stderr
    assert not (clips / "run").exists()
