"""Compiling runtimes give the output of PyTorch, from artefacts that are cached and shared between processes."""

import copy
import functools
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from i3d.errors import InputError
from i3d.models.engine.engine import Engine
from i3d.models.engine.runtimes import openvino
from i3d.models.factory import build_network
from i3d.models.inception import InceptionI3D
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import InceptionSettings, ResNetSettings
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig, has_bf16
from support import golden_weights
from support.golden_weights import RECIPE_OF, golden_state

pytestmark = [
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("onnx", "onnxscript", "openvino")),
        reason="pip install 'i3d[export]'",
    ),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),  # of PyTorch's compiler itself
]

CPU, GOLDEN = torch.device("cpu"), Path(__file__).parent / "golden"
SMALL = ResNetSettings(depth=18, base_channels=8, num_classes=5)
SHAPE = (1, 3, 8, 32, 32)


@pytest.fixture(autouse=True)
def forget_what_was_compiled():
    yield
    torch.compiler.reset()


def small():
    torch.manual_seed(0)
    return build_network(SMALL).eval()


def engine(folder, net=None, *, clip_CTHW=None, **options):
    compute = ComputeConfig(**{"device": "cpu", "cache": Cache(folder), **options})
    return Engine.create(small() if net is None else net, compute, clip_CTHW=clip_CTHW)


@pytest.fixture(scope="module")
def cache_of_small(tmp_path_factory):
    """A cache with `small()` compiled by OpenVINO for clips of `SHAPE`. Tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("compiled")
    engine(folder, runtime="openvino")(torch.zeros(SHAPE))
    return folder


@pytest.fixture(scope="module")
def golden_network():
    """A network of a reference implementation, and the reference's outputs, by name. Tests copy the network."""

    def load(name):
        if name == "inception":
            net, state = InceptionI3D(InceptionSettings()), golden_weights.state_dict(GOLDEN / "keys/piergiaj_rgb.json")
        else:
            net, state = build_network(named_recipe(RECIPE_OF[name]).network), golden_state(name)
        net.load_state_dict(state)
        return net.eval(), np.load(GOLDEN / ("piergiaj_rgb.npz" if name == "inception" else f"{name}.npz"))

    return functools.cache(load)


def golden_clips(golden, case, name):
    norm = "pm1" if name == "inception" else "imagenet"
    return torch.from_numpy(golden_weights.clips_NCTHW(int(golden[f"{case}_seed"]), golden[f"{case}_shape"], norm))


TOLERANCES = {"fp32": 1e-5, "bf16": 0.01}
NON_LOCAL = "i3d_r50_nl_embedded_gaussian"  # has all layers of R50
# Compiling takes long: each network once and each precision once. Non-local blocks in fp32 are below.
REFERENCES = [
    *[("torch", name, precision) for name in ("inception", NON_LOCAL) for precision in TOLERANCES],
    ("openvino", "inception", "fp32"),
    ("openvino", NON_LOCAL, "bf16"),
]
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this processor has no arithmetic of bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "name", "precision"),
    [pytest.param(*values, marks=[needs_bf16] if "bf16" in values else []) for values in REFERENCES],
)
def test_pytorch_and_openvino_give_the_logits_of_the_references(tmp_path, golden_network, runtime, name, precision):
    net, golden = golden_network(name)
    logits = golden["c_logits"]
    expected_NK = torch.from_numpy(logits.reshape(*logits.shape[:2], -1).mean(2))
    compiled = engine(tmp_path, copy.deepcopy(net), precision=precision, runtime=runtime)
    logits_NK = compiled(golden_clips(golden, "c", name))
    assert (logits_NK - expected_NK).abs().max() < TOLERANCES[precision] * expected_NK.abs().max()


