"""The command line from outside: which commands and flags exist, their help, completion, and how fast they answer."""

import re
import shutil
import subprocess
import sys
from typing import get_args

import pytest

from i3d.cli import features, options
from i3d.cli.checks import TAKE_NONE
from i3d.cli.main import app
from support.commands import I3D, commands_below, run, run_process

SHELLS = ("bash", "zsh", "fish")
COMMANDS = {  # all flags without their dashes
    "predict": (
        "annotate cache classes device flow-method flow-model flow-recipe force frames-fps fuse-average json "
        "max-decode-lag min-familiarity min-score model num-clips out precision protocol recipe "
        "runtime stream-weights streams top-k"
    ),
    "timeline": (
        "annotate cache classes device enter flow-method force frames-fps json labels leave list-fps max-decode-lag "
        "min-gap min-length model out plot precision recipe runtime segment-format smooth stride-seconds tune tune-by "
        "tune-out window-seconds"
    ),
    "explain": (
        "cache classes curve-only device flow-method force frames-fps hide-frames json label layer max-decode-lag "
        "model out plot precision random-maps recipe runtime seed view"
    ),
    "stream": (
        "allow-network budget-ms cache classes device json max-seconds model policy precision recipe reconnect-seconds "
        "runtime show speed stride-seconds top-k window-seconds"
    ),
    "features": (
        "array-format cache crops dense device flow-method flow-model flow-recipe force fps grid layer layout "
        "mirror-crops model out padding precision preset recipe runtime segments streams stride window window-align"
    ),
    "features compare": "device flow-model flow-recipe json model recipe video",
    "fvd": (
        "bootstrap cache clips control covariance device features frames fvd-protocol json max-clips max-decode-lag "
        "mixed-sizes model precision resize resolution runs runtime seed stride"
    ),
    "flow": "cache flow-align flow-bound flow-format flow-method force fps out short-side workers",
    "flow show": "flow-method force max-displacement out",
    "train": (
        "accumulate allow-outside background balance batch-size benchmark-steps cache classes cv-folds "
        "data deterministic device epochs first-index flip flow-method fsdp group-by head init json "
        "layer-decay list-format list-fps lr max-bad multi-label no-overfit-check no-validate norms "
        "overfit-check precision recipe root runtime seed set template tensorboard test-clips "
        "train-layers ucf-fold val-fraction val-list val-root validate validate-every views work-dir "
        "workers yes"
    ),
    "test": (
        "allow-outside average-clips background bad-as-wrong cache classes data device first-index "
        "flow-method flow-model flow-recipe force frame-order fuse-average json list-format list-fps "
        "max-bad max-views multi-label out out-format precision protocol protocols recipe report root "
        "runtime seed set split stream-weights streams template ucf-fold workers"
    ),
    "score": (
        "average-clips bad-as-wrong collar force json list-fps metrics out protocol report split tiou top-k truth"
    ),
    "fuse": ("bad-as-wrong force fuse-average json out protocol report seed stream-weights sweep-fraction sweep-on"),
    "runs": "json",
    "help": "",
    "plot": "force out",
    "data list": (
        "allow-outside background classes first-index force list-format list-fps modality multi-label "
        "out root split template ucf-fold"
    ),
    "data check": (
        "allow-outside background classes first-index fix force json list-format list-fps memory-limit "
        "min-frames modality multi-label near-duplicates out root split template time-limit ucf-fold "
        "workers"
    ),
    "data preview": (
        "allow-outside background cache classes cv-folds device epoch first-index flip force group-by "
        "init json list-format list-fps max-bad multi-label num-clips out recipe root seed set template "
        "test-clips train-layers ucf-fold val-fraction views workers"
    ),
    "data split": (
        "allow-outside background classes force group-by ignore-splits json list-format list-fps "
        "multi-label out root seed test-fraction ucf-fold val-fraction"
    ),
    "data extract-frames": (
        "allow-outside background cache classes first-index flow-align flow-bound flow-format "
        "flow-method force fps jpeg-quality list-format list-fps multi-label out root short-side split "
        "template ucf-fold workers"
    ),
    "data pack": (
        "allow-outside background classes list-format list-fps multi-label out root shard-megabytes split ucf-fold"
    ),
    "publish": "base-model exports json licence repository test",
    "push": "json message private",
    "convert": "classes force in-channels json partial recipe state",
    "export": (
        "calibrate calibration-windows classes dynamic-frames force frames input int8 json min-agreement recipe seed "
        "softmax"
    ),
    "models": "json",
    "models show": "json recipe",
    "benchmark data": (
        "allow-outside background batch-size classes first-index json list-format list-fps modality "
        "multi-label num-clips phase recipe root split template ucf-fold workers"
    ),
    "benchmark model": (
        "batch-size device force json max-seconds out precision protocol recipe rounds runtime threads video"
    ),
    "cache list": "cache json",
    "cache clear": "cache json older-than yes",
    "doctor": "json",
    "completion": "install",
}


