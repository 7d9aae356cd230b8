"""MMAction2's `tools/test.py` and `tools/analysis/`: the documented commands, what they print and write."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import i3d
from i3d.cli.main import run_cli
from i3d.cli.mmaction2.analysis import analyze_logs, benchmark, get_flops
from i3d.cli.mmaction2.test import run_test
from i3d.data.formats.read import read_annotations
from i3d.errors import InputError
from i3d.evaluation.metrics import mean_class_accuracy, top_k_accuracy
from i3d.evaluation.scoring import softmax
from i3d.recipes.named import named_recipe
from i3d.utils.device import ComputeConfig
from i3d.weights.load import load_weights
from support.mmaction2_configs import CONFIGS_0
from support.mmaction2_runs import NAMES_1, RAW, VIDEO, config, tiny_0, tiny_checkpoint, tiny_test

LIST = "data/kinetics400/kinetics400_val_list_rawframes.txt"


def run(command, *words, capsys):
    """(stdout, stderr, exit code) of a command."""
    code = 0
    try:
        run_cli(lambda: command([str(word) for word in words]))
    except SystemExit as ended:
        code = ended.code
    out = capsys.readouterr()
    return out.out, out.err, code


def small(name, *more):
    return ["--cfg-options", *tiny_test(name), *more]


@pytest.fixture
def checkpoint(kinetics):
    return tiny_checkpoint(kinetics / "checkpoints" / "tiny.pth")


@pytest.mark.slow
def test_the_documented_command_word_for_word(kinetics, capsys):
    """10 clips x 3 crops on two rendered clips; the config under the documented name is of a tiny network."""
    config_path = kinetics / "configs" / "recognition" / "i3d" / f"{RAW}.py"
    config_path.parent.mkdir(parents=True)
    text = (
        CONFIGS_0[RAW].replace("depth=50,", "depth=18, base_channels=2,").replace("in_channels=2048", "in_channels=16")
    )
    text = text.replace("256", "64").replace("crop_size=224", "crop_size=64")
    config_path.write_text(text)
    tiny_checkpoint(kinetics / "checkpoints" / "SOME_CHECKPOINT.pth")
    line = (
        "configs/recognition/i3d/i3d_r50_32x2x1_100e_kinetics400_rgb.py checkpoints/SOME_CHECKPOINT.pth "
        "--eval top_k_accuracy mean_class_accuracy --out result.json --average-clips prob"
    )
    out, err, code = run(run_test, *line.split(), capsys=capsys)
    assert code == 0, err
    scores_NK = np.array(json.loads(Path("result.json").read_text()))
    assert scores_NK.shape == (2, 400)
    assert np.allclose(scores_NK.sum(axis=1), 1)
    assert f"Evaluating top_k_accuracy ...\n\ntop1_acc\t{top_k_accuracy(scores_NK, [0, 1]):.4f}\ntop5_acc\t" in out
    assert f"mean_acc\t{mean_class_accuracy(scores_NK, [0, 1]):.4f}" in out
    assert f"top1_acc: {top_k_accuracy(scores_NK, [0, 1]):.4f}" in out
    assert "protocol: i3d_r50_32x2x1_100e_kinetics400_rgb: 10 clips of 32 frames x stride 2" in out
    evaluation = i3d.evaluate(
        "checkpoints/SOME_CHECKPOINT.pth",
        read_annotations(Path(LIST), root=Path("data/kinetics400/rawframes_val"), classes=numbered()).select([1]),
        recipe=str(config_path),
        compute=ComputeConfig(device="cpu", num_workers=0),
    )
    assert np.allclose(evaluation.scores_NK[0], scores_NK[1], atol=1e-6)


def numbered():
    from i3d.data.labels import dataset_labels

    return dataset_labels("kinetics400")


@pytest.mark.slow
def test_scores_and_metrics(checkpoint, capsys):
    out, _, code = run(
        run_test, RAW, checkpoint, "--eval", "top_k_accuracy", "--eval-options", "topk=1,200", "--out", "r.json",
        *small(RAW), capsys=capsys,
    )  # fmt: skip
    assert code == 0
    scores_NK = np.array(json.loads(Path("r.json").read_text()))
    assert f"top200_acc\t{top_k_accuracy(scores_NK, [0, 1], k=200):.4f}" in out
    assert "mean_acc" not in out
    run(run_test, RAW, checkpoint, "--average-clips", "score", "--out", "s.yaml", *small(RAW), capsys=capsys)
    run(run_test, RAW, checkpoint, "--average-clips", "none", "--out", "n.json", *small(RAW), capsys=capsys)
    logits_NVK = np.array(json.loads(Path("n.json").read_text()))
    assert logits_NVK.shape == (2, 30, 400)
    assert np.allclose(scores_NK, softmax(logits_NVK).mean(axis=1), atol=1e-9)
    import yaml

    assert np.allclose(yaml.safe_load(Path("s.yaml").read_text()), logits_NVK.mean(axis=1), atol=1e-9)
    run(run_test, RAW, checkpoint, "--fuse-conv-bn", "--out", "f.json", *small(RAW), capsys=capsys)
    folded_NK = np.array(json.loads(Path("f.json").read_text()))
    assert np.array_equal(folded_NK, scores_NK)  # they are always folded


@pytest.mark.parametrize("version", [0, 1])
def test_no_top_5_of_five_classes(kinetics, capsys, version):
    weights = tiny_checkpoint(kinetics / "checkpoints" / "five.pth", classes=5)
    name = RAW if version == 0 else next(name for name in NAMES_1 if "32x2x1" in name and "dense" not in name)
    options = small(name, "model.cls_head.num_classes=5")
    eval_words = ["--eval", "top_k_accuracy"] if version == 0 else []
    out, err, code = run(run_test, name, weights, *eval_words, *options, capsys=capsys)
    assert code == 0, err
    assert "top1" in out
    assert "top5" not in out
    assert "top5 is not shown: with 5 classes it is 1 for any scores" in err


def test_a_config_of_0x_names_its_metrics_and_its_output(checkpoint, kinetics, capsys):
    more = "eval_config = dict(metrics='top_k_accuracy', metric_options=dict(top_k_accuracy=dict(topk=(1, 3))))\n"
    path = config(kinetics, f"{CONFIGS_0[VIDEO]}{more}output_config = dict(out='c.json')\n")
    out, err, code = run(run_test, path, checkpoint, *small("my_config"), capsys=capsys)
    assert code == 0, err
    scores_NK = np.array(json.loads(Path("c.json").read_text()))
    assert f"top3_acc\t{top_k_accuracy(scores_NK, [0, 1], k=3):.4f}" in out
    assert "mean_acc" not in out
    words = ["--eval", "mean_class_accuracy", "--out", "d.json"]
    out, err, code = run(run_test, path, checkpoint, *words, *small("my_config"), capsys=capsys)
    assert "mean_acc" in out
    assert "top" not in out
    assert Path("d.json").exists()
    path.write_text(path.read_text().replace("c.json", "c.pkl"))
    _, err, code = run(run_test, path, checkpoint, *small("my_config"), capsys=capsys)
    assert code == 2
    assert "output_config.out of the config: c.pkl: a pickle can run any code" in err


def test_tables_by_mmaction2s_flag(checkpoint, capsys):
    out, err, code = run(run_test, RAW, checkpoint, "--eval", "per_class", "confusion", *small(RAW), capsys=capsys)
    assert code == 0, err
    assert "precision" in out
    assert "fraction of the class" in out
    assert "Evaluating" not in out


def test_the_spelling_of_1x(checkpoint, capsys):
    name = next(name for name in NAMES_1 if "dense" not in name and "nl" not in name and "heavy" not in name)
    out, err, code = run(run_test, name, checkpoint, "--dump", "d.json", "--work-dir", "w", *small(name), capsys=capsys)
    assert code == 0, err
    scores_NK = np.array(json.loads(Path("d.json").read_text()))
    assert f"acc/top1: {top_k_accuracy(scores_NK, [0, 1]):.4f}  acc/top5: " in out
    assert "acc/mean1: " in out
    assert "clips of 8 frames x stride 2 from end to end" in out


def test_a_custom_config_and_a_checkpoint_of_ours(checkpoint, kinetics, capsys):
    """Converted by a recipe, or by the config in it: what only training reads may differ, as may the notation."""
    path = config(kinetics, CONFIGS_0[VIDEO])
    i3d.convert(checkpoint, kinetics / "ours.safetensors", recipe=tiny_recipe(kinetics))
    saved = CONFIGS_0[RAW].replace("depth=50,", "depth=18, base_channels=2, with_cp=True,").replace("2048", "16")
    i3d.convert(tiny_checkpoint(kinetics / "saved.pth", config=saved), kinetics / "saved.safetensors")
    results, changed = [], ["model.backbone.norm_eval=True", "model.cls_head.dropout_ratio=0.1"]
    for weights in (checkpoint, "ours.safetensors", "saved.safetensors"):
        out = f"{len(results)}.json"
        _, err, code = run(run_test, path, weights, "--out", out, *small("my_config", *changed), capsys=capsys)
        assert code == 0, err
        results.append(json.loads(Path(out).read_text()))
    assert results[0] == results[1] == results[2]


def test_weights_of_ours_with_the_config_of_another_protocol(kinetics):
    text = CONFIGS_0[RAW].replace("depth=50,", "depth=18, base_channels=2,").replace("2048", "16")
    i3d.convert(tiny_checkpoint(kinetics / "a.pth", config=text), kinetics / "a.safetensors")
    path = config(kinetics, text.replace("num_clips=10", "num_clips=3"))
    weights = load_weights("a.safetensors", recipe=str(path))
    assert (weights.card.recipe.name, weights.card.recipe.protocol.num_clips) == ("my_config", 3)
    assert weights.recipe_from == "as given"
    other = config(kinetics, text.replace("depth=18", "depth=34").replace("conv1_stride_t=2", "conv1_stride_t=1"))
    with pytest.raises(InputError, match=r"another network than that of .*py \(depth 18, not 34, conv1_stride"):
        load_weights("a.safetensors", recipe=str(other))
    loss = "type='I3DHead', multi_class=True, loss_cls=dict(type='BCELossWithLogits')"
    other = config(
        kinetics,
        text.replace("type='I3DHead'", loss).replace("type=dataset_type,", "type=dataset_type, multi_class=True,"),
    )
    with pytest.raises(
        InputError, match=r"another network than that of .*my_config.py \(one label a clip\); leave --rec"
    ):
        load_weights("a.safetensors", recipe=str(other))


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        (VIDEO, f"data.test.ann_file={LIST}", "'0 12 0': a folder, the number of its frames and a label, and the list "
         "is read as one of videos; use a config with RawframeDataset and RawFrameDecode, or give a list of videos"),
        (RAW, "data.test.ann_file=data/kinetics400/kinetics400_val_list_videos.txt", "'0.mp4 0': a video, and the list "
         "is read as one of folders of frames; use a config with VideoDataset, which decodes them, or give a list of"),
        (VIDEO, "data.test.data_prefix=data", "none of 2 clips is below data; give their folder as --cfg-options "
         "data.test.data_prefix"),
        (NAMES_1[0], "test_dataloader.dataset.data_prefix.video=data", "give their folder as --cfg-options "
         "test_dataloader.dataset.data_prefix"),
    ],
)  # fmt: skip
def test_errors_of_lists_name_keys_of_the_config(checkpoint, capsys, name, option, expected):
    _, err, code = run(run_test, name, checkpoint, "--out", "a.json", *small(name, option), capsys=capsys)
    assert code == 2
    assert expected in err.splitlines()[-1]
    assert "--root" not in err
    assert "--list-format" not in err


def tiny_recipe(folder):
    text = f"base: {RAW}\nnetwork: {{depth: 18, base_channels: 2}}\n"
    (folder / "tiny.yaml").write_text(text)
    return str(folder / "tiny.yaml")


def test_unreadable_clips_retain_their_places(checkpoint, capsys):
    shutil.rmtree("data/kinetics400/rawframes_val/0")
    Path("data/kinetics400/rawframes_val/0").mkdir()
    Path("data/kinetics400/rawframes_val/0/img_00001.jpg").write_bytes(b"no image")
    out, err, code = run(
        run_test, RAW, checkpoint, "--eval", "top_k_accuracy", "--out", "r.json", *small(RAW), capsys=capsys
    )
    assert code == 3, err
    assert json.loads(Path("r.json").read_text())[0] is None
    assert "rawframes_val/0" in err
    assert "of 1 clips, 1 unreadable are left out" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no result is requested: add --eval"),
        (["--out", "r.pkl"], "a pickle can run any code when it is read"),
        (["--out", "r.json", "--dump", "s.json"], "choose one of them"),
        (["--eval", "accuracy"], "metric 'accuracy': choose from top_k_accuracy"),
        (["--eval", "mean_average_precision", "--out", "r.json"], "is defined for multi-label classes"),
        (["--eval", "top_k_accuracy", "--eval-options", "topk=one"], "write whole numbers"),
        (["--eval", "top_k_accuracy", "--eval-options", "k=1"], "known is metric_options.top_k_accuracy.topk=1,5"),
        (["--eval", "top_k_accuracy", "--options", "k=1"], "--options 'k=1': known is metric_options"),
        (["--average-clips", "none", "--eval", "top_k_accuracy"], "give --out alone"),
        (["--eval", "top_k_accuracy", "--launcher", "pytorch"], "use bash tools/dist_test.sh"),
        (["--eval", "top_k_accuracy", "--gpus", "4"], "tools/dist_test.sh i3d_r50_32x2x1_100e_kinetics400_rgb"),
    ],
)
def test_unsupported_options_of_a_test_are_an_error(checkpoint, words, message, capsys):
    _, err, code = run(run_test, RAW, checkpoint, *words, *small(RAW), capsys=capsys)
    assert code == 2
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")


def test_a_checkpoint_of_another_network(checkpoint, capsys):
    _, err, code = run(run_test, RAW, checkpoint, "--eval", "top_k_accuracy", capsys=capsys)
    assert code == 2
    assert "tiny.pth" in err
    ours = Path("ours.safetensors")
    i3d.convert(checkpoint, ours, recipe=tiny_recipe(Path()))
    _, err, code = run(run_test, RAW, ours, "--eval", "top_k_accuracy", capsys=capsys)
    assert code == 2
    assert (
        "has another network than i3d_r50_32x2x1_100e_kinetics400_rgb (depth 18, not 50, base_channels 2, not 64)"
        in err
    )


@pytest.mark.slow
def test_training_ends_with_a_test(kinetics, capsys):
    from i3d.cli.mmaction2.train import train

    options = [*tiny_0(videos=False), *tiny_test(RAW)]
    out, err, code = run(
        train, RAW, "--work-dir", "w", "--validate", "--test-last", "--test-best", "--cfg-options", *options,
        capsys=capsys,
    )  # fmt: skip
    assert code == 0, err
    assert "test of last.safetensors" in err
    assert "test of best.safetensors" in err
    assert out.count("Evaluating mean_class_accuracy ...") == 2


# tools/analysis


def test_flops_are_those_that_mmaction2_counts(capsys):
    out, _, _ = run(get_flops, RAW, capsys=capsys)
    assert "Input shape: (1, 3, 32, 256, 256)" in out
    reported_flops = float(re.search(r"Flops: ([\d.]+) GFLOPs", out)[1])
    from i3d.models.flops import network_cost

    assert reported_flops == pytest.approx(network_cost(named_recipe(RAW)).gflops / 2, abs=0.01)
    assert "Params: 28.04 M" in out
    larger, _, _ = run(get_flops, RAW, "--shape", 1, 3, 32, 340, 256, capsys=capsys)
    assert "(1, 3, 32, 340, 256)" in larger
    assert float(re.search(r"Flops: ([\d.]+)", larger)[1]) == pytest.approx(reported_flops * 340 / 256, rel=0.02)
    assert "(1, 3, 32, 224, 224)" in run(get_flops, RAW, "--shape", 224, capsys=capsys)[0]
    for shape, message in [
        ([3, 32, 0, 4], "must be above 0"),
        ([4, 32, 9, 9], "channels 3"),
        ([1, 2, 3], "write channels"),
    ]:
        _, err, code = run(get_flops, RAW, "--shape", *shape, capsys=capsys)
        assert code == 2
        assert message in err


def test_the_benchmark_of_a_config(kinetics, capsys):
    clips = Path(LIST)
    _, err, code = run(benchmark, RAW, *small(RAW), capsys=capsys)
    assert code == 2
    assert "its list has 2 clips; 5 are for the warm-up" in err
    clips.write_text(5 * clips.read_text())
    out, err, code = run(benchmark, RAW, "--log-interval", "3", "--items", "9", *small(RAW), capsys=capsys)
    assert code == 0, err
    assert re.findall(r"Done item \[(\d+) *\/ 9\], fps: [\d.]+ items / s", out) == ["6", "9"]
    assert re.search(r"Overall fps: [\d.]+ items / s", out)
    assert "(4 items)" in out


@pytest.mark.slow
def test_logs(kinetics, capsys):
    lines = [{"mode": "train", "epoch": 1 + k // 3, "iter": 1 + k % 3, "loss": 2.0, "time": 1.0 + k} for k in range(6)]
    Path("log.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    _, err, code = run(analyze_logs, "plot_curve", "log.json", "--keys", "loss", "--out", "c.png", capsys=capsys)
    assert code == 0, err
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    out, _, _ = run(analyze_logs, "cal_train_time", "log.json", capsys=capsys)
    assert "slowest epoch 2, average time is 5.5000" in out  # without the first step of each
    assert "fastest epoch 1, average time is 2.5000" in out
    assert "average iter time: 4.0000 s/iter" in out
    out, _, _ = run(analyze_logs, "cal_train_time", "log.json", "--include-outliers", capsys=capsys)
    assert "average iter time: 3.5000 s/iter" in out
    for words, message in [
        (["plot_curve", "log.json", "--keys", "gpu"], "is not drawn"),
        (["plot_curve", "log.json", "--title", "x"], "leave it out"),
        (["cal_train_time", "none.json"], "cannot be read"),
    ]:
        _, err, code = run(analyze_logs, *words, capsys=capsys)
        assert code == 2
        assert message in err


@pytest.mark.slow
def test_the_time_of_our_own_runs(kinetics, capsys):
    from i3d.cli.mmaction2.train import train

    run(train, RAW, "--work-dir", "w", "--cfg-options", *tiny_0(videos=False), capsys=capsys)
    out, err, code = run(analyze_logs, "cal_train_time", "w", capsys=capsys)
    assert code == 0, err
    assert "s/iter" in out
