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
