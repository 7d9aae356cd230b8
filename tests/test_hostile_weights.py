"""Hostile and damaged weights files: nothing in them runs, each is refused in one line, within 2 s and 200 MB.

The ids (C1 ...) are those of the fault catalogue.
"""

import builtins
import contextlib
import functools
import io
import json
import math
import os
import pickle
import re
import resource
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import _weights_only_unpickler

from i3d.errors import I3DError, WeightsError
from i3d.models.factory import build_network
from i3d.recipes.settings import ResNetSettings
from i3d.weights.foreign.files import read_weights_file
from i3d.weights.foreign.pytorch import BUILT, make_stand_ins
from i3d.weights.foreign.tensorflow import read_index
from support import foreign_files
from support.commands import run_here
from support.examples import examples

STATUS = Path("/proc/self/status")
FOREIGN = Path(__file__).parent / "golden" / "foreign"
STATE = {"backbone.layer1.0.conv1.conv.weight": torch.arange(24.0).reshape(2, 3, 4), "x": torch.zeros(3)}


class Call:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def opcodes(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def payloads(canary):
    """Raw pickles: what would make `canary` if anything in them ran, and what asks for memory or time without end."""
    touch = f"touch {canary}"
    write = f"open({str(canary)!r}, 'w').close()"

    def call(function, *args):
        return pickle.dumps(Call(function, *args), 2)

    # Names that are code, by each opcode that can call them
    yield "os.system", call(os.system, touch)
    yield "eval", call(eval, write)
    yield "import", call(builtins.__import__, "this")
    yield "popen", call(subprocess.Popen, ["touch", str(canary)])
    yield "partial", call(functools.partial, os.system, touch)
    yield "torch.load", call(torch.load, str(canary))
    yield "numpy object array", pickle.dumps(np.array([Call(os.system, touch)], dtype=object), 2)
    yield "inst", opcodes(b"(V", touch.encode(), b"\niposix\nsystem\n")
    yield "stack global", pickle.dumps(Call(os.system, touch), 4)
    yield "extension", opcodes(b"\x82\x01")
    # Harmless names, used for harm
    chain = b"c__builtin__\ngetattr\n(c__builtin__\ngetattr\n(ctorch\nSize\n"
    chain += b"X\x08\x00\x00\x00__init__tRX\x0b\x00\x00\x00__globals__tR"
    yield "getattr chain", opcodes(chain)
    yield "torch.hub", opcodes(b"ctorch.hub\nload\n(X", struct.pack("<I", 9), b"user/repotR")
    yield "change a function", opcodes(b"ctorch._utils\n_rebuild_tensor_v2\n}X\x06\x00\x00\x00_buildNsb")
    yield "change a type", opcodes(b"cnumpy\ndtype\n}X\x05\x00\x00\x00dtypeX\x01\x00\x00\x00Osb")
    # Memory and time
    yield "memo bomb", opcodes(b"Nr\xff\xff\xff\x7f")
    yield "deep", opcodes(b"]" * 30_000)
    yield "many", opcodes(b"N0" * 1_500_000, b"N")
    yield "huge string", opcodes(b"\x8e" + struct.pack("<Q", 1 << 60) + b"abc")
    yield "huge number", opcodes(b"\x8b" + struct.pack("<I", 1 << 30) + b"abc")
    yield "huge bytearray", call(bytearray, 1 << 45)
    yield "huge tensor", opcodes(b"ctorch\nFloatTensor\n\x8a\x06", (1 << 45).to_bytes(6, "little"), b"\x85R")
    nested = b"K\x01\x85q\x00" + b"".join(b"0h" + bytes([i, 104, i, 0x86, 113, i + 1]) for i in range(60))
    yield "hash of nested tuples", opcodes(b"}", nested, b"Ns")
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    encode = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    yield "copied strings", opcodes(b"](", text, encode * 2000, b"e")
    items = b"K\x01" * 50_000
    yield "copied tuples", opcodes(b"](", b"(" + items + b"tq\x00", b"ctorch\nSize\nh\x00\x85R" * 2000, b"e")
    yield "copied lists", opcodes(b"](", b"](" + items + b"eq\x00", b"c__builtin__\nset\nh\x00\x85R" * 2000, b"e")
    late = b"]q\x00h\x00\x85q\x01h\x00(" + items + b"e" + b"c__builtin__\nset\nh\x01R" * 2000
    yield "a list filled after it was shared", opcodes(b"](", late, b"e")
    yield "a class for every opcode", opcodes(b"".join(b"cmmcv\nx%d\n0" % i for i in range(90_000)), b"N")
    yield "dict in itself", opcodes(b"}q\x00X\x06\x00\x00\x00paramsh\x00sX\x0b\x00\x00\x00batch_statsh\x00s")
    dicts = b"".join(
        b"}q" + bytes([i]) + b"(" + b"".join(b"K%ch%c" % (k, i - 1) for k in range(99)) + b"u" for i in range(1, 8)
    )
    yield "dicts of dicts", opcodes(b"}q\x00", dicts)


NAMES = [name for name, _ in payloads("/dev/null")]


def zipped(data, *, members=(), compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def legacy(data):
    """A file of PyTorch before 1.6: magic number, version, system, then the tree."""
    start = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*start, data, pickle.dumps([], 2)])


