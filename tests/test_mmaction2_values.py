"""Values of MMAction2's configs that change nothing here, full names of classes, and the lines of wrong values."""

import re

import pytest

from i3d.cli.mmaction2.arguments import read_config_arguments
from i3d.errors import InputError
from i3d.recipes.io import load_recipe
from i3d.recipes.mmaction2.parse import read_config
from i3d.recipes.named import named_recipe
from i3d.weights.load import load_weights
from support.mmaction2_configs import DOT_1, PLAIN_1, config_0, dumped, write_configs_1
from support.mmaction2_runs import RAW, config, tiny_checkpoint

INIT = "pretrained='torchvision://resnet50'"


@pytest.fixture
def plain_1(tmp_path):
    """The 1.x config PLAIN_1, to be changed by `over`."""
    return write_configs_1(tmp_path / "configs")[PLAIN_1]


def over(path, more):
    return load_recipe(str(config(path.parent, f"_base_ = '{path.name}'\n{more}")))


def with_packages(text):
    """The config with the classes as MMEngine writes those of its configs in Python."""
    return re.sub(r"\b(type|constructor)='(\w+)'", r"\1='mmaction.some.module.\2'", text)


def test_classes_are_known_by_their_full_names(tmp_path):
    text = dumped(read_config(write_configs_1(tmp_path / "configs")[DOT_1]), 1)
    text = text.replace("non_local_cfg=dict(", "non_local_cfg=dict(type='NonLocal3d', ")
    text = text.replace(INIT, "init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')")
    text = text.replace("optim_wrapper = dict(", "optim_wrapper = dict(constructor='DefaultOptimWrapperConstructor', ")
    assert text.count("constructor=") == text.count("NonLocal3d") == text.count("Pretrained") == 1
    recipe = read_config_arguments(str(config(tmp_path, with_packages(text))), []).config.recipe
    assert recipe.model_copy(update={"name": DOT_1}) == named_recipe(DOT_1)
    with pytest.raises(InputError, match="type = 'mmaction.some.module.EMAHook' must be 'IterTimerHook' here"):
        load_recipe(str(config(tmp_path, with_packages(text).replace("IterTimerHook", "EMAHook"))))


def test_full_names_in_a_checkpoint(tmp_path):
    text = dumped(read_config(write_configs_1(tmp_path / "configs")[PLAIN_1]), 1)
    text = with_packages(
        text.replace("depth=50", "depth=18, base_channels=2").replace("in_channels=2048", "in_channels=16")
    )
    read = [
        load_weights(tiny_checkpoint(tmp_path / "a.pth", config=one, version=1)).card.recipe
        for one in (text, text.replace("mmaction.some.module.", ""))
    ]
    assert read[0] == read[1]
    assert read[0].protocol == named_recipe(PLAIN_1).protocol


@pytest.mark.parametrize(
    ("more", "precision", "loss_scale"),
    [
        ("optim_wrapper = dict(type='AmpOptimWrapper', dtype=None)", "fp16", 0),
        ("optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=dict(init_scale=512.))", "fp16", 0),
        ("optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=512.)", "fp16", 512),
        ("train_dataloader = dict(dataset=dict(max_refetch=1000))", "fp32", 0),
    ],
)
def test_values_of_1x_that_change_nothing(plain_1, more, precision, loss_scale):
    training, rest = over(plain_1, more).training, named_recipe(PLAIN_1).training
    assert (training.precision, training.loss_scale) == (precision, loss_scale)
    same = training.model_copy(update={"precision": "fp32", "loss_scale": 0, "base_batch": rest.base_batch})
    assert same == rest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("videos_per_gpu=8,", "videos_per_gpu=8, persistent_workers=True,"),
        ("optimizer_config = dict(", "optimizer_config = dict(detect_anomalous_params=False, "),
    ],
)
def test_values_of_0x_that_change_nothing(tmp_path, before, after):
    assert before in config_0()
    recipe = load_recipe(str(config(tmp_path, config_0().replace(before, after))))
    assert recipe.model_copy(update={"name": RAW}) == named_recipe(RAW)


def test_a_loss_scale_of_another_growth_is_refused(plain_1):
    with pytest.raises(InputError, match=r"my_config.py:2: .*loss_scale.growth_factor = '4' must be 2"):
        over(plain_1, "optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=dict(growth_factor=4))")


