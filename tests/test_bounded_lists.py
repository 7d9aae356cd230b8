"""Lists that are huge, or that never end, in every reader of text: bounded time and memory, or one line of refusal."""

import contextlib
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
MOST = 20  # times what `json` takes for as many short rows: for two million lines 80 s, where json takes 4 s
MOST_A_BYTE = 4  # times what the readers take for a byte of ordinary lines
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


def seconds(work, times=1):
    """The processor time of some work, the least of some tries: independent of what else runs."""
    tries = []
    for _ in range(times):
        start = time.process_time()
        work()
        tries.append(time.process_time() - start)
    return min(tries)


@pytest.fixture
def in_time():
    """The time of a test is compared with that of other work on the same machine: its speed is no matter."""
    rows = [json.dumps({"path": f"c{i % 400}/v_{i}.mp4", "label": f"label {i % 400}"}) for i in range(LINES)]
    reference = seconds(lambda: [json.loads(row) for row in rows], times=3)
    start = time.process_time()
    yield
    assert time.process_time() - start < MOST * reference


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


def read_or_refuse(read, source):
    with contextlib.suppress(InputError):
        read(source)


READ = {
    "predict": lambda path: expand_inputs([str(path)]),
    "videos": lambda path: read_annotations(path, format="videos"),
    "frames": lambda path: read_annotations(path, format="frames"),
    "labels": lambda path: read_annotations(path, format="frames", multi_label=True),
    "classes": read_labels,
}
ODD_LINES = {
    "a hundred numbers": "v{i}" + " 1" * 100,
    "thousands of numbers": "v{i}" + " 1" * 4000,
    "numbers and a name": "v{i} " + "12 " * 2000 + "a",
    "folders": "a/" * 2000 + "v{i} 3",
    "blanks": "x" + " " * 6000 + "{i} y",
    "separators": "{i}" + " ," * 3000 + "x",
    "digits": "1" * 6000 + " {i}",
    "quotes": '"' * 6000 + "{i}",
}


@pytest.mark.slow
@pytest.mark.parametrize("reader", READ)
@pytest.mark.parametrize("line", ODD_LINES)
def test_the_time_of_odd_lines_is_in_proportion_to_their_bytes(tmp_path, reader, line):
    """Also where the first path exists, so that no reader gives up before the others."""
    ordinary, odd = (tmp_path / f"{name}.txt" for name in ("ordinary", "odd"))
    (tmp_path / "v0").mkdir()
    ordinary.write_text("".join(f"v{i} 250 {i % 40}\n" for i in range(5_000)))
    num_lines = max(400_000 // len(ODD_LINES[line]), 1)
    odd.write_text(
        "v0\n" * (reader == "predict") + "".join(f"{ODD_LINES[line].format(i=i)}\n" for i in range(num_lines))
    )
    allowed = seconds(lambda: read_or_refuse(READ[reader], ordinary), times=3) / ordinary.stat().st_size
    spent = seconds(lambda: read_or_refuse(READ[reader], odd), times=2) / odd.stat().st_size
    assert spent < MOST_A_BYTE * allowed


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
