"""File names that are not UTF-8: what writes a list holds them so that they are read, or refuses them by name."""

import os
import re

import pytest

from i3d.data.formats.read import read_annotations
from support.commands import run
from support.evaluation_runs import save_model
from support.rendering import render

ODD = os.fsdecode(b"a/\xff.mp4")
WRITERS = {  # words, and the list that is written
    "csv": ("data list set --out list.csv", "list.csv"),
    "tsv": ("data list set --out list.tsv", "list.tsv"),
    "jsonl": ("data list set --out list.jsonl", "list.jsonl"),
    "txt": ("data list set --out list.txt", "list.txt"),
    "split csv": ("data split set --out list.csv", "list.csv"),
    "split jsonl": ("data split set --out list.jsonl", "list.jsonl"),
    "groups": ("data split names.jsonl --root set --group-by (.*)[.]mp4 --out list.csv", "list.csv"),
    "pack": ("data pack set --out packed", "packed/clips.csv"),
    "frames": ("data extract-frames set --out frames --workers 0", "frames/list.txt"),
    "flow": ("flow set --out flow --flow-method dis --workers 0", "flow/list.txt"),
    "fine-tune": ("train --data set --init m.safetensors --work-dir run --workers 0", "run/split.csv"),
}
HELD = ("jsonl", "split jsonl")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/0.mp4", "b/0.mp4", "b/1.mp4"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        render(tmp_path / "set" / name, num_frames=6)
    try:
        (tmp_path / "set" / ODD).write_bytes((tmp_path / "set/b/1.mp4").read_bytes())
    except OSError:
        pytest.skip("this disk takes only names in UTF-8")
    (tmp_path / "names.jsonl").write_text(
        '{"path": "a/\\udcff.mp4", "label": "a"}\n{"path": "b/0.mp4", "label": "b"}\n'
    )
    save_model(tmp_path / "m.safetensors", labels=("a", "b"))
    return tmp_path


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_of_lists_holds_such_names_or_refuses_them(folder, writer):
    words, source = WRITERS[writer]
    result = run(*words.split())
    output = " ".join(result.output.split())
    if writer in HELD:
        assert result.returncode == 0, output
        again = read_annotations(folder / source, root="set")
        assert ODD in [clip.path for clip in again]
        assert not again.missing_clips()
        return
    assert "Traceback" not in output
    assert "\\udcff" in output
    assert result.returncode == 2, output
    assert re.search(
        r"its name is not UTF-8, which .* cannot hold; rename it|cannot represent this name; rename it", output
    )
    assert not (folder / source).exists()


@pytest.mark.parametrize(
    "words",
    [
        "predict set --model m.safetensors --device cpu -o out.csv",
        "test m.safetensors --data names.jsonl --root set --device cpu --workers 0 --out out.csv",
        "data check set --workers 1 --out out.csv",
    ],
)
def test_a_table_that_holds_the_bytes_of_such_names_is_reported(folder, words):
    result = run(*words.split())
    assert "out.csv: some file names are not UTF-8, and many programs refuse it; rename them" in " ".join(
        result.stderr.split()
    )
    assert os.fsencode(ODD) in (folder / "out.csv").read_bytes()
