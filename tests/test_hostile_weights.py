"""Weights files that mean harm, or are damaged: nothing in them runs, each is refused in one line, soon and small.

The ids (C1 ...) are those of the fault catalogue.
"""

import builtins
import io
import json
import os
import pickle
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

from i3d.errors import I3DError, WeightsError
from i3d.weights.foreign.files import read_weights_file
from i3d.weights.foreign.tensorflow import read_index
from support import foreign_files
from support.examples import examples

FOREIGN = Path(__file__).parent / "golden" / "foreign"
STATE = {"backbone.layer1.0.conv1.conv.weight": torch.arange(24.0).reshape(2, 3, 4), "x": torch.zeros(3)}


class Call:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Build:
    """Pickles as `function(*args)` whose state is then set."""

    def __init__(self, function, args, state):
        self.parts = function, args, state

    def __reduce__(self):
        return self.parts


def opcodes(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def payloads(canary):
    """Objects and raw pickles that would make `canary` if anything in them ran."""
    touch = f"touch {canary}"
    write = f"open({str(canary)!r}, 'w').close()"
    from functools import partial

    yield "os.system", pickle.dumps(Call(os.system, touch))
    yield "eval", pickle.dumps(Call(eval, write))
    yield "exec", pickle.dumps(Call(exec, write))
    yield "import", pickle.dumps(Call(builtins.__import__, "this"))
    yield "open", pickle.dumps(Call(open, str(canary), "w"))
    yield "popen", pickle.dumps(Call(subprocess.Popen, ["touch", str(canary)]))
    yield "partial", pickle.dumps(Call(partial, os.system, touch))
    yield "getattr of module", opcodes(b"cposix\nsystem\n(V", touch.encode(), b"\ntR")
    yield "inst", opcodes(b"(V", touch.encode(), b"\niposix\nsystem\n")
    chain = b"c__builtin__\ngetattr\n(c__builtin__\ngetattr\n(ctorch\nSize\n"
    chain += b"X\x08\x00\x00\x00__init__tRX\x0b\x00\x00\x00__globals__tR"
    yield "getattr chain", opcodes(chain)
    yield (
        "getattr of a tensor builder",
        opcodes(b"cbuiltins\ngetattr\n(ctorch._utils\n_rebuild_tensor_v2\nX\x06\x00\x00\x00_buildtR"),
    )
    yield "torch.hub", opcodes(b"ctorch.hub\nload\n(V", str(canary).encode(), b"\ntR")
    yield "torch.serialization", opcodes(b"ctorch\nload\n(V", str(canary).encode(), b"\ntR")
    yield "numpy.load", pickle.dumps(Call(np.load, str(canary)))
    yield "numpy object array", pickle.dumps(np.array([Call(os.system, touch)], dtype=object))
    yield (
        "stack global",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + bytes([len(touch)]) + touch.encode() + b"\x85R.",
    )
    yield "extension", opcodes(b"\x82\x01")
    yield "change a builder", opcodes(b"ctorch._utils\n_rebuild_tensor_v2\n}X\x06\x00\x00\x00_buildNsb")
    yield "change a storage type", opcodes(b"ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeX\x01\x00\x00\x00Osb")
    yield "memo bomb", opcodes(b"Nr\xff\xff\xff\x7f")
    yield "deep", opcodes(b"]" * 100_000)
    yield "many", opcodes(b"N0" * 1_500_000, b"N")
    yield "huge string", opcodes(b"\x8e" + struct.pack("<Q", 1 << 60) + b"abc")
    yield "huge number", opcodes(b"\x8b" + struct.pack("<I", 1 << 30) + b"abc")
    nested = b"K\x01\x85q\x00" + b"".join(b"0h" + bytes([i, 104, i, 0x86, 113, i + 1]) for i in range(60))
    yield "hash of nested tuples", opcodes(b"}", nested, b"Ns")
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    encode = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    yield "bytes made again and again", opcodes(b"](", text, encode * 2000, b"e")
    sizes = b"](" + b"K\x01" * 50_000 + b"eq\x00"
    yield "sizes made again and again", opcodes(b"](", sizes, b"ctorch\nSize\n(h\x00tR" * 2000, b"e")
    yield "a class for every instruction", opcodes(b"".join(b"cmmcv\nx%d\n0" % i for i in range(90_000)), b"N")
    yield "impossible shape", opcodes(b"ctorch\nSize\n((" + b"K\x01" * 65 + b"ttR")
    yield "dict in itself", opcodes(b"}q\x00X\x06\x00\x00\x00paramsh\x00sX\x0b\x00\x00\x00batch_statsh\x00s")


NAMES = [name for name, _ in payloads("/dev/null")]


def zipped(data, *, members=(), compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def legacy(data):
    """A file of PyTorch before 1.6: magic number, version, system, then the tree."""
    start = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*start, data, pickle.dumps([], 2)])


