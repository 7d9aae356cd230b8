"""Each named recipe: its published settings, field by field, and two steps of it on data as its port lays it out."""

import json
import math
import re
import shutil
import sys
import warnings

import cv2
import pytest
import torch
from PIL import Image

from i3d.errors import InputError
from i3d.models.factory import build_network
from i3d.models.inception import MIN_FRAMES, MIN_SIDE
from i3d.recipes.io import load_recipe
from i3d.recipes.named import ALIASES, RECIPES, named_recipe
from i3d.training.optimizer import scaled_lr
from i3d.training.run_folder import BEST, CURVES, LAST, LOG, RECIPE, RUN
from i3d.weights.load import load_weights
from support.commands import run, run_here
from support.rendering import numbered_frame, render

# what was published


def flat(tree, name=""):
    """Settings by their dotted names."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {
        key: value for part, below in tree.items() for key, value in flat(below, f"{name}.{part}".strip(".")).items()
    }


OFF = {  # what none of the ports does
    "training.init_classifier": True,
    "training.accumulate": 1, "training.optimizer.nesterov": False, "training.warmup_epochs": 0.0,
    "training.warmup_steps": 0, "training.factors.norm_decay": 1.0, "training.factors.bias_decay": 1.0,
    "training.factors.bias_lr": 1.0, "training.factors.layers": (),
    "training.head_lr": 1.0, "training.layer_decay": 1.0, "training.freeze": (), "training.freeze_norms": False,
    "training.sync_norms": False, "training.ema_decay": 0.0, "training.loss.label_smoothing": 0.0,
    "training.loss.focal_gamma": 0.0, "training.loss.class_weights": "none", "training.loss.logit_adjustment": 0.0,
    "training.balance": "none", "training.shuffle": True, "training.drop_last": False,
    "training.mixup.mixup_alpha": 0, "training.mixup.cutmix_alpha": 0,
    "training.sampling.num_clips": 1, "training.sampling.temporal_jitter": False,
    "training.sampling.out_of_bound": "loop", "training.augmentation.no_flip": (),
    "training.augmentation.mirrored": (), "training.augmentation.brightness": 0, "training.augmentation.contrast": 0,
    "training.augmentation.saturation": 0, "training.augmentation.hue": 0, "training.augmentation.erasing": None,
    "training.augmentation.rand_augment": None, "training.validation.target_fps": None,
    "training.validation.twice": False, "training.validation.num_clips": 1, "training.validation.crops": "center",
    "training.validation.out_of_bound": "loop", "training.validation_geometry": None, "training.validation_crop": 224,
    "training.augmentation.steps": (), "preprocessing.steps": (), "multi_label": False,
}  # fmt: skip
OURS = {
    "training.warmup_start",
    "training.warmup_by_epoch",
    "training.warmup_within",
    "training.patience",
    "training.best_by",
    "training.save_every",
    "training.augmentation.crop.input_size",
}

MMACTION2 = OFF | {  # 0.x: I3D-R50 32x2x1 from raw frames
    "network.kind": "resnet", "network.depth": 50, "network.in_channels": 3, "network.num_classes": 400,
    "network.head_pooling": "mean",
    "network.dropout": 0.5, "network.base_channels": 64, "network.conv1_kernel_t": 5, "network.conv1_stride_t": 2,
    "network.pool1_stride_t": 2, "network.pool1": "1x3x3", "network.pool2": True,
    "network.temporal_strides": (1, 1, 1, 1),
    "network.inflate": ((1,), (1, 0), (1, 0), (0, 1)), "network.inflate_style": "3x1x1",
    "network.non_local": ((0,), (0,), (0,), (0,)), "network.non_local_mode": "embedded_gaussian",
    "network.non_local_sub_sample": True, "network.non_local_use_scale": False, "network.frozen_stages": -1,
    "network.norm_eval": False, "network.activation_checkpointing": False, "network.zero_init_residual": False,
    "preprocessing.flow": None, "preprocessing.short_side": 256, "preprocessing.crop": 256,
    "preprocessing.mean": (123.675, 116.28, 103.53),
    "preprocessing.std": (58.395, 57.12, 57.375), "dataset": "kinetics400",
    "protocol.clip_len": 32, "protocol.frame_interval": 2, "protocol.num_clips": 10, "protocol.placement": "centred",
    "protocol.sample_range": 64, "protocol.target_fps": None, "protocol.twice": False, "protocol.out_of_bound": "loop",
    "protocol.crops": "three", "protocol.average": "prob",
    "training.init": "timm/resnet50.tv_in1k", "training.input": "frames", "training.epochs": 100,
    "training.steps": None, "training.batch_size": 8, "training.base_batch": 64, "training.optimizer.kind": "sgd",
    "training.optimizer.lr": 0.01, "training.optimizer.momentum": 0.9, "training.optimizer.weight_decay": 1e-4,
    "training.schedule.kind": "step", "training.schedule.epochs": (40, 80), "training.schedule.gamma": 0.1,
    "training.clip_grad_norm": 40.0, "training.sampling.clip_len": 32, "training.sampling.frame_interval": 2,
    "training.sampling.placement": "segments", "training.sampling.sample_range": 64,
    "training.sampling.target_fps": None, "training.augmentation.resize": 256,
    "training.augmentation.crop.kind": "multi_scale", "training.augmentation.crop.scales": (1.0, 0.8),
    "training.augmentation.crop.max_gap": 0, "training.augmentation.crop.places": "5",
    "training.augmentation.size": 224, "training.augmentation.fused": False, "training.augmentation.flip": 0.5,
    "training.augmentation.rotation_degrees": 0, "training.augmentation.pixel_dropout": 0,
    "training.validation.clip_len": 32, "training.validation.frame_interval": 2,
    "training.validation.placement": "centred", "training.validation.sample_range": 64,
    "training.validation.average": "prob", "training.validate_every": 5, "training.precision": "fp32",
    "training.loss_scale": 0.0,
}  # fmt: skip
VIDEO = {"training.input": "videos"}
DENSE = {
    "training.sampling.placement": "dense", "training.validation.placement": "dense", "protocol.placement": "dense",
    "protocol.num_clips": 1,
}  # fmt: skip
EIGHT = {f"{part}.{key}": 8 for part in ("protocol", "training.sampling", "training.validation")
         for key in ("clip_len", "frame_interval")}  # fmt: skip
HEAVY = {"network.inflate": ((1,), (1,), (1,), (1,)), "network.conv1_stride_t": 1, "network.pool1_stride_t": 1}
FIVE = {"network.non_local": ((0,), (0, 1), (0, 1), (0,))}
GAUSSIAN, DOT = FIVE | {"network.non_local_mode": "gaussian"}, FIVE | {"network.non_local_mode": "dot_product"}
V1 = VIDEO | {
    "training.validate_every": 1, "training.validation.placement": "end_to_end", "protocol.placement": "end_to_end",
}  # fmt: skip

PAPER = OFF | {  # Carreira & Zisserman, RGB
    "network.head_pooling": "mean",
    "network.kind": "inception", "network.in_channels": 3, "network.num_classes": 400, "network.dropout": 0.5,
    "network.bn_eps": 1e-3, "preprocessing.flow": None, "preprocessing.short_side": 256, "preprocessing.crop": 224,
    "preprocessing.mean": (127.5,) * 3, "preprocessing.std": (127.5,) * 3, "dataset": "kinetics400",
    "protocol.fps": 25.0, "protocol.max_window_frames": 250, "protocol.crops": "center", "protocol.average": "score",
    "training.init": "", "training.input": "videos", "training.epochs": 100, "training.steps": 115_000,
    "training.batch_size": 6, "training.base_batch": 6 * 64, "training.optimizer.kind": "sgd",
    "training.optimizer.lr": 0.1, "training.optimizer.momentum": 0.9, "training.optimizer.weight_decay": 1e-7,
    "training.schedule.kind": "piecewise", "training.schedule.until": (97_000, 108_000),
    "training.schedule.factors": (1.0, 0.1, 0.01), "training.clip_grad_norm": 0.0, "training.sampling.clip_len": 64,
    "training.sampling.frame_interval": 1, "training.sampling.placement": "segments",
    "training.sampling.sample_range": 64, "training.augmentation.resize": 256,
    "training.augmentation.crop.kind": "random", "training.augmentation.crop.side": None,
    "training.augmentation.size": 224,
    "training.augmentation.fused": False, "training.augmentation.flip": 0.5,
    "training.augmentation.rotation_degrees": 0, "training.augmentation.pixel_dropout": 0,
    "training.validation.clip_len": 64, "training.validation.frame_interval": 1,
    "training.validation.placement": "centred", "training.validation.sample_range": 64,
    "training.validation.average": "prob", "training.validate_every": 5, "training.precision": "fp32",
    "training.loss_scale": 0.0,
}  # fmt: skip
FLOW = {
    "preprocessing.flow": "tvl1",
    "network.in_channels": 2, "preprocessing.mean": (127.5,) * 2, "preprocessing.std": (127.5,) * 2,
    "training.input": "frames", "training.steps": 155_000,
    "training.schedule.until": (97_000, 104_500, 115_000, 140_000, 150_000),
    "training.schedule.factors": (1.0, 0.1, 0.01, 1.0, 0.1, 0.01),
}  # fmt: skip
MINDSPORE = {key: value for key, value in PAPER.items() if not key.startswith(("protocol.", "training.schedule."))} | {
    "network.bn_eps": 1e-5, "protocol.clip_len": 64, "protocol.frame_interval": 1, "protocol.num_clips": 1,
    "protocol.placement": "centred", "protocol.sample_range": 64, "protocol.target_fps": None, "protocol.twice": False,
    "protocol.out_of_bound": "loop", "protocol.crops": "center", "protocol.average": "score",
    "training.epochs": 30, "training.steps": None, "training.batch_size": 4, "training.base_batch": 0,
    "training.optimizer.lr": 0.0012, "training.optimizer.weight_decay": 4e-4, "training.schedule.kind": "cosine",
    "training.schedule.begin": 0.0, "training.schedule.length": None, "training.schedule.by_epoch": False,
    "training.schedule.end": 0.0, "training.schedule.end_lr": None, "training.augmentation.resize": (256, 256),
}  # fmt: skip


def v0(middle):
    return f"i3d_{middle}_100e_kinetics400_rgb"


def v1(middle):
    return f"i3d_imagenet-pretrained-{middle}32x2x1-100e_kinetics400-rgb"


LAZY_VALIDATION = flat({"training": {"validation_geometry": {"short_side": None, "crop": 224, "steps": (
    {"kind": "fused", "steps": (
        {"kind": "resize", "short_side": 256, "size": None, "within": None},
        {"kind": "crop_center", "size": (224, 224)},
    )},
)}}})  # fmt: skip
TABLE = {
    v0("r50_32x2x1"): MMACTION2,
    v0("r50_video_32x2x1"): MMACTION2 | VIDEO,
    v0("r50_video_imgaug_32x2x1"): MMACTION2 | VIDEO
    | {"training.augmentation.rotation_degrees": 20, "training.augmentation.pixel_dropout": 0.05},
    v0("r50_lazy_32x2x1"): {key: MMACTION2[key] for key in MMACTION2 if key != "training.validation_geometry"}
    | {"training.augmentation.fused": True} | LAZY_VALIDATION,
    v0("r50_dense_32x2x1"): MMACTION2 | DENSE,
    v0("r50_video_inference_32x2x1"): MMACTION2 | VIDEO | {"protocol.num_clips": 1},
    v0("r50_heavy_8x8x1"): MMACTION2 | EIGHT | HEAVY,
    v0("r50_video_heavy_8x8x1"): MMACTION2 | EIGHT | HEAVY | VIDEO,
    v0("nl_embedded_gaussian_r50_32x2x1"): MMACTION2 | FIVE,
    v0("nl_gaussian_r50_32x2x1"): MMACTION2 | GAUSSIAN,
    v0("nl_dot_product_r50_32x2x1"): MMACTION2 | DOT,
    v0("r34_32x2x1"): MMACTION2 | {"network.depth": 34, "training.init": "timm/resnet34.tv_in1k"},
    v0("r50_video_32x2x1") + "_o1": MMACTION2 | VIDEO
    | {"training.precision": "fp16", "training.loss_scale": 128.0},
    v1("r50_8xb8-"): MMACTION2 | V1,
    v1("r50_8xb8-dense-"): MMACTION2 | V1 | DENSE,
    v1("r50-heavy_8xb8-"): MMACTION2 | V1 | HEAVY,
    v1("r50-nl-embedded-gaussian_8xb8-"): MMACTION2 | V1 | FIVE,
    v1("r50-nl-gaussian_8xb8-"): MMACTION2 | V1 | GAUSSIAN,
    v1("r50-nl-dot-product_8xb8-"): MMACTION2 | V1 | DOT,
    "inception_rgb_kinetics400": PAPER,
    "inception_flow_kinetics400": PAPER | FLOW,
    "i3d_rgb": MINDSPORE,
}  # fmt: skip
RATES_AT_25 = {"training.sampling.target_fps", "training.validation.target_fps"}  # see the test below


def test_all_recipes_that_can_be_trained_are_in_the_table():
    assert {name for name, recipe in RECIPES.items() if recipe.training is not None} == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_published_settings(name):
    recipe = named_recipe(name)
    settings = flat(recipe.model_dump())
    assert settings.pop("name") == name
    leave = OURS | RATES_AT_25 if recipe.network.kind == "inception" else OURS
    expected = {key: value for key, value in TABLE[name].items() if key not in leave}
    assert {key: value for key, value in settings.items() if key not in leave} == expected


def test_the_paper_trains_on_frames_at_25_fps():
    training = named_recipe("inception_rgb_kinetics400").training
    assert (training.sampling.target_fps, training.validation.target_fps) == (25, 25)


def test_older_names():
    for old, name in {"r50_video_3d_32x2x1": "r50_video_32x2x1", "r50_fast_32x2x1": "r50_lazy_32x2x1"}.items():
        assert ALIASES[v0(old)] == v0(name)
        assert named_recipe(v0(old)) == named_recipe(v0(name))


@pytest.mark.parametrize(
    ("name", "clips", "rate"),
    [
        (v0("r50_32x2x1"), 64, 0.01),
        (v0("r50_32x2x1"), 8, 0.00125),  # 4 GPUs x 2, where the table has 0.01 for its 8 x 8
        (v0("r50_32x2x1"), 512, 0.08),
        ("inception_rgb_kinetics400", 384, 0.1),
        ("i3d_rgb", 4, 0.0012),
        ("i3d_rgb", 96, 0.0012),  # 12 on each of eight devices
    ],
)
def test_lr_of_real_batches(name, clips, rate):
    assert scaled_lr(named_recipe(name).training, clips_per_step=clips) == pytest.approx(rate)


# two steps of each


LENGTH, HEIGHT, WIDTH = 20, 64, 80
CLIPS = {"train": ("abseiling/a (1)", "zumba/b", "abseiling/c", "zumba/d ü"), "val": ("abseiling/v", "zumba/w")}
NUMBERS = {"abseiling": 0, "zumba": 399}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return render(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=LENGTH, height=HEIGHT, width=WIDTH)


@pytest.fixture(scope="module")
def mmaction2(tmp_path_factory, clip):
    """The tree of MMAction2's documents: videos, raw frames and flow, and the lists of both."""
    root = tmp_path_factory.mktemp("mmaction2") / "data/kinetics400"
    frames = [numbered_frame(i, height=HEIGHT, width=WIDTH) for i in range(LENGTH)]
    for split, names in CLIPS.items():
        lines = {"videos": "", "rawframes": ""}
        for name in names:
            video, folder = root / f"videos_{split}" / f"{name}.mp4", root / f"rawframes_{split}" / name
            video.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(parents=True)
            shutil.copy(clip, video)
            for i, frame_HWC in enumerate(frames, start=1):
                x_HW, y_HW = frame_HWC[..., 0], frame_HWC[..., 1]
                for kind, pixels in (("img", frame_HWC[..., ::-1]), ("flow_x", x_HW), ("flow_y", y_HW)):
                    assert cv2.imwrite(str(folder / f"{kind}_{i:05d}.jpg"), pixels)
            label = NUMBERS[name.split("/")[0]]
            lines["videos"] += f"{name}.mp4 {label}\n"
            lines["rawframes"] += f"{name} {LENGTH} {label}\n"
        for kind, text in lines.items():
            (root / f"kinetics400_{split}_list_{kind}.txt").write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def mindspore(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp("mindspore") / "kinetics-400"
    for split, names in CLIPS.items():
        (root / split).mkdir(parents=True)
        rows = ["label,youtube_id,time_start,time_end,split"]
        for i, name in enumerate(names):
            shutil.copy(clip, root / split / f"{split}{i}_000001_000011.mp4")
            rows.append(f"{name.split('/')[0]},{split}{i},1,11,{split}")
        (root / f"kinetics-400_{split}.csv").write_text("\n".join(rows) + "\n")
    (root / "cls2index.json").write_text(json.dumps({"abseiling": 0, "zumba": 1}))
    return root


@pytest.fixture(scope="module")
def ascend(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp("ascend") / "kinetics400"
    for split, names in CLIPS.items():
        for name in names:
            (root / split / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, root / split / f"{name}.mp4")
        lines = [f"{name}.mp4 {NUMBERS[name.split('/')[0]]}" for name in names]
        (root / f"{split}_label").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture
def data(request):
    """The options that name the data of a recipe's port."""

    def options(name):
        if name == "i3d_rgb":
            return ["--data", request.getfixturevalue("mindspore")]
        if name.endswith("_o1"):
            return ["--data", request.getfixturevalue("ascend")]
        root = request.getfixturevalue("mmaction2")
        kind = "videos" if named_recipe(name).training.input == "videos" else "rawframes"
        return [
            "--data", root / f"kinetics400_train_list_{kind}.txt", "--root", root / f"{kind}_train",
            "--val-list", root / f"kinetics400_val_list_{kind}.txt", "--val-root", root / f"{kind}_val",
        ]  # fmt: skip

    return options


def small(name):
    """Options that make a recipe small: two clips of 64x64 and few channels, or one of the shortest of Inception."""
    if named_recipe(name).network.kind == "inception":
        changes = {"training.sampling.clip_len": MIN_FRAMES, "training.validation.clip_len": MIN_FRAMES,
                   "preprocessing.crop": MIN_SIDE, "training.augmentation.size": MIN_SIDE,
                   "training.validation_crop": MIN_SIDE}  # fmt: skip
        batch = 1
        if name == "i3d_rgb":
            changes["protocol.clip_len"] = MIN_FRAMES
    else:
        changes = {"network.base_channels": 4, "preprocessing.short_side": 64, "preprocessing.crop": 64,
                   "training.augmentation.resize": 72, "training.augmentation.size": 64,
                   "training.validation_crop": 64}  # fmt: skip
        batch = 2
    settings = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    return ["--batch-size", batch, "--init", "none", "--workers", 0, "--device", "cpu", *settings]


def command(*words):
    """The exit code of `i3d WORDS`, in this process, which prints what the command prints."""
    result = run_here(["i3d", *words])
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return result.returncode


def log_of(folder):
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [line for line in lines if "loss" in line], [line for line in lines if "validation" in line]


def score_validation(name, model, options, capsys):
    """`i3d test` on the validation clips of the port: both are scored, by the protocol of the recipe."""
    words = list(map(str, options))
    if "--val-list" in words:
        source = ["--data", words[words.index("--val-list") + 1], "--root", words[words.index("--val-root") + 1]]
        source += ["--classes", "kinetics400"]
    else:
        source = ["--data", words[words.index("--data") + 1], "--split", "val"]
    one = [] if name.startswith("inception") else ["--protocols", "10x1" if "dense" in name else "1x1"]
    assert command("test", model, *source, *one, "--device", "cpu", "--workers", 0, "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["num_clips"] == 2
    assert output["num_bad"] == 0
    assert 0 <= output["top1"] <= 1
    assert output["protocol"].startswith(f"{name}: ")


DISTINCT = [  # one of each kind: of network, sampling, input, port, precision, schedule
    v0("r50_dense_32x2x1"),
    v0("nl_embedded_gaussian_r50_32x2x1"),
    v0("r50_video_32x2x1") + "_o1",
    v1("r50-heavy_8xb8-"),
    "inception_flow_kinetics400",
    "i3d_rgb",
]


def network_and_views(name):
    """The network, and the lengths of its views in training and validation."""
    recipe = named_recipe(name)
    return recipe.network, *(part.clip_len for part in (recipe.training.sampling, recipe.training.validation))


@pytest.mark.slow
@pytest.mark.parametrize("name", {network_and_views(name): name for name in TABLE}.values())
def test_networks_of_all_recipes_give_the_shapes_of_their_training(name):
    """Built at full size without memory; recipes with the same network and views are one."""
    network, *lengths = network_and_views(name)
    with torch.device("meta"):
        net = build_network(network)
        for length in set(lengths):
            clips_NCTHW = torch.empty(1, network.in_channels, length, 224, 224)
            assert net(clips_NCTHW).shape == (1, network.num_classes)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTINCT)
def test_two_steps_of_each_kind_of_recipe(tmp_path, capsys, data, clip, mmaction2, name):
    work, recipe = tmp_path / "run", named_recipe(name)
    precision = ["--precision", "bf16", "--set", "training.loss_scale=0.0"]
    options = [*data(name), *small(name), *(precision if name.endswith("_o1") else [])]
    assert command("train", "--recipe", name, *options, "--work-dir", work, "--set", "training.steps=2") == 0
    captured = capsys.readouterr()
    assert "weights: random\n" in captured.err
    assert re.search(r"learning rate [\d.e-]+", captured.err)
    assert re.search(
        r"2 steps done, best validation [01]\.\d+ at step 2; weights, log and curves are in ", captured.out
    )

    used, record = load_recipe(str(work / RECIPE)), json.loads((work / RUN).read_text())
    assert (used.name, used.network.kind, used.training.steps) == (name, recipe.network.kind, 2)
    assert used.network.num_classes == (2 if name == "i3d_rgb" else 400)
    assert (record["done"], record["starts"][0]["seed"]) == (True, 0)
    [*_, trained], [validated] = log_of(work)
    cosine = 0.5 if name == "i3d_rgb" else 1
    batch = used.training.batch_size
    assert trained["lr"] == pytest.approx(cosine * scaled_lr(recipe.training, clips_per_step=batch))
    assert (trained["step"], validated["step"], validated["clips"], validated["bad"]) == (2, 2, 2, 0)
    assert math.isfinite(trained["loss"])
    top5 = set() if name == "i3d_rgb" else {"top5"}  # of two classes it would be 1
    assert set(validated["validation"]) == {"top1", "mean_class"} | top5
    with Image.open(work / CURVES) as image:
        assert image.size == (1210, 770)

    for file in (BEST, LAST):  # at the last step, of one validation: the same weights
        weights = load_weights(str(work / file))
        assert weights.card.recipe == used
        assert all(value.isfinite().all() for value in weights.state.values())
    score_validation(name, work / BEST, options, capsys)
    is_rgb = recipe.network.in_channels == 3
    source = mmaction2 / "rawframes_val/zumba/w" if is_rgb and recipe.training.input == "frames" else clip
    more = ["--json", "--device", "cpu", "--top-k", 2, *([] if is_rgb else ["--flow-method", "dis"])]
    assert command("predict", source, "--model", work / LAST, *more) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["status"], len(row["predictions"])) == ("ok", 2)
    assert row["protocol"].startswith(f"{name}: ")
    classes = {prediction["label"] for prediction in row["predictions"]}
    assert classes <= set(weights.card.labels)


@pytest.mark.slow
def test_the_recipe_in_fp16_names_the_flag_for_a_cpu(tmp_path, ascend):
    name = v0("r50_video_32x2x1") + "_o1"
    options = ["--recipe", name, "--data", ascend, *small(name), "--work-dir", tmp_path / "run"]
    result = run("train", *options)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: precision fp16: this device is a CPU; use bf16 or fp32 (--precision)"]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_advice_to_the_recipe_in_fp16_can_be_followed(tmp_path, ascend):
    name = v0("r50_video_32x2x1") + "_o1"
    options = ["--recipe", name, "--data", ascend, *small(name), "--work-dir", tmp_path / "run"]
    try:
        command("train", *options, "--precision", "bf16", "--benchmark-steps", 1)
    except InputError as error:
        pytest.fail(str(error))


@pytest.mark.slow
def test_a_run_closes_its_files(tmp_path, data):
    name = v0("r50_video_32x2x1")
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        command("train", "--recipe", name, *data(name), *small(name), "--work-dir", tmp_path / "run", "--epochs", 1)
    assert [str(warning.message) for warning in caught_warnings if issubclass(warning.category, ResourceWarning)] == []


@pytest.mark.slow
def test_flow_by_a_template_and_without_validation(tmp_path, capsys, data):
    name, work = v0("r50_32x2x1"), tmp_path / "run"
    flow = {"network.in_channels": 2, "preprocessing.flow": "tvl1", "preprocessing.mean": "[127.5, 127.5]",
            "preprocessing.std": "[127.5, 127.5]", "training.steps": 1}  # fmt: skip
    changes = [word for key, value in flow.items() for word in ("--set", f"{key}={value}")]
    options = [*data(name), *small(name), *changes, "--no-validate", "--json"]
    named = ["--template", "flow_{axis}_{:05d}.jpg"]
    assert command("train", "--recipe", name, *options, *named, "--work-dir", work) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["steps"], output["best"], output["validation"]) == (1, None, {})
    assert load_weights(str(work / LAST)).state["conv1.conv.weight"].shape[1] == 2
    assert not (work / BEST).exists()
    [trained], validated = log_of(work)
    assert math.isfinite(trained["loss"])
    assert validated == []


