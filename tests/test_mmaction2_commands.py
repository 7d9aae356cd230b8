"""MMAction2's configs and commands: parsed and never executed, the same recipes, refused with the line."""

import json
import math
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from i3d.cli.mmaction2.arguments import ConfigArguments, read_clips, read_config_arguments
from i3d.cli.options import ListOptions
from i3d.cli.run.setup import read_named_dataset
from i3d.data.labels import dataset_labels, numbered_labels
from i3d.errors import InputError
from i3d.models.factory import build_network
from i3d.recipes.io import config_notes, load_recipe, with_training
from i3d.recipes.mmaction2.from_config import ClipList, from_config
from i3d.recipes.mmaction2.options import parse_value
from i3d.recipes.mmaction2.parse import read_config
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.mmaction2.to_config import kinetics_lists, to_config
from i3d.recipes.named import RECIPES, named_recipe
from i3d.recipes.settings import ResNetSettings
from i3d.recipes.training import Adam, AdamW, CosineSchedule
from i3d.training.optimizer import build_optimizer, lr_factor, scaled_lr, set_lr, step_lr
from i3d.weights.initialize import load_initial_weights
from support.commands import run_here
from support.mmaction2_configs import (
    CONFIGS_0,
    MODEL_1,
    PLAIN_1,
    RUNTIME_1,
    SCHEDULE_1,
    config_0,
    data_1,
    dumped,
    write_configs_1,
)
from support.mmaction2_runs import NAMES_1, RAW, TINY_1, TINY_MODEL, VIDEO, config, tiny_0, tiny_checkpoint, tiny_test
from support.paths import ROOT


def run_train_tool(*words, **more):
    if not more:
        return run_here(["python", "tools/train.py", *words])
    command = [sys.executable, ROOT / "tools" / "train.py", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, **more)


# the same recipes


def test_the_six_configs_of_1x_are_the_published_recipes(tmp_path):
    written = write_configs_1(tmp_path / "configs")
    assert sorted(written) == sorted(NAMES_1)
    for name, path in written.items():
        assert load_recipe(str(path)) == named_recipe(name)


@pytest.mark.parametrize("name", CONFIGS_0)
def test_configs_of_0x_are_the_published_recipes(tmp_path, name):
    assert load_recipe(str(config(tmp_path, CONFIGS_0[name], name))) == named_recipe(name)


def test_a_missing_config_of_no_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nosuch.py: no such config; there is no recipe 'nosuch'"):
        read_config_arguments(str(tmp_path / "nosuch.py"), [])


def test_an_option_without_a_value_is_refused():
    with pytest.raises(InputError, match=r"--cfg-options 'load_from=': has no value; write load_from=None for none"):
        read_config_arguments(RAW, ["load_from="])


def test_a_missing_config_is_the_published_recipe():
    assert load_recipe(f"configs/recognition/i3d/{RAW}.py") == named_recipe(RAW)


@pytest.mark.parametrize("version", [0, 1])
def test_recipes_written_as_configs_are_read_as_they_were(version):
    for name in RECIPES:
        recipe = named_recipe(name)
        if isinstance(recipe.network, ResNetSettings) and recipe.training is not None:
            placement = "end_to_end" if "8xb8" in name else "centred"
            table = to_config(recipe, kinetics_lists(recipe), version=version)
            converted = from_config(
                table, where=name, name=name, placement=placement, base_batch=recipe.training.base_batch
            )
            assert converted.recipe == recipe


