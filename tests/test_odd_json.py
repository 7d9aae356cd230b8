"""Records, logs and caches of the wrong shape, at every place of the tree: one line that names the file."""

import json
import shutil

import pytest

from i3d.data.resume import read_record
from i3d.errors import I3DError, InputError
from i3d.training.log_reader import read_curves, read_step_seconds
from i3d.training.run_folder import check_same_run, read_run
from i3d.training.runs import list_runs
from i3d.utils.cache import Cache
from support.odd_json import DEEP, mutants
from support.training_runs import command, finish, make_clips


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = make_clips(tmp_path_factory.mktemp("odd"), num_train=4, num_val=2)
    finish(command(place, place / "run", "--epochs", "1", "--workers", "0"))
    return place


def refused_or_read(function, *arguments, name):
    try:
        function(*arguments)
    except I3DError as error:
        assert name in str(error)
        assert "\n" not in str(error)


def test_records_of_runs(finished, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished / "run/log.jsonl", run)
    record = json.loads((finished / "run/run.json").read_text())
    record["config"]["recipe"] = {key: record["config"]["recipe"][key] for key in ("name", "training")}
    record["config"]["recipe"]["training"] = {"best_by": "top1"}
    record["starts"][0] = {key: record["starts"][0][key] for key in ("time", "seed", "compute")}
    for mutant in mutants(record):
        (run / "run.json").write_text(json.dumps(mutant))
        refused_or_read(list_runs, tmp_path, name="run.json")
        refused_or_read(read_run, run / "run.json", record["config"], name=str(run))


def test_logs(finished, tmp_path):
    lines = (finished / "run/log.jsonl").read_text().splitlines()
    log = tmp_path / "log.jsonl"
    for i, line in enumerate(lines):
        for mutant in mutants(json.loads(line)):
            log.write_text("\n".join([*lines[:i], json.dumps(mutant), *lines[i + 1 :], *lines]) + "\n")
            refused_or_read(read_curves, log, name="log.jsonl")
            refused_or_read(read_step_seconds, log, name="log.jsonl")


def test_damaged_records_of_finished_runs_are_refused_by_train(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    record = json.loads((run / "run.json").read_text())
    changes = [{"starts": 3}, {"starts": []}, {"done": "x"}, {"trainer_state": 3}, {"trainer_state": {"step": "x"}}]
    for change in changes:
        (run / "run.json").write_text(json.dumps({**record, **change}))
        arguments = command(finished, run, "--epochs", "1", "--workers", "0")
        assert "run.json: is damaged" in finish(arguments, expected=2)


def test_nesting_that_is_too_deep(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(DEEP)
    for function in (read_curves, read_step_seconds, lambda file: check_same_run(file, {})):
        path.write_text(DEEP + "\n{}\n")
        with pytest.raises(InputError, match=r"x\.json"):
            function(path)
    path.write_text(DEEP)
    assert read_record(path) == {}
    cache = Cache(tmp_path / "cache")
    cache.save_json("abcd", 1)
    for file in (tmp_path / "cache").rglob("*.*"):
        file.write_text(DEEP)
    assert cache.load_json("abcd") is None
