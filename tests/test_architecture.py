"""The shape of the tree: packages import one way, dangerous calls stay in a few modules, functions are short."""

import ast
import importlib
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "i3d"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(("i3d", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in FILES
}
MAX_IMPORTS_IN_FUNCTIONS = 40
# What may only be called in these modules.
GUARDED = {
    r"\bav\.open\(": {"video/opening.py", "video/writer.py"},
    r"\bImage\.open\(": {"video/images.py"},
    r"\bpickle\.(loads?|Unpickler)\b": {"weights/foreign/i3d_jax.py"},
    r"\btorch\.load\(": {"weights/foreign/pytorch.py"},
    r"\bhf_hub_download\(": {"weights/hub.py"},
    r"\byaml\.load\(|(?<![\w.])(eval|exec)\((?!\"\"\))|shell=True|\bos\.system\(|\.extractall\(": set(),
    r"\.write_bytes\(|\.write_text\(|os\.replace\(": {"utils/atomic_files.py"},
}


def layers():
    """The line of docs/architecture.md that lists which package imports which."""
    (line,) = re.findall(r"^    (\w[\w, ]*(?: -> [\w, ]+)+)$", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    return [layer.split(", ") for layer in line.split(" -> ")]


def imports(path):
    """(line, module) of every import of the package's own modules, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "i3d":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield node.lineno, name if name in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "i3d")


def test_the_root_has_packages_and_four_modules():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "_version", "errors"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == {package for layer in layers() for package in layer}
    assert all((path.parent / "__init__.py").exists() for path in FILES)


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_one_way(module):
    if module in ("i3d", "i3d.__main__"):
        return
    number = {package: k for k, layer in enumerate(layers()) for package in layer}
    number |= {"errors": -1, "_version": -1}
    package = module.split(".")[1]
    for line, imported in imports(MODULES[module]):
        if imported == "i3d":
            continue
        other = imported.split(".")[1]
        assert other == package or number[other] < number[package], f"{module}:{line}: must not import {imported}"


@pytest.mark.slow
def test_no_modules_import_each_other():
    graph = {module: {name for _, name in imports(path)} - {module, "i3d"} for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.slow
def test_imports_stand_at_the_head_of_modules():
    """Imports inside functions are few: optional or slow packages, and what a command of the command line needs."""
    lines = set()
    for path in FILES:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                lines |= {(path, n.lineno) for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)}
    assert len(lines) < MAX_IMPORTS_IN_FUNCTIONS, sorted(str(path.relative_to(PACKAGE)) for path, _ in lines)


@pytest.mark.parametrize(("pattern", "allowed"), GUARDED.items())
def test_guarded_calls_stay_in_their_module(pattern, allowed):
    callers = {str(p.relative_to(PACKAGE)) for p in FILES if re.search(pattern, p.read_text())}
    assert callers == allowed or callers < allowed


@pytest.mark.slow
def test_functions_fit_a_screen_and_files_a_sitting():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.body[0].lineno  # without the parameters: commands have many options
                assert length < 60, f"{path}:{node.lineno} {node.name}"


PUBLIC = {  # everything else may change
    "": "ComputeConfig Explanation ExportResult FvdResult I3DError InputError LabelScore Prediction Predictions "
        "Predictor Progress Timeline TwoStreams VideoError WeightsError __version__ convert data diagnostics evaluate "
        "evaluation explain explanations export exporting features finetune finetuning fvd inference load_model models "
        "predict predict_many publishing recipes stream streaming timeline timelines train training tune_timeline "
        "video video_distance weights",
    "streaming": "StreamLabel StreamStats stream",
    "explanations": "ActivationMap Explanation OcclusionCurve PerturbationScores draw_explanation explain",
    "exporting": "ExportResult export",
    "timelines": "SegmentSettings Timeline Tuning annotate_timeline find_segments timeline tune_timeline",
    "data": "Annotations Clip ClipDataset ClipLoader TestView TrainView check_annotations read_annotations "
            "split_annotations write_annotations",
    "diagnostics": "Configuration check_installation describe_model list_models measure_data measure_model",
    "evaluation": "Evaluation EvaluationOptions Metrics SegmentScores average_views compute_metrics "
                  "confusion_matrix evaluate_protocols mean_class_accuracy read_evaluations score_segments "
                  "select_protocols top_k_accuracy write_report",
    "features": "FeatureExtractor VideoFeatures compare_features extract_features extract_layout layout_settings "
                "load_extractor read_features",
    "finetuning": "DataIssue DatasetStats Decision FinetuneConfig FinetuneOptions FinetuneResult",
    "inference": "AnnotatedVideo LabelScore Prediction Predictions Predictor TwoStreams VideoLogits annotate_video "
                 "annotate_videos",
    "models": "Cost Engine InceptionI3D ResNetI3D VideoNetwork build_network inflate_weights "
              "network_cost",
    "recipes": "Augmentation ClipProtocol FeatureSettings Preprocessing Recipe TrainSampling Training WindowProtocol "
               "feature_preset load_recipe named_recipe with_overrides with_protocol",
    "training": "RunSummary TrainResult draw_curves list_runs read_curves read_log",
    "publishing": "PublishedModel PushedModel publish push",
    "video_distance": "FvdProtocol FvdResult Moments frechet_distance fvd fvd_protocol kernel_distance",
    "video": "Frames Limits Video center_crop flow_between open_video random_clips "
             "uniform_clips write_video",
    "weights": "Card LoadReport Weights build_model load_checkpoint load_model load_weights save_checkpoint",
}  # fmt: skip


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package):
    module = importlib.import_module(f"i3d.{package}".rstrip("."))
    assert sorted(module.__all__) == sorted(PUBLIC[package].split())
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("stub", sorted(PACKAGE.rglob("*.pyi")), ids=lambda stub: stub.parent.name)
def test_public_names_hide_no_module(stub):
    """A function that has the name of a module of its package would take its place."""
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports if node.module for alias in node.names}
    modules = {path.stem for path in stub.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert imports
    assert not modules & names


def test_wheel_contents_are_tracked():
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "assets" / "inception_rgb_kinetics400.safetensors").stat().st_size > 24e6


@pytest.mark.slow
def test_test_files_share_by_the_support_package_only():
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith(("test_", "conftest"))], path
