"""Lists that are huge, or that never end, in every reader of text: bounded time and memory, or one line of refusal."""

import json
import os
import time
from pathlib import Path

import pytest

from i3d.data.class_files import read_labels
from i3d.data.formats.inputs import expand_inputs
from i3d.data.formats.read import read_annotations
from i3d.data.formats.write import write_annotations
from i3d.errors import InputError
from i3d.evaluation.result_file import read_evaluations
from i3d.recipes.io import load_recipe
from i3d.training.log_reader import read_curves
from i3d.utils import text
from support.commands import run

LINES = 40_000  # two million take 50 times as long
SECONDS = 3  # of the processor, for these; 0.1 to 0.4 s on a machine that does nothing else
LISTS = {
    "videos.txt": ("", "c{c}/v_{i}.mp4 {c}"),
    "frames.txt": ("", "c{c}/v_{i} 250 {c}"),
    "table.csv": ("path,label,start,end,split\n", "c{c}/v_{i}.mp4,label {c},1,2,train"),
    "table.jsonl": ("", '{{"path": "c{c}/v_{i}.mp4", "label": "label {c}"}}'),
    "keys.jsonl": ("", '{{"path": "c{c}/v_{i}.mp4", "label": "label {c}", "{k}": ""}}'),
    "kinetics.csv": ("label,youtube_id,time_start,time_end,split\n", "label {c},{i},1,11,train"),
    "something-v1.csv": ("", "{i};label {c}"),
}


def huge(folder, name, *, lines=LINES):
    header, line = LISTS[name]
    rows = (line.format(i=i, c=i % 400, k=("split", "group")[i % 2]) for i in range(lines))
    (folder / name).write_text(header + "".join(f"{row}\n" for row in rows))
    return folder / name


@pytest.fixture
def in_time():
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_long_lists_are_read_in_time(tmp_path, in_time, name):
    annotations = read_annotations(huge(tmp_path, name))
    assert (len(annotations), len(annotations.classes)) == (LINES, 400)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_long_lists_are_written_in_time(tmp_path, in_time, suffix):
    write_annotations(read_annotations(huge(tmp_path, "videos.txt", lines=LINES // 2)), tmp_path / f"out{suffix}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["videos.txt", "table.csv"])
@pytest.mark.parametrize("is_there", [False, True])
def test_long_lists_of_prediction_are_read_in_time(tmp_path, in_time, name, is_there):
    source = huge(tmp_path, name)
    if not is_there:
        with pytest.raises(InputError, match="no such file; check the path"):
            expand_inputs([str(source)])
        return
    (tmp_path / "c0").mkdir()
    (tmp_path / "c0/v_0.mp4").write_bytes(b"")
    paths = expand_inputs([str(source)])
    assert (len(paths), paths[0]) == (LINES, str(tmp_path / "c0/v_0.mp4"))


@pytest.mark.slow
@pytest.mark.parametrize("line", ["class of {i} clips", "class {i}", "{i} class", "class {i} {i}", "c,{i}"])
def test_long_files_of_class_names_are_read_or_refused_in_time(tmp_path, in_time, line):
    (tmp_path / "c.txt").write_text("".join(f"{line.format(i=i)}\n" for i in range(LINES)))
    try:
        assert len(read_labels(tmp_path / "c.txt")) == LINES
    except InputError as error:
        assert len(str(error)) < 300


def test_too_many_lines_and_bytes_are_refused(tmp_path, monkeypatch):
    source = huge(tmp_path, "videos.txt", lines=20)
    monkeypatch.setattr(text, "MAX_LINES", 10)
    for read in (read_annotations, read_labels, lambda path: expand_inputs([str(path)])):
        with pytest.raises(InputError, match=r"videos\.txt: 21 lines; a list has at most 10: split it"):
            read(source)
    monkeypatch.setattr(text, "MAX_BYTES", 100)
    with pytest.raises(InputError, match=r"videos\.txt: 290 bytes; a list has at most 100: split it"):
        read_annotations(source)


READERS = {
    "annotations": read_annotations,
    "json": lambda path: read_annotations(path, format="something-v2"),
    "class names": read_labels,
    "results": read_evaluations,
    "recipe": load_recipe,
    "log": read_curves,
    "prediction": lambda path: expand_inputs([str(path)]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, reader, kind):
    path = tmp_path / {"json": "a.json", "results": "a.json", "recipe": "a.yaml"}.get(reader, "a.txt")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/dev/urandom")
    with pytest.raises(InputError, match=rf"{path.name}: a pipe or a device, which may never end; save its content"):
        READERS[reader](path)


@pytest.mark.parametrize(
    "command",
    ["data list PIPE --out o.csv", "data check PIPE", "predict PIPE", "features PIPE --out o", "score PIPE.json",
     "fuse PIPE.json PIPE.json --out o.json", "data list l.txt --classes PIPE --out o.csv", "flow PIPE --out o",
     "predict a.mp4 --classes PIPE"],
)  # fmt: skip
def test_commands_refuse_pipes(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for name in ("pipe.txt", "pipe.json"):
        os.mkfifo(name)
    Path("l.txt").write_text("a.mp4 0\n")
    Path("a.mp4").write_bytes(b"")
    result = run(*command.replace("PIPE.json", "pipe.json").replace("PIPE", "pipe.txt").split())
    assert result.returncode == 2
    assert "a pipe or a device, which may never end" in result.stderr.replace("\n", " ")


def test_a_row_of_json_that_is_long_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"path": "a.mp4", "label": ["x"] * 100_000}))
    with pytest.raises(InputError, match=r"a\.jsonl:1: a line of "):
        read_annotations(tmp_path / "a.jsonl")
