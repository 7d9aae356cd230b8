"""Folders that cannot be listed and disks that fail: the folder is named, and nothing is left out in silence."""

import builtins
import errno
import io
import os
import shutil
from pathlib import Path

import pytest

from i3d.data.check.dataset import check_dataset
from i3d.utils.folders import paths_matching, walk_folders
from support.commands import run
from support.evaluation_runs import save_model
from support.rendering import render
from support.training_runs import RECIPE, command, finish, make_clips

ERRORS = (errno.EACCES, errno.EIO, errno.ESTALE)
PATTERNS = ("top/*/b.mp4", "top/[a-z]*/b.mp4", "top/**/b.mp4", "t*/*/b.mp4", "top/*/b.*", "t*p/walk/b.mp4")
VERBS = {  # words, and the folder that cannot be listed
    "predict one": ("predict clips/walk --model m.safetensors", "clips/walk"),
    "predict pattern": ("predict clips/*/*.mp4 --model m.safetensors", "clips/walk"),
    "predict deep pattern": ("predict clips/**/*.mp4 --model m.safetensors", "clips/walk"),
    "data list": ("data list clips --out o.csv", "clips/walk"),
    "data list of all": ("data list clips --out o.csv", "clips"),
    "data check": ("data check clips --workers 1", "clips/walk"),
    "data split": ("data split clips --out o.csv", "clips/walk"),
    "data preview": ("data preview clips --out out", "clips/walk"),
    "data extract-frames": ("data extract-frames clips --out out", "clips/walk"),
    "data pack": ("data pack clips --out out", "clips/walk"),
    "train": ("train --data clips --work-dir out --recipe tiny.yaml", "clips/walk"),
    "fine-tune": ("train --data clips --work-dir out", "clips/walk"),
    "test": ("test m.safetensors --data clips", "clips/walk"),
    "list": ("test m.safetensors --data list.csv", "clips/walk"),
    "runs": ("runs runs", "runs/b"),
    "benchmark data": ("benchmark data clips --num-clips 2 --workers 0", "clips/walk"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("run/a", "walk/b"):
        (folder / "clips" / name).parent.mkdir(parents=True)
        render(folder / "clips" / f"{name}.mp4", num_frames=8)
    (folder / "list.csv").write_text("path,label\nclips/run/a.mp4,a\nclips/walk/b.mp4,b\n")
    (folder / "runs" / "b").mkdir(parents=True)
    (folder / "tiny.yaml").write_text(RECIPE)
    save_model(folder / "m.safetensors")
    return folder


def refuse_to_list(monkeypatch, folder, number):
    """Root lists every folder, and few systems have a disk that fails: the calls of Python fail instead."""
    for name in ("scandir", "listdir"):
        real = getattr(os, name)

        def fail(place=".", real=real):
            if not isinstance(place, int) and Path(place).resolve() == folder.resolve():
                raise OSError(number, os.strerror(number), str(place))
            return real(place)

        monkeypatch.setattr(os, name, fail)


def refuse_to_enter(monkeypatch, folder, number):
    """As of a folder without the right to enter it, which can be listed: its files cannot be looked up."""
    for module, name in ((os, "stat"), (os, "lstat"), (os, "open"), (io, "open")):
        real = getattr(module, name)

        def fail(path, *args, real=real, **options):
            if isinstance(path, str | os.PathLike) and Path(os.path.abspath(path)).parent == folder:
                raise OSError(number, os.strerror(number), str(path))
            return real(path, *args, **options)

        monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_walks_names_the_folder(inputs, tmp_path, monkeypatch, verb):
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    words, folder = VERBS[verb]
    number = ERRORS[len(verb) % len(ERRORS)]
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        refuse_to_list(patch, tmp_path / folder, number)
        result = run(*words.split())
    assert result.returncode in (2, 3), result.output
    assert folder in result.output
    assert os.strerror(number) in result.output
    assert len(result.stderr.strip().splitlines()) <= 3
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("number", ERRORS)
def test_no_folder_is_left_out(inputs, monkeypatch, number):
    with monkeypatch.context() as patch:
        refuse_to_list(patch, inputs / "clips" / "walk", number)
        for pattern in ("clips/*/*.mp4", "clips/**", "clips/**/b.mp4", "cl*/walk/*.mp4", "clips/walk/*"):
            with pytest.raises(OSError, match=os.strerror(number)):
                paths_matching(str(inputs / pattern))
        with pytest.raises(OSError, match=os.strerror(number)):
            list(walk_folders(inputs))
        paths = paths_matching(str(inputs / "clips" / "run" / "*.mp4"))
    assert paths == [str(inputs / "clips" / "run" / "a.mp4")]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("number", ERRORS)
def test_no_pattern_leaves_out_a_folder_that_cannot_be_entered(inputs, tmp_path, monkeypatch, pattern, number):
    shutil.copytree(inputs / "clips", tmp_path / "top")
    monkeypatch.chdir(tmp_path)
    assert paths_matching(pattern) == ["top/walk/b.mp4"]
    with monkeypatch.context() as patch:
        refuse_to_enter(patch, tmp_path / "top/walk", number)
        try:
            assert paths_matching(pattern) == ["top/walk/b.mp4"]  # by the listing alone
        except OSError as error:
            assert error.errno == number
            assert str(error.filename).startswith("top/walk")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_names_a_link_that_leads_nowhere(inputs, tmp_path, monkeypatch, pattern):
    shutil.copytree(inputs / "clips", tmp_path / "top")
    shutil.rmtree(tmp_path / "top" / "walk")
    (tmp_path / "top" / "walk").symlink_to("/mnt/gone/walk")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="a link that leads nowhere"):
        paths_matching(pattern)


@pytest.mark.parametrize("first", ["walk", "run"])
@pytest.mark.parametrize("form", ["csv", "txt", "jsonl"])
def test_a_row_in_a_folder_that_cannot_be_entered_is_one_row_of_the_check(inputs, tmp_path, monkeypatch, first, form):
    shutil.copytree(inputs / "clips", tmp_path / "clips")
    paths = sorted(("clips/run/a.mp4", "clips/walk/b.mp4"), key=lambda path: first not in path)
    header, row = {"csv": ("path,label\n", "{},a\n"), "txt": ("", "{} 0\n"), "jsonl": ("", '{{"path": "{}"}}\n')}[form]
    (tmp_path / f"l.{form}").write_text(header + "".join(row.format(path) for path in paths))
    with monkeypatch.context() as patch:
        refuse_to_enter(patch, tmp_path / "clips/walk", errno.EACCES)
        rows = check_dataset(tmp_path / f"l.{form}", num_workers=0).rows
    assert [(row.path, row.status) for row in rows] == [
        (path, "unreadable" if "walk" in path else "ok") for path in paths
    ]
    assert "cannot be read (Permission denied)" in rows["walk" not in paths[0]].reason


def test_a_path_in_a_folder_that_cannot_be_entered_is_one_row_of_predict(inputs, tmp_path, monkeypatch):
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("clips/walk/b.mp4\nclips/run/a.mp4\n")
    with monkeypatch.context() as patch:
        refuse_to_enter(patch, tmp_path / "clips/walk", errno.EACCES)
        result = run("predict", "p.txt", "--model", "m.safetensors", "--out", "r.csv", "--device", "cpu")
    assert result.returncode == 3, result.output
    rows = (tmp_path / "r.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [["clips/walk/b.mp4", "error"], ["clips/run/a.mp4", "ok"]]
    assert "Permission denied" in rows[0]


@pytest.mark.parametrize("words", ["predict {} --out r.csv", "features {} --out out", "flow {} --out out"])
@pytest.mark.parametrize("refuse", [refuse_to_list, refuse_to_enter])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("named", ["clips", "clips/run clips/walk", "clips/run clips/walk/b.mp4", "clips/walk/b.mp4"])
def test_a_folder_that_cannot_be_read_is_a_row_and_the_other_videos_are_done(
    inputs, tmp_path, monkeypatch, words, refuse, number, named
):
    if refuse is refuse_to_list and named.endswith("b.mp4"):
        return  # it can be read
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    more = {
        "predict": "--model m.safetensors",
        "features": "--model m.safetensors --padding repeat --window 8",
        "flow": "--flow-method dis --workers 0",
    }
    with monkeypatch.context() as patch:
        refuse(patch, tmp_path / "clips/walk", number)
        result = run(*words.format(named).split(), *more[words.split()[0]].split())
    assert result.returncode == 3, result.output
    assert "clips/walk" in result.output
    assert os.strerror(number) in result.output
    assert "no such file" not in result.output
    if named != "clips/walk/b.mp4":
        assert "1 of 2" in result.stderr


@pytest.mark.parametrize("words", ["predict clips --model m.safetensors", "data list clips --out o.csv"])
@pytest.mark.parametrize("place", ["clips/jump", "clips/run/more"])
def test_a_link_to_a_folder_that_is_gone_is_named(inputs, tmp_path, monkeypatch, words, place):
    """As of a disk that is not mounted: its class would be missing without a word."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).symlink_to("/mnt/gone/jump")
    result = run(*words.split())
    assert result.returncode == 3
    assert f"{place}: reading or writing failed (a link that leads nowhere: " in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", ERRORS)
def test_a_run_whose_states_cannot_be_listed_is_not_started_again(tmp_path, monkeypatch, number):
    clips = make_clips(tmp_path, num_train=4, num_val=2)
    arguments = command(clips, tmp_path / "run", "--epochs", "1", "--workers", "0")
    finish(arguments)
    record = (tmp_path / "run" / "run.json").read_text()
    (tmp_path / "run" / "run.json").write_text(record.replace('"done": true', '"done": false'))
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        refuse_to_list(patch, tmp_path / "run" / "checkpoints", number)
        assert "checkpoints" in finish(arguments, expected=3)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file whose first bytes cannot be read: Linux")
@pytest.mark.parametrize("verb", ["predict", "features", "flow", "data check", "data extract-frames", "test"])
def test_a_file_whose_first_bytes_fail_is_one_row(inputs, tmp_path, monkeypatch, verb):
    """Reading address 0 of a process is an input/output error, as that of a damaged disk."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips" / "run" / "bad.mp4").symlink_to("/proc/self/mem")
    words = {
        "predict": "predict clips --model m.safetensors",
        "features": "features clips --out out --model m.safetensors",
        "flow": "flow clips --out out --flow-method dis --workers 0",
        "data check": "data check clips --workers 1 --near-duplicates none",
        "data extract-frames": "data extract-frames clips --out out --workers 0",
        "test": "test m.safetensors --data clips --max-bad 60% --workers 0",
    }[verb]
    (tmp_path / "clips" / "a").mkdir()
    for name in ("run", "walk"):
        (tmp_path / "clips" / name).rename(tmp_path / "clips" / {"run": "b", "walk": "c"}[name])
    render(tmp_path / "clips" / "a" / "0.mp4", num_frames=8)
    result = run(*words.split())
    assert result.returncode == 3, result.output
    assert "bad.mp4" in result.output
    reasons = ("Input/output error", "Invalid argument", "not a regular file")  # of reading, of seeking its end
    assert any(reason in result.output for reason in reasons)


class Failing(io.FileIO):
    """A file on a disk that fails: it can be opened, and the error of reading it has no file name."""

    def readinto(self, _):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def readall(self):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def fail_to_read(monkeypatch, file):
    real = io.open

    def fail(path, mode="r", *args, **options):
        is_it = isinstance(path, str | os.PathLike) and Path(os.path.abspath(path)) == file
        if not is_it or mode not in ("r", "rb"):
            return real(path, mode, *args, **options)
        raw = io.BufferedReader(Failing(path))
        return raw if mode == "rb" else io.TextIOWrapper(raw, encoding="utf-8")

    for module in (io, builtins):
        monkeypatch.setattr(module, "open", fail)


READERS = {  # file that cannot be read: the words before, and those that read it
    "list.csv": ("", "data list list.csv --out o.csv"),
    "names.txt": ("", "data list list.csv --out o.csv --classes names.txt"),
    "clips/run/a.mp4": ("", "data pack list.csv --out out"),
    "out/clips/run/a/img_00001.jpg": ("extract", "data pack out/list.txt --out packed"),
    "out/list.txt": ("extract", "extract"),
    "out/classes.txt": ("extract", "extract"),
    "out/.i3d-frames.json": ("extract", "extract"),
    "packed/classes.txt": ("data pack list.csv --out packed", "data list packed --out o.csv"),
    "packed/clips.csv": ("data pack list.csv --out packed", "data list packed --out o.csv"),
    "packed/index.npz": ("data pack list.csv --out packed", "data list packed --out o.csv"),
    "packed/SHA256SUMS": ("data pack list.csv --out packed", "data list packed --out o.csv"),
    "o.classes.txt": ("data list list.csv --out o.csv", "data list list.csv --out o.csv --force"),
    "features/a.npy": ("features", "features"),
    "features/a.json": ("features", "features"),
    "log.jsonl": ("", "plot log.jsonl --out o.png"),
    "result.json": ("", "score result.json"),
    "m.safetensors": ("", "models show m.safetensors"),
    "tiny.yaml": ("", "models show tiny.yaml"),
}
SHORT = {
    "extract": "data extract-frames list.csv --out out --workers 0",
    "features": "features clips/run/a.mp4 --out features --model m.safetensors --padding repeat --window 8",
}


@pytest.mark.parametrize("file", READERS)
def test_a_file_that_cannot_be_read_is_named(inputs, tmp_path, monkeypatch, file):
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("a\nb\n")
    (tmp_path / "log.jsonl").write_text("{}\n")
    (tmp_path / "result.json").write_text("{}\n")
    before, reads = (SHORT.get(words, words).split() for words in READERS[file])
    assert not before or run(*before).returncode == 0
    with monkeypatch.context() as patch:
        fail_to_read(patch, tmp_path / file)
        result = run(*reads)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode in (2, 3), result.output
    assert len(errors) == 1
    assert file in errors[0]
    assert "Input/output error" in errors[0] or file.endswith(".json") or "cannot be read" in errors[0]
