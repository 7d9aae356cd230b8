"""Compiling runtimes give the output of PyTorch, from artefacts that are cached and shared between processes."""

import subprocess
import sys
from importlib.util import find_spec
from itertools import product
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
RUNTIMES = ["torch", "compile", "openvino"]
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


def golden_network(name):
    """A network of a reference implementation, its clip, and the reference's logits."""
    if name == "inception":
        net, golden, norm = InceptionI3D(InceptionSettings()), np.load(GOLDEN / "piergiaj_rgb.npz"), "pm1"
        net.load_state_dict(golden_weights.state_dict(GOLDEN / "keys" / "piergiaj_rgb.json"))
    else:
        net, golden = build_network(named_recipe(RECIPE_OF[name]).network), np.load(GOLDEN / f"{name}.npz")
        net.load_state_dict(golden_state(name))
        norm = "imagenet"
    logits = golden["c_logits"]
    clips = golden_weights.clips_NCTHW(int(golden["c_seed"]), golden["c_shape"], norm)
    return net.eval(), torch.from_numpy(clips), torch.from_numpy(logits.reshape(*logits.shape[:2], -1).mean(2))


NETWORKS = ("inception", "i3d_r50", "i3d_r50_nl_embedded_gaussian")
TOLERANCES = {"fp32": 1e-5, "bf16": 0.01}
# Compiling takes long. R50 with attention has all layers of R50. `compile` runs it in bf16; a small
# network in fp32 is below, and `test_inception_compiles_in_one_graph` (test_engine.py) compiles Inception.
COMPILED = [
    ("openvino", "inception", "fp32"),
    ("openvino", "i3d_r50_nl_embedded_gaussian", "fp32"),
    ("openvino", "i3d_r50_nl_embedded_gaussian", "bf16"),
    ("compile", "i3d_r50_nl_embedded_gaussian", "bf16"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "name", "precision"), [*product(["torch"], NETWORKS, TOLERANCES), *COMPILED])
def test_every_runtime_gives_the_logits_of_the_references(tmp_path, runtime, name, precision):
    if precision == "bf16" and not has_bf16():
        pytest.skip("this processor has no arithmetic of bfloat16")
    net, clips_NCTHW, expected_NK = golden_network(name)
    logits_NK = engine(tmp_path, net, precision=precision, runtime=runtime)(clips_NCTHW)
    assert (logits_NK - expected_NK).abs().max() < TOLERANCES[precision] * expected_NK.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