def flags_of(command):
    names = (name for argument in command.assemble_argument_collection() for name in argument.names)
    return " ".join(sorted(name[2:] for name in names if name.startswith("--")))


def test_commands_and_flags_are_frozen():
    """A flag is a promise: change this table with the documentation and the changelog."""
    assert {name: flags_of(command) for name, command in commands_below(app)} == COMMANDS


def test_one_name_means_one_thing():
    """A flag takes the same values in every command, but for lists of them with commas."""
    lists = {"--precision", "--runtime", "--batch-size", "--workers", "--top-k"}  # of benchmarks and metrics
    fewer = {"--runtime", "--average-clips"}  # a part of the values
    types = {}
    for _, command in commands_below(app):
        for argument in command.assemble_argument_collection():
            hint = re.sub(r"typing.Optional\[(.*)\]|<class '(.*)'>|(.*) \| None", r"\1\2\3", str(argument.hint))
            for flag in (name for name in argument.names if name.startswith("--")):
                types.setdefault(flag, set()).add(hint)
    assert {flag for flag, hints in types.items() if len(hints) > 1} <= lists | fewer, types


def test_none_is_a_value_of_these_options_only():
    with_none = {
        name
        for _, command in commands_below(app)
        for argument in command.assemble_argument_collection()
        for name in argument.names
        if re.search(r"\bnone\b", str(argument.hint)) and name.startswith("-")
    }
    assert with_none == set(TAKE_NONE) - {"--init"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal_and_has_a_summary_and_examples(name):
    for flag in ("-h", "--help"):
        result = run(*name.split(), flag, env={"COLUMNS": "80"})
        assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"Usage: i3d {name}")
    summary = next(line for line in lines[1:] if line)
    assert summary.endswith(".")
    assert len(summary) <= 70
    assert "…" not in result.stdout
    assert all(len(line) <= 80 for line in lines)
    assert f"  i3d {name}" in result.stdout.partition("Examples:")[2]


def test_the_list_of_commands_has_whole_summaries():
    out = run("--help", env={"COLUMNS": "80"}).stdout
    for name in COMMANDS:
        if " " not in name:
            assert re.search(rf"{name} +[A-Z][^…]*\.", out), name


LIGHT = [["--help"], ["--version"], ["predict", "--help"], ["predict", "x.mp4", "--nope"], ["predict", "missing.mp4"],
 ["test", "m", "--data", "missing"], ["train", "--data", "missing", "--work-dir", "w"],
 ["predict", "missing.mp4", "--device", "gpu"], ["data", "check", "missing"], ["features", "m.mp4", "--out", "o"],
 ["flow", "missing.mp4", "--out", "o"], ["convert", "a.pth", "missing/b.safetensors"], ["predcit"],
 ["stream", "missing.mp4"], ["stream", "rtsp://h/x"], ["stream", "0", "--policy", "all"],
 ["models", "show", "nofile"], ["models", "show", "r50", "--recipe", "i3d_rgb"], ["benchmark", "model", "nofile"],
 ["benchmark", "model", "r50", "--recipe", "nofile"], ["benchmark", "data", "c.txt", "--recipe", "nofile"],
 ["convert", "nofile.pth", "x.safetensors"], ["data", "list", "c.txt", "--out", "a.xyz"],
 ["data", "split", "c.txt", "--out", "a.csv", "--val-fraction", "3"],
 *(["predict", "c.txt", *words] for words in (
     ["--model", "nofile.pth"], ["--flow-model", "nofile.pth"], ["--classes", "nofile"], ["--recipe", "nofile"],
     ["--device", "gpu"], ["--model", ""], ["--model="], ["--recipe", "none"], ["--flow-method", "dis"], ["-k", "1.5"],
     ["--streams", "foo"])),
 ["features", "c.txt", "--out", "o", "--model", "nofile.pth"],
 ["features", "c.txt", "--out", "o", "--preset", "foo"], ["test", "nofile.pth", "--data", "c.txt"],
 *(["test", "c.txt", "--data", "c.txt", *words] for words in (
     ["--flow-model", "nofile.pth"], ["--root", "nofolder"], ["--classes", "nofile"], ["--out", "r.pkl"],
     ["--protocols", "zz"], ["--set", "foo=1"])),
 ["features", "c.txt", "--out", "c.txt"], ["convert", "c.txt", "x.txt"],
 *(["train", "--data", "c.txt", "--work-dir", "w", *words] for words in (
     ["--recipe", "nofile"], ["--recipe", "nofile.yaml"], ["--init", "nofile.pth"], ["--root", "nofolder"],
     ["--set", "foo=1"], ["--recipe", "i3d_rgb", "--set", "training.foo=1"], ["--val-fraction", "3"],
     ["--group-by", "("], ["--lr", "-1"], ["--cv-folds", "1"], ["--work-dir", "c.txt"], ["--init", "none"],
     ["--flip", "none"], ["--precision=None"],
     ["--epochs", "1.5"]))]  # fmt: skip
