"""Empty values, as of unset variables of a shell, are refused everywhere; an empty path is the current folder."""

from pathlib import Path

import pytest

import i3d
from i3d.cli.main import app
from i3d.data.annotations import build_annotations
from i3d.data.frame_extraction.extract import extract_frames
from i3d.data.frame_extraction.jobs import FrameSettings
from i3d.data.pack import pack_dataset
from i3d.data.rows import Rows
from i3d.errors import InputError
from i3d.recipes.features import FeatureSettings
from i3d.recipes.named import named_recipe
from support.commands import commands_below, run, run_here

COMMANDS = dict(commands_below(app))
RECIPE = named_recipe("inception_rgb_kinetics400")
EXTRACTOR = i3d.features.FeatureExtractor((), FeatureSettings())
SCRIPTS = {  # script: words that it needs
    "tools/train.py": ["config.py"],
    "tools/test.py": ["config.py", "model.pth", "--eval", "top_k_accuracy"],
    "tools/analysis/benchmark.py": ["config.py"],
    "tools/analysis/get_flops.py": ["config.py"],
    "tools/analysis/analyze_logs.py": ["plot_curve", "log.json"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_refuses_an_empty_value(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [one for one in COMMANDS[name].assemble_argument_collection() if one.hint is not bool]
    flags = [flag for argument in arguments for flag in argument.names]
    for number, flag in enumerate(flags):
        forms = [[flag, ""], [flag, " "], [f"{flag}="]] if flag.startswith("--") else [[flag, ""], [flag, " "]]
        forms = forms if flag.startswith("-") else [[""], [" "]]
        words = forms[number % len(forms)]  # each form with some of the options: all with all take three times as long
        what = flag if flag.startswith("-") else f"the argument after '{name.split()[-1]}'"
        result = run(*name.split(), *words)
        message = f"error: {what}: the value is empty; write one, or leave it out\n"
        assert (result.returncode, result.stdout, result.stderr) == (2, "", message), words
    assert not list(tmp_path.iterdir())


def test_every_option_of_all_commands_refuses_an_empty_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [one for one in app.meta.assemble_argument_collection() if one.hint is not bool]
    flags = [flag for argument in arguments for flag in argument.names if flag.startswith("--")]
    assert flags == ["--checkpoints"]
    for flag in flags:
        for words in ([flag, "", "models"], ["models", flag, " "], [f"{flag}=", "models"], ["models", f"{flag}="]):
            result = run(*words)
            message = f"error: {flag}: the value is empty; write one, or leave it out\n"
            assert (result.returncode, result.stdout, result.stderr) == (2, "", message), words


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_of_the_scripts_of_mmaction2_refuses_an_empty_value(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    help_text = run_here(["python", script, "--help"]).stdout
    flags = sorted({word.rstrip(",") for word in help_text.split() if word.startswith("--") and "]" not in word})
    for flag in [*flags, "--work-dir"]:
        result = run_here(["python", script, *SCRIPTS[script], flag, ""])
        assert result.returncode == 2
        assert result.stderr == f"error: {flag}: the value is empty; write one, or leave it out\n"
    result = run_here(["python", script, ""])
    assert result.stderr == "error: the first argument: the value is empty; write one, or leave it out\n"


def clips():
    rows = Rows()
    rows.add("a.mp4", ("a",))
    return build_annotations(rows, source=Path("list.csv"), root=Path())


@pytest.mark.parametrize(
    "call",
    [
        lambda: i3d.predict(""),
        lambda: i3d.predict([""]),
        lambda: i3d.predict(b""),
        lambda: list(i3d.predict_many("")),
        lambda: list(i3d.predict_many(["", "b.mp4"])),
        lambda: i3d.predict("clip.mp4", model=""),
        lambda: i3d.load_model(""),
        lambda: i3d.convert("", "x.safetensors"),
        lambda: i3d.convert("inception_rgb_kinetics400", ""),
        lambda: i3d.evaluate("", clips()),
        lambda: i3d.train(RECIPE, clips(), work_dir=""),
        lambda: i3d.finetune(clips(), work_dir=""),
        lambda: i3d.finetune(clips(), work_dir=Path("run"), init=""),
        lambda: i3d.Predictor(""),
        lambda: i3d.video.open_video(""),
        lambda: i3d.data.read_annotations(""),
        lambda: i3d.data.read_annotations(".", root=""),
        lambda: i3d.train(RECIPE, clips(), work_dir=Path("")),
        lambda: i3d.finetune(clips(), work_dir=Path("")),
        lambda: extract_frames(clips(), Path(""), FrameSettings()),
        lambda: extract_frames(clips(), "", FrameSettings()),
        lambda: pack_dataset(clips(), Path("")),
        lambda: i3d.features.extract_features(["a.mp4"], Path(""), EXTRACTOR),
        lambda: i3d.features.extract_features(["a.mp4"], "", EXTRACTOR),
        lambda: i3d.features.extract_features([""], Path("out"), EXTRACTOR),
    ],
)
def test_from_python_too(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is empty; give"):
        call()
    assert not list(tmp_path.iterdir())
