"""Run the code of README and docs.

Blocks marked `python` and the `i3d` lines of blocks marked `sh` are run, in a folder that has the files they name. A
block marked `bash` shows what a test cannot run as it is (other data, several devices, minutes of work) or what nearly
repeats another block. Its options and make targets are checked here; those of the pages on moving from other projects
are run with small settings by `test_mmaction2_commands.py`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from i3d.cli.main import app
from i3d.diagnostics.model_zoo import list_models
from i3d.recipes.io import with_overrides
from i3d.recipes.named import R50
from support.commands import run_here
from support.evaluation_runs import save_model
from support.foreign_files import resnet_2d
from support.mmaction2_runs import tiny_checkpoint
from support.rendering import render
from support.training_runs import RECIPE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

TINY_RECIPE = RECIPE.replace("epochs: 12", "epochs: 1")


def blocks(language):
    for page in PAGES:
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        ):
            yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the examples name: clip.mp4, a folder, a list, a table, weights of other projects."""
    root = tmp_path_factory.mktemp("files")
    render(root / "clip.mp4", num_frames=15)
    short = render(root / "a.mp4", num_frames=5)
    for name in ["b.webm", "clips/1.mp4", "clips/2.mp4", "holiday/1.mp4", "more/x.avi"]:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(short, root / name)
    for i in range(6):
        place = root / "actions" / ("run", "walk")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        render(place / f"{i}.mp4", num_frames=12 + i)
    (root / "list.txt").write_text("a.mp4\nclips/1.mp4\n")
    (root / "table.csv").write_text("label,path\nx,a.mp4\n")
    segments = '{"version": "1", "results": {"a": [{"label": "run", "score": 0.5, "segment": [0.1, 0.3]}]}}'
    (root / "segments.json").write_text(segments)
    (root / "annotated.csv").write_text("video,label,start,stop\na.mp4,run,0,0.3\n")
    for name, seed in (("real", 0), ("generated", 1)):
        np.save(root / f"{name}.npy", np.random.default_rng(seed).standard_normal((20, 400)))
    tiny_checkpoint(root / "epoch_100.pth")
    save_file(resnet_2d(50), root / "resnet50.safetensors")
    (root / "my.yaml").write_text(TINY_RECIPE)
    save_model(root / "rgb.safetensors", labels=("run", "walk"))
    save_model(root / "flow.safetensors", labels=("run", "walk"), channels=2, flow="dis")
    return root


@pytest.fixture
def workplace(files, tmp_path, monkeypatch):
    """A folder of each test with these files, which are links: outputs are renamed, never written in place."""
    place = tmp_path / "place"
    shutil.copytree(files, place, copy_function=os.link)
    monkeypatch.chdir(place)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("block", list(blocks("python")))
def test_python_blocks_run(block, workplace):
    exec(compile(block, "block", "exec"), {"__name__": "__main__"})


@pytest.fixture(scope="module")
def trained():
    """Training commands that ran, with their outputs: several blocks begin with the same command, which runs once."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("block", list(blocks("sh")))
def test_i3d_commands_run(block, workplace, trained):
    for line in block.splitlines():
        if line.startswith("i3d "):
            words = shlex.split(line, comments=True)
            if words[:3] == ["i3d", "benchmark", "model"]:
                words[3] = "my.yaml"  # a small network: no test measures speed
            work_dir = workplace / words[words.index("--work-dir") + 1] if words[1] == "train" else None
            if tuple(words) in trained:
                shutil.copytree(trained[tuple(words)], work_dir)
                continue
            result = run_here(words)
            assert result.returncode == 0, (line, result.stderr)
            if work_dir and work_dir.exists():
                trained[tuple(words)] = work_dir


def commands_of_bash_blocks():
    for case in blocks("bash"):
        for line in case.values[0].replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in ("i3d", "torchrun", "make") and not case.id.startswith("from-"):
                yield pytest.param(words, id=f"{case.id} {' '.join(words)[:40]}")


@pytest.mark.parametrize("words", list(commands_of_bash_blocks()))
def test_commands_of_bash_blocks_are_understood(words, tmp_path, monkeypatch):
    if words[0] == "make":
        assert re.search(f"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return
    monkeypatch.chdir(tmp_path)
    words = words[words.index("i3d") + 1 :]
    for flag, word in pairwise(words):
        place = tmp_path / word
        place.parent.mkdir(parents=True, exist_ok=True)
        if flag in ("--root", "--val-root"):
            place.mkdir(exist_ok=True)
        elif place.suffix in (".csv", ".txt", ".yaml", ".pth", ".safetensors", ".json", ".eaf", ".onnx", ".xml"):
            place.write_text("base: i3d_rgb\n")
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert bound.arguments


EXAMPLES = {
    "predict_folder.py": ["clips", "actions.csv"],
    "frames_of_your_own.py": [],
    "train_classifier.py": ["actions", "run"],
    "read_frames.py": ["clip.mp4"],
}


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES)
def test_examples_run(script, workplace):
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {*EXAMPLES, "onnx_predict.py"}  # test_export.py
    result = run_here(["python", f"examples/{script}", *EXAMPLES[script]])
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_clips_of_a_slowfast_config_are_those_of_training_validation_and_test():
    text = (ROOT / "docs" / "from-slowfast.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| `DATA.NUM_FRAMES 8")]
    recipe = with_overrides(R50, re.findall(r"--set (\S+=\d+)", row))
    parts = (recipe.training.sampling, recipe.training.validation, recipe.protocol)
    assert [(part.clip_len, part.frame_interval) for part in parts] == [(8, 8)] * 3


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_the_output_in_the_readme_is_what_the_demo_prints(tmp_path):
    clip = tmp_path / "bigbuckbunny.mp4"
    fetched = subprocess.run([sys.executable, ROOT / "tools" / "demo_clip.py", clip], capture_output=True, text=True)
    if fetched.returncode != 0:
        pytest.skip(f"the demo clip cannot be fetched here: {fetched.stderr.splitlines()[-1]}")
    result = run_here(["i3d", "predict", clip])
    printed = (ROOT / "README.md").read_text(encoding="utf-8").split("```text\n")[1].splitlines()
    printed_rows = [line.rsplit(maxsplit=2) for line in result.stdout.splitlines()[1:6]]
    shown = [line.rsplit(maxsplit=2) for line in printed[1:6]]
    assert [row[0] for row in printed_rows] == [row[0] for row in shown]
    assert [float(row[1]) for row in printed_rows] == pytest.approx([float(row[1]) for row in shown], abs=0.05)
    assert result.stdout.splitlines()[6] == printed[6]


def test_the_table_of_recipes_is_that_of_i3d_models():
    lines = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").splitlines()
    table = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    recipes = list_models().recipes
    assert list(table) == [row.name for row in recipes]
    for row in recipes:
        accuracy = row.published.split(" (")[0]
        cells = [f"`{row.name}`", row.network, f"{row.parameters / 1e6:.2f}", f"{row.gflops:.1f}", accuracy]
        assert [cell.strip() for cell in table[row.name].strip("|").split("|")] == cells
