"""Testing in several processes: every clip once, and bit-identical to one process; killed and resumed."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import numpy as np
import pytest

from i3d.data.formats.read import read_annotations
from i3d.data.resume import Resume
from i3d.evaluation.result_file import read_evaluations
from i3d.evaluation.resume import ScoreCache
from i3d.evaluation.scorer import ClipScores
from i3d.utils.distributed import World
from support import commands, processes
from support.evaluate_on_ranks import LENGTHS
from support.evaluation_runs import make_clips, save_models
from support.paths import ROOT

UNREADABLE = "could not be read; the exit code is 0 under torchrun, where 3 would end the other processes"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """17 clips (some are listed again under another name), one of which cannot be read."""
    root = make_clips(tmp_path_factory.mktemp("clips"))
    lines = ["path,label"]
    for k in range(17):
        name = f"copy{k}.mp4"
        if k == 11:
            (root / name).write_bytes(b"")
        else:
            os.link(root / f"{k % 6}.mp4", root / name)
        lines.append(f"{name},{'abc'[k % 3]}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.mark.slow
def test_every_clip_once_in_one_and_in_three_processes_for_1_to_17_clips(clips, models, tmp_path):
    runs_by_world_size = {}
    for world_size in (1, 3):
        folder, log = tmp_path / str(world_size), tmp_path / f"log{world_size}"
        folder.mkdir()
        script = ROOT / "tests" / "support" / "evaluate_on_ranks.py"
        words = ["python", script, clips / "list.csv", models["clips"], folder]
        process = processes.start(words, log, ranks=world_size)
        assert process.wait(300) == 0, log.read_text()[-3000:]
        runs_by_world_size[world_size] = [
            json.loads((folder / f"{rank}.json").read_text()) for rank in range(world_size)
        ]
    for world_size, ranks in runs_by_world_size.items():
        for number, length in enumerate(LENGTHS):
            runs = [run[number] for run in ranks]
            readable = [k for k in range(length) if k != 11]
            assert sorted(index for run in runs for index in run["scored"]) == readable
            shares = [len(run["scored"]) for run in runs]
            assert max(shares) - min(shares) <= 2  # one rank has the unreadable one
            for run in runs:
                alone = runs_by_world_size[1][0][number]
                assert run["names"] == [[f"copy{k}.mp4" for k in readable]] * 2
                assert run["bad"] == ["copy11.mp4"] * (length > 11)
                assert run["scores"] == alone["scores"], (world_size, length)
                assert run["metrics"] == alone["metrics"], (world_size, length)


@pytest.mark.slow
def test_predictions_in_two_processes_are_those_of_one(clips, models, tmp_path):
    """Each predicts its share of the list; the first one prints and writes all rows in order."""
    words = ["predict", clips / "list.csv", "--model", models["clips"], "--device", "cpu", "--out"]
    alone = commands.run(*words, tmp_path / "one.csv")
    log = tmp_path / "log"
    assert alone.returncode == 3
    assert processes.start(["i3d", *words, tmp_path / "two.csv"], log, ranks=2).wait(300) == 0
    assert log.read_text().count(f"warning: 1 video {UNREADABLE}") == 1
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert [line for line in log.read_text().splitlines() if ".mp4  " in line] == [
        line for line in alone.stdout.splitlines() if ".mp4  " in line
    ]
    hidden = [path.name for path in sorted(tmp_path.glob(".*"))]
    assert hidden == [".one.csv.resume", ".two.csv.1.resume", ".two.csv.resume"]  # a video cannot be read
    again = commands.run(*words, tmp_path / "two.csv")
    assert again.returncode == 3
    assert "16 of 17 videos recognised" in again.stderr
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


@pytest.mark.slow
def test_the_command_under_torchrun_is_killed_and_resumes(clips, models, tmp_path):
    def command(out):
        options = ["--device", "cpu", "--workers", "1", "--protocols", "1x1,3x3", "--max-bad", "20%", "--out", out]
        options += ["--report", out.with_suffix(".html")]
        return ["test", models["clips"], "--data", clips / "list.csv", *options]

    alone = commands.run(*command(tmp_path / "alone.json"))
    assert alone.returncode == 3, alone.stderr
    out, log = tmp_path / "r.json", tmp_path / "log2"
    process = processes.start(["i3d", *command(out)], log, ranks=2)
    logs = [tmp_path / name for name in (".r.json.resume", ".r.json.1.resume")]
    processes.wait_until(lambda: all(p.exists() and p.read_text().count("\n") > 1 for p in logs), process, log=log)
    processes.kill_running(process)
    assert not out.exists()  # whatever is scored, the result was not written
    assert 2 <= sum(path.read_text().count("\n") - 1 for path in logs) <= 16
    torchrun = [*processes.TORCHRUN, "--standalone", "--nproc-per-node=3"]
    again = processes.start([*torchrun, "-m", "i3d", *command(out)], log)
    assert again.wait(120) == 0, log.read_text()
    assert out.exists(), log.read_text()
    assert "Traceback" not in log.read_text()
    assert log.read_text().count(f"warning: 1 clip {UNREADABLE}") == 1
    assert "1 clip is unreadable and left out" in out.with_suffix(".html").read_text()
    assert out.read_bytes() == (tmp_path / "alone.json").read_bytes()
    assert [e.name for e in read_evaluations(out)] == ["1x1", "3x3"]
    lines = [line for line in log.read_text().splitlines() if "scores and metrics" in line]
    assert len(lines) <= 2  # one process prints for all
    assert re.search(r"copy11.mp4: .*empty", log.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["features", "frame order"])
def test_a_file_that_cannot_be_read_does_not_end_the_other_processes(clips, models, tmp_path, verb):
    words = {
        "features": ["features", clips, "--model", models["clips"], "--window", 6, "--out", tmp_path / "f"],
        "frame order": ["test", models["clips"], "--data", clips / "list.csv", "--frame-order", "reversed,occluded"],
    }[verb]
    log = tmp_path / "log"
    more = ["--max-bad", "20%"] if verb == "frame order" else []
    process = processes.start(["i3d", *words, *more, "--device", "cpu"], log, ranks=2)
    assert process.wait(300) == 0, log.read_text()
    assert log.read_text().count(UNREADABLE) == 1, log.read_text()


@pytest.mark.parametrize("words", [["flow", "a.mp4", "--out", "f"], ["data", "list", "a.csv", "--out", "b.csv"]])
def test_commands_that_do_not_divide_their_work_run_in_one_process(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    result = commands.run(*words, env=variables)
    message = f"error: i3d {words[0]}: runs in one process, not in 2; leave torchrun out, or unset RANK and WORLD_SIZE"
    assert (result.returncode, result.stderr) == (2, message + "\n")


@dataclass(frozen=True)
class ThreadWorld(World):
    """Ranks that are threads of one process."""

    barrier_of_ranks: Barrier
    slots: list

    def all_gather(self, lines):
        self.slots[self.rank] = list(lines)
        self.barrier_of_ranks.wait(30)
        gathered = [line for lines in self.slots for line in lines]
        self.barrier_of_ranks.wait(30)
        return gathered


def test_the_first_rank_decides_which_scores_are_reused(clips, tmp_path):
    """Each host may have a disk of its own: a clip that one log has and the other lacks must not be lost."""
    annotations = read_annotations(clips / "list.csv").select(range(4))
    homes = [tmp_path / "first", tmp_path / "second"]
    for home in homes:
        home.mkdir()
    scores = {"1x1": ClipScores(np.ones((1, 3)), (6,))}

    def log_one_clip(world):
        with ScoreCache(Resume(homes[world.rank] / "r.json"), {}, annotations, world=world) as cache:
            loaded = sorted(cache.load())
            index = (2, 3)[world.rank]
            cache.add(index, cache.stamp(index), scores)
        return loaded

    def run():
        barrier, slots = Barrier(2), [[], []]
        worlds = [ThreadWorld(rank, 2, barrier, slots) for rank in range(2)]
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(log_one_clip, worlds))

    assert run() == [[], []]
    assert run() == [[2], [2]]


HOSTS = """
from types import SimpleNamespace
import torch.distributed as dist
from i3d.utils.distributed import gloo_group
import torch.testing._internal.distributed.fake_pg  # that of PyTorch's own tests
from i3d.training.run import TrainingRun