def test_every_output_of_a_network_with_non_local_blocks(tmp_path, mode):
    torch.manual_seed(0)
    places = ((0,), (0, 1), (0,), (0,))
    settings = ResNetSettings(depth=18, base_channels=8, num_classes=5, non_local=places, non_local_mode=mode)
    net = build_network(settings).eval()
    for module in net.modules():  # whose scale would be 0
        if isinstance(module, torch.nn.BatchNorm3d):
            module.weight.data.uniform_(0.5, 1.5)
    x_NCTHW = torch.randn(2, 3, 8, 64, 64)
    with torch.inference_mode():
        expected = [net.features(x_NCTHW, endpoint="layer2"), net.pooled(x_NCTHW), net(x_NCTHW)]
    compiled = engine(tmp_path, net, runtime="openvino")
    outputs = [compiled.features(x_NCTHW, endpoint="layer2")]
    if mode == "embedded_gaussian":  # the others have all their blocks before the end of layer2
        outputs += [compiled.pooled(x_NCTHW), compiled(x_NCTHW)]
    for mine, wanted in zip(outputs, expected, strict=mode == "embedded_gaussian"):
        assert (mine - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_batch_equals_its_clips_one_by_one(tmp_path, runtime):
    compiled, clips_NCTHW = engine(tmp_path, runtime=runtime), torch.randn(8, *SHAPE[1:])
    singles = torch.cat([compiled(clip) for clip in clips_NCTHW.split(1)])
    assert (compiled(clips_NCTHW) - singles).abs().max() < 1e-5 * singles.abs().max()


@pytest.mark.slow
def test_a_compiled_network_is_cached_and_a_damaged_one_is_compiled_again(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "i3d")
    x_NCTHW = torch.randn(SHAPE)
    first = engine(tmp_path, runtime="openvino")(x_NCTHW)
    assert caplog.messages == ["compiling the network for clips of 3x8x32x32; it is cached"]
    export = openvino.to_onnx
    with monkeypatch.context() as patch:
        patch.setattr(openvino, "to_onnx", lambda _: pytest.fail("is cached"))
        assert torch.equal(engine(tmp_path, runtime="openvino")(x_NCTHW), first)
        other = small()
        other.fc.bias.data += 1
        with pytest.raises(BaseException, match="is cached"):  # other weights are another network
            engine(tmp_path, other, runtime="openvino")(x_NCTHW)
    (cached,) = tmp_path.rglob("*.bin")
    cached.write_bytes(cached.read_bytes()[:-1000])
    exports = []
    monkeypatch.setattr(openvino, "to_onnx", lambda task: exports.append(task) or export(task))
    assert torch.equal(engine(tmp_path, runtime="openvino")(x_NCTHW), first)
    assert len(exports) == 1


@pytest.mark.slow
def test_two_networks_of_one_process_are_not_mixed_up(tmp_path):
    torch.manual_seed(1)
    other, x_NCTHW = build_network(SMALL).eval(), torch.randn(SHAPE)
    with torch.inference_mode():
        expected = [net(x_NCTHW) for net in (small(), other)]
    outputs = [engine(tmp_path, net, runtime="openvino")(x_NCTHW) for net in (small(), other)]
    for mine, wanted in zip(outputs, expected, strict=True):
        assert (mine - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_a_runtime_that_fails_is_an_error_that_names_it(tmp_path, monkeypatch):
    def broken(_):
        raise OSError("no such library")

    monkeypatch.setattr(openvino, "compile_task", broken)
    with pytest.raises(InputError, match="runtime openvino: does not work here"):
        engine(tmp_path, runtime="openvino")(torch.randn(SHAPE))


TWO = """
import sys, torch
from pathlib import Path
from test_runtimes import SHAPE, engine
print(engine(Path(sys.argv[1]), runtime="openvino")(torch.ones(SHAPE)).tolist())
"""


@pytest.mark.slow
def test_processes_that_compile_the_same_network_at_once(tmp_path):
    command = [sys.executable, "-c", TWO, tmp_path]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
        for _ in range(2)
    ]
    answers = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert not list(tmp_path.rglob(".*"))  # what is being written


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert engine(tmp_path / "file", runtime="openvino")(torch.randn(SHAPE)).shape == (1, 5)
    assert [line for line in caplog.messages if "the cache cannot be written" in line]


@pytest.mark.slow
def test_a_runtime_whose_output_is_wrong_is_refused(tmp_path, monkeypatch):
    right = openvino.compile_task
    monkeypatch.setattr(openvino, "compile_task", lambda task: lambda x: right(task)(x) * 1.01)
    with pytest.raises(InputError, match=r"runtime openvino: its output for this network is .* % from PyTorch's"):
        engine(tmp_path, runtime="openvino")(torch.randn(SHAPE))


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


OFFLINE = """
import socket, sys, torch
from pathlib import Path
def no(*given, **_):
    print("network:", given, file=sys.stderr)
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = no
from test_runtimes import SHAPE, engine
engine(Path(sys.argv[1]), runtime="openvino")(torch.ones(SHAPE))
"""


@pytest.mark.slow
def test_no_runtime_opens_a_connection(tmp_path):
    command = [sys.executable, "-c", OFFLINE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "network:" not in done.stderr


SIGNALLED = """
import faulthandler, gc, os, signal, sys, torch
from pathlib import Path
from test_runtimes import SHAPE, engine
faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = (engine(Path(sys.argv[1]), runtime="openvino") for _ in range(2))
for compiled in (first, second):
    compiled(torch.ones(SHAPE))
del first, compiled
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.slow
def test_signals_are_handled_after_networks_are_deleted(tmp_path):
    """Each OpenVINO core installs an alternate signal stack, and frees it when it is deleted (`shared_core`)."""
    command = [sys.executable, "-c", SIGNALLED, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=300)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.slow
def test_the_description_names_the_runtimes_that_were_used(tmp_path):
    compiled = engine(tmp_path, runtime="openvino", clip_CTHW=SHAPE[1:])
    assert compiled.description == "fp32, openvino"  # nothing ran yet
    compiled(torch.randn(1, 3, 16, 32, 32))
    assert compiled.description == "fp32"
    compiled(torch.randn(SHAPE))
    assert compiled.description == "fp32, torch and openvino"
    compiled.reset_used_runtimes()
    compiled(torch.randn(SHAPE))
    assert compiled.description == "fp32, openvino"
    assert compiled.used_runtimes == {"openvino"}
