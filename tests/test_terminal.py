"""What stands on the terminal: every long command in a terminal of 80 and of 120 columns, and the parts of its bar."""

import io
import re
import shlex
import signal

import pytest
from rich.cells import cell_len
from rich.console import Console

from i3d.cli.messages import StderrConsole
from i3d.cli.output import progress as progress_module
from i3d.cli.output.progress import ProgressBar, shorten
from i3d.cli.output.results import PredictionLines
from i3d.cli.output.tables import print_table
from i3d.inference.prediction import LabelScore, Prediction
from i3d.utils.progress import Progress
from support.commands import run
from support.evaluation_runs import WINDOWS, save_model
from support.finetuning_runs import make_folder, save_tiny, train_command
from support.rendering import render_tinted
from support.terminals import check_screens, record
from support.training_runs import RECIPE

LONG = "a long name of a recording with its date 2024-05-03 18.22 and a 日本語 place"
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Eight clips of two classes below a folder with a long name, their list, a long video, two tiny networks."""
    root = tmp_path_factory.mktemp("terminal")
    make_folder(root / LONG, ("left", "right"), per_class=4)
    splits = ("train", "train", "train", "val")
    lines = [f"{LONG}/{name}/{i}.mp4,{name},{splits[i]}" for name in ("left", "right") for i in range(4)]
    (root / "clips.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    # with wrong labels of validation no start is perfect, which would end the training of layers
    wrong = [f"{LONG}/left/3.mp4,right,val", f"{LONG}/right/3.mp4,left,val"]
    (root / "wrong.csv").write_text("\n".join(["path,label,split", *lines[:3], *lines[4:7], *wrong]) + "\n")
    (root / "recipe.yaml").write_text(RECIPE.replace("epochs: 12", "epochs: 2"))
    (root / LONG / "4.mp4").write_bytes(b"")  # its error is logged while a bar is drawn
    render_tinted(root / "long.mp4", first=0, num_frames=60, channel=0)
    save_model(root / "windows.safetensors", labels=("left", "right"), protocol=WINDOWS)
    save_tiny(root / "tiny.safetensors")
    return root


NETWORK, TABLE = "windows.safetensors", "clips.csv"
RUNS = {  # words, and the stages that bars name
    "predict": (["predict", LONG, "--model", NETWORK, *CPU], ["predict"]),
    "predict one": (["predict", "long.mp4", "--model", NETWORK, *CPU], ["predict"]),
    "features": (["features", LONG, "--model", NETWORK, "--out", "{new}", "--window", "8", *CPU], ["features"]),
    "test": (["test", NETWORK, "--data", TABLE, "--split", "train", "--workers", "0", *CPU], ["test"]),
    "flow": (["flow", "long.mp4", "--out", "{new}", "--flow-method", "dis", "--workers", "0"], ["compute flow"]),
    "extract": (["data", "extract-frames", TABLE, "--out", "{new}", "--workers", "0"], ["extract frames"]),
    "check": (["data", "check", TABLE, "--workers", "1"], ["check clips", "compare clips"]),
    "pack": (["data", "pack", TABLE, "--out", "{new}"], ["pack files"]),
    "preview": (
        ["data", "preview", TABLE, "--out", "{new}", "--num-clips", "2", "--cache", "{new}.cache"],
        ["draw preview", "check clips", "compare clips", "draw preview"],
    ),
    "benchmark data": (
        ["benchmark", "data", TABLE, "--workers", "0", "--num-clips", "4", "--batch-size", "2"],
        ["load clips", "load clips, 0 workers"],
    ),
    "benchmark model": (
        ["benchmark", "model", NETWORK, "--video", "long.mp4", "--rounds", "3", *CPU],
        ["build networks", "measure"],
    ),
    "train": (
        ["train", "--data", TABLE, "--recipe", "recipe.yaml", "--work-dir", "{new}", "--workers", "0", *CPU],
        ["starting", *(["train", "validate"] * 2)],
    ),
    "finetune": (
        [*train_command(TABLE, "{new}", "tiny.safetensors", "--yes", cache="{new}.cache")[1:]],
        ["starting", "check clips", "compare clips", "draw preview", "features", "features of random views",
         "overfit check", "fit classifier", "cross-validation", "write report"],
    ),
    "finetune layers": (
        [*train_command("wrong.csv", "{new}", "tiny.safetensors", "--train-layers", "last", "--epochs", "1", "--yes",
                        cache="{new}.cache")[1:]],
        ["starting", "check clips", "compare clips", "draw preview", "features", "features of random views",
         "overfit check", "fit classifier", "overfit check", "prepare training", "validate", "train", "validate",
         "features of the trained network", "test", "cross-validation", "write report"],
    ),
}  # fmt: skip


@pytest.fixture
def in_clips(clips, monkeypatch):
    monkeypatch.chdir(clips)
    return clips


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", RUNS)
def test_bars_leave_nothing_and_name_the_stage_that_runs(in_clips, tmp_path, name, columns):
    words, stages = RUNS[name]
    recording = record([str(word).replace("{new}", str(tmp_path / "new")) for word in words], columns=columns)
    assert recording.code == (3 if LONG in words else 0), "\n".join(filter(None, recording.screens[-1]))
    check_screens(recording, columns=columns)
    assert recording.stages == stages


@pytest.mark.slow
def test_a_bar_moves_inside_a_video(in_clips):
    recording = record(RUNS["predict one"][0], columns=80)
    counts = [tuple(map(int, count)) for count in re.findall(r"(\d+)/(\d+) views", "\n".join(recording.bars))]
    assert counts == sorted(counts)
    assert {total for _, total in counts} == {6}  # 60 frames at 25 fps are 48 at 20, in windows of 8
    assert "long.mp4" in recording.bars[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more", "saved"),
    [
        ("predict", ["--out", "{new}.csv"], r"\d+ results? (is|are) stored in \S+/\.new\.csv\.resume; to resume"),
        ("predict", [], "nothing is saved without --out; to start again"),
        ("features", [], r"the features of complete videos are saved in \S+/new; to resume"),
        ("train", ["--epochs", "500"], r"stopped after step \d+ of \d+, saved; the same command resumes from there"),
    ],
)
def test_ctrl_c_leaves_one_line_with_what_is_saved_and_the_command(in_clips, tmp_path, name, more, saved):
    words = [word.replace("{new}", str(tmp_path / "new")) for word in [*RUNS[name][0], *more]]
    has_results = name == "predict" and "--out" in words
    if has_results:  # so many that they are not done when Ctrl-C comes
        (tmp_path / "many").mkdir()
        for number in range(300):
            (tmp_path / "many" / f"{number:03}.mp4").hardlink_to(in_clips / "long.mp4")
        words[words.index(LONG)] = str(tmp_path / "many")
    recording = record(words, columns=120, interrupt_at=f"^{name}.* [1-9]\\d*/" if has_results else f"^{name}")
    assert recording.code == 130, recording.screens[-1]
    check_screens(recording, columns=120)
    command = re.escape(re.sub(r"\s", "", f"i3d {shlex.join(words)}"))
    assert re.search(rf"{saved.replace(' ', '')}:{command}$", recording.text), recording.text
    assert "^C" not in recording.text


def test_there_is_no_bar_in_pipes_nor_with_quiet(in_clips):
    words = ("data", "pack", TABLE, "--out")
    piped = run(*words, in_clips / "piped", env={"FORCE_COLOR": "1"})  # as on servers of continuous integration
    assert piped.stderr.count("\n") == 1
    assert piped.stderr.startswith("9 files of 8 clips packed") or "files of 8 clips packed" in piped.stderr
    recording = record([*words, str(in_clips / "quiet"), "--quiet"], columns=80)
    assert (recording.code, recording.text) == (0, "")


# the parts of a bar


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def line_of(bar, *, width=100):
    console = Console(width=width, file=io.StringIO())
    console.print(bar, end="")
    return console.file.getvalue()


def test_results_of_an_earlier_run_count_but_take_no_time(clock):
    bar = ProgressBar("starting")
    bar(Progress("test", 0, 1000, "clip"))
    bar(Progress("test", 800, 1000, "clip", reused=800))
    assert "-:-- left" in line_of(bar)
    clock.now = 20.0
    bar(Progress("test", 810, 1000, "clip", reused=800))
    line = line_of(bar)
    assert re.match(r"test  ━{24} {6}    810/1,000 clips   6:20 left   2.0 s/clip$", line), line
    clock.now = 25.0  # until the next report, the time left runs on
    assert "6:15 left" in line_of(bar)


def test_a_resumed_run_and_a_stage_between_do_not_change_the_rate(clock):
    bar = ProgressBar("starting")
    bar(Progress("train", 500, 600, "step"))  # an earlier run made these
    clock.now = 10.0
    bar(Progress("train", 520, 600, "step"))
    bar(Progress("validate", 0, 4, "clip"))
    assert line_of(bar).startswith("validate  ")
    clock.now = 1000.0
    bar(Progress("train", 520, 600, "step"))
    assert re.search(r"520/600 steps   0:40 left  2.0 steps/s", line_of(bar)), line_of(bar)


def test_items_move_by_the_parts_of_the_one_that_runs(clock):
    bar = ProgressBar("predict", 4, "video")
    bar.advance()  # by an earlier run: there was no report within it
    bar.within(Progress("predict", 0, None, "view", name="b.mp4"))
    clock.now = 5.0
    bar.within(Progress("predict", 30, 60, "view", name="b.mp4"))
    line = line_of(bar)
    assert re.match(r"predict  b.mp4  ━{11} {19}  1/4 videos   0:25 left  10.0 s/video", line), line


def test_flow_that_is_computed_ahead_of_a_video_moves_no_bar_of_videos(clock):
    bar = ProgressBar("predict", 4, "video")
    bar.within(Progress("predict", 30, 60, "view", name="a.mp4"))
    clock.now = 5.0
    bar.within(Progress("dis flow", 20, 90, "frame", name="b.mp4"))
    assert re.match(
        r"predict  b.mp4  ━+ +0/4 videos   0:35 left  10.0 s/video  frames of dis flow 20$", line_of(bar)
    ), line_of(bar)
    bar.advance()
    bar.within(Progress("dis flow", 30, 90, "frame", name="b.mp4"))
    bar.advance()  # by an earlier run: only the flow of a later video was reported
    assert re.search(r" 2/4 videos   0:10 left  5.0 s/video$", line_of(bar)), line_of(bar)


def test_flow_of_a_single_video_has_its_own_bar(clock):
    bar = ProgressBar("predict", 1, "video")
    bar.within(Progress("predict", 0, None, "view", name="a.mp4"))
    bar.within(Progress("dis flow", 0, 90, "frame", name="a.mp4"))
    clock.now = 5.0
    bar.within(Progress("dis flow", 30, 90, "frame", name="a.mp4"))
    assert re.match(r"dis flow  a.mp4  ━+ +30/90 frames +0:10 left  6.0 frames/s$", line_of(bar)), line_of(bar)
    bar.within(Progress("predict", 1, 3, "view", name="a.mp4"))
    assert re.match(r"predict  a.mp4  ━+ +1/3 views", line_of(bar)), line_of(bar)


def test_a_bar_is_one_line_of_any_width(clock):
    bar = ProgressBar("starting")
    bar(Progress("features of random views", 0, 20_000, "view"))
    clock.now = 9000.0
    name = "clips/日本語/a\nb\x1b[31m" + "x" * 80 + ".mp4"
    bar(Progress("features of random views", 1234, 20_000, "view", {"top1": 0.5}, name=name))
    for width in range(1, 130):
        line = line_of(bar, width=width)
        assert cell_len(line) <= max(width - 4, 1)
        assert line.isprintable()
        if width > 48:
            assert " 1,234/20,000 views" in line
        assert ("clips" in line) == (".mp4" in line)
    assert "clips" in line


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [("clip.mp4", 8, "clip.mp4"), ("a long clip.mp4", 9, "a lo….mp4"), ("日本語日本語", 7, "日…本語"), ("abc", 0, "")],
)
def test_names_lose_their_middle(name, width, expected):
    assert shorten(name, width) == expected
    assert cell_len(shorten(name, width)) <= width


def test_a_report_prints_itself(capsys):
    print(Progress("features", 3.5, 8, "clip", {"top1": 0.5}, name="a.mp4"))
    print(Progress("write report", 0, None))
    assert capsys.readouterr().out == "features: 3 of 8 clips, top1 0.500, a.mp4\nwrite report\n"


def prediction(path, *scored):
    labels = tuple(LabelScore(label, score) for label, score in scored)
    return Prediction(path, "ok", labels, "", 10)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (60, [
            "a.mp4                           97.3 %  waving",
            "a very long na…at its end.mp4    2.0 %  passing A…t in game)",
        ]),
        (120, [
            "a.mp4                                              97.3 %  waving",
            "a very long name with a 日本 date at its end.mp4    2.0 %  passing American football (not in game)",
        ]),
        (160, [
            f"a.mp4                                              97.3 %  waving{'':37}2.0 %  clapping",
            "a very long name with a 日本 date at its end.mp4    2.0 %  passing American football (not in game)    "
            "1.0 %  waving",
        ]),
    ],
)  # fmt: skip
def test_many_videos_have_a_line_each(monkeypatch, columns, expected):
    """With the runner-up where there is room for it; numbers stand below each other."""
    monkeypatch.setattr("i3d.cli.output.results.Console", lambda: Console(width=columns, force_terminal=True))
    football = "passing American football (not in game)"
    rows = [
        prediction("a.mp4", ("waving", 0.973), ("clapping", 0.02)),
        prediction("a very long name with a 日本 date at its end.mp4", (football, 0.02), ("waving", 0.01)),
    ]
    lines = PredictionLines([row.path for row in rows], ["waving", "clapping", football])
    assert [lines.line(row) for row in rows] == expected
    assert all(cell_len(line) <= columns for line in expected)


@pytest.mark.parametrize(("columns", "left_out"), [(80, "seed, lr"), (120, "")])
def test_a_row_of_a_table_is_one_line(monkeypatch, capsys, columns, left_out):
    monkeypatch.setattr("i3d.cli.output.tables.Console", lambda **_: Console(width=columns, force_terminal=True))
    names = ("run", "recipe", "state", "steps", "best", "at step", "loss", "seed", "lr")
    row = ("runs/a_long_name_of_a_run", "inception_rgb_kinetics400", "complete", 3600, 0.8123, 2400, 0.1234, 0, 0.01)
    print_table(names, [row], one_line=True)
    lines = capsys.readouterr().out.split("\n")
    (shown,) = (line for line in lines if "complete" in line)
    assert cell_len(shown) <= columns
    assert all(str(number) in shown for number in row[2:7])
    assert (f"for a wider terminal, or --json: {left_out}" in lines) == bool(left_out)


def test_ctrl_c_while_a_bar_is_erased_waits_for_the_end_of_it(monkeypatch):
    console, steps = StderrConsole(), []

    class Bar:
        def stop(self):
            signal.raise_signal(signal.SIGINT)
            steps.append("erased")

    console.bar = Bar()
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.default_int_handler)  # a background job ignores it
    with pytest.raises(KeyboardInterrupt):
        console.erase_bar()
    assert (steps, console.bar) == (["erased"], None)