SCHEDULES = [  # (a param_scheduler, MMEngine's factor of the learning rate at the start of each of 20 epochs)
    (
        "dict(type='LinearLR', start_factor=0.1, end=5, convert_to_iter_based=True),"
        " dict(type='CosineAnnealingLR', T_max=15, begin=5, end=20)",
        [*(0.1 + 0.9 * 10 * epoch / 49 for epoch in range(5)),
         *((1 + math.cos(math.pi * epoch / 15)) / 2 for epoch in range(15))],
    ),
    ("dict(type='CosineAnnealingLR', T_max=30, end=20)", [(1 + math.cos(math.pi * e / 30)) / 2 for e in range(20)]),
    ("dict(type='MultiStepLR', begin=3, milestones=[2, 6, 30], gamma=0.5)", [1] * 5 + [0.5] * 4 + [0.25] * 11),
    (
        "dict(type='LinearLR', start_factor=0.1, end=5), dict(type='CosineAnnealingLR', T_max=15, begin=5, end=20)",
        [*(0.1 + 0.9 * epoch / 4 for epoch in range(5)),
         *((1 + math.cos(math.pi * epoch / 15)) / 2 for epoch in range(15))],
    ),
    ("dict(type='LinearLR', end=1)", [1 / 3] + [1] * 19),
    ("dict(type='StepLR', begin=4, end=13, step_size=4, gamma=0.5)", [1] * 8 + [0.5] * 4 + [0.25] * 8),
    ("dict(type='MultiStepLR', milestones=[8, 15], end=12)", [1] * 8 + [0.1] * 12),
    (
        "dict(type='LinearLR', start_factor=0.5, end=35, by_epoch=False)",  # steps, of which an epoch has 10
        [0.5, 0.5 + 5 / 34, 0.5 + 10 / 34, 0.5 + 15 / 34] + [1] * 16,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schedulers", "expected"), SCHEDULES, ids=[text[:60] for text, _ in SCHEDULES])
def test_schedules_of_1x(tmp_path, schedulers, expected):
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    more = f"param_scheduler = [{schedulers}]\ntrain_cfg = dict(max_epochs=20)\n"
    training = load_recipe(str(config(path.parent, f"_base_ = '{path.name}'\n{more}"))).training
    first, last = (
        [lr_factor(10 * epoch + step, training, steps_per_epoch=10, total_steps=200) for epoch in range(20)]
        for step in (0, 9)
    )
    assert first == pytest.approx(expected)
    is_by_epoch = "convert_to_iter_based" not in schedulers and "by_epoch=False" not in schedulers
    assert (last == first) is is_by_epoch


@pytest.mark.parametrize("by_epoch", ["", ", by_epoch=False"])
def test_a_cosine_of_0x_changes_when_mmcv_changes_it(tmp_path, by_epoch):
    more = f"lr_config = dict(policy='CosineAnnealing', min_lr=0{by_epoch})\ntotal_epochs = 20\n"
    training = load_recipe(str(config(tmp_path, config_0(more=more)))).training
    factors = [lr_factor(step, training, steps_per_epoch=10, total_steps=200) for step in range(200)]
    steps = range(200) if by_epoch else [10 * (step // 10) for step in range(200)]
    assert factors == pytest.approx([(1 + math.cos(math.pi * step / 200)) / 2 for step in steps])


@pytest.mark.parametrize(
    "scheduler",
    [
        "dict(type='CosineAnnealingLR', T_max=15, end=10)",
        "dict(type='CosineAnnealingLR', T_max=5, end=20)",
        "dict(type='MultiStepLR', milestones=[8], by_epoch=False)",
        "dict(type='LinearLR', begin=3, end=5)",
        "dict(type='LinearLR')",
        "dict(type='LinearLR', end=2), dict(type='LinearLR', end=4)",
        "dict(type='MultiStepLR', milestones=[2]), dict(type='MultiStepLR', milestones=[4])",
        "dict(type='CosineAnnealingLR', end=10), dict(type='MultiStepLR', milestones=[12])",
        "dict(type='PolyLR', power=2)",
    ],
)
def test_schedules_of_1x_that_are_refused(tmp_path, scheduler):
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    more = f"param_scheduler = [{scheduler}]\ntrain_cfg = dict(max_epochs=20)\n"
    with pytest.raises(InputError, match=r"my_config.py:2: (param_scheduler|the schedule)"):
        load_recipe(str(config(path.parent, f"_base_ = '{path.name}'\n{more}")))


def test_optimisers_factors_and_class_weights(tmp_path):
    factors = """dict(norm_decay_mult=0., bias_decay_mult=0.5, bias_lr_mult=2, bypass_duplicate=True, custom_keys={
        'backbone.layer4': dict(lr_mult=0.5), 'backbone': dict(lr_mult=0.1, decay_mult=0),
        'cls_head': dict(lr_mult=10)})"""
    text = config_0().replace("type='SGD', lr=0.01, momentum=0.9,", f"type='Adam', lr=0.01, paramwise_cfg={factors},")
    weights = ", ".join(str(number % 7) for number in range(400))
    text = text.replace(
        "type='I3DHead'", f"type='I3DHead', loss_cls=dict(type='CrossEntropyLoss', class_weight=[{weights}])"
    )
    training = load_recipe(str(config(tmp_path, text))).training
    assert training.optimizer == Adam(lr=0.01, weight_decay=0.0001)
    assert training.loss.class_weights == tuple(number % 7 for number in range(400))
    assert (training.factors.norm_decay, training.factors.bias_decay, training.factors.bias_lr) == (0, 0.5, 2)
    assert {layer.prefix: (layer.lr, layer.weight_decay) for layer in training.factors.layers} == {
        "*": (0.1, 0), "layer4.": (0.5, 1), "fc.": (10, 1),
    }  # fmt: skip


def configs_of(tmp_path, version):
    """(name, the variables of the config) of all published recipes of a version, and of the configs as they are."""
    for name, recipe in RECIPES.items():
        if isinstance(recipe.network, ResNetSettings) and recipe.training and ("8xb8" in name) == bool(version):
            yield name, to_config(recipe, kinetics_lists(recipe), version=version)
    written = write_configs_1(tmp_path / "configs") if version else {}
    for name, text in {} if version else CONFIGS_0.items():
        written[name] = config(tmp_path, text, name)
    yield from ((name, read_config(path)) for name, path in written.items())


@pytest.mark.parametrize("version", [0, 1])
def test_configs_that_a_run_wrote_are_equal_to_their_originals(tmp_path, version):
    for number, (name, table) in enumerate(configs_of(tmp_path, version)):
        if version == 0:
            table = Table({"runner": Table({"type": "EpochBasedRunner", "max_epochs": 100}), **table})
        path = config(tmp_path, dumped(table, version), f"dumped_{number}")
        parsed = read_config_arguments(str(path), [])
        assert parsed.config.recipe.model_copy(update={"name": name}) == named_recipe(name)
        assert (parsed.config.seed, parsed.config.work_dir) == (None, "./work_dirs/a")


def test_the_seed_of_a_run_is_that_of_its_config(tmp_path):
    written = [
        dumped(read_config(config(tmp_path, CONFIGS_0[RAW], "a")), 0, seed=7, deterministic=True),
        dumped(
            read_config(write_configs_1(tmp_path / "configs")[PLAIN_1]),
            1,
            randomness={"deterministic": True, "seed": 7},
        ),
    ]
    for text in written:
        parsed = read_config_arguments(str(config(tmp_path, text)), []).config
        assert (parsed.seed, parsed.deterministic) == (7, True)
        assert "for --seed, --deterministic" in config_notes(str(tmp_path / "my_config.py"))[-1]
        with pytest.raises(InputError, match=r"my_config.py:\d+: (randomness.)?seed = 'x' must be a whole number"):
            load_recipe(str(config(tmp_path, re.sub(r"seed(=| = )7", r"seed\1'x'", text))))


LR_CASES = [  # (changes of a config of 0.x, clips that its learning rate is for, why)
    ("", 64, "that of the published recipe i3d_r50_32x2x1_100e_kinetics400_rgb"),
    ("gpu_ids = range(0, 1)\n", 8, "the run that wrote the config had 1 x 8 clips in a step"),
    ("data['videos_per_gpu'] = 32\n", 0, "--set training.base_batch=256 of `i3d train`, scales it"),
    ("total_epochs = 7\n", 0, "the learning rate 0.01 is used as it is: the config is no published recipe"),
    ("auto_scale_lr = dict(enable=True, base_batch_size=16)\ntotal_epochs = 7\n", 16, "auto_scale_lr.enable=True"),
    ("auto_scale_lr = dict(enable=False, base_batch_size=16)\ntotal_epochs = 7\n", 0, "training.base_batch=16"),
]


@pytest.mark.parametrize(("more", "base_batch", "why"), LR_CASES, ids=[why for _, _, why in LR_CASES])
def test_the_learning_rate_is_scaled_only_where_the_config_means_it(tmp_path, more, base_batch, why):
    text = config_0()
    if more.startswith("data["):
        text, more = text.replace("videos_per_gpu=8", "videos_per_gpu=32"), ""
    path = str(config(tmp_path, text + more))
    parsed = read_config_arguments(path, []).config
    assert parsed.recipe.training.base_batch == base_batch
    assert why in parsed.notes[-1]
    assert config_notes(path)[-1] == parsed.notes[-1]
    changed = read_config_arguments(path, ["data.videos_per_gpu=2"]).config  # the batch, not what the lr is for
    assert changed.recipe.training.base_batch == base_batch
    forced = read_config_arguments(path, [], scales_lr=True).config.recipe.training.base_batch
    assert forced == base_batch or base_batch == 0


ACCUMULATED = (
    "optimizer_config = dict(type='GradientCumulativeOptimizerHook', cumulative_iters=4)\ngpu_ids = range(0, 1)\n"
)
OWN_1 = "train_cfg = dict(max_epochs=7)\noptim_wrapper = dict(accumulative_counts=2)\n"
LR_OPTION_CASES = [  # (a config or a change of one, options, --auto-scale-lr, clips that the lr is for, why)
    (ACCUMULATED, [], False, 32, "had 1 x 8 x 4 accumulated clips in a step"),
    (ACCUMULATED, ["optimizer_config.cumulative_iters=2"], False, 32, "gpu_ids"),
    (ACCUMULATED, [], True, 32, "--auto-scale-lr; gpu_ids: the run that wrote the config had 1 x 8 x 4"),
    ("total_epochs = 7\n", ["auto_scale_lr.enable=True", "auto_scale_lr.base_batch_size=16"], False, 16, "enable=True"),
    ("total_epochs = 7\n", ["data.videos_per_gpu=2"], True, 64, "--auto-scale-lr; 8 GPUs, as published configs are"),
    ("resume_from = 'a'\n", ["resume_from=None", "data.videos_per_gpu=8"], False, 64, "of the published recipe"),
    ("", ["optimizer.lr=0.02"], False, 0, "0.02 is used as it is: --cfg-options sets it; --auto-scale-lr scales it"),
    ("", ["optimizer.lr=0.02", "auto_scale_lr.enable=True"], False, 64, "auto_scale_lr.enable=True"),
    (PLAIN_1, ["auto_scale_lr.base_batch_size=16"], False, 16, "that of the published recipe"),
    (PLAIN_1, [], False, 64, f"that of the published recipe {PLAIN_1}"),
    (RAW, ["data.videos_per_gpu=2"], False, 64, f"that of the published recipe {RAW}"),
    (RAW, [], True, 64, "that of the published recipe"),
    ("i3d_rgb", [], False, 0, "the learning rate 0.0012 is used as it is: so does the published recipe i3d_rgb"),
    (OWN_1, ["auto_scale_lr.base_batch_size=16"], True, 32, "--auto-scale-lr; auto_scale_lr.base_batch_size"),
    (OWN_1, ["auto_scale_lr.enable=True"], False, 128, "auto_scale_lr.enable=True"),
]


@pytest.mark.parametrize(("name", "options", "is_forced", "base_batch", "why"), LR_OPTION_CASES)
def test_the_batch_that_the_learning_rate_is_for(tmp_path, name, options, is_forced, base_batch, why):
    """Batches that MMEngine accumulates are not in its base_batch_size, and do not change its learning rate."""
    if name == OWN_1:
        path = write_configs_1(tmp_path / "configs")[PLAIN_1]
        name = str(config(path.parent, f"_base_ = '{path.name}'\n{OWN_1}"))
    elif not name or name.endswith("\n"):
        name = str(config(tmp_path, config_0(more=name)))
    parsed = read_config_arguments(name, options, scales_lr=is_forced).config
    assert (parsed.recipe.training.base_batch, len(parsed.notes)) == (base_batch, 1)
    assert why in parsed.notes[0]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("auto_scale_lr.base_batch_size=0", "base_batch_size = '0' must be at least 1; write base_batch_size=64"),
        ("auto_scale_lr.enabled=True", r"enabled = 'True' is not supported; did you mean enable\?"),
    ],
)
def test_a_wrong_auto_scale_lr_is_refused(option, expected):
    with pytest.raises(InputError, match=expected):
        read_config_arguments(PLAIN_1, [option])


def test_one_gpu_one_config_with_its_own_numbers(tmp_path):
    """lr 0.01 and 32 clips: lr is 0.01."""
    text = config_0().replace("videos_per_gpu=8", "videos_per_gpu=32")
    for written in (text, text + "gpu_ids = range(0, 1)\n"):
        training = read_config_arguments(str(config(tmp_path, written)), []).config.recipe.training
        assert scaled_lr(training, clips_per_step=32) == 0.01


@pytest.mark.parametrize(
    ("place", "blending", "expected"),
    [
        ("train_cfg = None", "dict(type='MixupBlending', num_classes=400, alpha=.3)", (0.3, 0)),
        ("train_cfg = None", "dict(type='CutmixBlending', num_classes=400)", (0, 0.2)),
        (
            "train_cfg = None",
            "dict(type='RandomBatchAugment', augments=[dict(type='MixupBlending', num_classes=400, alpha=.8), "
            "dict(type='CutmixBlending', num_classes=400, alpha=1)])",
            (0.8, 1),
        ),
        ("model", "dict(type='MixupBlending', num_classes=400)", (0.2, 0)),
    ],
)
def test_mixup_is_that_of_the_config(tmp_path, place, blending, expected):
    text = config_0()
    if place == "model":
        text += f"model = dict(train_cfg=dict(blending={blending}), **model)\n"
    else:
        text = text.replace(place, f"train_cfg = dict(blending={blending})")
    mixup = load_recipe(str(config(tmp_path, text))).training.mixup
    assert (mixup.mixup_alpha, mixup.cutmix_alpha) == expected


def test_where_the_clips_lie(tmp_path):
    more = ", with_offset=True, filename_tmpl='image_{:05d}.png', start_index=0"
    parsed = read_config_arguments(str(config(tmp_path, config_0(data=more))), []).config
    clips = parsed.lists["train"]
    assert (clips.ann_file, clips.prefix) == (
        "data/kinetics400/kinetics400_train_list_rawframes.txt",
        "data/kinetics400/rawframes_train",
    )
    assert (clips.format, clips.template, clips.first_index) == ("frames-offset", "image_{:05d}.png", 0)
    assert parsed.num_workers == 4
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    clips = read_config_arguments(str(path), ["val_dataloader.dataset.data_root=/data"]).config.lists["val"]
    assert (clips.prefix, clips.format) == ("/data/data/kinetics400/videos_val", "videos")


def test_lists_of_published_recipes_have_the_documented_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = read_config_arguments(RAW, []).config.lists
    assert lists["train"].ann_file == "data/kinetics400/kinetics400_train_list_rawframes.txt"
    assert read_config_arguments(VIDEO, []).config.lists["val"].ann_file.endswith("/kinetics400_val_list_videos.txt")
    (tmp_path / "data" / "kinetics400").mkdir(parents=True)
    (tmp_path / "data" / "kinetics400" / "kinetics_val_list.txt").write_text("")  # earlier
    assert read_config_arguments(RAW, []).config.lists["val"].ann_file == "data/kinetics400/kinetics_val_list.txt"


OWN, CUSTOM = "data/own/train.txt", "my_config"


@pytest.mark.parametrize(
    ("name", "train", "num_classes", "expected"),
    [
        (CUSTOM, OWN, 400, ""),  # the default of a config
        (CUSTOM, "data/ucf101/ucf101_train_split_1_videos.txt", 400, ""),
        (CUSTOM, "data/kinetics700/train.txt", 400, ""),
        (CUSTOM, "data/k4000/train.txt", 400, ""),
        (CUSTOM, "data/kinetics400/train.txt", 600, ""),
        (CUSTOM, "data/kinetics400/train.txt", 3, ""),
        (CUSTOM, "data/own/kinetics400_train_list_videos.txt", 400, "kinetics400"),
        (CUSTOM, "data/kinetics400/train.txt", 400, "kinetics400"),
        (CUSTOM, "data/Kinetics-600/train.txt", 600, "kinetics600"),
        ("r50_k400", OWN, 400, "kinetics400"),
        (RAW, OWN, 400, "kinetics400"),
        (RAW, OWN, 3, ""),
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_a_dataset_is_known_by_names_and_not_by_the_number_of_classes(version, name, train, num_classes, expected):
    recipe = named_recipe(VIDEO)
    lists = {split: ClipList(train, "clips", "videos", None, 1) for split in ("train", "val", "test")}
    table = to_config(recipe, lists, version=version)
    table["model"]["cls_head"]["num_classes"] = num_classes
    assert from_config(table, where="a.py", name=name).recipe.dataset == expected


def parsed_with(folder, lines, *, file="train.txt", name="my_config", num_classes=400):
    """A config whose list has these lines, read."""
    (folder / file).write_text(lines)
    clips = ClipList(str(folder / file), str(folder), "videos", None, 1)
    table = to_config(named_recipe(VIDEO), dict.fromkeys(("train", "val", "test"), clips), version=0)
    table["model"]["cls_head"]["num_classes"] = num_classes
    return ConfigArguments(from_config(table, where="a.py", name=name), "a.py", name, 0)


def train_classes(parsed):
    return read_clips(parsed, "train")[0].classes


def test_classes_of_a_list_of_ones_own_are_numbered(tmp_path, caplog):
    caplog.set_level("INFO", "i3d")
    lines = "a.mp4 0\nb.mp4 1\nc.mp4 2\n"
    for name in ("my_config", VIDEO):
        assert train_classes(parsed_with(tmp_path, lines, name=name)) == numbered_labels(400)
        assert "train.txt: has 3 classes, the network 400: classes are numbered; " in caplog.text
        assert "set --cfg-options model.cls_head.num_classes=3" in caplog.text
        caplog.clear()
    assert train_classes(parsed_with(tmp_path, lines, num_classes=3)) == numbered_labels(3)
    assert "to name them: write them into train.classes.txt beside it, one a line" in caplog.text
    (tmp_path / "train.classes.txt").write_text("left\nright\nup\n")
    parsed = parsed_with(tmp_path, lines, num_classes=3)
    assert train_classes(parsed) == ("left", "right", "up")
    assert read_clips(parsed, "val", ("left", "right", "up"))[0].classes == ("left", "right", "up")
    assert train_classes(parsed_with(tmp_path, lines)) == numbered_labels(400)
    with pytest.raises(InputError, match=r"train\.txt:3: '2': "):
        train_classes(parsed_with(tmp_path, lines, num_classes=2))


@pytest.mark.parametrize(("name", "expected"), [("my_config", "class 0"), (VIDEO, "abseiling")])
def test_a_list_with_all_numbers_of_the_recipes_dataset_has_its_names(tmp_path, name, expected):
    lines = "".join(f"{number}.mp4 {number}\n" for number in range(400))
    assert train_classes(parsed_with(tmp_path, lines, name=name))[0] == expected


def test_lists_of_ucf101_name_their_classes_in_both_commands(tmp_path, caplog):
    file = "ucf101_train_split_1_videos.txt"
    lines = "ApplyEyeMakeup/a.avi 0\nArchery/b.avi 2\n"
    parsed = parsed_with(tmp_path, lines, file=file, num_classes=101)
    clips = read_clips(parsed, "train")[0]
    options = ListOptions(root=tmp_path)
    assert clips.classes == read_named_dataset(tmp_path / file, options, dataset="kinetics400").classes
    assert clips.classes == dataset_labels("ucf101")
    assert [clip.labels for clip in clips] == [(0,), (2,)]
    assert train_classes(parsed_with(tmp_path, lines, file=file)) == numbered_labels(400)
    assert f"{file}: has 101 classes, the network 400: classes are numbered" in caplog.text


PRETRAINED = [
    ("pretrained='x.pth'", "", ("x.pth", False), "pretrained of the backbone"),
    ("init_cfg=dict(type='Pretrained', checkpoint='x.pth')", "", ("x.pth", False), "checkpoint of the backbone"),
    ("init_cfg=dict(type='Pretrained', checkpoint='x.pth', prefix='backbone.')", "", ("x.pth", False), "at random"),
    ("pretrained='x.pth'", "load_from = 'y.pth'\n", ("y.pth", True), ""),
    ("pretrained=None", "load_from = 'y.pth'\n", ("y.pth", True), ""),
    ("pretrained='torchvision://resnet50'", "", ("timm/resnet50.tv_in1k", True), ""),
]


@pytest.mark.parametrize(("key", "more", "expected", "note"), PRETRAINED)
def test_weights_of_the_backbone_leave_the_classifier_random(tmp_path, key, more, expected, note):
    text = config_0().replace("pretrained='torchvision://resnet50'", key).replace("load_from = None\n", more)
    parsed = read_config_arguments(str(config(tmp_path, text)), []).config
    assert (parsed.recipe.training.init, parsed.recipe.training.init_classifier) == expected
    assert note in " ".join(parsed.notes)
    assert more or not note or "the classifier starts at random; load_from loads both" in " ".join(parsed.notes)


@pytest.mark.parametrize("prefix", ["backbone.", ""])
@pytest.mark.parametrize("with_classifier", [True, False])
def test_only_the_backbone_of_a_file_is_loaded(tmp_path, prefix, with_classifier):
    path = tiny_checkpoint(tmp_path / "weights" / "x.pth")
    content = torch.load(path, weights_only=True)
    if not prefix:
        state = content["state_dict"].items()
        own = {key.removeprefix("backbone."): value for key, value in state if key.startswith("backbone.")}
        torch.save({"state_dict": own}, path)
    options = [*TINY_MODEL[:2], TINY_MODEL[3], f"model.backbone.pretrained={path}"]
    recipe = read_config_arguments(RAW, options).config.recipe
    recipe = with_training(recipe, {"init_classifier": with_classifier})
    torch.manual_seed(1)
    net = build_network(recipe.network)
    before = net.fc.weight.clone()
    line, _ = load_initial_weights(net, str(path), recipe)
    stored = content["state_dict"]
    assert torch.equal(net.conv1.conv.weight, stored["backbone.conv1.conv.weight"])
    is_loaded = bool(prefix) and with_classifier
    assert torch.equal(net.fc.weight, stored["cls_head.fc_cls.weight"] if is_loaded else before)
    assert ("random classifier of 400 classes" in line) is not is_loaded
    assert ("that of the file is left out" in line) is (bool(prefix) and not with_classifier)


def test_the_last_state_of_a_run_by_the_name_of_mmaction2(tmp_path, monkeypatch):
    """`latest.pth` is the state that a run of i3d resumes from in any case; another name may mean an earlier one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    result = run_train_tool(RAW, "--resume-from", "run/latest.pth", "--work-dir", "other")
    assert "a run resumes in its own folder; give --work-dir run, or none" in result.stderr
    for flag in ("--resume-from", "--resume"):
        result = run_train_tool(RAW, flag, "run/epoch_3.pth")
        assert result.returncode == 2
        assert f"{flag} run/epoch_3.pth: there is no such file; a run of i3d resumes from its last" in result.stderr
        assert f"give its folder, run, or the command of the run without {flag}" in result.stderr


@pytest.mark.parametrize("version", [0, 1])
def test_the_order_of_clips_is_that_of_the_config(tmp_path, version):
    if version:
        path = write_configs_1(tmp_path / "configs")[PLAIN_1]
        text = f"""_base_ = '{path.name}'
train_dataloader = dict(drop_last=True, sampler=dict(type='DefaultSampler', shuffle=False))"""
        read = load_recipe(str(config(path.parent, text)))
        plain, refused = load_recipe(str(path)), text.replace("shuffle=False", "round_up=False")
        with pytest.raises(InputError, match=r"my_config.py:2: .*round_up = 'False' must be True"):
            load_recipe(str(config(path.parent, refused)))
    else:
        plain = load_recipe(str(config(tmp_path, config_0())))
        changed = config_0().replace(
            "data = dict(", "data = dict(train_dataloader=dict(drop_last=True, shuffle=False), "
        )
        read = load_recipe(str(config(tmp_path, changed)))
    assert (plain.training.shuffle, plain.training.drop_last) == (True, False)
    assert (read.training.shuffle, read.training.drop_last) == (False, True)


def config_1(tmp_path, more):
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    return load_recipe(str(config(path.parent, f"_base_ = '{path.name}'\n{more}")))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("load_from = 'a.pth'\nresume = True", "resume = 'True' resumes the run of load_from"),
        ("default_hooks = dict(timer=dict(type='EMAHook'))", "type = 'EMAHook' must be 'IterTimerHook' here"),
        (
            "default_hooks = dict(early_stopping=dict(type='EarlyStoppingHook'))",
            "min_delta is missing, and 0.1",
        ),
        (
            "default_hooks = dict(early_stopping=dict(type='EarlyStoppingHook', min_delta=0, monitor='acc/mean1'))",
            "monitor = 'acc/mean1' must be 'acc/top1' here",
        ),
        ("default_hooks = dict(checkpoint=dict(out_dir='a'))", "checkpoint.out_dir = 'a' saves elsewhere than in"),
        ("train_cfg = dict(max_epochs=0)", "train_cfg.max_epochs = '0' must be at least 1; write max_epochs=100"),
        ("train_cfg = dict(max_epochs=None)", "train_cfg.max_epochs is missing; write max_epochs=100"),
        ("val_evaluator = dict(type='ConfusionMatrix')", "the evaluator 'ConfusionMatrix' is not supported"),
        ("test_evaluator = dict(type='AccMetric', metric_list=['map'])", "metric_list is not supported; choose from"),
        ("val_dataloader = dict(drop_last=True)", "drop_last = 'True' must be False here"),
        ("model = dict(backbone=dict(non_local=(0, 1, 0, 0), non_local_cfg=dict(mode='gaussian')))", "has no norm_cfg"),
        ("model = dict(backbone=dict(in_channels=2))", "modality does not go with in_channels of the backbone"),
    ],
)
def test_settings_of_1x_that_would_be_ignored_are_refused(tmp_path, more, expected):
    with pytest.raises(InputError, match=expected):
        config_1(tmp_path, more)


@pytest.mark.parametrize("missing", ["train", "val", "test"])
def test_every_pipeline_normalises_once(tmp_path, missing):
    head, _, tail = config_0().partition(f"{missing}_pipeline = [")
    tail = tail.replace("dict(type='Normalize', **img_norm_cfg),", "", 1)
    with pytest.raises(InputError, match=rf"data.{missing}.*pipeline has no Normalize; normalise once"):
        load_recipe(str(config(tmp_path, f"{head}{missing}_pipeline = [{tail}")))


@pytest.mark.parametrize(
    ("evaluation", "best_by"),
    [
        ("save_best='auto', metrics=['top_k_accuracy', 'mean_class_accuracy']", "top1"),
        ("save_best='auto', metrics=['mean_class_accuracy', 'top_k_accuracy']", "mean_class"),
        ("key_indicator='mean_class_accuracy'", "mean_class"),
        ("save_best='top1_acc', metrics=['mean_class_accuracy']", "top1"),
    ],
)
def test_the_best_of_0x_is_by_the_metric_of_the_config(tmp_path, evaluation, best_by):
    text = config_0(more=f"evaluation = dict(interval=5, {evaluation})\n")
    assert load_recipe(str(config(tmp_path, text))).training.best_by == best_by


def test_evaluators_of_1x_choose_the_best_and_the_metrics_of_a_test(tmp_path):
    evaluator = "dict(type='AccMetric', metric_list=('mean_class_accuracy', 'top_k_accuracy'){})"
    hooks = "default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='auto'))"
    assert (
        config_1(tmp_path / "best", f"val_evaluator = {evaluator.format('')}\n{hooks}").training.best_by == "mean_class"
    )
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    top_k = evaluator.format(", metric_options=dict(top_k_accuracy=dict(topk=(1, 3)))")
    tested = read_config_arguments(
        str(config(path.parent, f"_base_ = '{path.name}'\ntest_evaluator = {top_k}")), [], for_training=False
    ).config
    assert tested.test_output.metrics == ("mean_class_accuracy", "top_k_accuracy")
    assert tested.test_output.top_k == (1, 3)


MULTI_LABEL = ["model.cls_head.loss_cls.type=BCELossWithLogits", "test_dataloader.dataset.multi_class=True"]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (PLAIN_1, ["test_evaluator.metric_list=mean_average_precision"],
         "has mean_average_precision, which is for clips of several labels; these have one label; choose from top_k"),
        (PLAIN_1, [*MULTI_LABEL, "test_evaluator.metric_list=top_k_accuracy"], "is for clips of one label"),
        (RAW, ["eval_config.metrics=[mean_average_precision]"], "is for clips of several labels"),
        (RAW, ["eval_config.metrics=accuracy"], "eval_config.metrics = 'accuracy' is not supported; choose from"),
        (RAW, ["eval_config.metric=top_k_accuracy"], r"eval_config.metric = .* did you mean metrics\?"),
    ],
)  # fmt: skip
def test_metrics_that_do_not_go_with_the_classes_are_refused_before_a_test(name, options, expected):
    if name == PLAIN_1:
        options = [*options, "test_evaluator.type=AccMetric"]
    with pytest.raises(InputError, match=expected):
        read_config_arguments(name, options, for_training=False)


def test_the_default_metrics_of_1x_for_several_labels_a_clip():
    options = [*MULTI_LABEL, "test_evaluator.type=AccMetric"]
    parsed = read_config_arguments(PLAIN_1, options, for_training=False).config
    assert parsed.test_output.metrics == ("mean_average_precision",)
    assert parsed.notes[-1].endswith("mean_average_precision is computed instead")


def test_two_flips_in_a_row_are_none(tmp_path):
    imgaug = "dict(type='Flip', flip_ratio=0.5), dict(type='Imgaug', transforms=[dict(type='Fliplr', p=0.1)])"
    text = config_0().replace("dict(type='Flip', flip_ratio=0.5)", imgaug)
    assert load_recipe(str(config(tmp_path, text))).training.augmentation.flip == pytest.approx(0.5)


def test_the_longest_of_custom_keys_applies_whatever_layer_it_is(tmp_path):
    """As in MMEngine: `backbone` is longer than `layer4`, and `cls_head` than `fc_cls`."""
    keys = "'layer4': dict(lr_mult=1.0), 'backbone': dict(lr_mult=0.1), 'fc_cls': dict(lr_mult=5), 'cls_head': dict()"
    factors = f"paramwise_cfg=dict(custom_keys={{{keys}}}),"
    text = config_0().replace("momentum=0.9,", f"momentum=0.9, {factors}")
    training = load_recipe(str(config(tmp_path, text))).training
    net = build_network(ResNetSettings(depth=18, base_channels=2, num_classes=3))
    factor_of = {
        id(parameter): group["factor"]
        for group in build_optimizer(net, training, lr=1.0).param_groups
        for parameter in group["params"]
    }
    of_name = {name: factor_of[id(parameter)] for name, parameter in net.named_parameters()}
    assert of_name["layer4.0.conv1.conv.weight"] == of_name["conv1.conv.weight"] == 0.1
    assert of_name["fc.weight"] == 1.0


def test_other_settings_of_0x(tmp_path):
    more = """\
        optimizer = dict(type='AdamW', lr=0.002, betas=(0.9, 0.99), weight_decay=0.05)
        optimizer_config = dict(grad_clip=None)
        lr_config = dict(policy='CosineAnnealing', min_lr=0.0002, warmup='linear', warmup_by_epoch=True,
                         warmup_iters=10, warmup_ratio=0.01)
        evaluation = dict(interval=3, save_best='mean_class_accuracy')
        load_from = 'start.pth'
        runner = dict(type='EpochBasedRunner', max_epochs=30)
        work_dir = './work_dirs/mine/'
        """
    parsed = read_config_arguments(str(config(tmp_path, config_0(more=more))), [])
    training = parsed.config.recipe.training
    assert training.optimizer == AdamW(lr=0.002, betas=(0.9, 0.99), weight_decay=0.05)
    assert training.schedule == CosineSchedule(end_lr=0.0002, by_epoch=True)
    assert (training.warmup_epochs, training.warmup_start, training.clip_grad_norm) == (10, 0.01, 0)
    assert (training.epochs, training.validate_every, training.best_by) == (30, 3, "mean_class")
    assert (training.init, parsed.config.work_dir, parsed.name) == ("start.pth", "./work_dirs/mine/", "my_config")


ENDS = {  # of a cosine: MMCV and MMEngine leave the minimum as it is, and multiply the ratio with the learning rate
    "lr_config = dict(policy='CosineAnnealing', min_lr=0.001)": 0.001,
    "lr_config = dict(policy='CosineAnnealing', min_lr_ratio=0.1)": 0.000125,
    "lr_config = dict(policy='CosineAnnealing', min_lr=0)": 0,
    "param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.001)]": 0.001,
    "param_scheduler = [dict(type='CosineAnnealingLR', eta_min_ratio=0.1)]": 0.000125,
}


@pytest.mark.parametrize("schedule", ENDS)
def test_the_end_of_a_cosine_is_not_scaled_to_the_batch(tmp_path, schedule):
    """An lr of 0.01 for 64 clips is 0.00125 for 8; a layer with a lr_mult of 0.1 ends where the others do."""
    factors = "paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)})"
    if "lr_config" in schedule:
        text = config_0(more=f"{schedule}\ngpu_ids = range(0, 8)\n").replace("momentum=0.9", f"momentum=0.9, {factors}")
        path = config(tmp_path, text)
    else:
        base = write_configs_1(tmp_path / "configs")[PLAIN_1]
        more = f"{schedule}\nauto_scale_lr = dict(enable=True)\noptim_wrapper = dict({factors})\n"
        path = config(base.parent, f"_base_ = '{base.name}'\n{more}")
    training = load_recipe(str(path)).training
    base_lr = scaled_lr(training, clips_per_step=8)
    assert base_lr == 0.00125
    net = build_network(ResNetSettings(depth=18, base_channels=2, non_local=((0,), (1,), (0,), (0,))))
    optimizer = build_optimizer(net, training, lr=base_lr)
    for step, descended in ((0, 0), (9, 0), (500, 0.5), (509, 0.5), (1000, 1)):  # it changes by epochs of 10 steps
        lr, fixed = step_lr(step, training, base_lr, 10, 1000)
        assert lr == pytest.approx(base_lr + (ENDS[schedule] - base_lr) * descended)
        set_lr(optimizer, lr, fixed=fixed)
        own = ENDS[schedule] if "ratio" not in schedule else ENDS[schedule] / 10
        expected = {base_lr * share + ((own if share < 1 else ENDS[schedule]) - base_lr * share) * descended
                    for share in (0.1, 1)}  # fmt: skip
        assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx(sorted(expected))


def test_a_warm_up_of_0x_multiplies_min_lr_too(tmp_path):
    """MMCV warms up the learning rate that the cosine has in the epoch, here of 0.01 with the minimum of 0.002."""
    more = """\
        lr_config = dict(policy='CosineAnnealing', min_lr=0.002, warmup='linear', warmup_iters=30, warmup_ratio=0.1)
        total_epochs = 20
        """
    training = load_recipe(str(config(tmp_path, config_0(more=more)))).training
    for step in (0, 5, 15, 29, 30, 39, 199):
        left = (1 + math.cos(math.pi * (step // 10) / 20)) / 2
        factor = 0.1 + 0.9 * step / 30 if step < 30 else 1
        lr, fixed = step_lr(step, training, 0.01, 10, 200)
        assert lr == pytest.approx((0.002 + 0.008 * left) * factor)
        assert fixed == pytest.approx(0.002 * (1 - left) * factor)


def test_other_settings_of_1x(tmp_path):
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    more = """\
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=8, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=50, eta_min=0, by_epoch=True, begin=0, end=50)]
optim_wrapper = dict(_delete_=True, type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=4,
                     optimizer=dict(type='SGD', lr=2 * 0.01, momentum=0.9, nesterov=True))
train_cfg = dict(max_epochs=50)
model = dict(cls_head=dict(num_classes=12, label_smooth_eps=0.1, multi_class=True,
                           loss_cls=dict(type='BCELossWithLogits')))
train_dataloader = dict(dataset=dict(multi_class=True))
val_dataloader = dict(dataset=dict(multi_class=True))
test_dataloader = dict(dataset=dict(multi_class=True))
"""
    recipe = load_recipe(str(config(path.parent, f"_base_ = '{path.name}'\n{more}")))
    training = recipe.training
    assert (training.warmup_epochs, training.warmup_start, training.schedule) == (8, 0.1, CosineSchedule(by_epoch=True))
    assert not training.warmup_by_epoch
    assert (training.precision, training.accumulate, training.clip_grad_norm) == ("bf16", 4, 0)
    assert (training.optimizer.lr, training.optimizer.weight_decay, training.optimizer.nesterov) == (0.02, 0, True)
    assert (recipe.multi_label, training.loss.label_smoothing, recipe.network.num_classes) == (True, 0.1, 12)
    assert recipe.dataset == ""


SEVERAL = "loss_cls=dict(type='BCELossWithLogits')"
SMOOTHED = [  # (the head, the datasets, the label smoothing of 0.x)
    ("", "", 0.0),
    (", multi_class=False", "", 0.0),
    (f", {SEVERAL}", ", multi_class=True", 0.0),
    (f", multi_class=True, {SEVERAL}", ", multi_class=True", 0.1),
]


@pytest.mark.parametrize(("head", "data", "smoothing"), SMOOTHED)
def test_0x_smooths_labels_where_multi_class_is_set_only(tmp_path, head, data, smoothing):
    text = config_0(data=data).replace("init_std=0.01", f"init_std=0.01, label_smooth_eps=0.1{head}")
    parsed = read_config_arguments(str(config(tmp_path, text)), []).config
    assert parsed.recipe.training.loss.label_smoothing == smoothing
    note = "label_smooth_eps without multi_class=True is ignored, as in 0.x"
    assert [one.partition(":")[2] for one in parsed.notes if note in one] == ([] if smoothing else [f"6: {note}"])


# Python that is data, and Python that is not


def test_the_supported_python_of_configs(tmp_path):
    config(tmp_path, "a = dict(x=1, y=dict(z=2))\nb = dict(x=1)\nc = 'base'\n", "base")
    text = """\
'''A text at the top.'''
_base_ = ['base.py']
name = 'clips'
a = dict(y=dict(_delete_=True, w=[*()] if False else 3))
"""
    path = config(tmp_path, text)
    with pytest.raises(InputError, match=r"my_config.py:4: '\[\*\(\)\] if False else 3' is not data"):
        read_config(path)
    text = """\
_base_ = ['base.py']
name, = 'x'
"""
    with pytest.raises(InputError, match=r"my_config.py:2: 'name, = 'x'' is more than `name = value`"):
        read_config(config(tmp_path, text))
    text = """\
_base_ = ['base.py']
name = 'clips'
a = dict(y=dict(_delete_=True, w=3))
b = {'y': -1, **dict(z=(1, 2) + (3,))}
d = f'{name}_{1}/' + 'x'
e = {{_base_.a}}
f = _base_.a.y.z * 8 / 4
g = '{{ fileBasenameNoExtension }}'
h = b['z'][1]
"""
    parsed = read_config(config(tmp_path, text))
    assert parsed == {
        "a": {"x": 1, "y": {"w": 3}}, "b": {"x": 1, "y": -1, "z": [1, 2, 3]}, "c": "base", "name": "clips",
        "d": "clips_1/x", "e": {"x": 1, "y": {"z": 2}}, "f": 4.0, "g": "my_config", "h": 2,
    }  # fmt: skip
    assert parsed["a"].places["y"] == f"{tmp_path}/my_config.py:3"
    assert parsed.places["c"] == f"{tmp_path}/base.py:3"


HOSTILE = [
    "import os\nos.system('touch harmed')\n",
    "model = __import__('os').system('touch harmed')\n",
    "x = [open('harmed', 'w') for _ in (1,)]\n",
    "class A:\n    open('harmed', 'w')\n",
    "x = (lambda: 1)()\n",
    "x = f\"{open('harmed', 'w')}\"\n",
    'x = dict(y=exec(\'open("harmed", "w")\'))\n',
    "@open('harmed', 'w')\ndef f(): pass\n",
    "x = y = open('harmed', 'w')\n",
    "with open('harmed', 'w'): pass\n",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_config_is_never_executed(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = config(tmp_path, f"_base_ = []\n{text}")
    with pytest.raises(InputError, match=rf"^{path}:[23]: .*parsed and never executed"):
        load_recipe(str(path))
    if text == HOSTILE[0]:
        result = run_train_tool(path)
        assert (result.returncode, "Traceback" in result.stderr) == (2, False)
    assert not (tmp_path / "harmed").exists()


def test_configs_that_would_grow_without_end_are_refused(tmp_path):
    for text in ["a = 'x' + 'x'\n" + "a = a + a\n" * 60, "a = 9\n" + "a = a * a\n" * 60, "a = " + "[" * 9000]:
        with pytest.raises(InputError, match=r"my_config.py:?\d*: "):
            read_config(config(tmp_path, text))
    with pytest.raises(InputError, match="leads back to itself"):
        read_config(config(tmp_path, "_base_ = 'my_config.py'\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_base_ = 'gone.py'\n", r"my_config.py:1: _base_ .*gone.py: there is no such file"),
        ("_base_ = 'mmaction::i3d.py'\n", r"my_config.py:1: _base_ 'mmaction::i3d.py': not a .py file beside"),
        ("a = dict(\n", r"my_config.py:1: not Python"),
        ("a = b\n", r"my_config.py:1: 'b' is not data"),
        ("a = 1 / 0\n", r"my_config.py:1: '1 / 0' cannot be computed"),
        ("a = 1\n", r"my_config.py: has no `model`"),
        ("a = dict(**[1])\n", r"my_config.py:1: \*\* of '\[1\]', which is no dict"),
    ],
)
def test_files_that_are_no_configs_are_refused(tmp_path, text, expected):
    with pytest.raises(InputError, match=expected):
        load_recipe(str(config(tmp_path, text)))


def test_a_dict_over_something_else_needs_delete(tmp_path):
    config(tmp_path, "a = dict(b=1)\n", "base")
    with pytest.raises(InputError, match=r"my_config.py:3: b: is a dict here and none in its _base_; add _delete_"):
        read_config(config(tmp_path, "_base_ = 'base.py'\na = dict(\n    b=dict(c=2))\n"))


REFUSED = [
    ("type='ResNet3d'", "type='ResNet3dSlowFast'", "model.backbone|the network 'ResNet3dSlowFast' is not supported"),
    ("type='Recognizer3D'", "type='Recognizer2D'", "the recognizer Recognizer2D"),
    ("type='I3DHead'", "type='TSNHead'", "the classifier 'TSNHead' is not supported; supported: I3DHead"),
    ("dict(type='Flip', flip_ratio=0.5)", "dict(type='PoseFlip')", "a step 'PoseFlip' is not supported; supported:"),
    ("flip_ratio=0.5", "flip_ration=0.5", r"flip_ration = '0.5' is not supported; did you mean flip_ratio\?"),
    ("flip_ratio=0.5", "flip_ratio=0.5, flip_label_map={1: 2}", "flip_label_map is inferred from class names here"),
    ("type='SGD'", "type='LARS'", "the optimizer 'LARS' is not supported; supported: SGD, Adam, AdamW"),
    ("momentum=0.9", "momentum='0.9'", "optimizer.momentum = '0.9' must be a number"),
    ("policy='step'", "policy='poly'", "lr_config.policy = 'poly' is not supported; use 'step'"),
    ("step=[40, 80]", "step=[40, 80], warmup='exp', warmup_iters=9", "warmup = 'exp' must be 'linear' here"),
    ("momentum=0.9", "paramwise_cfg=dict(custom_keys={'neck': dict(lr_mult=2)})", "neck is no layer; known: backbone,"),
    ("'I3DHead'", "'I3DHead', loss_cls=dict(type='CrossEntropyLoss', class_weight=[1, 2])", "2 class_weights for 400"),
    ("in_channels=2048", "in_channels=512", "in_channels = '512' is not the 2048 of the last stage of the backbone"),
    (
        "train_cfg = None",
        "train_cfg = dict(blending=dict(type='MixupBlending', num_classes=9))",
        "num_classes = '9' is not the 400 of the classifier .* write num_classes=400",
    ),
    ("depth=50", "depth=152", "depth = '152' must be one of 18, 34, 50, 101"),
    ("norm_eval=False", "norm_eval=False, style='caffe'", "style = 'caffe' must be 'pytorch' here"),
    ("to_bgr=False", "to_bgr=True", "to_bgr = 'True' must be False: networks take RGB"),
    ("keep_ratio=False", "keep_ratio=True", "'Resize' does not bring frames to squares of one size; end with CenterCr"),
    ("scale=(-1, 256)", "scale=0.5", "scale = '0.5' is a factor of the frame's own size"),
    ("total_epochs = 100", "total_epoch = 100", "total_epochs is missing"),
    ("interval=5)", "interval=5, out_dir='a')", "checkpoint_config.out_dir = 'a' saves elsewhere than in the folder"),
    ("total_epochs = 100", "total_epochs = 0", "total_epochs = '0' must be at least 1; write total_epochs=100"),
    ("total_epochs = 100", "total_epochs = 9\nrunner = dict(max_epochs=-2)", "runner.max_epochs = '-2' must be at l"),
    ("log_level = 'INFO'", "log_level = 'INFO'\nevaluations = dict()", r"evaluations is not supported; did you mean"),
    ("log_level = 'INFO'", "custom_imports = dict(imports=['os'])", "custom_imports imports code"),
    ("workflow = ", "custom_hooks = [dict(type='A')]\nworkflow = ", "'A' is a hook of the config's own"),
    ("type=dataset_type", "type='AVADataset'", "the data set 'AVADataset' is not supported"),
    ("test_mode=True", "test_mode=False", "test_mode = 'False' is not True: clips would be drawn at random"),
    ("resume_from = None", "resume_from = 'a.pth'", "resume_from = 'a.pth' cannot be gone on with here"),
    ("clip_len=32", "clip_len=[32]", "clip_len must be a whole number"),
    (
        "total_epochs = 100",
        "momentum_config = dict(policy='cyclic')\ntotal_epochs = 100",
        "momentum_config changes",
    ),
    ("total_epochs = 100", "omnisource = True\ntotal_epochs = 100", "omnisource = 'True' trains on several data sets"),
    ("type='RawFrameDecode'", "type='RawFrameDecode', mode='efficient'", "mode = 'efficient' must be 'accurate'"),
    ("input_size=224", "input_size=(200, 224)", "'MultiScaleCrop' does not bring frames to squares of one size"),
    (
        "dict(type='Flip', flip_ratio=0)",
        "dict(type='Flip')",
        "flip_ratio is missing, and 0.5 by default",
    ),
    ("dict(type='Flip', flip_ratio=0.5)", "dict(type='ColorJitter')", "'ColorJitter' has no values, which differ"),
    (
        "flip_ratio=0.5)",
        "flip_ratio=0), dict(type='Imgaug', transforms=[dict(type='Fliplr')])",
        "p is missing, which",
    ),
    ("interval=5, metrics", "interval=5, rule='less', metrics", "rule = 'less' must be None or 'greater' here"),
    ("crop_size=224", "crop_size=(224, 200)", "'CenterCrop' does not bring frames to squares of one size"),
]


@pytest.mark.parametrize(("before", "after", "expected"), REFUSED, ids=[f"{a[:24]}" for _, a, _ in REFUSED])
def test_unsupported_settings_are_refused_with_their_line(tmp_path, before, after, expected):
    text = config_0()
    assert before in text
    path = config(tmp_path, text.replace(before, after, 1))
    with pytest.raises(InputError) as error:
        load_recipe(str(path))
    message = str(error.value)
    assert re.search(expected, message), message
    assert "\n" not in message
    assert message.startswith(str(path))
    if number := re.match(rf"{path}:(\d+): ", message):
        changed = text[: text.index(before)].count("\n") + 1
        assert int(number[1]) in (changed, changed + after.count("\n"))


WRONG = ["None", "[]", "{}", "dict()", "-1", "0", "1e400", "'x'", "[1]", "True", "(1, 2)", "{1: 2}", "{[1]: 2}", "...",
         "dict(type='SGD')", "99999999999", "9" * 400]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_whatever_stands_in_a_config_it_is_a_recipe_or_one_line(tmp_path, seed):
    rng = random.Random(seed)
    texts = [MODEL_1 + SCHEDULE_1 + RUNTIME_1 + data_1(), *CONFIGS_0.values()]
    for _ in range(80):
        text = rng.choice(texts)
        values = list(re.finditer(r"=\s*('[^']*'|[\d.]+|True|False|None|\([^()]*\)|\[[^\[\]]*\])", text))
        at = rng.choice(values)
        text = text[: at.start(1)] + rng.choice(WRONG) + text[at.end(1) :]
        try:
            load_recipe(str(config(tmp_path, text)))
        except InputError as error:
            assert str(error).startswith(f"{tmp_path}/my_config.py:")
            assert "\n" not in str(error)


# --cfg-options


def test_options_change_published_recipes():
    options = ["total_epochs=7", "data.videos_per_gpu=2", "optimizer.lr=0.005", "model.cls_head.num_classes=3",
               "model.backbone.pretrained=None", "data.train.ann_file=mine.txt", "data.workers_per_gpu=5",
               "evaluation.interval=2", "load_from=old.pth", "lr_config.step=3,5",
               "model.backbone.with_cp=True"]  # fmt: skip
    parsed = read_config_arguments(f"configs/recognition/i3d/{RAW}.py", options).config
    training, network = parsed.recipe.training, parsed.recipe.network
    assert (training.epochs, training.batch_size, training.validate_every) == (7, 2, 2)
    assert (training.optimizer.lr, training.base_batch) == (0.005, 0)  # a given lr is not scaled
    assert (network.num_classes, network.activation_checkpointing, parsed.recipe.dataset) == (3, True, "")
    assert (training.init, training.schedule.epochs) == ("old.pth", (3, 5))
    assert (parsed.lists["train"].ann_file, parsed.num_workers) == ("mine.txt", 5)
    rest = named_recipe(RAW).training
    same = ("augmentation", "sampling", "validation", "clip_grad_norm")
    assert all(getattr(training, name) == getattr(rest, name) for name in same)
    assert parsed.recipe.protocol == named_recipe(RAW).protocol


def test_options_in_the_spelling_of_1x():
    options = ["train_dataloader.batch_size=2", "optim_wrapper.optimizer.lr=0.02", "train_cfg.max_epochs=9",
               "val_dataloader.dataset.ann_file=v.txt"]  # fmt: skip
    for name in (PLAIN_1, RAW):  # the published recipe stays what it is, whatever is spelled how
        parsed = read_config_arguments(name, options)
        training = parsed.config.recipe.training
        assert (training.batch_size, training.optimizer.lr, training.epochs, training.base_batch) == (2, 0.02, 9, 0)
        assert parsed.config.recipe.protocol == named_recipe(name).protocol
        assert parsed.config.lists["val"].ann_file == "v.txt"
        assert parsed.version == int(name == PLAIN_1)
    assert read_config_arguments(PLAIN_1, options, scales_lr=True).config.recipe.training.base_batch == 64


def test_without_an_lr_the_linear_rule_holds(tmp_path):
    assert read_config_arguments(RAW, ["data.videos_per_gpu=2"]).config.recipe.training.base_batch == 64
    path = str(config(tmp_path, config_0()))
    assert read_config_arguments(path, ["data.videos_per_gpu=2"]).config.recipe.training.base_batch == 64


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("total_epochs", "write key.path=value"),
        ("total_epoch=3", "there is no key 'total_epoch'; did you mean total_epochs"),
        ("model.backbone.dept=18", r"model.backbone.dept = '18' is not supported; did you mean depth\?"),
        ("train_dataloader.batch_size=3", "this is a 0.x config; write data.videos_per_gpu="),
        ("optim_wrapper.optimizer.lr=3", "this is a 0.x config; write optimizer.lr="),
        ("img_norm_cfg.to_bgr=True", "img_norm_cfg is a variable, used already"),
        ("data.train.pipeline.40.scale=3", "'40' is no item of a list of 10"),
        ("total_epochs.x=3", "'x' would lie in '100', which is no dict"),
        ("data.videos_per_gpu=many", "videos_per_gpu = 'many' must be a whole number"),
    ],
)
def test_options_that_have_no_counterpart_are_refused(tmp_path, option, expected):
    with pytest.raises(InputError, match=expected) as error:
        read_config_arguments(str(config(tmp_path, config_0())), [option])
    assert str(error.value).startswith("--cfg-options ")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("data.train.data_prefix=a", "this is a 1.x config; write train_dataloader.dataset.data_prefix.video=..."),
        ("data.test_dataloader.videos_per_gpu=2", "this is a 1.x config; write test_dataloader.batch_size=..."),
        ("lr_config.step=[4,8]", "this is a 1.x config; write param_scheduler.0.milestones=..."),
        ("lr_config.policy=step", "1.x config; write its schedule, such as param_scheduler.0.milestones=40,80"),
        ("seed=3", "this is a 1.x config; write randomness.seed=..."),
        ("ann_file_train=a", "a variable, .* give the key that it is used for, such as train_dataloader.dataset.ann_f"),
        ("default_hooks.checkpoint.save_best=top5", "use 'auto', 'acc/top1' or 'acc/mean1'"),
        ("optim_wrapper.optimizer.lr=None", r"lr is missing; write optim_wrapper = dict\(optimizer=dict\(type='SGD'"),
    ],
)
def test_options_in_the_keys_of_0x_are_refused_with_those_of_1x(tmp_path, option, expected):
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    with pytest.raises(InputError, match=expected):
        read_config_arguments(str(path), [option])


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("param_scheduler.0.T_max=9", "this is a 0.x config; write its schedule, such as lr_config.step=40,80"),
        ("train_dataloader.dataset.data_prefix.img=a", "this is a 0.x config; write data.train.data_prefix=..."),
        ("randomness.seed=3", "this is a 0.x config; write seed=..."),
        ("evaluation.save_best=top5", "use 'auto', 'top1_acc' or 'mean_class_accuracy'"),
        ("data.train.modality=Flow", "data.train.modality = 'Flow' does not go with in_channels of the backbone"),
    ],
)
def test_options_in_the_keys_of_1x_are_refused_with_those_of_0x(tmp_path, option, expected):
    with pytest.raises(InputError, match=expected):
        read_config_arguments(str(config(tmp_path, config_0())), [option])


def test_values_of_options():
    assert parse_value("a,b") == ["a", "b"]
    assert parse_value("[(1,2.5),(true,None)]") == [[1, 2.5], [True, None]]
    assert [parse_value(text) for text in ("1e-3", "-4", "'4'", "x=y", "")] == [0.001, -4, "4", "x=y", ""]


def test_recipes_of_others_have_no_key_paths():
    assert read_config_arguments("i3d_rgb", []).config.recipe == named_recipe("i3d_rgb")
    with pytest.raises(InputError, match="not a recipe of MMAction2.*i3d train --recipe i3d_rgb --set"):
        read_config_arguments("i3d_rgb", ["total_epochs=1"])


# the commands


@pytest.mark.slow
def test_the_documented_command(kinetics):
    words = [f"configs/recognition/i3d/{RAW}.py", "--work-dir", f"work_dirs/{RAW}", "--validate", "--seed", "0",
             "--deterministic"]  # fmt: skip
    result = run_train_tool(*words, "--cfg-options", *tiny_0(videos=False))
    assert result.returncode == 0, result.stderr
    folder = kinetics / "work_dirs" / RAW
    assert {"best.safetensors", "last.safetensors", "log.jsonl", "recipe.json"} <= {p.name for p in folder.iterdir()}
    assert "validation top1" in result.stderr
    again = run_train_tool(*words, "--resume-from", str(folder), "--cfg-options", *tiny_0(videos=False))
    assert again.returncode == 0, again.stderr
    assert "this run is complete" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--no-validate"], []])
def test_a_custom_config_in_the_spelling_of_1x(kinetics, words):
    """Without validation by the flag, and because the config has none, as dumps of such runs have it."""
    path = write_configs_1(kinetics / "configs")[PLAIN_1]
    options = TINY_1
    if not words:
        more = "".join(f"val_{part} = None\n" for part in ("dataloader", "cfg", "evaluator"))
        path = config(path.parent, f"_base_ = '{path.name}'\n{more}", "without")
        options = [option for option in TINY_1 if not option.startswith("val_")]
        refused = run_train_tool(path, "--test-best", "--cfg-options", *options)
        assert "--test-best: the best weights are those of a validation; add val_dataloader" in refused.stderr
        assert f"that of the published recipe {PLAIN_1}" in refused.stderr  # as of the run with --no-validate
    result = run_train_tool(path, *words, "--cfg-options", *options)
    assert result.returncode == 0, result.stderr
    assert "no validation" in result.stderr or "there is no validation" in result.stderr
    assert (kinetics / "work_dirs" / path.stem / "last.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([RAW, "--gpus", "4"], "use bash tools/dist_train.sh i3d_r50_32x2x1_100e_kinetics400_rgb 4"),
        ([RAW, "--gpu-ids", "0", "2"], "use CUDA_VISIBLE_DEVICES=0,2 bash tools/dist_train.sh"),
        ([RAW, "--launcher", "pytorch"], "no launcher has started this process; use bash tools/dist_train.sh"),
        ([RAW, "--launcher", "slurm"], "processes are started by torchrun here"),
        ([RAW, "--validate", "--no-validate"], "choose one of them"),
        ([RAW, "--test-best"], "the best weights are those of a validation; add --validate"),
        ([RAW, "--resume-from", "a.pth"], "there is no such file or folder"),
        ([RAW, "--resume", "old.pth"], "--resume old.pth: holds weights, not a state that i3d can resume exactly; "
         "start from its weights: --cfg-options load_from=old.pth"),
        ([RAW, "--resume-from", "old.pth"], "--resume-from old.pth: holds weights"),
        ([RAW, "--resume", "b.pth"], "--resume b.pth: there is no such file or folder"),
        ([PLAIN_1, "--cfg-options", "model.backbone.pretrained=None"],
         "list of clips for train; create it, or name another: --cfg-options train_dataloader.dataset.ann_file"),
        ([RAW, "--test-last"], "kinetics400_val_list_rawframes.txt: no such list of clips for test; create it"),
        ([RAW], "initial weights: torchvision://resnet50: no file resnet50-0676ba61.pth"),
        (
            [RAW, "--cfg-options", "model.backbone.pretrained=None"],
            "kinetics400_train_list_rawframes.txt: no such list of clips for train",
        ),
        (["configs/i3d_r50_32x2x1.py"], "there is no recipe 'i3d_r50_32x2x1'; did you mean"),
        (["tsn.py", "--work_dir", "x"], "there is no recipe 'tsn'"),
    ],
)  # fmt: skip
def test_unsupported_options_are_an_error(tmp_path, monkeypatch, capsys, words, expected):
    from i3d.cli.main import run_cli as run
    from i3d.cli.mmaction2.train import train

    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.pth").touch()
    with pytest.raises(SystemExit) as ended:
        run(lambda: train(words))
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert expected in message
    assert message.splitlines()[-1].startswith("error: ")


# the documents


def documented():
    text = (ROOT / "docs" / "from-mmaction2.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line and not line.startswith("#"):
                yield pytest.param(line, id=line[:60])


@pytest.fixture
def workplace(kinetics):
    """What the documents name, beside data/kinetics400: checkpoints, a config."""
    config(kinetics, CONFIGS_0[VIDEO])
    shutil.copy(ROOT / "tests" / "golden" / "foreign" / "mmaction2_v1_tiny_epoch_2.pth", kinetics / "epoch_100.pth")
    (kinetics / "tools").symlink_to(ROOT / "tools")
    tiny_checkpoint(kinetics / "checkpoints" / "SOME_CHECKPOINT.pth")
    tiny = "base: i3d_r50_32x2x1_100e_kinetics400_rgb\nnetwork: {depth: 18, base_channels: 2}\n"
    (kinetics / "tiny.yaml").write_text(tiny)
    lines = [{"mode": "train", "epoch": 1 + k // 3, "iter": 1 + k % 3, "loss": 2.0, "time": 0.1 * k} for k in range(6)]
    (kinetics / "log.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return kinetics


def tiny(words):
    """A documented command on one or two CPU processes, with settings that make it end within seconds."""
    if words[0] == "bash":
        is_test = "dist_test" in words[1]
        words[3 + is_test] = "1" if is_test else "2"
    if words[:2] == ["python", "tools/train.py"] or words[:2] == ["bash", "tools/dist_train.sh"]:
        name = words[2]
        options = TINY_1 if "8xb8" in name else tiny_0(videos="video" in name or "my_config" in name)
        return [*words, "--cfg-options", *options]
    if words[:2] == ["python", "tools/test.py"] or words[:2] == ["bash", "tools/dist_test.sh"]:
        return [*words, "--cfg-options", *tiny_test(words[2])]
    if words[0] == "python":
        return [*words, "--cfg-options", *tiny_test(words[2])] if "benchmark.py" in words[1] else words
    if "test" in words:
        if "SOME_CHECKPOINT" in " ".join(words):  # of another network than the recipe's
            words[words.index("--recipe") + 1] = "tiny.yaml"
        small = ["protocol.clip_len=9", "preprocessing.short_side=64", "preprocessing.crop=64"]
        workers = [] if "--workers" in words else ["--workers", "0"]
        return [*words, *workers, *(word for setting in small for word in ("--set", setting))]
    settings = {"sampling.clip_len": 9, "validation.clip_len": 9}
    settings |= {"augmentation.size": 64, "validation_crop": 64, "precision": "fp32", "loss_scale": 0, "init": "''"}
    network = ["--set", "network.depth=18", "--set", "network.base_channels=2"]
    changes = [word for key, value in settings.items() for word in ("--set", f"training.{key}={value}")]
    for flag, value in (("--epochs", "1"), ("--batch-size", "1"), ("--workers", "0")):
        if flag in words:
            words[words.index(flag) + 1] = value
        else:
            words += [flag, value]
    return [*words, *network, *changes]


@pytest.mark.slow
@pytest.mark.parametrize("line", list(documented()))
def test_documented_commands_run(line, workplace, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("PYTHON", sys.executable)
    words = shlex.split(line)
    if "tools/analysis/benchmark.py" in words:  # five clips are for the warm-up
        clips = Path("data/kinetics400/kinetics400_val_list_videos.txt")
        clips.write_text(4 * clips.read_text())
    result = ended(tiny(words))
    assert result.returncode == 0, result.stderr


def ended(words):
    """What a command prints, and its exit code; `dist_train.sh` and `dist_test.sh` start processes of their own."""
    if words[0] in ("i3d", "python"):
        return run_here(words)
    return subprocess.run(words, capture_output=True, text=True, timeout=200)