WRAPS = {"pickle": bytes, "zip": zipped, "legacy": legacy}


def peak_memory():
    """Bytes of memory that this process has had at most since the last `reset_peak_memory`, where Linux counts them."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1]) << 10


def reset_peak_memory():
    with contextlib.suppress(OSError):
        STATUS.with_name("clear_refs").write_text("5")


def refused(path):
    """One line that names the file, within 2 s and 200 MB."""
    reset_peak_memory()
    start, before = time.process_time(), peak_memory()
    with pytest.raises(I3DError) as error:
        read_weights_file(path)
    message = str(error.value)
    assert time.process_time() - start < 2
    assert peak_memory() - before < 200 << 20
    assert message.startswith(str(path))
    assert "\n" not in message
    assert message.isprintable()
    return message


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_execute_nothing(tmp_path, name):
    """C1, C2, C11: in every file format, whatever the extension."""
    canary = tmp_path / "canary"
    path = tmp_path / "weights.safetensors"
    data = dict(payloads(canary))[name]
    events = []
    is_listening = True

    def listen(event, args):
        if is_listening and event in ("os.system", "subprocess.Popen", "pickle.find_class", "os.posix_spawn"):
            events.append((event, args))

    sys.addaudithook(listen)
    for wrap in WRAPS.values():
        path.write_bytes(wrap(data))
        refused(path)
    is_listening = False
    assert not canary.exists()
    assert not events


def test_no_global_of_a_good_file_is_imported():
    """Python reports every name that an unpickler imports: there is none."""
    names = []
    is_listening = True
    sys.addaudithook(lambda event, args: names.append(args) if is_listening and event == "pickle.find_class" else None)
    read_weights_file(FOREIGN / "mmaction2_v1_tiny_epoch_2.pth")
    is_listening = False
    assert not names


def test_torch_builds_only_tensors_numbers_and_containers():
    """`torch.load` builds some names itself: each is one that weights need, or is refused."""
    allowed = _weights_only_unpickler._get_allowed_globals()
    assert "torch._utils._rebuild_tensor_v2" in allowed
    for name in allowed:
        if not BUILT.fullmatch(name):
            with pytest.raises(WeightsError, match="refused to load"):
                make_stand_ins({name: ""})


def test_a_whole_network_is_refused_with_advice(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    assert "without a dict of tensors; save the network's state_dict()" in refused(tmp_path / "net.pt")


def test_tar_files_are_refused(tmp_path):
    """PyTorch of 2016 wrote such."""
    with tarfile.open(tmp_path / "a.pth", mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    assert "a tar file" in refused(tmp_path / "a.pth")


def test_torchscript_is_refused(tmp_path):
    content = zipped(pickle.dumps({}), members=[("archive/constants.pkl", b"x"), ("archive/code/x.py", b"x")])
    (tmp_path / "a.pt").write_bytes(content)
    assert "TorchScript" in refused(tmp_path / "a.pt")


@pytest.mark.slow
def test_zip_files_that_lie(tmp_path):
    """C6: compressed bombs, sizes beyond the file, numbers that are missing."""
    path = tmp_path / "a.pth"
    path.write_bytes(zipped(b"\0" * (220 << 20), compression=zipfile.ZIP_DEFLATED))
    assert "is compressed, which PyTorch never does" in refused(path)

    good = foreign_files.torch_bytes({"state_dict": STATE})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(members)).split("/")[0]
    path.write_bytes(zipped(members[f"{root}/data.pkl"]))
    assert "file data/0: file not found" in refused(path)
    path.write_bytes(zipped(members[f"{root}/data.pkl"], members=[("archive/data/0", b"abc")]))
    assert "record size (3 bytes) does not match expected size (96 bytes" in refused(path)

    content = bytearray(good)
    for size in (0xFFFFFFFE, 1 << 20):  # in the central directory, of every member
        at = 0
        while (at := content.find(b"PK\x01\x02", at)) >= 0:
            content[at + 20 : at + 28] = struct.pack("<II", size, size)
            at += 4
        path.write_bytes(bytes(content))
        refused(path)

    whole = zipped(members[f"{root}/data.pkl"], members=[("archive/data/0", bytes(96)), ("archive/data/1", bytes(12))])
    path.write_bytes(whole)
    assert read_weights_file(path).arrays["x"].shape == (3,)
    path.write_bytes(whole[:-30])
    assert "damaged zip file" in refused(path)
    # A second directory behind the first: Python reads one of them, PyTorch the other.
    path.write_bytes(whole + good[good.index(b"PK\x01\x02") :])
    assert "its directory does not end the file" in refused(path)
    path.write_bytes(zipfile_of_nothing())
    assert "not of PyTorch" in refused(path)


def zipfile_of_nothing():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("readme.txt", b"x")
    return out.getvalue()


@pytest.mark.parametrize(
    "tensor",
    [
        (0, (1 << 40,), (0,)),  # a shape that its storage cannot fill, by stride 0
        (0, (2, 2), (1 << 62, 1)),
        (5, (24,), (1,)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (1, 1)),
        (0, ("a",), (1,)),
        (0, (1 << 63, 1 << 63), (1, 1)),
    ],
)
def test_tensors_that_reach_beyond_their_storage(tmp_path, tensor):
    class Rebuild:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Stored(), *tensor, False, {})

    class Stored:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", 24) if isinstance(obj, Stored) else None

    out = io.BytesIO()
    Pickler(out, 2).dump({"state_dict": {"w": Rebuild()}})
    (tmp_path / "a.pth").write_bytes(zipped(out.getvalue(), members=[("archive/data/0", bytes(96))]))
    refused(tmp_path / "a.pth")


def safetensors(header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 1 << 63) + b"{}",
        struct.pack("<Q", 100 << 20) + b"{" + b" " * 1000,
        safetensors(b'{"a": '),
        safetensors(b"{" + b'"a":' * 100_000),
        safetensors(b"{" + b"[" * 100_000),
        safetensors(b"{" + b"[" * (15 << 20)),
        safetensors({"a": GOOD}),  # no numbers
        safetensors({"a": GOOD}, bytes(9)),  # trailing bytes
        safetensors({"a": GOOD, "b": {**GOOD, "data_offsets": [4, 12]}}, bytes(12)),  # overlap
        safetensors({"a": {**GOOD, "data_offsets": [4, 12]}}, bytes(12)),  # a hole
        safetensors({"a": {**GOOD, "shape": [1 << 40, 1 << 40]}}, bytes(8)),
        safetensors({"a": {**GOOD, "shape": [-2]}}, bytes(8)),
        safetensors({"a": {**GOOD, "dtype": "F99"}}, bytes(8)),
        safetensors({"a": {**GOOD, "dtype": "F64"}}, bytes(8)),
        safetensors({"a": [1, 2, 3]}),
        safetensors({"__metadata__": {"a": 3}}),
        safetensors(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}', bytes(8)),
    ],
)
def test_safetensors_with_a_bad_header(tmp_path, content):
    """C5."""
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors")


def test_a_card_that_is_not_one(tmp_path):
    import i3d

    for card in ("{}", "[]", "{", '{"recipe": 3}', "\x00"):
        (tmp_path / "a.safetensors").write_bytes(save({"x": torch.zeros(1)}, metadata={"i3d": card}))
        with pytest.raises(WeightsError, match="its card is not valid") as error:
            i3d.load_model(tmp_path / "a.safetensors")
        assert "\n" not in str(error.value)


def seeds():
    """One small file of each format, with a reader that must refuse every cut of it."""
    arrays = {f"a{i}": np.arange(8, dtype="f4") for i in range(3)}
    return {
        "zip": foreign_files.torch_bytes({"state_dict": STATE}),
        "legacy": foreign_files.torch_bytes({"state_dict": STATE}, legacy=True),
        "safetensors": save(STATE),
        "mindspore": foreign_files.mindspore_bytes(arrays),
        "numpy": pickle.dumps({"params": {"w": np.ones(9, "f4")}, "batch_stats": {}}, protocol=4),
    }


SEEDS = seeds()


@pytest.mark.parametrize("kind", SEEDS)
def test_every_cut_is_refused(tmp_path, kind):
    """C4. A MindSpore file that is cut between two tensors is valid; loading reports the missing keys."""
    whole = SEEDS[kind]
    expected = read_weights_file_of(tmp_path, whole)
    for cut in range(0, len(whole), max(1, len(whole) // 200)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        if kind == "mindspore":
            try:
                assert len(read_weights_file(path).arrays) < len(expected.arrays)
                continue
            except WeightsError:
                pass
        refused(path)


def read_weights_file_of(tmp_path, content):
    path = tmp_path / "whole"
    path.write_bytes(content)
    return read_weights_file(path)


@pytest.mark.parametrize("kind", ["zip"])
def test_flipped_bits_of_a_zip_are_detected(tmp_path, kind):
    """C4: its members have checksums; what is outside of them can only be unused or wrong."""
    whole = SEEDS[kind]
    expected = read_weights_file_of(tmp_path, whole).arrays
    num_detected = 0
    for at in range(0, len(whole), 7):
        content = bytearray(whole)
        content[at] ^= 1 << at % 8
        (tmp_path / "flipped").write_bytes(bytes(content))
        try:
            arrays = read_weights_file(tmp_path / "flipped").arrays
        except WeightsError:
            num_detected += 1
            continue
        assert arrays.keys() == expected.keys()
        assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    assert num_detected > 20


def test_an_unknown_escape_in_a_name_is_no_warning():
    from i3d.weights.foreign.pickle_scan import scan_pickle

    assert list(scan_pickle(io.BytesIO(b"c\\ollections\nOrderedDict\n."))) == ["\\ollections.OrderedDict"]


@pytest.mark.slow
@examples(300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(SEEDS)), data=st.data())
def test_damage_is_an_error_or_harmless_never_a_crash(tmp_path, kind, data):
    content = bytearray(SEEDS[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(bytes(content))
    try:
        read_weights_file(path)
    except WeightsError as error:
        assert "\n" not in str(error)


def test_tensorflow_damage_is_detected_by_its_checksums(tmp_path):
    arrays = {f"v{i}": np.arange(6, dtype="f4").reshape(2, 3) for i in range(4)}
    foreign_files.write_tensorflow(tmp_path / "m.ckpt", arrays)
    index, data = tmp_path / "m.ckpt.index", tmp_path / "m.ckpt.data-00000-of-00001"
    good_index, good_data = index.read_bytes(), data.read_bytes()
    for at in range(len(good_index)):
        if len(good_index) - 48 <= at < len(good_index) - 8:
            continue  # the footer has no checksum: its handles lead to blocks that have one
        content = bytearray(good_index)
        content[at] ^= 0x10
        index.write_bytes(bytes(content))
        try:
            read = read_weights_file(tmp_path / "m.ckpt").arrays
            assert all(np.array_equal(read[name], arrays[name]) for name in arrays), at
        except WeightsError as error:
            assert "\n" not in str(error)
    index.write_bytes(good_index)
    for at in range(len(good_data)):
        content = bytearray(good_data)
        content[at] ^= 0x10
        data.write_bytes(bytes(content))
        assert f"v{at // 24} are damaged (their checksum is wrong)" in refused(index)
    data.write_bytes(good_data[:-1])
    assert "is smaller than its index claims" in refused(index)
    data.unlink()
    assert "its data file m.ckpt.data-00000-of-00001 is missing; put it beside the index" in refused(index)


@pytest.mark.parametrize("file", ["rgb_imagenet", "flow_imagenet", "rgb_scratch_kin600"])
def test_cut_indices_are_refused(file):
    whole = (FOREIGN / f"{file}.index").read_bytes()
    for cut in range(0, len(whole), 97):
        with pytest.raises(WeightsError):
            read_index(whole[:cut])


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x80", b"\x80\x02", b"PK\x03\x04", b"{}", b"\x0a\xff\xff", b"<html>", bytes(600)]
)
def test_files_that_are_no_weights_are_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    refused(tmp_path / "a.pth")


def test_odd_paths(tmp_path):
    assert "a folder; name the file in it" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a regular file" in refused(tmp_path / "pipe.pth")
    assert "No such file" in refused(tmp_path / "absent.pth")
    name = "two\nlines\x1b[31m.pth"
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError) as error:
        read_weights_file(tmp_path / name)
    assert str(error.value).isprintable()


def test_the_command_line_refuses_in_one_line(tmp_path):
    """Exit code 2, one line, no traceback."""
    canary = tmp_path / "canary"
    (tmp_path / "evil.pth").write_bytes(zipped(pickle.dumps(Call(os.system, f"touch {canary}"), 2)))
    result = run_here(["i3d", "convert", tmp_path / "evil.pth", tmp_path / "out.safetensors"])
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {tmp_path}/evil.pth: refused to load posix.system: only tensors are read")
    assert result.stderr.count("\n") == 1
    assert not canary.exists()
    assert not (tmp_path / "out.safetensors").exists()


SHAPES = json.loads((Path(__file__).parent / "golden" / "keys" / "i3d_r50_nl_gaussian.json").read_text())["keys"]


@pytest.mark.slow
@examples(150)
@given(
    data=st.data(), recipe=st.sampled_from([None, "i3d_r50_32x2x1_100e_kinetics400_rgb", "inception_rgb_kinetics400"])
)
def test_keys_of_impossible_shapes_are_errors(data, recipe):
    from pydantic import ValidationError

    from i3d.weights.detect import choose_recipe
    from i3d.weights.foreign.files import WeightsFile
    from i3d.weights.foreign.names import rename_keys

    shapes = {name: tuple(shape) for name, shape, _ in SHAPES}
    important = [n for n in shapes if "backbone.conv1" in n or "fc_cls" in n or "non_local" in n or "conv1.conv" in n]
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(important))
        sizes = st.lists(st.sampled_from([0, 1, 2, 3, 5, 64, 4000]), max_size=6)
        fits = sizes.filter(lambda sizes: math.prod(size or 1 for size in sizes) < 2**60)  # larger ones NumPy refuses
        shapes[name] = tuple(data.draw(fits))
        if data.draw(st.booleans()):
            del shapes[data.draw(st.sampled_from(sorted(shapes)))]
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    try:
        chosen, _ = choose_recipe(WeightsFile("x", arrays), rename_keys(arrays), recipe=recipe, in_channels=None)
        assert chosen.network.kind == "resnet"
    except (WeightsError, ValidationError):  # the caller makes one line of the second
        pass


@pytest.mark.slow
def test_damaged_tensorflow_indices_stay_small(tmp_path):
    entry = foreign_files.field(1, 1) + foreign_files.field(2, b"") + foreign_files.field(5, 4)
    long_names = [(b"", foreign_files.field(1, 1))] + [(b"a" * 2000 + b"%05d" % i, entry) for i in range(2000)]
    block = foreign_files.table_block(long_names)
    handle = foreign_files.varint(0) + foreign_files.varint(len(block) - 5)
    for name, handles in (("names", [(b"z", handle)]), ("again", [(b"%05d" % i, handle) for i in range(2000)])):
        top = foreign_files.table_block(handles)
        where = foreign_files.varint(len(block)) + foreign_files.varint(len(top) - 5)
        footer = (foreign_files.varint(0) + foreign_files.varint(0) + where).ljust(40, b"\0") + foreign_files.TF_MAGIC
        (tmp_path / f"{name}.index").write_bytes(block + top + footer)
        assert len(refused(tmp_path / f"{name}.index")) < 800


def test_a_file_beside_an_index_is_what_it_is(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(foreign_files.torch_bytes({"state_dict": STATE}))
    (tmp_path / "model.ckpt.index").write_bytes(b"x")
    assert read_weights_file(tmp_path / "model.ckpt").kind == "PyTorch file"
    assert "not an index" in refused(tmp_path / "model.ckpt.index")


@pytest.fixture(scope="module")
def small_state():
    return build_network(ResNetSettings(base_channels=4, num_classes=10)).state_dict()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fc.weight", torch.ones(10, 128, dtype=torch.int64)),
        ("conv1.bn.running_mean", torch.ones(4, dtype=torch.bool)),
        ("conv1.bn.running_var", -torch.ones(4)),
        ("conv1.bn.weight", torch.full((4,), 1e200, dtype=torch.float64)),
        ("conv1.bn.weight", torch.tensor([1.0, 2.0, torch.inf, 3.0])),
        ("conv1.bn.weight", None),
        ("", None),  # a good file
    ],
)
def test_numbers_that_no_network_has(tmp_path, small_state, key, value):
    """In a foreign file: whole numbers, negative variances, what overflows float32; and scales are never made up."""
    import i3d

    state = {name: tensor for name, tensor in small_state.items() if name != key}
    if value is not None:
        state[key] = value
    torch.save(state, tmp_path / "a.pth")
    if not key:
        assert i3d.load_model(tmp_path / "a.pth").settings.base_channels == 4
        return
    with pytest.raises(WeightsError, match=key):
        i3d.load_model(tmp_path / "a.pth")


@pytest.mark.parametrize("name", [".", "/", "..", "", "a\0b", "x" * 300, "runs/" + "x" * 300])
def test_paths_that_no_file_can_have(name):
    import i3d

    with pytest.raises(I3DError) as error:
        i3d.load_model(name)
    assert "\n" not in str(error.value)


def test_cards_that_would_write_on_the_terminal(tmp_path):
    import i3d
    from i3d.weights.checkpoint import load_checkpoint

    path = FOREIGN.parent.parent.parent / "src" / "i3d" / "assets" / "inception_rgb_kinetics400.safetensors"
    _, card = load_checkpoint(path)
    metadata = json.loads(card.model_dump_json())
    metadata["labels"][0] = "a\x1b[31m\nb"
    (tmp_path / "a.safetensors").write_bytes(save({"x": torch.zeros(1)}, metadata={"i3d": json.dumps(metadata)}))
    with pytest.raises(WeightsError, match="a text in it cannot be printed"):
        i3d.load_model(tmp_path / "a.safetensors")