# the ends of runs


@pytest.mark.slow
def test_bad_clips_to_validate_on_are_counted_too(tmp_path, data, clip):
    name = v0("r50_video_heavy_8x8x1")
    for file in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(clip, tmp_path / file)
    (tmp_path / "broken.mp4").write_bytes(b"")
    (tmp_path / "val.txt").write_text("a.mp4 0\nb.mp4 399\nc.mp4 1\nbroken.mp4 2\n")
    options = [*data(name)[:4], *small(name), "--set", "training.steps=1", "--max-bad", "50%"]
    listed = ["--val-list", tmp_path / "val.txt", "--val-root", tmp_path]
    assert command("train", "--recipe", name, *options, *listed, "--work-dir", tmp_path / "run") == 0
    [validated] = log_of(tmp_path / "run")[1]
    assert (validated["clips"], validated["bad"]) == (3, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [["epochs=2"], ["epochs=4", "patience=1"]],  # the second ends early, for want of anything better
)
def test_killed_after_the_last_state_and_before_the_end(tmp_path, data, settings):
    name = v0("r50_video_heavy_8x8x1")
    options = [*data(name), *small(name), "--lr", 1e-7, "--set", "training.validate_every=1"]
    options += [word for setting in settings for word in ("--set", f"training.{setting}")]
    assert command("train", "--recipe", name, *options, "--work-dir", tmp_path / "whole") == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")  # as the kill leaves it: without what the end writes
    record = json.loads((tmp_path / "killed" / RUN).read_text())
    (tmp_path / "killed" / RUN).write_text(json.dumps({**record, "done": False}))
    for name_of_output in (LAST, CURVES):
        (tmp_path / "killed" / name_of_output).unlink()
    assert command("train", "--recipe", name, *options, "--work-dir", tmp_path / "killed") == 0
    whole, again = ((tmp_path / folder / LOG).read_text() for folder in ("whole", "killed"))
    assert json.loads(whole.splitlines()[-1])["step"] == 4  # two epochs of two steps
    assert again == whole
    assert (tmp_path / "killed" / LAST).read_bytes() == (tmp_path / "whole" / LAST).read_bytes()
