"""A model as a folder for the hub: its card and settings, the way to a stand-in for the hub and back, and bad input."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from i3d.evaluation.result import compute_metrics
from i3d.evaluation.result_file import read_evaluations, write_evaluations
from i3d.publishing import folder, publish
from i3d.recipes.training import Training
from i3d.utils.outputs import file_sha256
from i3d.weights.checkpoint import load_checkpoint, save_checkpoint
from support.commands import run, run_process
from support.finetuning_runs import make_folder, save_tiny
from support.model_hub import COMMIT, model_hub

CPU = ("--device", "cpu", "--workers", "0")
LABELS = ("left_hand", "right|hand")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Weights and their test in `run`, the clips of the test in `secret clips`, and the published folder `out`."""
    root = tmp_path_factory.mktemp("publishing")
    make_folder(root / "secret clips", LABELS, per_class=3)
    (root / "run").mkdir()
    state, card = load_checkpoint(save_tiny(root / "tiny.safetensors", labels=LABELS))
    training = Training(init=str(root / "start.pth"))
    card = card.model_copy(update={"recipe": card.recipe.model_copy(update={"training": training})})
    tensors = {key: torch.from_numpy(array) for key, array in state.items()}
    save_checkpoint(root / "run" / "best.safetensors", tensors, card)
    tested = run("test", root / "run", "--data", root / "secret clips", "--out", root / "run" / "test.json", *CPU)
    assert tested.returncode == 0, tested.stderr
    result = run("publish", root / "run", root / "out", "--repository", "me/waving", "--licence", "apache-2.0")
    assert result.returncode == 0, result.stderr
    return root