store, rank, world_size = next(dist.rendezvous("env://"))
dist.init_process_group("fake", store=store, rank=rank, world_size=world_size)  # in place of nccl
calls, gather = [], dist.all_gather
dist.all_gather = lambda out, mine, group: calls.append((mine.device.type, group)) or gather(out, mine, group=group)
run = object.__new__(TrainingRun)
run.state = SimpleNamespace(accelerator=SimpleNamespace(num_processes=2))
assert run.gather_int(rank + 5) == [5, 6]
assert run.gather_int(rank + 7) == [7, 8]
group = gloo_group()
assert calls == [("cpu", group)] * 2 and group not in (None, dist.group.WORLD)
del group, calls[:]
"""


@pytest.mark.slow
def test_ranks_on_gpus_exchange_numbers_over_gloo(tmp_path):
    """NCCL exchanges a number after all queued work of the GPU: a step would have to end before the next begins."""
    (tmp_path / "hosts.py").write_text(HOSTS)
    process = processes.start(["python", tmp_path / "hosts.py"], tmp_path / "log", ranks=2)
    assert process.wait(120) == 0, (tmp_path / "log").read_text()[-3000:]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x: is not a whole number; unset it, or start with torchrun"),
        ({"RANK": "x"}, "RANK=x: is not a whole number; unset it, or start with torchrun"),
        ({"WORLD_SIZE": "2.5"}, "WORLD_SIZE=2.5: is not a whole number; unset it, or start with torchrun"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2: must be below WORLD_SIZE=2; unset both, or start with torchrun"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "the processes of WORLD_SIZE=2 cannot be joined"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "features", "test", "train"])
def test_variables_of_no_launcher_are_errors(clips, models, tmp_path, variables, reason, command):
    data = ["--data", clips / "list.csv", "--device", "cpu"]
    words = {
        "predict": [clips / "0.mp4", "--model", models["clips"], "--device", "cpu"],
        "features": [clips / "0.mp4", "--model", models["clips"], "--device", "cpu", "--out", tmp_path / "f"],
        "test": [models["clips"], *data],
        "train": ["--recipe", "i3d_r50_video_32x2x1_100e_kinetics400_rgb", "--work-dir", tmp_path / "run", *data],
    }[command]
    result = commands.run(command, *words, env=variables)
    assert result.returncode == 2
    assert reason in result.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_rank_without_other_processes_prints_its_results(clips, models):
    result = commands.run("predict", clips / "0.mp4", "--model", models["clips"], "--device", "cpu", env={"RANK": "3"})
    assert result.returncode == 0
    assert "protocol: " in result.stdout
    assert "0.mp4" in result.stdout