def tarred(data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def refused(path):
    """One line that names the file, within 2 s and 200 MB."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(I3DError) as caught:
        read_weights_file(path)
    message = str(caught.value)
    assert time.perf_counter() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
    assert message.startswith(str(path))
    assert "\n" not in message
    assert message.isprintable()
    return message


@pytest.mark.parametrize("wrap", [bytes, zipped, legacy, tarred], ids=["pickle", "zip", "legacy", "tar"])
@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_execute_nothing(tmp_path, name, wrap):
    """C1, C2, C11: whatever the wrapping and whatever the extension."""
    canary = tmp_path / "canary"
    data = dict(payloads(canary))[name]
    heard = []
    listening = True

    def hear(event, args):
        if listening and event in ("os.system", "subprocess.Popen", "exec", "pickle.find_class", "os.posix_spawn"):
            heard.append((event, args))

    sys.addaudithook(hear)
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(wrap(data))
        refused(path)
    listening = False
    assert not canary.exists()
    assert not [event for event, _ in heard if event != "exec"]


def test_nothing_is_ever_looked_up(tmp_path):
    """Python tells of every name that an unpickler imports: there is none, in good files neither."""
    heard = []
    listening = True
    sys.addaudithook(lambda event, args: heard.append(args) if listening and event == "pickle.find_class" else None)
    read_weights_file(FOREIGN / "mmaction2_v1_tiny_epoch_2.pth")
    listening = False
    assert not heard


def test_a_whole_network_is_refused_with_advice(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    assert "refused to load torch.nn.modules.linear.Linear" in refused(tmp_path / "net.pt")


def test_torchscript_is_refused(tmp_path):
    content = zipped(pickle.dumps({}), members=[("archive/constants.pkl", b"x"), ("archive/code/x.py", b"x")])
    (tmp_path / "a.pt").write_bytes(content)
    assert "TorchScript" in refused(tmp_path / "a.pt")


def test_zip_files_that_lie(tmp_path):
    """C6: compressed bombs, sizes beyond the file, numbers that are missing."""
    path = tmp_path / "a.pth"
    path.write_bytes(zipped(b"\0" * (300 << 20), compression=zipfile.ZIP_DEFLATED))
    assert "is compressed, which PyTorch never does" in refused(path)

    good = foreign_files.torch_bytes({"state_dict": STATE})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(members)).split("/")[0]
    path.write_bytes(zipped(members[f"{root}/data.pkl"]))
    assert "archive/data/0 is missing" in refused(path)
    path.write_bytes(zipped(members[f"{root}/data.pkl"], members=[("archive/data/0", b"abc")]))
    assert "archive/data/0 holds 3 bytes, its tensors need 96" in refused(path)

    content = bytearray(good)
    for size in (0xFFFFFFFE, 1 << 20):  # in the central directory, of every member
        at = 0
        while (at := content.find(b"PK\x01\x02", at)) >= 0:
            content[at + 20 : at + 28] = struct.pack("<II", size, size)
            at += 4
        path.write_bytes(bytes(content))
        refused(path)

    path.write_bytes(zipped(b"x")[:-30])
    assert "damaged zip file" in refused(path)
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
def test_tensors_that_point_outside_their_numbers(tmp_path, tensor):
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
        with pytest.raises(WeightsError, match="what the file says of itself is not valid") as caught:
            i3d.load_model(tmp_path / "a.safetensors")
        assert "\n" not in str(caught.value)


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
    """C4. Of a MindSpore file the cuts between two tensors are whole files, which miss entries, as loading tells."""
    whole = SEEDS[kind]
    wanted = read_weights_file_of(tmp_path, whole)
    for cut in range(0, len(whole), max(1, len(whole) // 200)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        if kind == "mindspore":
            try:
                assert len(read_weights_file(path).arrays) < len(wanted.arrays)
                continue
            except WeightsError:
                pass
        refused(path)


def read_weights_file_of(tmp_path, content):
    path = tmp_path / "whole"
    path.write_bytes(content)
    return read_weights_file(path)


@pytest.mark.parametrize("kind", ["zip"])
def test_flipped_bits_of_a_zip_are_found(tmp_path, kind):
    """C4: its members have checksums; what is outside of them can only be unused or wrong."""
    whole = SEEDS[kind]
    wanted = read_weights_file_of(tmp_path, whole).arrays
    found = 0
    for at in range(0, len(whole), 7):
        content = bytearray(whole)
        content[at] ^= 1 << at % 8
        (tmp_path / "flipped").write_bytes(bytes(content))
        try:
            arrays = read_weights_file(tmp_path / "flipped").arrays
        except WeightsError:
            found += 1
            continue
        assert arrays.keys() == wanted.keys()
        assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted)
    assert found > 20


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


def test_tensorflow_damage_is_found_by_its_checksums(tmp_path):
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
    assert "is smaller than what the index says it holds" in refused(index)
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
def test_what_is_no_weights_file_says_so(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    refused(tmp_path / "a.pth")


def test_odd_paths(tmp_path):
    assert "a folder; name the file in it" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a regular file" in refused(tmp_path / "pipe.pth")
    assert "No such file" in refused(tmp_path / "absent.pth")
    name = "two\nlines\x1b[31m.pth"
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError) as caught:
        read_weights_file(tmp_path / name)
    assert str(caught.value).isprintable()


def test_the_command_line_refuses_in_one_line(tmp_path):
    """In a process of its own: exit code 2, one line, no traceback, under 2 s, before PyTorch is even imported."""
    canary = tmp_path / "canary"
    (tmp_path / "evil.pth").write_bytes(zipped(pickle.dumps(Call(os.system, f"touch {canary}"))))
    code = "import sys; from i3d.cli import main; sys.argv = ['i3d', *sys.argv[1:]]\n"
    code += "try: main()\nfinally: assert 'torch' not in sys.modules"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "convert", tmp_path / "evil.pth", tmp_path / "out.safetensors"],
        capture_output=True,
        text=True,
    )
    assert time.perf_counter() - start < 4  # on a busy machine; alone it takes a third of a second
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/evil.pth: refused to load posix.system: only tensors are read")
    assert done.stderr.count("\n") == 1
    assert not canary.exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_no_hostile_file_takes_much_memory(tmp_path):
    """Every payload in one fresh process, whose peak is that of the worst."""
    for number, (_, data) in enumerate(payloads(tmp_path / "canary")):
        for name, wrap in (("pickle", bytes), ("zip", zipped), ("legacy", legacy)):
            (tmp_path / f"{number}.{name}").write_bytes(wrap(data))
    (tmp_path / "bomb").write_bytes(zipped(b"\0" * (300 << 20), compression=zipfile.ZIP_DEFLATED))
    (tmp_path / "header").write_bytes(safetensors(b"{" + b"[" * (15 << 20)))
    code = """
import pathlib, resource, sys
from i3d.errors import I3DError
from i3d.weights.foreign.files import read_weights_file
before, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        read_weights_file(path)
    except I3DError:
        refused += 1
print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    refused_files, kilobytes = map(int, done.stdout.split())
    assert refused_files == len(os.listdir(tmp_path)) == 3 * len(NAMES) + 2
    assert kilobytes < 200 << 10


SHAPES = json.loads((Path(__file__).parent / "golden" / "keys" / "i3d_r50_nl_gaussian.json").read_text())["keys"]


@examples(150)
@given(
    data=st.data(), recipe=st.sampled_from([None, "i3d_r50_32x2x1_100e_kinetics400_rgb", "inception_rgb_kinetics400"])
)
def test_entries_of_impossible_shapes_are_errors(data, recipe):
    from pydantic import ValidationError

    from i3d.weights.detect import choose_recipe
    from i3d.weights.foreign.files import WeightsFile
    from i3d.weights.foreign.names import name_entries

    shapes = {name: tuple(shape) for name, shape, _ in SHAPES}
    important = [n for n in shapes if "backbone.conv1" in n or "fc_cls" in n or "non_local" in n or "conv1.conv" in n]
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(important))
        shapes[name] = tuple(data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 64, 4000]), max_size=6)))
        if data.draw(st.booleans()):
            del shapes[data.draw(st.sampled_from(sorted(shapes)))]
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    try:
        chosen, _ = choose_recipe(WeightsFile("x", arrays), name_entries(arrays), recipe=recipe, in_channels=None)
        assert chosen.network.kind == "resnet"
    except (WeightsError, ValidationError):  # the caller makes one line of the second
        pass


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


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("fc.weight", torch.ones(10, 128, dtype=torch.int64)),
        ("conv1.bn.running_mean", torch.ones(4, dtype=torch.bool)),
        ("conv1.bn.running_var", -torch.ones(4)),
        ("conv1.bn.weight", torch.full((4,), 1e200, dtype=torch.float64)),
        ("conv1.bn.weight", torch.tensor([1.0, 2.0, torch.inf, 3.0])),
        ("conv1.bn.weight", None),
    ],
)
def test_numbers_that_no_network_has(tmp_path, entry, value):
    """In a foreign file: whole numbers, negative variances, what overflows float32; and scales are never made up."""
    import i3d
    from i3d.models.factory import build_network
    from i3d.recipes.settings import ResNetSettings

    state = dict(build_network(ResNetSettings(base_channels=4, num_classes=10)).state_dict())
    torch.save(state, tmp_path / "good.pth")
    assert i3d.load_model(tmp_path / "good.pth").settings.base_channels == 4
    if value is None:
        del state[entry]
    else:
        state[entry] = value
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=entry):
        i3d.load_model(tmp_path / "bad.pth")


@pytest.mark.parametrize("name", [".", "/", "..", "", "a\0b", "x" * 300, "runs/" + "x" * 300])
def test_paths_that_no_file_can_have(name):
    import i3d

    with pytest.raises(I3DError) as caught:
        i3d.load_model(name)
    assert "\n" not in str(caught.value)


def test_records_that_would_write_on_the_terminal(tmp_path):
    import i3d
    from i3d.weights.checkpoint import load_checkpoint

    path = FOREIGN.parent.parent.parent / "src" / "i3d" / "assets" / "inception_rgb_kinetics400.safetensors"
    _, card = load_checkpoint(path)
    told = json.loads(card.model_dump_json())
    told["labels"][0] = "a\x1b[31m\nb"
    (tmp_path / "a.safetensors").write_bytes(save({"x": torch.zeros(1)}, metadata={"i3d": json.dumps(told)}))
    with pytest.raises(WeightsError, match="a text in it cannot be printed"):
        i3d.load_model(tmp_path / "a.safetensors")
