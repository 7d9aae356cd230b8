"""The shape of the tree: doors between rooms open one way, dangerous calls live in one place, functions are short."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "i3d"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = [  # a package imports from itself and from those above it
    ["errors", "_version"], ["utils"], ["recipes"], ["video"], ["data"], ["models"], ["weights"],
    ["evaluation", "features", "diagnostics"], ["training", "inference"], ["finetuning"], ["cli"], ["__main__"],
]  # fmt: skip
LAYER_OF = {package: number for number, packages in enumerate(LAYERS) for package in packages}
# What may only be called in one module each.
GUARDED = {
    r"\bav\.open\(": {"video/container.py", "video/writer.py"},
    r"\bImage\.open\(": {"video/images.py"},
    r"\bpickle\.": {"weights/foreign/pickles.py"},
    r"\bhf_hub_download\(": {"weights/hub.py"},
    r"\btorch\.load\(|\byaml\.load\(|(?<![\w.])eval\(|(?<![\w.])exec\(|shell=True|\bos\.system\(|\.extractall\(": set(),
    r"\.write_bytes\(|\.write_text\(|os\.replace\(": {"utils/atomic_files.py"},
}


def imports(path):
    """(line, dotted module) of every import of the package's own modules, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        yield from ((node.lineno, name) for name in names if name and name.split(".")[0] == "i3d")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_doors_open_one_way(path):
    if path.parent == PACKAGE and path.name == "__init__.py":
        return
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for line, module in imports(path):
        if module == "i3d":
            continue
        there = module.split(".")[1]
        assert there == here or LAYER_OF[there] < LAYER_OF[here], f"{path}:{line}: {here} must not import {there}"


@pytest.mark.parametrize(("pattern", "allowed"), GUARDED.items())
def test_guarded_calls_stay_in_their_module(pattern, allowed):
    found = {str(p.relative_to(PACKAGE)) for p in FILES if re.search(pattern, p.read_text())}
    assert found == allowed or found < allowed


def test_functions_fit_a_screen_and_files_a_sitting():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.body[0].lineno  # without the parameters: commands have many options
                assert length < 60, f"{path}:{node.lineno} {node.name}"


def test_public_names():
    import i3d

    assert i3d.__all__ == [
        "I3DError",
        "InputError",
        "LabelScore",
        "Prediction",
        "VideoError",
        "WeightsError",
        "convert",
        "evaluate",
        "finetune",
        "load_model",
        "predict",
        "train",
    ]
    assert callable(i3d.predict)
    assert callable(i3d.train)
    assert callable(i3d.evaluate)


def test_wheel_contents_are_tracked():
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "assets" / "inception_rgb_kinetics400.safetensors").stat().st_size > 24e6


def test_test_files_share_by_the_support_package_only():
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith(("test_", "conftest"))], path