def test_the_folder_has_the_checkpoint_its_settings_and_the_metrics_of_its_test(root):
    config = json.loads((root / "out" / "config.json").read_bytes())
    metrics = json.loads((root / "out" / "metrics.json").read_bytes())
    (tested,) = read_evaluations(root / "run" / "test.json")
    assert (root / "out" / "model.safetensors").read_bytes() == (root / "run" / "best.safetensors").read_bytes()
    assert config["id2label"] == {"0": "left_hand", "1": "right|hand"}
    assert config["label2id"] == {"left_hand": 0, "right|hand": 1}
    assert config["preprocessing"]["crop"] == 32
    assert config["protocol"]["clip_len"] == 8
    assert config["weights"]["sha256"] == tested.weights_sha256 == file_sha256(root / "out" / "model.safetensors")
    assert metrics[tested.name]["top1"] == tested.accuracy
    assert (root / "out" / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_passes_the_library_of_the_hub(root):
    card = ModelCard.load(root / "out" / "README.md")  # raises for metadata that it cannot parse
    (tested,) = read_evaluations(root / "run" / "test.json")
    (result,) = card.data.eval_results
    assert (card.data.pipeline_tag, card.data.library_name, card.data.license) == (
        "video-classification", "i3d", "apache-2.0",
    )  # fmt: skip
    assert (result.task_type, result.dataset_name) == ("video-classification", "secret clips")
    assert result.metric_value == round(tested.accuracy, 4)
    assert model_index_to_eval_results(card.data.to_dict()["model-index"])[0] == "waving"
    assert tested.protocol.replace("_", r"\_") in card.text
    assert r"right\|hand" in card.text  # a table would end there


def test_nothing_of_this_machine_is_published(root):
    names = {path.name for path in (root / "secret clips").rglob("*.mp4")}
    for path in (root / "out").iterdir():
        content = path.read_bytes()
        assert str(root).encode() not in content, path.name
        assert not [name for name in names if f"/{name}".encode() in content], path.name


@pytest.mark.slow
def test_the_folder_gives_the_same_scores_where_there_is_nothing_else(root, tmp_path):
    shutil.copytree(root / "out", tmp_path / "model")
    clip = root / "secret clips" / "left_hand" / "0.mp4"
    env = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    words = ["predict", clip, "--json", "--device", "cpu", "--model"]
    copied, here = run_process(*words, "model", env=env, cwd=tmp_path), run(*words, root / "run")
    assert json.loads(copied.stdout) == json.loads(here.stdout)


@pytest.mark.slow
def test_a_model_goes_to_the_hub_and_comes_back(root, tmp_path):
    shutil.copytree(root / "out", tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with model_hub() as (hub, env):
        env |= {"HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": "a-token"}
        sent = run_process("push", tmp_path / "out", "me/waving", env=env)
        assert sent.returncode == 0, sent.stderr
        assert f"{env['HF_ENDPOINT']}/me/waving/commit/{COMMIT}" in sent.stdout
        assert "not sent, `i3d publish` did not write them: notes.txt" in sent.stderr
        assert hub.files["me/waving"] == {path.name: path.read_bytes() for path in (root / "out").iterdir()}
        assert set(hub.cards) == {(root / "out" / "README.md").read_text(encoding="utf-8")}
        clip = root / "secret clips" / "left_hand" / "0.mp4"
        back = run_process("predict", clip, "--model", "hub:me/waving", "--json", "--device", "cpu", env=env)
        assert json.loads(back.stdout) == json.loads(
            run("predict", clip, "--model", root / "run", "--json", "--device", "cpu").stdout
        )
        refused = run_process("push", tmp_path / "out", "me/waving", env={**env, "HF_TOKEN": "another"})
    assert refused.returncode == 2
    assert "error: me/waving: cannot be sent to the hub (" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_test_of_the_models_of_folds_is_left_out(root, tmp_path, caplog):
    (tmp_path / "run").mkdir()
    shutil.copy(root / "run" / "best.safetensors", tmp_path / "run")
    (tested,) = read_evaluations(root / "run" / "test.json")
    of_folds = replace(tested, weights_sha256="")
    write_evaluations(tmp_path / "run" / "test.json", [(of_folds, compute_metrics(of_folds))])
    published = publish(tmp_path / "run", tmp_path / "out")
    assert published.tested == ()
    assert "is of the models of the folds, not of these weights: the card leaves it out" in caplog.text
    assert "No test of these weights came with them." in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_exports_lie_beside_the_weights_and_give_the_same_scores(root, tmp_path):
    result = run("publish", root / "run", tmp_path / "out", "--exports", "onnx,openvino")
    assert result.returncode == 0, result.stderr
    assert {"model.onnx", "model.xml", "model.bin"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.onnx, model.xml, made by" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    words = ["predict", root / "secret clips" / "left_hand" / "0.mp4", "--json", "--device", "cpu", "--model"]
    models = (root / "run", tmp_path / "out" / "model.onnx")
    ours, exported = (json.loads(run(*words, model).stdout)[0]["predictions"] for model in models)
    assert [one["label"] for one in exported] == [one["label"] for one in ours]
    assert [one["score"] for one in exported] == pytest.approx([one["score"] for one in ours], abs=1e-5)


def test_weights_that_were_changed_are_not_sent(root, tmp_path):
    shutil.copytree(root / "out", tmp_path / "out")
    with (tmp_path / "out" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    result = run("push", tmp_path / "out", "me/waving")
    assert result.returncode == 2
    assert "model.safetensors is not the one that config.json describes; publish the model again" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{root}/run", "{root}/out"], "exists; its card may have been edited: name a new folder"),
        (["{root}/run", "{new}", "--repository", "waving"], "repository 'waving': has no owner; write owner/name"),
        (["{root}/run", "{new}", "--repository", "me/a b"], "write owner/name"),
        (["{root}/run", "{new}", "--exports", "onx"], "exports 'onx': is not one of onnx, openvino"),
        (["{root}/run", "{new}", "--licence", "my own"], "licence 'my own': is no identifier of the hub"),
        (["{root}/run", "{new}/deeper/still"], "create it first"),
        (["{root}/run", ""], "is empty"),
        (["{root}/secret clips", "{new}"], "is no run"),
        (["inception_rgb_kinetics400", "{new}", "--test", "{root}/run/test.json"], "is a test of other weights"),
        (["{root}/run", "{new}", "--test", "{root}/out/config.json"], "not an evaluation"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(root, tmp_path, words, message):
    result = run("publish", *(word.format(root=root, new=tmp_path / "new") for word in words))
    assert result.returncode == 2
    assert message in result.stderr
    assert sum("error:" in line for line in result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("broken", ["copyfile", "_config", "_write_metrics", "write_card"])
def test_a_failure_at_any_write_leaves_nothing(root, tmp_path, monkeypatch, broken):
    module = folder
    owner = shutil if broken == "copyfile" else module

    def fail(*_, **__):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(owner, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        publish(root / "run", tmp_path / "new")
    assert not list(tmp_path.iterdir())
