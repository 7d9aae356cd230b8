"""Files of class names in all the forms of the field, read alike wherever an option takes them."""

import ast
import json

import pytest

from i3d.data.class_files import class_names, read_labels
from i3d.data.labels import dataset_labels, numbered_labels
from i3d.errors import InputError
from support.commands import run
from support.finetuning_runs import make_folder, save_tiny
from support.paths import ROOT

FORMS = {
    "one_a_line.txt": "weaving basket\nair drumming\nhop\n",
    "windows.txt": "\ufeffweaving basket\r\nair drumming\r\nhop\r\n\r\n",
    "old_mac.txt": "weaving basket\rair drumming\rhop\r",
    "behind.txt": "air drumming 1\nweaving basket 0\nhop 2\n",
    "behind_tab.txt": "weaving basket\t0\nair drumming\t1\nhop\t2\n",
    "behind_comma.csv": "hop,2\nweaving basket,0\nair drumming,1\n",
    "behind_colon.txt": "weaving basket: 0\nair drumming: 1\nhop: 2\n",
    "before.txt": "0 weaving basket\n2 hop\n1 air drumming\n",
    "before_dot.txt": "0. weaving basket\n1. air drumming\n2. hop\n",
    "before_comma.csv": "0,weaving basket\n1,air drumming\n2,hop\n",
    "before_quotes.csv": '0,"weaving basket"\n1,"air drumming"\n2,"hop"\n',
    "before_colon.txt": "0: weaving basket\n1: air drumming\n2: hop\n",
    "before_semicolon.csv": "0;weaving basket\n1;air drumming\n2;hop\n",
    "before_tab.tsv": "0\tweaving basket\n1\tair drumming\n2\thop\n",
    "header.csv": "id,name\n1,air drumming\n0,weaving basket\n2,hop\n",
    "header_label.csv": "label_id,label_name\n0,weaving basket\n1,air drumming\n2,hop\n",
    "header_behind.csv": "name,label\nweaving basket,0\nair drumming,1\nhop,2\n",
    "header.tsv": "Index\tClass\n0\tweaving basket\n1\tair drumming\n2\thop\n",
    "numbers.json": '{"hop": 2, "weaving basket": 0, "air drumming": 1}',
    "quoted_numbers.json": '{"weaving basket": "0", "air drumming": "1", "hop": "2"}',
    "names.json": '{"0": "weaving basket", "2": "hop", "1": "air drumming"}',
    "list.json": '["weaving basket", "air drumming", "hop"]',
    "json.txt": '{"weaving basket": 0,\n "air drumming": 1,\n "hop": 2}',
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_names_in_the_order_of_their_numbers(tmp_path, form):
    (tmp_path / form).write_bytes(FORMS[form].encode())
    assert class_names(str(tmp_path / form)) == ("weaving basket", "air drumming", "hop")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", "run 1\nwalk 2\n", r"the numbers beside the names must be 0 to 1, each once"),
        ("c.txt", "1 run\n2 walk\n", r"the numbers beside the names must be 0 to 1, each once"),
        ("c.csv", "0,run\n0,walk\n", r"the numbers beside the names must be 0 to 1, each once"),
        ("c.csv", "0,run\n1,walk\nhop\n3,swim\n", r"c\.csv:3: 'hop': has no class number, other lines have"),
        ("c.txt", "0: run\n1: walk\n2: swim\nhop\n", r"c\.txt:4: 'hop': has no class number, other lines have"),
        ("c.csv", "id,name\n0,run\nwalk\n", r"c\.csv:1: 'id,name': a header of numbers and names, which not every"),
        ("c.csv", "id,name,parent\n0,run,x\n", r"c\.csv:1: 'id,name,parent': more columns than numbers and names"),
        ("c.csv", "name\nrun\nwalk\n", r"c\.csv:1: 'name': a header, and no class name; remove the line"),
        ("c.txt", "run 1\nrun ; 0\nhop 2\n", r"c\.txt:\d: 'run.*': also on line"),
        ("c.txt", "0 a 0\n1 b 1\n", r"numbers stand before and behind the names"),
        ("c.txt", "run\nwalk\nrun\n", r"c\.txt:3: 'run': also on line 1"),
        ("c.txt", "run\n\nwalk\n", r"c\.txt:2: '': not a class name"),
        ("c.txt", "ru\u200bn\nwalk\n", r"c\.txt:1: 'ru\\u200bn': not a class name"),
        ("c.txt", "\n\n", r"contains no class names"),
        ("c.json", '{"run": 1, "walk": 2}', r"not classes numbered from 0"),
        ("c.json", '{"run": 0, "walk": 0}', r"not classes numbered from 0"),
        ("c.json", '{"run": true, "walk": 0}', r"not classes numbered from 0"),
        ("c.json", '{"1": "run", "2": "walk"}', r"not classes numbered from 0"),
        ("c.json", '{"0": "1", "1": "0"}', None),
        ("c.json", '{"0": "1", "1": "2", "2": "0"}', r"names and numbers are both numbers in quotes"),
        ("c.json", '{"run": 0, "run": 1}', r"not JSON \(a key is repeated"),
        ("c.json", '["run", 3]', r"not classes numbered from 0"),
        ("c.json", '["run", "run"]', r"c\.json: 'run': there twice; rename one"),
        ("c.json", "[]", r"not classes numbered from 0"),
        ("c.json", "[" * 60_000, r"not JSON"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    if message is None:
        assert read_labels(tmp_path / name) == ("1", "0")
        return
    with pytest.raises(InputError, match=message) as error:
        read_labels(tmp_path / name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_two_numbers_are_a_name_and_its_number(tmp_path):
    (tmp_path / "c.txt").write_text("0 0\n1 1\n10 2\n2 3\n3 4\n4 5\n5 6\n6 7\n7 8\n8 9\n9 10\n")
    assert read_labels(tmp_path / "c.txt") == ("0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9")
    (tmp_path / "c.csv").write_text("0,1\n1,0\n2,2\n")
    with pytest.raises(InputError, match=r"c\.csv: numbers stand before and behind the names"):
        read_labels(tmp_path / "c.csv")


@pytest.mark.parametrize(
    "names",
    [["take 1", "walk"], ["3 points", "dunk"], ["class 0", "class 1"], ["cam 1", "cam 2", "other"], ["run 0"]],
)
def test_numbers_in_names_are_not_class_numbers(tmp_path, names):
    (tmp_path / "c.txt").write_text("".join(f"{name}\n" for name in names))
    expected = ("run",) if names == ["run 0"] else tuple(names)  # one name with its number
    assert read_labels(tmp_path / "c.txt") == expected


def test_commands_read_the_same_forms(tmp_path, monkeypatch):
    """`data list` stands for all that read lists, `convert` for the weights; `predict` reads 400 names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.txt").write_text("a.mp4 0\nb.mp4 2\nc.mp4 1\n")
    for form in ("behind.txt", "before_comma.csv", "header.csv", "before_colon.txt", "numbers.json", "names.json"):
        (tmp_path / form).write_bytes(FORMS[form].encode())
        result = run("data", "list", "l.txt", "--classes", form, "--out", "o.csv", "--force")
        assert result.returncode == 0, result.stderr
        rows = (tmp_path / "o.csv").read_text().splitlines()[1:]
        assert rows == ["a.mp4,weaving basket", "b.mp4,hop", "c.mp4,air drumming"]
    kinetics = dataset_labels("kinetics400")
    (tmp_path / "k.json").write_text(json.dumps({name: number for number, name in enumerate(kinetics)}))
    assert class_names("kinetics400") == class_names("k.json") == kinetics


def test_one_function_reads_class_names():
    """No module of the command line reads a file of class names by itself, and all options are named --classes."""
    users = set()
    for path in sorted((ROOT / "src/i3d").rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {getattr(call, "id", getattr(call, "attr", "")) for call in calls}
        users |= {f"{path.relative_to(ROOT / 'src/i3d')}:{name}" for name in names & {"class_names", "read_labels"}}
    assert users == {
        "cli/export.py:class_names", "cli/models.py:class_names", "cli/run/predict.py:class_names",
        "cli/run/setup.py:class_names",
        "cli/run/network.py:class_names", "cli/run/stream.py:class_names", "cli/run/test.py:class_names",
        "data/class_files.py:read_labels", "data/formats/read.py:read_labels",
    }  # fmt: skip


def test_a_test_names_the_classes_of_weights_without_names(tmp_path, monkeypatch):
    """As `predict` does: the list and the weights have the same numbers."""
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "tiny.safetensors", labels=numbered_labels(2))
    make_folder(tmp_path / "clips", ("a", "b"), 1)
    (tmp_path / "l.txt").write_text("clips/a/0.mp4 0\nclips/b/0.mp4 1\n")
    (tmp_path / "names.txt").write_text("archery\nbowling\n")
    words = ("test", "tiny.safetensors", "--data", "l.txt", "--classes", "names.txt", "--workers", 0, "--out", "r.json")
    result = run(*words)
    assert result.returncode == 0, result.stderr
    assert "tiny.safetensors: its classes have no names; they get those of --classes, by number" in result.stderr
    assert json.loads((tmp_path / "r.json").read_text())["classes"] == ["archery", "bowling"]
