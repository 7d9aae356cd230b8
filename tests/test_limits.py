"""Absurd numbers are refused at once, with the allowed range: in every option, and every field of a recipe."""

import re
import subprocess

import pytest

from i3d.cli.limits import Within
from i3d.cli.main import app
from i3d.cli.options import Fraction
from i3d.recipes import named_recipe
from i3d.recipes.features import FeatureSettings
from support.commands import I3D, commands_below, run_here
from support.rendering import render, render_tinted

NUMBERS = [
    (f"{name} {argument.name}", argument)
    for name, command in commands_below(app)
    for argument in command.assemble_argument_collection()
    if re.search(r"\b(int|float)\b", str(argument.hint))
]


@pytest.mark.parametrize(("name", "argument"), NUMBERS, ids=[name for name, _ in NUMBERS])
def test_every_numeric_option_has_an_upper_limit(name, argument):
    del name
    validators = argument.parameter.validator
    limits = [validator for validator in validators if isinstance(validator, Within)]
    is_fraction = argument.parameter.converter is Fraction.__metadata__[0].converter
    assert is_fraction or (len(limits) == 1 and limits[0].high < 1e30)


def test_options_are_refused_with_the_range(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "a.mp4", num_frames=4)
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    for words in (
        "data check list.txt --workers 100000", "data check list.txt --time-limit 1e30",
        "data extract-frames list.txt --out o --fps 1e30", "flow a.mp4 --out o --fps 1e30",
        "flow a.mp4 --out o --workers 100000", "flow a.mp4 --out o --short-side 100000000",
        "predict a.mp4 --frames-fps 1e30", "predict a.mp4 --max-decode-lag 1e30", "predict a.mp4 --frames-fps nan",
        "features a.mp4 --out o --window 100000000", "features a.mp4 --out o --fps 1e30",
        "train --data list.txt --work-dir w --workers 100000",
        "train --data list.txt --work-dir w --batch-size 10000000000",
        "test inception_rgb_kinetics400 --data list.txt --workers 100000", "benchmark data list.txt --workers 1,100000",
        "benchmark model inception_rgb --batch-size 1,10000000000", "benchmark model inception_rgb --threads 100000",
    ):  # fmt: skip
        result = run_here(["i3d", *words.split()])
        assert result.returncode == 2, (words, result.output)
        assert "at most" in result.stderr, (words, result.output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "list.txt"]


def fields_without_limit(settings):
    """Names of the numbers of settings that have no upper limit."""
    schema = settings.model_json_schema()
    for model, definition in {settings.__name__: schema, **schema.get("$defs", {})}.items():
        for name, field in definition.get("properties", {}).items():
            for kind in (field, *field.get("anyOf", ())):
                is_number = kind.get("type") in ("integer", "number") and "enum" not in kind and "const" not in kind
                if is_number and not {"maximum", "exclusiveMaximum"} & kind.keys():
                    yield f"{model}.{name}"


def test_every_number_of_a_recipe_has_an_upper_limit():
    recipe = type(named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb"))
    assert [*fields_without_limit(recipe), *fields_without_limit(FeatureSettings)] == []


@pytest.mark.parametrize("change", [
    "protocol.clip_len=100000000", "training.sampling.clip_len=100000000", "protocol.num_clips=10000000",
    "preprocessing.short_side=1000000", "training.batch_size=10000000000",
])  # fmt: skip
def test_settings_of_a_recipe_are_refused_with_the_range(tmp_path, change):
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    render(tmp_path / "a.mp4", num_frames=4)
    words = ["train", "--recipe", "i3d_r50_32x2x1_100e_kinetics400_rgb", "--data", tmp_path / "list.txt"]
    result = run_here(["i3d", *words, "--work-dir", tmp_path / "w", "--set", change])
    assert result.returncode == 2
    assert "less than or equal to" in result.stderr
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("descriptors", "words"), [
    (20, "data check clips --workers 8"),
    (20, "train --data clips --work-dir w --workers 8"),
])  # fmt: skip
def test_few_descriptors_end_in_an_error(tmp_path, descriptors, words):
    for name in ("a", "b"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for i in range(3):
            path = tmp_path / "clips" / name / f"{i}.mp4"
            render_tinted(path, first=9 * i, num_frames=8, channel=ord(name) - ord("a"))
    limited = ["bash", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"', *I3D, *words.split()]
    ended = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode in (1, 2), ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "Too many open files" in line
    assert "ulimit -n" in line
    assert "Traceback" not in ended.stderr