def place(name):
    """The pattern `my_config.py:LINE: KEY`; the line is checked to be that of the change."""
    return re.compile(rf"^.*/my_config.py:(\d+): ({name}): as a recipe, ")


WRONG_VALUES = [  # (in the config of 0.x, its change, the key that the error names)
    ("ThreeCrop', crop_size=256", "ThreeCrop', crop_size=260", r"data.test.pipeline\[3\].crop_size"),
    ("num_clips=10, test_mode=True", "num_clips=0, test_mode=True", r"data.test.pipeline\[0\].num_clips"),
    ("num_clips=10,", "num_clips=10, out_of_bound_opt='no',", r"data.test.pipeline\[0\].out_of_bound_opt"),
    ("num_clips=10,", "num_clips=10, target_fps=0,", r"data.test.pipeline\[0\].target_fps"),
    ("num_clips=1),", "num_clips=1, target_fps=-2.5),", r"data.train.pipeline\[0\].target_fps"),
    ("num_clips=1, test_mode", "num_clips=2000, test_mode", r"data.val.pipeline\[0\].num_clips"),
    ("scale=(-1, 256)),", "scale=(-1, 9000)),", r"data.train.pipeline\[2\].scale"),
    ("scale=(224, 224)", "scale=(0, 0)", r"data.train.pipeline\[4\].scale"),
    ("dict(type='Flip', flip_ratio=0.5)", "dict(type='ColorJitter', hue=2)", r"data.train.pipeline\[5\].hue"),
    ("flip_ratio=0.5", "flip_ratio=1.5", r"data.train.pipeline\[5\].flip_ratio"),
    ("lr=0.01", "lr=-0.01", "optimizer.lr"),
    ("total_epochs = 100", "total_epochs = 10000000", "total_epochs"),
    ("videos_per_gpu=8", "videos_per_gpu=0", "data.videos_per_gpu"),
    ("max_norm=40", "max_norm=-1", "optimizer_config.grad_clip.max_norm"),
    ("dropout_ratio=0.5", "dropout_ratio=2", "model.cls_head.dropout_ratio"),
    ("'I3DHead'", "'I3DHead', loss_cls=dict(type='CrossEntropyLoss', class_weight=[1, 2])",
     "model.cls_head.loss_cls.class_weight"),
    ("norm_eval=False", "norm_eval=False, frozen_stages=9", "model.backbone.frozen_stages"),
    ("conv1_stride_t=2", "conv1_stride_t=0", "model.backbone.conv1_stride_t"),
    ("[58.395, ", "[0, ", r"data.test.pipeline\[4\].mean"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "key"), WRONG_VALUES, ids=[after for _, after, _ in WRONG_VALUES])
def test_a_wrong_value_is_refused_with_its_line(tmp_path, before, after, key):
    text = config_0()
    assert before in text
    with pytest.raises(InputError) as error:
        load_recipe(str(config(tmp_path, text.replace(before, after, 1))))
    assert (at := place(key).match(str(error.value))), str(error.value)
    assert int(at[1]) == text[: text.index(before)].count("\n") + 1
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("before", "after", "key"), [WRONG_VALUES[0], WRONG_VALUES[2], ("=0.5", "=1.0", "model.cls_")])
def test_a_wrong_value_is_refused_with_its_line_in_a_test(tmp_path, before, after, key):
    text = config_0().replace(before, after, 1)
    with pytest.raises(InputError, match=rf"my_config.py:\d+: {key}"):
        load_recipe(str(config(tmp_path, text)), for_training=False)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("test_dataloader.dataset.pipeline.1.twice_sample=True", r"test_dataloader.dataset.pipeline\[1\].twice_sample"),
        ("param_scheduler.0.gamma=5", "param_scheduler"),
        ("optim_wrapper.optimizer.momentum=2", "optim_wrapper.optimizer.momentum"),
    ],
)
def test_a_wrong_value_of_1x_is_refused_with_its_key(plain_1, option, key):
    with pytest.raises(InputError, match=rf": {key}: as a recipe, .*; change it, or leave it out$"):
        read_config_arguments(str(plain_1), [option])
