"""No command replaces a file that it did not write itself, reads and writes one file, or runs twice on one output."""

import os
import shutil
import signal
from itertools import count
from pathlib import Path
from unittest import mock

import pytest

from i3d.cli.main import app
from i3d.cli.options import OUTPUT
from support.commands import commands_below, run, run_here
from support.processes import locked_in_another_process
from support.rendering import render
from support.training_runs import RECIPE

OURS = b"written by somebody else\n"
FILES = {  # command, option (empty: an argument): words of a command that would write OUT
    ("predict", "--out"): "clip.mp4 --out OUT.csv",
    ("predict", "--annotate"): "clip.mp4 --annotate OUT.mp4",
    ("flow show", "--out"): "clip.mp4 --out OUT.gif",
    ("test", "--out"): "inception_rgb_kinetics400 --data clips.csv --out OUT.json",
    ("test", "--report"): "inception_rgb_kinetics400 --data clips.csv --report OUT.html",
    ("score", "--out"): "result.json --out OUT.yaml",
    ("score", "--report"): "result.json --report OUT.html",
    ("fuse", "--out"): "result.json result.json --out OUT.csv",
    ("fuse", "--report"): "result.json result.json --report OUT.html",
    ("timeline", "--out"): "clip.mp4 --out OUT.csv",
    ("timeline", "--annotate"): "clip.mp4 --annotate OUT.mp4",
    ("timeline", "--plot"): "clip.mp4 --plot OUT.png",
    ("explain", "--out"): "clip.mp4 --out OUT.gif",
    ("explain", "--plot"): "clip.mp4 --plot OUT.png",
    ("timeline", "--tune-out"): "clip.mp4 --tune clips.csv --tune-out OUT.safetensors",
    ("plot", "--out"): "log.jsonl --out OUT.png",
    ("data list", "--out"): "clips.csv --out OUT.txt",
    ("data split", "--out"): "clips.csv --out OUT.jsonl",
    ("data check", "--out"): "clips.csv --out OUT.csv",
    ("convert", ""): "inception_rgb_kinetics400 OUT.safetensors",
    ("export", ""): "inception_rgb_kinetics400 OUT.onnx",
    ("benchmark model", "--out"): "r50 --out OUT.json",
}
RESUMED = [("predict", "--out"), ("test", "--out"), ("timeline", "--out")]
FOLDERS = {  # the words, and the files in OUT that it would write
    ("features", "--out"): ("clip.mp4 --out OUT", ["clip.npy", "clip.json"]),
    ("flow", "--out"): ("clip.mp4 --out OUT", ["clip/x.jpg", "list.txt"]),
    ("train", "--work-dir"): (
        "--recipe tiny.yaml --data clips.csv --work-dir OUT",
        ["recipe.json", "run.json", "log.jsonl", "timing.jsonl", "curves.png", "best.safetensors", "last.safetensors"],
    ),
    ("data extract-frames", "--out"): (
        "clips.csv --out OUT",
        ["clip/img_00001.jpg", "list.txt", "list_val.txt", "classes.txt"],
    ),
    ("data pack", "--out"): ("clips.csv --out OUT", ["x.txt"]),
    ("timeline", "--out"): ("clip.mp4 --out OUT --segment-format srt", ["clip.srt"]),
    ("timeline", "--annotate"): ("clip.mp4 --annotate OUT", ["clip.mp4"]),
    ("data check", "--fix"): ("clips.csv --fix OUT", ["cut.mp4"]),
    ("publish", ""): ("inception_rgb_kinetics400 OUT", ["model.safetensors", "README.md"]),
    ("data preview", "--out"): ("clips.csv --out OUT", ["clips.png", "statistics.png"]),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A clip, a damaged clip, their list, a recipe, a log and a result."""
    folder = tmp_path_factory.mktemp("inputs")
    render(folder / "clip.mp4", num_frames=8)
    whole = render(folder / "cut.mkv", num_frames=16, options={"g": "2"}).read_bytes()
    (folder / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (folder / "clips.csv").write_text("path,label,split\nclip.mp4,archery,train\ncut.mkv,abseiling,val\n")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "log.jsonl").write_text('{"step": 1, "epoch": 0, "loss": 1.0, "top1": 0.5, "lr": 0.1}\n')
    (folder / "result.json").write_text("{}")
    return folder


@pytest.fixture
def place(inputs, tmp_path, monkeypatch):
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_option_that_names_an_output_is_in_these_tables():
    outputs = {
        (name, next((flag for flag in argument.names if flag.startswith("--")), ""))
        for name, command in commands_below(app)
        for argument in command.assemble_argument_collection()
        if OUTPUT in argument.parameter.group and "Path" in str(argument.hint)
    }
    assert outputs == FILES.keys() | FOLDERS.keys()


def words_of(command, words, out):
    return [*command.split(), *words.replace("OUT", str(out)).split()]


@pytest.mark.parametrize(("command", "option"), FILES)
def test_a_file_is_not_replaced_without_force(place, command, option):
    words = words_of(command, FILES[command, option], place / "out")
    out = next(Path(word) for word in words if word.startswith(str(place / "out")))
    for kind in ("file", "link to nothing"):
        if kind == "file":
            out.write_bytes(OURS)
        else:
            out.unlink()
            out.symlink_to("nowhere")
        before = contents(place)
        result = run(*words)
        assert (result.returncode, result.stdout) == (2, "")
        line = f"error: {option} {out}".replace("error:  ", "error: ")
        todo = "choose another name, or replace it with --force"
        if (command, option) in RESUMED:
            todo += " (nothing is left to resume: its run is complete, or it is of another command)"
        assert result.stderr.endswith(f"{line}: the file exists; {todo}\n")
        assert contents(place) == before
        assert out.is_symlink() == (kind != "file")


@pytest.mark.parametrize(("command", "option"), FILES)
def test_a_link_is_not_replaced_even_with_force(place, command, option):
    """It would become a file, and what it names would stay as it is."""
    words = words_of(command, FILES[command, option], place / "out")
    out = next(Path(word) for word in words if word.startswith(str(place / "out")))
    (place / "target").write_bytes(OURS)
    out.symlink_to("target")
    before = contents(place)
    result = run(*words, "--force")
    assert result.returncode == 2
    assert "is a link to target, which would become a file of its own; name the file itself" in result.stderr
    assert (contents(place), out.is_symlink()) == (before, True)


def test_a_file_that_is_called_lock_stays(place):
    (place / ".o.csv.lock").write_bytes(OURS)
    assert run("data", "list", "clips.csv", "--out", "o.csv").returncode == 0
    assert (place / ".o.csv.lock").read_bytes() == OURS
    assert not [path.name for path in place.iterdir() if path.name.endswith("i3d-lock")]


@pytest.mark.parametrize("name", [name for name, _ in commands_below(app)])
def test_an_option_given_twice_is_refused(place, name):
    command = dict(commands_below(app))[name]
    for argument in command.assemble_argument_collection():
        flags = [flag for flag in argument.names if flag.startswith("--")]
        if not flags or "list[" in str(argument.hint):
            continue
        value = [] if argument.hint is bool else ["1"]
        result = run(*name.split(), flags[0], *value, flags[0], *value)
        assert result.stderr == f"error: {flags[0]}: is given twice; give it once; see `i3d {name} --help`\n"


@pytest.mark.parametrize(("command", "option"), FILES)
def test_an_output_is_not_also_an_input(place, command, option):
    """Even with --force: the names of inputs are exchanged for that of the output."""
    words = words_of(command, FILES[command, option], place / "out")
    out = next(word for word in words if word.startswith(str(place / "out")))
    names = ("r50", "inception_rgb_kinetics400")
    number = next(i for i, word in enumerate(words) if (place / word).is_file() or word in names)
    source = place / words[number]
    Path(out).write_bytes(source.read_bytes() if source.is_file() else b"weights")
    words[number] = out
    before = contents(place)
    result = run(*words, "--force")
    assert result.returncode == 2
    assert "what the command reads; choose another name" in result.stderr
    assert contents(place) == before


@pytest.mark.parametrize(("command", "option"), FILES)
def test_two_runs_on_one_output(place, command, option):
    words = words_of(command, FILES[command, option], place / "out")
    out = next(Path(word) for word in words if word.startswith(str(place / "out")))
    if (command, option) in RESUMED:  # test_resume_log.py
        return
    with locked_in_another_process(out):
        before = contents(place)
        result = run(*words)
        assert result.returncode == 2
        assert "another run is writing it; wait for that run, or choose another name" in result.stderr
        assert contents(place) == before


@pytest.mark.parametrize(("command", "option"), FOLDERS)
@pytest.mark.usefixtures("place")
def test_files_of_others_in_a_folder_are_not_replaced(tmp_path_factory, command, option):
    words, names = FOLDERS[command, option]
    for name in names:
        out = tmp_path_factory.mktemp("folder") / "out"
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(OURS)
        before = contents(out)
        result = run(*words_of(command, words, out))
        assert result.returncode in (2, 3), (name, result.output)
        assert "exists" in result.output or f"{name}: cannot be read; restore it" in result.output
        assert contents(out) == before


@pytest.mark.parametrize("command", ["list", "split"])
def test_class_names_beside_a_list_are_not_replaced_by_others(place, command):
    words = ["data", command, "clips.csv", "--out", "o.csv"]
    (place / "o.classes.txt").write_text("mine\n")
    result = run(*words)
    assert result.returncode == 2
    assert "o.classes.txt: the file exists; choose another name, or replace it with --force" in result.stderr
    assert not (place / "o.csv").exists()
    assert run(*words, "--force").returncode == 0
    assert (place / "o.classes.txt").read_text() == "abseiling\narchery\n"
    assert run("data", command, "clips.csv", "--out", "o.jsonl").returncode == 0  # the same names
    (place / "other.csv").write_text("path,label,split\nclip.mp4,walk,train\ncut.mkv,run,val\n")
    before = contents(place)
    result = run("data", command, "other.csv", "--out", "o.tsv", "--force")
    assert "o.classes.txt: has other class names, which may be those of o.csv too; choose another" in result.stderr
    assert (result.returncode, contents(place)) == (2, before)


def killed_at_rename(words, number, *, before):
    """Run a command in a process that is killed before or after a rename; whether it came to its end."""
    child = os.fork()
    if child == 0:
        renames, rename = count(), Path.replace

        def replace(path, target):
            is_last = next(renames) == number
            if not (is_last and before):
                rename(path, target)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        with mock.patch.object(Path, "replace", replace):
            os._exit(run(*words).returncode)
    return not os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("words", "listed", "names"),
    [
        ("data list new.csv --out o.txt", "o.txt", "o.classes.txt"),
        ("data extract-frames new.csv --out o --workers 0", "o/list.txt", "o/classes.txt"),
    ],
)
def test_a_kill_leaves_no_list_without_its_class_names_and_nothing_hidden(place, words, listed, names, force, before):
    """With --force the files of a shorter list, which has another class, are replaced."""
    (place / "first.csv").write_text("path,label\nclip.mp4,zumba\n")
    (place / "new.csv").write_text("path,label\nclip.mp4,archery\ncut.mkv,abseiling\n")
    command, out = [*words.split(), *["--force"] * force], words.split()[4]
    for number in count():
        for path in place.glob("o*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if force:
            assert run(*(word.replace("new", "first") for word in command)).returncode == 0
        is_over = killed_at_rename(command, number, before=before)
        if (place / listed).exists():
            is_old = len((place / listed).read_text().splitlines()) == 1
            assert (place / names).read_text() == ("zumba\n" if is_old else "abseiling\narchery\n")
        result = run(*command)
        assert result.returncode == 0 or (not force and f"{out}: the file exists" in result.stderr)
        assert (place / listed).exists()
        assert (place / names).read_text() == "abseiling\narchery\n"
        assert not [path for path in place.rglob(".*") if path.is_file() and path.name != ".i3d-frames.json"]
        if is_over:
            break
    assert number > 1


@pytest.mark.parametrize(
    "words",
    [
        "data extract-frames clips --out OUT",
        "flow clips --out OUT",
        "flow clips/* --out OUT",
        "data check clips --fix OUT",
        "data preview clips --out OUT",
        "data pack clips --out OUT",
    ],
)
@pytest.mark.parametrize("name", ["clips/new", "clips/archery", "clips"])
def test_no_folder_in_the_source_is_written_to(place, words, name):
    """The next run would read it with the clips, or as another class."""
    for number, label in enumerate(("archery", "abseiling")):
        (place / "clips" / label).mkdir(parents=True)
        render(place / "clips" / label / "clip.mp4", num_frames=8 + number)
    if "*" in words:  # it is read as soon as it exists
        (place / name / "flow").mkdir(parents=True)
        shutil.copy(place / "clip.mp4", place / name / "flow")
    before = contents(place)
    result = run(*words.replace("OUT", name).split())
    assert result.returncode == 2, result.output
    assert "lies in" in result.stderr or "exists; choose" in result.stderr
    assert result.stderr.count("\n") == 1
    assert contents(place) == before


def test_our_drawings_and_reports_are_made_again(place):
    assert run("plot", "log.jsonl", "--out", "o.png").returncode == 0
    assert run("plot", "log.jsonl", "--out", "o.png").returncode == 0
    assert run("data", "preview", "clips.csv", "--out", "p", "--recipe", "i3d_rgb").returncode == 0
    assert run("data", "preview", "clips.csv", "--out", "p", "--recipe", "i3d_rgb").returncode == 0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("tools/analysis/analyze_logs.py plot_curve log.jsonl --out", "o.png"),
        ("tools/test.py i3d_r50_32x2x1_100e_kinetics400_rgb m.pth --eval top_k_accuracy --out", "o.json"),
        ("tools/test.py i3d_r50_32x2x1_100e_kinetics400_rgb m.pth --dump", "o.json"),
    ],
)
def test_the_scripts_of_mmaction2_replace_no_files(place, words, name):
    (place / name).write_bytes(OURS)
    result = run_here(["python", *words.split(), name])
    assert result.returncode == 2
    assert f"{name}: the file exists; choose another name, or replace it with --force" in result.stderr
    assert (place / name).read_bytes() == OURS