@needs_bf16
@pytest.mark.slow
def test_compile_gives_a_stage_of_the_reference(tmp_path, golden_network):
    """Compiling all of R50 takes a minute: layer2 is the first stage with non-local blocks."""
    net, golden = golden_network(NON_LOCAL)
    compiled = engine(tmp_path, copy.deepcopy(net), precision="bf16", runtime="compile")
    map_NCTHW = compiled.features(golden_clips(golden, "a", NON_LOCAL), endpoint="layer2").float()
    assert tuple(map_NCTHW.shape) == tuple(golden["a_stage_layer2_shape"])
    places = np.linspace(0, map_NCTHW.numel() - 1, 64).astype(int)
    expected = torch.from_numpy(golden["a_stage_layer2_sample"])
    assert (map_NCTHW.flatten()[places] - expected).abs().max() < TOLERANCES["bf16"] * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
def test_maps_and_pooled_features_of_non_local_blocks(tmp_path, mode):
    torch.manual_seed(0)
    places = ((0,), (0, 1), (0,), (0,)) if mode == "embedded_gaussian" else ((0, 1), (0,), (0,), (0,))
    settings = ResNetSettings(depth=18, base_channels=8, num_classes=5, non_local=places, non_local_mode=mode)
    net = build_network(settings).eval()
    for module in net.modules():  # whose scale would be 0
        if isinstance(module, torch.nn.BatchNorm3d):
            module.weight.data.uniform_(0.5, 1.5)
    x_NCTHW = torch.randn(2, 3, 8, 64, 64)

    def output(of):
        return of.pooled(x_NCTHW) if mode == "embedded_gaussian" else of.features(x_NCTHW, endpoint="layer1")

    with torch.inference_mode():
        expected = output(net)
    assert (output(engine(tmp_path, net, runtime="openvino")) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "compile", "openvino"])
def test_a_batch_equals_its_clips_one_by_one(cache_of_small, runtime):
    compiled, clips_NCTHW = engine(cache_of_small, runtime=runtime), torch.randn(4, *SHAPE[1:])
    singles = torch.cat([compiled(clip) for clip in clips_NCTHW.split(1)])
    assert (compiled(clips_NCTHW) - singles).abs().max() < 1e-5 * singles.abs().max()


@pytest.mark.slow
def test_a_compiled_network_is_cached_and_a_damaged_one_is_compiled_again(
    tmp_path, cache_of_small, monkeypatch, caplog
):
    caplog.set_level("INFO", "i3d")
    folder, x_NCTHW, export = shutil.copytree(cache_of_small, tmp_path / "cache"), torch.randn(SHAPE), openvino.to_onnx
    with monkeypatch.context() as patch:
        patch.setattr(openvino, "to_onnx", lambda _: pytest.fail("is cached"))
        first = engine(folder, runtime="openvino")(x_NCTHW)
        assert caplog.messages == []
        other = small()
        other.fc.bias.data += 1
        with pytest.raises(BaseException, match="is cached"):  # other weights are another network
            engine(folder, other, runtime="openvino")(x_NCTHW)
    caplog.clear()
    (cached,) = folder.rglob("*.bin")
    cached.write_bytes(cached.read_bytes()[:-1000])
    exports = []
    monkeypatch.setattr(openvino, "to_onnx", lambda task: exports.append(task) or export(task))
    assert torch.equal(engine(folder, runtime="openvino")(x_NCTHW), first)
    assert len(exports) == 1
    damaged, compiling = caplog.messages
    assert damaged.endswith("damaged since it was cached (its SHA-256 is wrong); it is computed again")
    assert compiling == "compiling the network for clips of 3x8x32x32; it is cached"


