"""Whatever `i3d train` refuses, by a recipe or for fine-tuning: one line, and no folder or file is left."""

import sys

import pytest

from support.commands import run_here
from support.finetuning_runs import last_values, make_folder, save_tiny, without_drawing, write_csv
from support.training_runs import RECIPE

RUN = "train --data clips.csv --work-dir new/run --device cpu --workers 0 --recipe tiny.yaml --init none --epochs 1"
FINETUNE = "train --data clips --work-dir new/run --device cpu --workers 0 --yes --init tiny.safetensors --views 1"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("refused")
    make_folder(root / "clips", ("a", "b"), 3)
    save_tiny(root / "tiny.safetensors")
    files = [f"clips/{name}/{i}.mp4,{name}" for name in "ab" for i in range(3)]
    write_csv(root / "clips.csv", files)
    write_csv(root / "one.csv", files[:3])
    write_csv(root / "empty.csv", [])
    write_csv(root / "missing.csv", ["x.mp4,a", "y.mp4,b"])
    write_csv(root / "wrong.csv", ["clips/a/0.mp4,a", "clips/b/0.mp4"])
    write_csv(root / "broken.csv", [f"broken{i}.mp4,{'ab'[i % 2]}" for i in range(14)])
    for i in range(14):
        (root / f"broken{i}.mp4").write_bytes(b"no video")
    (root / "tiny.yaml").write_text(RECIPE)
    (root / "bad.yaml").write_text("training: [")
    (root / "test.yaml").write_text(RECIPE[: RECIPE.index("training:")] + "training: null\n")
    (root / "noinit.yaml").write_text(RECIPE.replace('init: ""', "init: gone.pth"))
    (root / "notes.pth").write_text("no weights")
    (root / "nothing").mkdir()
    return root


CASES = (
    (RUN, "--recipe bad.yaml", "bad.yaml: not YAML"),
    (RUN, "--recipe gone.yaml", "gone.yaml: cannot be read"),
    (RUN, "--recipe no_such_recipe", "no_such_recipe"),
    (RUN, "--recipe test.yaml", "training"),
    (RUN, "--recipe noinit.yaml --init gone.pth", "gone.pth: no such file"),
    (RUN.replace(" --init none", ""), "--recipe noinit.yaml", "gone.pth: no such file"),
    (RUN, "--init notes.pth", "notes.pth: "),
    (RUN, "--init tiny.safetensors --set network.base_channels=8", "does not fit the network"),
    (RUN, "--init nothing", "is no run, and holds no weights"),
    (RUN, "--data gone.csv", "gone.csv: no such file"),
    (RUN, "--data empty.csv", "lists no clip"),
    (RUN, "--data one.csv", "all clips are of one class"),
    (RUN, "--data missing.csv", "none of 2 clips is below"),
    (RUN, "--data wrong.csv", "wrong.csv:3"),
    (RUN, "--data broken.csv", "14 clips in a row cannot be read"),
    (RUN, "--val-list missing.csv", "none of 2 clips is below"),
    (RUN, "--val-list wrong.csv", "wrong.csv:3"),
    (RUN, "--classes gone.txt", "gone.txt: no such file"),
    (RUN, "--template img_{:05d}.jpg", "cannot be listed"),
    (RUN, "--set training.nonsense=1", "training has no 'nonsense'"),
    (RUN, "--set training.sampling.clip_len=0", "greater than or equal to 1"),
    (RUN, "--set training.sync_norms=true", "sync_norms: "),
    (RUN, "--set network.depth=51", "network.depth"),
    (RUN, "--batch-size 1 --accumulate 1", "does not accept 1 clip"),
    (RUN, "--tensorboard", "tensorboard is not installed"),
    (RUN, "--fsdp", "--fsdp: needs several processes"),
    (RUN, "--device cuda", "cuda"),
    (RUN, "--precision fp16", "precision fp16"),
    (RUN, "--precision fp32 --set training.precision=bf16", "--precision fp32: replaces --set 'training.precision"),
    (RUN, "--lr 0.1 --set training.optimizer.lr=0.2", "--lr 0.1: replaces --set 'training.optimizer.lr=0.2'; leave"),
    (RUN, "--set training.steps=9", "--epochs 1: replaces --set 'training.steps=9'"),
    (RUN, "--lr 0", "--lr 0"),
    (RUN, "--cv-folds 3", "--cv-folds"),
    (RUN, "--flow-method dis", "preprocessing.flow"),
    (RUN, "--checkpoints gone", "--checkpoints gone: no such folder"),
    (FINETUNE, "--init none", "--init none"),
    (FINETUNE, "--init gone.pth", "gone.pth: no such file"),
    (FINETUNE, "--init nothing", "is no run, and holds no weights"),
    (FINETUNE, "--data missing.csv", "none of 2 clips is below"),
    (FINETUNE, "--data one.csv", "of one class"),
    (FINETUNE, "--data broken.csv", "none of 14 clips can be read"),
    (FINETUNE, "--set training.nonsense=1", "training has no 'nonsense'"),
    (FINETUNE, "--set network.depth=50", "--set network: fine-tuning starts from trained weights"),
    (FINETUNE, "--set training.epochs=3", "the classifier alone is fitted"),
    (FINETUNE, "--train-layers last --norms trained --set training.sync_norms=true", "sync_norms: "),
    (FINETUNE, "--flip swap", "--flip swap"),
    (FINETUNE, "--runtime compile", "--runtime compile"),
    (FINETUNE, "--precision fp16", "precision fp16"),
    (FINETUNE, "--device cuda", "cuda"),
    (FINETUNE, "--cv-folds 50", "--cv-folds 50"),
    (FINETUNE, "--group-by (", "not a regular expression"),
    (FINETUNE, "--group-by (gone)", "does not match --group-by"),
    (FINETUNE, "--multi-label --head prototype", "--head prototype"),
    (FINETUNE, "--val-list clips.csv", "--val-list"),
    (FINETUNE, "--work-dir clips/new/run", "lies in --data clips"),
    (FINETUNE, "--flow-method dis", "preprocessing.flow"),
)


@pytest.mark.parametrize(("start", "words", "expected"), CASES, ids=[f"{case[0][:32]} {case[1]}" for case in CASES])
def test_a_refused_command_leaves_nothing(root, tmp_path, monkeypatch, start, words, expected):
    monkeypatch.chdir(root)
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "cache"))
    if "--tensorboard" in words:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    before = sorted(root.rglob("*"))
    with without_drawing():
        result = run_here(["i3d", *last_values([*start.split(), *words.split()])])
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert (result.returncode, len(errors)) == (2, 1), result.output
    assert expected in errors[0]
    assert sorted(root.rglob("*")) == before


def test_a_refused_command_leaves_the_files_of_others(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    result = run_here(["i3d", *last_values([*RUN.split(), "--data", "broken.csv", "--work-dir", tmp_path / "run"])])
    assert result.returncode == 2
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["notes.txt"]
