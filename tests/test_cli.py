"""The command `i3d`, as a user and as a program would call it."""

import csv
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import i3d
from i3d.inference.prediction import LabelScore, Prediction
from i3d.inference.predictor import VideoClassifier
from support.commands import I3D, run, run_process
from support.evaluation_runs import save_model
from support.processes import kill_running, start, wait_until
from support.rendering import render


@pytest.fixture
def clips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, frames in [("a b (1).mp4", 10), ("é.mkv", 12), ("z.webm", 9)]:
        render(tmp_path / name, num_frames=frames, codec="libvpx" if name.endswith("webm") else "libx264")
    (tmp_path / "m-broken.mp4").write_bytes(b"")
    return tmp_path


EXTRAS = ["coverage", "looped", "unsure", "familiarity"]  # the last columns and keys of a result


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny network, where its predictions do not matter."""
    return save_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.mark.slow
def test_one_clip_is_a_table_with_its_protocol(clips):
    result = run("predict", "z.webm")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "z.webm"
    assert [line.split()[0] for line in lines[1:6]] == ["1", "2", "3", "4", "5"]
    assert all(line.endswith(" %") for line in lines[1:6])
    assert lines[6].startswith("protocol: inception_rgb_kinetics400: all frames at 25 fps")
    assert result.stderr == ""


@pytest.mark.slow
def test_shell_and_python_give_the_same_numbers(clips):
    result = run("predict", "z.webm", "--json", "--top-k", "3")
    [row] = json.loads(result.stdout)
    prediction = i3d.predict("z.webm", top_k=3)
    assert list(row) == ["path", "status", "predictions", "protocol", "frames", "error", *EXTRAS]
    assert row["predictions"] == [{"label": p.label, "score": p.score} for p in prediction.predictions]
    assert (row["path"], row["status"], row["frames"], row["error"]) == ("z.webm", "ok", 9, None)


@pytest.mark.slow
def test_one_bad_file_among_many(clips):
    result = run("predict", ".", "--out", "r.csv")
    assert result.returncode == 3
    assert result.stderr.splitlines() == [
        "error: m-broken.mp4: the file is empty (0 bytes); copy or download it again",
        "3 of 4 videos recognised, in r.csv",
    ]
    with Path("r.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = (f"{word}{k}" for k in range(1, 6) for word in ("top", "score"))
    columns = ["path", "status", *classes, "error", *EXTRAS]
    assert list(rows[0]) == columns
    assert [row["path"] for row in rows] == ["a b (1).mp4", "m-broken.mp4", "z.webm", "é.mkv"]
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "ok"]
    assert rows[1]["error"] == "m-broken.mp4: the file is empty (0 bytes); copy or download it again"
    assert rows[1]["top1"] == ""
    scores = [float(rows[0][f"score{k}"]) for k in range(1, 6)]
    assert scores == sorted(scores, reverse=True)


def test_a_single_bad_file_is_one_line(clips):
    result = run("predict", "m-broken.mp4")
    assert result.returncode == 3
    assert result.stdout == ""
    assert result.stderr == "error: m-broken.mp4: the file is empty (0 bytes); copy or download it again\n"


@pytest.mark.slow
def test_from_the_standard_input(clips):
    with Path("z.webm").open("rb") as file:
        result = run_process("predict", "-", "--json", stdin=file)
    assert json.loads(result.stdout)[0]["predictions"][0]["label"] == i3d.predict("z.webm").top1.label


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Usage: "),
        (["predict"], "error: VIDEOS: is missing; see `i3d predict --help`"),
        (["predcit"], 'Did you mean "predict"?'),
        (["predict", "z.webm", "--tpo-k", "3"], "--top-k"),
        (["predict", "z.webm", "--top-k", "0"], "0: must be at least 1 and at most 1,000,000; see `i3d predict"),
        (["predict", "z.webm", "--top-k", "many"], "error: --top-k 'many': is not a whole number"),
        (["predict", "gone.mp4"], "error: gone.mp4: no such file; check the path"),
        (["predict", "*.gone"], "error: *.gone: no file matches this pattern; check it"),
        (
            ["predict", "z.webm", "--out", "r.pkl"],
            "error: --out r.pkl: a pickle can run any code when it is read; the name must end in .csv or .json",
        ),
        (["predict", "z.webm", "--out", "no/r.csv"], "error: --out no/r.csv: there is no folder no; make it first"),
        (
            ["predict", "z.webm", "--annotate", "x.avi"],
            "error: --annotate x.avi: the name must end in .mp4 or .gif, or have no suffix",
        ),
        (
            ["predict", "z.webm", "--annotate", "no/x.gif"],
            "error: --annotate no/x.gif: there is no folder no; make it first",
        ),
        (
            ["predict", ".", "--annotate", "x.gif"],
            "error: --annotate x.gif: is one file, and 4 videos were given; name a folder",
        ),
        (
            ["predict", "z.webm", "--precision", "half"],
            "error: --precision 'half': is not one of fp32, bf16, fp16, int8, auto",
        ),
        (
            ["predict", "z.webm", "--device", "gpu"],
            "error: --device 'gpu': is not one of auto, cpu, cuda, cuda:N, mps, npu, npu:N",
        ),
        (["predict", "z.webm", "--frames-fps", "0"], "error: --frames-fps 0: must be above 0 and at most 1,000"),
    ],
)
def test_bad_usage_is_exit_code_2(clips, args, words):
    result = run(*args)
    assert result.returncode == 2
    assert words in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


class Counting:
    """Stands for the network where only the bookkeeping of a run is tested."""

    flow = None  # it takes RGB

    def __init__(self, **_options):
        self.calls, self.protocol_line, self.settings = [], "protocol", {"weights": "0"}
        self.weights = SimpleNamespace(incomplete="", familiarity=None)
        self.card = SimpleNamespace(labels=[f"c{k}" for k in range(5)])

    thresholds = VideoClassifier.thresholds

    @property
    def streams(self):
        return (self,)

    @property
    def sampler(self):
        return self

    def views(self, source, **_options):
        if Path(source).stat().st_size == 0:
            raise i3d.VideoError(source, "the file is empty (0 bytes)", "copy it")
        yield "end"

    def logits_of_views(self, views, **_options):
        if isinstance(view := next(views), i3d.VideoError):
            raise view

    def make_prediction(self, source, _logits, **_options):
        self.calls.append(source)
        return Prediction(source, "ok", tuple(LabelScore(f"c{k}", 0.5 / (k + 1)) for k in range(5)), "protocol", 9)


@pytest.fixture
def counting(monkeypatch):
    importlib.import_module("i3d.cli.run.predict")  # its annotations need the class itself
    predictors = []

    def make(_model, **options):
        predictors.append(Counting(**options))
        return predictors[-1]

    monkeypatch.setattr("i3d.inference.predictor.Predictor", make)
    return predictors


def in_process(*args):
    return run(*args).stderr


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
def test_a_second_run_computes_only_videos_that_failed_or_changed(clips, counting, suffix):
    out = f"r.{suffix}"
    in_process("predict", ".", "--out", out)
    first = Path(out).read_bytes()
    assert len(counting[0].calls) == 3
    assert Path(f".{out}.resume").exists()  # a video failed
    in_process("predict", ".", "--out", out)
    assert counting[1].calls == []
    assert Path(out).read_bytes() == first
    shutil.copy("z.webm", "zz.webm")
    Path("m-broken.mp4").write_bytes(b"fixed")
    os.utime("z.webm", (1, 1))  # its content is the same
    in_process("predict", ".", "--out", out)
    assert counting[2].calls == ["m-broken.mp4", "zz.webm"]
    assert not Path(f".{out}.resume").exists()  # every video has a result
    assert "the file exists" in in_process("predict", ".", "--out", out)


def test_an_output_that_was_edited_after_the_run_is_not_replaced(clips, counting):
    in_process("predict", ".", "--out", "r.csv")
    with Path("r.csv").open("a") as file:
        file.write("a note of mine\n")
    assert "the file exists; choose another name" in in_process("predict", ".", "--out", "r.csv")
    assert Path("r.csv").read_text().endswith("a note of mine\n")
    in_process("predict", ".", "--out", "r.csv", "--force")
    assert "a note of mine" not in Path("r.csv").read_text()


class Replacing(Counting):
    """Another program writes to the file while it is read."""

    def logits_of_views(self, views, **options):
        super().logits_of_views(views, **options)
        with Path("z.webm").open("ab") as file:
            file.write(b"more")


class Interrupted(Counting):
    """Ctrl-C during the second video."""

    def make_prediction(self, source, logits, **options):
        if self.calls:
            raise KeyboardInterrupt
        return super().make_prediction(source, logits, **options)


def test_an_interrupt_names_the_results_that_are_stored(clips, counting, monkeypatch):
    videos = ["z.webm", "a b (1).mp4", "é.mkv"]
    with monkeypatch.context() as patch:
        patch.setattr("i3d.inference.predictor.Predictor", lambda _model, **options: Interrupted(**options))
        result = run("predict", *videos, "--out", "r.csv")
    assert result.returncode == 130
    ending = "to resume: i3d predict z.webm 'a b (1).mp4' 'é.mkv' --out r.csv\n"
    assert result.stderr.endswith(f"interrupted; 1 result is stored in .r.csv.resume; {ending}")
    in_process("predict", *videos, "--out", "r.csv")
    assert counting[0].calls == videos[1:]


def test_a_video_that_changes_while_it_is_read_is_an_error(clips, monkeypatch):
    monkeypatch.setattr("i3d.inference.predictor.Predictor", lambda _model, **options: Replacing(**options))
    for _ in range(2):  # and it is not in the log
        message = in_process("predict", "z.webm", "--out", "r.csv")
        assert "z.webm: it changed while it was read; run again when it is complete" in message
        assert ",error," in Path("r.csv").read_text()


def test_json_lines_and_json_hold_the_same(clips, counting):
    in_process("predict", ".", "--out", "r.json")
    in_process("predict", ".", "--out", "r.jsonl")
    rows = json.loads(Path("r.json").read_text())
    assert rows == [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert rows[1]["status"] == "error"
    assert rows[1]["predictions"] == []


def test_other_results_are_not_replaced_without_force(clips, counting):
    Path("r.csv").write_text("precious")
    assert "the file exists; choose another name, or replace it with --force" in in_process(
        "predict", "z.webm", "--out", "r.csv"
    )
    assert Path("r.csv").read_text() == "precious"
    videos = ("z.webm", "m-broken.mp4")  # one fails: the log stays
    in_process("predict", *videos, "--out", "r.csv", "--force")
    message = in_process("predict", *videos, "--out", "r.csv", "--top-k", "2")
    assert "made with other settings (top_k was 5, now 2)" in message
    assert "holds results of z.webm, which is not in this run" in in_process("predict", "é.mkv", "--out", "r.csv")
    Path("r.csv").unlink()
    assert "other settings" in in_process("predict", "z.webm", "--out", "r.csv", "--top-k", "2")
    in_process("predict", "é.mkv", "--out", "r.csv", "--force")
    assert "z.webm" not in Path("r.csv").read_text()


def test_an_edited_line_of_a_resume_log_is_computed_again(clips, counting):
    words = ("predict", "z.webm", "m-broken.mp4", "--out", "r.csv")
    in_process(*words)
    before, log = Path("r.csv").read_text(), Path(".r.csv.resume")
    log.write_text(re.sub(r'"score": 0\.\d+', '"score": 0.99', log.read_text(), count=1))
    assert ".r.csv.resume: 1 line damaged or edited (line 2: z.webm); dropped" in in_process(*words)
    assert Path("r.csv").read_text() == before


@pytest.mark.slow
def test_the_standard_input_is_never_reused_as_unchanged(clips, tiny):
    """A bad video beside it keeps the log."""
    for name in ("z.webm", "é.mkv"):
        words = ["predict", "-", "m-broken.mp4", "--out", "r.json", "--model", tiny]
        assert run(*words, stdin=Path(name).read_bytes()).returncode == 3
        score = json.loads(Path("r.json").read_text())[0]["predictions"][0]["score"]
        assert score == i3d.predict(name, model=tiny).top1.score


@pytest.mark.slow
def test_a_killed_run_resumes(clips):
    """kill -9 in mid-run, then the same command: the same file as a run that was never killed."""
    for i in range(6):
        shutil.copy("a b (1).mp4", f"copy{i}.mp4")
    whole = run("predict", ".", "--out", "whole.csv")
    assert whole.returncode == 3
    process, journal = start(["i3d", "predict", ".", "--out", "r.csv"]), Path(".r.csv.resume")
    wait_until(lambda: journal.exists() and len(journal.read_bytes().splitlines()) >= 4, process)
    kill_running(process)
    assert not Path("r.csv").exists()
    num_logged = len(journal.read_bytes().splitlines()) - 1
    assert 3 <= num_logged < 9
    with journal.open("ab") as file:
        file.write(b'{"row": {"path": "cut')  # as a kill in mid-write leaves it
    assert run("predict", ".", "--out", "r.csv").returncode == 3
    assert Path("r.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.slow
def test_interrupt_is_130_and_leaves_no_output(clips):
    for i in range(30):
        shutil.copy("a b (1).mp4", f"copy{i}.mp4")
    log = clips / "log.txt"
    process = start(["i3d", "predict", ".", "--out", "r.csv"], log)
    wait_until(Path(".r.csv.resume").exists, process, log=log)
    process.send_signal(signal.SIGINT)
    code, stderr = process.wait(60), log.read_text()
    assert code == 130, stderr
    assert re.search(
        r"^interrupted; (\d+ results? .* stored in .r.csv.resume|results so far are stored beside r.csv); "
        r"to resume: i3d predict . --out r.csv\n",
        stderr,
    )
    assert "Traceback" not in stderr
    assert not Path("r.csv").exists()
    assert [p for p in os.listdir() if p.startswith(".r") and p != ".r.csv.resume"] == []


def test_an_interrupt_within_exec_is_130_too(tmp_path):
    """As in the making of a dataclass: Python notes it as not handled, and `python -m` then ended by a signal."""
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass"
    (tmp_path / "module.py").write_text(f"from i3d.cli.main import run_cli\nrun_cli(lambda: exec({code!r}))")
    result = subprocess.run([sys.executable, "-m", "module"], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


def test_annotate_replaces_no_file(clips):
    """Neither its own input, whatever --force, nor a file of somebody without it."""
    before = Path("z.webm").read_bytes()
    Path("in.mp4").write_bytes(before)
    for force in ([], ["--force"]):
        result = run("predict", "in.mp4", "--annotate", "in.mp4", *force)
        assert result.returncode == 2
        assert result.stderr.startswith("error: --annotate in.mp4: ")
        assert Path("in.mp4").read_bytes() == before
    Path("other.gif").write_text("precious")
    result = run("predict", "in.mp4", "--annotate", "other.gif")
    assert (result.returncode, Path("other.gif").read_text()) == (2, "precious")
    assert "the file exists; choose another name, or replace it with --force" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.gif", "out.mp4"])
def test_annotate_draws_the_labels(clips, name):
    result = run("predict", "é.mkv", "--annotate", name)
    assert result.returncode == 0
    assert result.stderr == f"é.mkv: 2 of 5 labels fit into half of the frame\nlabels drawn on the video: {name}\n"
    if name.endswith("gif"):
        with Image.open(name) as image:
            assert image.n_frames >= 4
            frame = image.convert("RGB")
    else:
        from i3d.video.reader import open_video

        with open_video(name) as video:
            frames = list(video.stream())
        assert len(frames) == 12
        frame = Image.fromarray(frames[0])
    width, height = frame.size
    assert (width, height) == (64, 48)  # that of the video
    upper = frame.convert("L").crop((0, 0, width, height // 2))
    assert sum(upper.histogram()[180:]) > 50  # light letters


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error(clips):
    process = subprocess.Popen([*I3D, "predict", "z.webm", "z.webm"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    stderr = process.stderr.read().decode()
    process.stderr.close()
    process.wait()
    assert "Traceback" not in stderr
    assert "Exception" not in stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(clips):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run([*I3D, "predict", "z.webm"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: reading or writing failed (No space left on device); make room on the disk\n"


@pytest.mark.slow
def test_a_poor_terminal_is_enough(clips):
    Path("日.mp4").write_bytes(b"")
    env = {"NO_COLOR": "1", "COLUMNS": "20", "LC_ALL": "C", "TERM": "dumb"}
    result = run_process("predict", "z.webm", "日.mp4", env={**env, "PYTHONIOENCODING": "latin-1"})
    assert result.returncode == 3
    assert "\x1b" not in result.stdout + result.stderr
    assert "error: \\u65e5.mp4: the file is empty" in result.stderr
    result = run_process("predict", "日.gone", env={**env, "PYTHONIOENCODING": "utf-8"})
    assert result.stderr.startswith("error: 日.gone: no such file")


def test_names_with_line_ends_stay_on_one_line(clips):
    Path("a\nb\x1b[31m.mp4").write_bytes(b"")
    result = run("predict", "a\nb\x1b[31m.mp4")
    assert result.stderr == "error: a\\nb\\x1b[31m.mp4: the file is empty (0 bytes); copy or download it again\n"


def test_version():
    assert run_process("--version").stdout == f"i3d {i3d.__version__}\n"