@pytest.mark.slow
def test_two_networks_of_one_process_are_not_mixed_up(cache_of_small):
    torch.manual_seed(1)
    other, x_NCTHW = build_network(SMALL).eval(), torch.randn(SHAPE)
    with torch.inference_mode():
        expected = [net(x_NCTHW) for net in (small(), other)]
    outputs = [engine(cache_of_small, net, runtime="openvino")(x_NCTHW) for net in (small(), other)]
    for mine, theirs in zip(outputs, expected, strict=True):
        assert (mine - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_a_runtime_that_fails_is_an_error_that_names_it(tmp_path, monkeypatch):
    def broken(_):
        raise OSError("no such library")

    monkeypatch.setattr(openvino, "compile_task", broken)
    with pytest.raises(InputError, match="runtime openvino: does not work here"):
        engine(tmp_path, runtime="openvino")(torch.randn(SHAPE))


PROCESS = """
import faulthandler, gc, os, signal, socket, sys, torch
from pathlib import Path
from test_runtimes import SHAPE, engine
def no(*given, **_):
    print("network:", given, file=sys.stderr)
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = no
faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = (engine(Path(sys.argv[1]), runtime="openvino") for _ in range(2))
for compiled in (first, second):
    print(compiled(torch.ones(SHAPE)).tolist())
del first, compiled
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.slow
def test_processes_that_compile_the_same_network_at_once(tmp_path):
    """They give the same, open no connection, and handle a signal after the networks are deleted.

    Each OpenVINO core installs an alternate signal stack, and frees it when it is deleted (`shared_core`).
    """
    command = [sys.executable, "-c", PROCESS, tmp_path]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
        for _ in range(2)
    ]
    for out, err in [run.communicate(timeout=300) for run in runs]:
        assert "network:" not in err
        *outputs, handled = out.splitlines()
        assert handled == "handled", err
        assert len(outputs) == 2
        assert len(set(outputs)) == 1
    assert [run.returncode for run in runs] == [0, 0]
    assert not list(tmp_path.rglob(".*"))  # what is being written


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    map_NCTHW = engine(tmp_path / "file", runtime="openvino").features(torch.randn(SHAPE), endpoint="conv1")
    assert map_NCTHW.shape == (1, 8, 4, 16, 16)
    assert [line for line in caplog.messages if "the cache cannot be written" in line]


@pytest.mark.slow
def test_a_runtime_whose_output_is_wrong_is_refused(tmp_path, monkeypatch):
    right = openvino.compile_task
    monkeypatch.setattr(openvino, "compile_task", lambda task: lambda x: right(task)(x) * 1.01)
    with pytest.raises(InputError, match=r"runtime openvino: its output for this network is .* % from PyTorch's"):
        engine(tmp_path, runtime="openvino").features(torch.randn(SHAPE), endpoint="conv1")


def test_a_compiled_network_whose_output_is_wrong_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda x: function(x) * 1.01)
    with pytest.raises(InputError, match=r"runtime compile: its output for this network is .* % from PyTorch's"):
        engine(tmp_path, runtime="compile")(torch.randn(SHAPE))


def test_clips_of_another_shape_run_in_pytorch_which_is_logged_once(tmp_path, caplog):
    caplog.set_level("INFO", "i3d")
    compiled = engine(tmp_path, runtime="openvino", clip_CTHW=(3, 16, 32, 32))
    x_NCTHW = torch.randn(SHAPE)
    for _ in range(2):
        assert torch.equal(compiled(x_NCTHW), engine(tmp_path)(x_NCTHW))
    assert caplog.messages == ["runtime openvino: a clip of 3x8x32x32 runs in PyTorch; the runtime is for 3x16x32x32"]


def test_errors_of_unsupported_runtimes(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="runtime openvino: runs on CPUs, not on cuda"):
        openvino.check("fp32", torch.device("cuda"))
    with pytest.raises(InputError, match="runtime openvino: has no fp16 on a CPU; use --precision fp32"):
        openvino.check("fp16", CPU)
    with pytest.raises(InputError, match="runtime 'tensorrt': is not one of torch, compile, openvino"):
        engine(tmp_path, runtime="tensorrt")
    monkeypatch.setattr(openvino.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"runtime openvino: needs openvino, onnx, onnxscript; pip install"):
        engine(tmp_path, runtime="openvino")


@pytest.mark.slow
def test_the_description_names_the_runtimes_that_were_used(cache_of_small):
    compiled = engine(cache_of_small, runtime="openvino", clip_CTHW=SHAPE[1:])
    assert compiled.description == "fp32, openvino"  # nothing ran yet
    compiled(torch.randn(1, 3, 16, 32, 32))
    assert compiled.description == "fp32"
    compiled(torch.randn(SHAPE))
    assert compiled.description == "fp32, torch and openvino"
    compiled.reset_used_runtimes()
    compiled(torch.randn(SHAPE))
    assert compiled.description == "fp32, openvino"
    assert compiled.used_runtimes == {"openvino"}