ONE_PROCESS = f"""
import sys
from i3d.cli.main import main
for words in {LIGHT!r}:
    code, sys.argv = 0, ["i3d", *words]
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    print("ended", code, "after", {{"torch", "av", "cv2", "numpy"}} & set(sys.modules) or "nothing", *words)
"""


@pytest.mark.slow
def test_commands_without_a_network_run_before_torch_is_imported(tmp_path):
    """In one process: where a command imports it, all that follow are listed as well."""
    (tmp_path / "c.txt").write_text("a.mp4 0\n")
    result = subprocess.run([sys.executable, "-c", ONE_PROCESS], capture_output=True, text=True, cwd=tmp_path)
    assert "Traceback" not in result.stderr
    ended = [line for line in result.stdout.splitlines() if line.startswith("ended ")]
    assert [line for line in ended if not re.match("ended (0|2) after nothing", line)] == []
    assert len(ended) == len(LIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_are_valid(tmp_path, shell):
    result = run("completion", shell)
    assert result.returncode == 0
    assert "extract-frames" in result.stdout
    assert "flow-method" in result.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(result.stdout)
    checked = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_bash_completes_options_and_their_values(tmp_path):
    (tmp_path / "script").write_text(run("completion", "bash").stdout)
    line = """
source ./script
complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _i3d; echo "${COMPREPLY[@]}"; }
complete_words i3d pre
complete_words i3d predict --flow-m
complete_words i3d predict --precision ""
complete_words i3d predict cl
complete_words i3d train --recipe cl
"""
    (tmp_path / "clip.mp4").touch()
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    names, flags, values, *files = result.stdout.splitlines()
    assert names.split() == ["predict"]
    assert sorted(flags.split()) == ["--flow-method", "--flow-model"]
    assert sorted(values.split()) == ["auto", "bf16", "fp16", "fp32", "int8"]
    assert files == ["clip.mp4", "clip.mp4"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_files_once_the_script_is_sourced(tmp_path):
    (tmp_path / "script").write_text(run("completion", "zsh").stdout)
    line = "autoload -U compinit; compinit -u -d dump; source ./script; echo $_comps[i3d]"
    result = subprocess.run(["zsh", "-fc", line], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == "_cyclopts_i3d\n", result.stderr
    assert re.search(r"--model\[[^]]+\]:model:_files", (tmp_path / "script").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_installed_for_the_user(tmp_path, shell):
    result = run(
        "completion", shell, "--install", env={"HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
    )
    assert result.returncode == 0, result.stderr
    assert "start a new shell" in result.stderr
    assert any("flow-method" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_choices_of_options_are_those_of_the_library():
    from i3d.data.formats.read import Format
    from i3d.data.frame_folders import Modality
    from i3d.features.array_formats import FORMATS
    from i3d.features.layouts.layout import LAYOUTS, array_format
    from i3d.recipes.features import PRESETS
    from i3d.utils.device import Precision, Runtime
    from i3d.video.flow import METHODS

    assert set(get_args(features.Preset)) == set(PRESETS)
    assert get_args(features.Layout) == LAYOUTS
    assert get_args(features.ArrayFormat) == FORMATS
    assert [features.ARRAYS.get(layout, "npy") for layout in LAYOUTS] == [*map(array_format, LAYOUTS)]
    assert set(get_args(options.InferencePrecision)) == set(get_args(Precision))
    assert set(get_args(options.Precision)) == {*get_args(Precision)} - {"int8"}  # training, and layers in general
    assert set(get_args(options.Runtime)) == set(get_args(Runtime))
    assert set(get_args(options.FlowMethod)) == set(METHODS)
    assert set(get_args(options.ListFormat)) == set(get_args(Format))
    assert set(get_args(options.Modality)) == set(get_args(Modality))


def test_quiet_and_verbose(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "walk"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "clips" / name / f"{i}.mp4").write_bytes(b"x")
    assert "4 clips of 2 classes" in run("data", "list", "clips", "--out", "l.csv").stderr
    assert run("-q", "data", "list", "clips", "--out", "l.csv", "--force").stderr == ""
    assert run("data", "list", "clips", "--out", "l.csv", "--quiet", "--force").stderr == ""
    assert run("data", "list", "gone", "--out", "l.csv", "-q").stderr.startswith("error: gone: ")
    assert "debug: clips: 4 clips, 2 classes" in run("data", "list", "clips", "-o", "l.csv", "-v", "--force").stderr


def test_debug_shows_the_traceback(tmp_path):
    result = run_process("data", "check", str(tmp_path / "gone"), "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert I3D[1:] == ["-m", "i3d"]
