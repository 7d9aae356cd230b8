"""States of a run: whole or not at all, wherever the machine stops; and each part of one is needed."""

import ctypes
import errno
import json
import os
import signal
from collections import Counter

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.profiler import ProfilerActivity, profile

from i3d.data.loading.batch import Batch
from i3d.errors import InputError
from i3d.training.state import (
    MetricSums,
    TrainerState,
    list_states,
    load_newest,
    save_state,
)
from i3d.training.step import train_step
from i3d.weights.file_checksum import write_checksum
from i3d.weights.initialize import STATE_KEY
from support.training_states import make_parts

TRACEME, SYSCALL = 0, 24  # of ptrace(2)
NOT_ALLOWED = 77


def at(step, **more):
    return TrainerState.initial("contract").model_copy(update={"step": step, **more})


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()[STATE_KEY]


def rewrite(path, tensors, record):
    save_file(tensors, path, metadata={STATE_KEY: record})
    write_checksum(path)


def everything(parts):
    optimizer = {
        f"{name}.{key}": value.clone()
        for name, parameter in parts.net.named_parameters()
        for key, value in parts.optimizer.state[parameter].items()
    }
    state = {name: value.clone() for name, value in parts.net.state_dict().items()}
    return state, {name: value.clone() for name, value in parts.ema.state.items()}, optimizer


@pytest.mark.parametrize("adamw", [False, True])
def test_a_state_gives_back_everything(tmp_path, adamw):
    parts = make_parts(adamw=adamw)
    save_state(tmp_path, parts, at(7, best=0.5, best_step=5, bad_clips=((3, "why"),), sums_R=(MetricSums(loss=0.1),)))
    other = make_parts(seed=1, steps=1, adamw=adamw)
    position, faults = load_newest(tmp_path, other)
    assert faults == []
    assert position.model_dump(exclude={"tensor_names"}) == at(
        7, best=0.5, best_step=5, bad_clips=((3, "why"),), sums_R=(MetricSums(loss=0.1),)
    ).model_dump(exclude={"tensor_names"})
    for mine, theirs in zip(everything(parts), everything(other), strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_two_states_are_retained_and_a_broken_one_is_replaced_by_the_previous(tmp_path):
    parts = make_parts()
    for step in (1, 2, 3):
        save_state(tmp_path, parts, at(step))
    assert [path.name for path in list_states(tmp_path)] == ["step-00000003.safetensors", "step-00000002.safetensors"]
    newest, older = list_states(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-100])
    position, faults = load_newest(tmp_path, parts)
    assert position.step == 2
    assert "step-00000003.safetensors: cannot be read" in faults[0]
    older.write_bytes(b"")
    with pytest.raises(InputError, match="nor any other state"):
        load_newest(tmp_path, parts)
    assert load_newest(tmp_path / "nothing", parts) == (None, [])


@pytest.mark.parametrize("kind", ["model.", "ema.", "optimizer."])
def test_every_key_is_needed(tmp_path, kind):
    parts = make_parts()
    path = save_state(tmp_path, parts, at(1))
    tensors = load_file(path)
    lost = next(name for name in tensors if name.startswith(kind))
    record = metadata_of(path)
    rewrite(path, {name: tensor for name, tensor in tensors.items() if name != lost}, record)
    with pytest.raises(InputError, match=f"{lost} is missing"):
        load_newest(tmp_path, parts)
    rewrite(path, {**tensors, f"{kind}strange": torch.zeros(1)}, record)
    if kind != "optimizer.":
        with pytest.raises(InputError, match="belongs to no"):
            load_newest(tmp_path, parts)


def test_a_full_disk_leaves_the_states_before(tmp_path, monkeypatch):
    parts = make_parts()
    save_state(tmp_path, parts, at(1))
    from i3d.training import state

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state, "save_with_checksum", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, parts, at(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.safetensors"]


@pytest.mark.slow
def test_a_save_may_be_cut_at_every_system_call(tmp_path):
    """A child saves under ptrace and is killed as it enters its k-th system call, for every k."""
    parts, libc = make_parts(), ctypes.CDLL(None, use_errno=True)
    for step in (1, 2):
        save_state(tmp_path, parts, at(step))
    num_calls = 0
    while True:
        child = os.fork()
        if child == 0:
            if libc.ptrace(TRACEME, 0, 0, 0) == -1:
                os._exit(NOT_ALLOWED)
            os.kill(os.getpid(), signal.SIGSTOP)
            save_state(tmp_path, parts, at(3 + num_calls))
            os._exit(0)
        is_over = run_until(libc, child, num_calls)
        newest = load_newest(tmp_path, parts)[0].step
        assert newest in (2 + num_calls, 3 + num_calls)
        save_state(tmp_path, parts, at(3 + num_calls))
        if is_over:
            break
        num_calls += 1
    assert num_calls > 20


def run_until(libc, child, num_calls):
    """Let a traced child enter so many system calls, then kill it; whether it came to its end before."""
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == NOT_ALLOWED:
        pytest.skip("this system does not let a process trace another")
    entered = 0
    while True:
        libc.ptrace(SYSCALL, child, 0, 0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return True
        if os.WIFSIGNALED(status):
            return False
        entered += 1
        if entered > 2 * num_calls:  # each call stops at its entry and at its end
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False


@pytest.mark.parametrize("field", sorted(set(TrainerState.model_fields) - {"tensor_names"}))
def test_every_field_of_the_trainer_state_is_needed(tmp_path, field):
    parts = make_parts()
    path = save_state(tmp_path, parts, at(1))
    fields = json.loads(metadata_of(path))
    del fields[field]
    rewrite(path, load_file(path), json.dumps(fields, separators=(",", ":")))
    with pytest.raises(InputError, match=f"{field} is missing"):
        load_newest(tmp_path, parts)


@pytest.mark.parametrize("adamw", [False, True])
@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_step_never_synchronises_with_the_device(adamw, limit):
    """Each would have to wait for all queued work of a GPU."""
    parts = make_parts(adamw=adamw)
    parts.training = parts.training.model_copy(update={"clip_grad_norm": limit})
    clips_NVTHWC = torch.randint(0, 256, (2, 1, 6, 32, 32, 3), dtype=torch.uint8)
    batch = Batch(clips_NVTHWC, (), torch.tensor([0, 2]), torch.arange(2), ())
    train_step(parts, [batch], step=2, lr=0.1)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        stepped = train_step(parts, [batch, batch], step=3, lr=0.1)
    count = Counter(event.name for event in profiler.events() if not is_of_the_fused_optimizer(event))
    assert count["aten::convolution_backward"] > 0
    assert count["aten::_local_scalar_dense"] == count["aten::nonzero"] == 0
    assert float(stepped.loss) > 0


def is_of_the_fused_optimizer(event):
    """That of CPUs reads its own count of steps; that of GPUs does not."""
    return event is not None and (event.name == "aten::_fused_adamw_" or is_of_the_fused_optimizer(event.cpu_parent))
