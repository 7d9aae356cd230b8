"""The best checkpoint and the hooks of MMAction2's configs, of clips with one label and with several."""

import pytest

from i3d.cli.mmaction2.arguments import in_config_words, read_config_arguments
from i3d.errors import InputError
from i3d.evaluation.result import check_metrics
from i3d.recipes.io import load_recipe
from i3d.training.setup import check_sync_norms
from support.mmaction2_configs import PLAIN_1, config_0, write_configs_1
from support.mmaction2_runs import config

SEVERAL = ", multi_class=True, loss_cls=dict(type='BCELossWithLogits')"
SEVERAL_1 = "\n".join(
    [
        "model = dict(cls_head=dict(multi_class=True, loss_cls=dict(type='BCELossWithLogits')))",
        *(f"{split}_dataloader = dict(dataset=dict(multi_class=True))" for split in ("train", "val", "test")),
    ]
)
HEAD = "type='I3DHead', num_classes=400"
MEAN_AP = "mean_average_precision"


def of_0(tmp_path, more, *, multi_label=False):
    text = config_0(data=", multi_class=True" if multi_label else "", more=more)
    assert HEAD in text
    return load_recipe(str(config(tmp_path, text.replace(HEAD, HEAD + SEVERAL) if multi_label else text)))


def of_1(tmp_path, more, *, multi_label=False):
    path = write_configs_1(tmp_path / "configs")[PLAIN_1]
    several = SEVERAL_1 if multi_label else ""
    return load_recipe(str(config(path.parent, f"_base_ = '{path.name}'\n{several}\n{more}\n")))


@pytest.mark.parametrize("best", ["'auto'", f"'{MEAN_AP}'", "None"])
def test_the_best_of_clips_with_several_labels_in_0x(tmp_path, best):
    recipe = of_0(tmp_path, f"evaluation = dict(metrics=['{MEAN_AP}'], save_best={best})", multi_label=True)
    assert recipe.multi_label


@pytest.mark.parametrize("best", ["'auto'", f"'acc/{MEAN_AP}'"])
def test_the_best_of_clips_with_several_labels_in_1x(tmp_path, best):
    more = f"val_evaluator = dict(type='AccMetric', metric_list=('{MEAN_AP}',))\n"
    more += f"default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best={best}))\n"
    more += f"custom_hooks = [dict(type='EarlyStoppingHook', monitor='acc/{MEAN_AP}', min_delta=0)]"
    recipe = of_1(tmp_path, more, multi_label=True)
    assert (recipe.multi_label, recipe.training.patience) == (True, 5)


@pytest.mark.parametrize("best", ["mean_class_accuracy", "top1_acc"])
def test_other_metrics_do_not_choose_the_best_of_several_labels(tmp_path, best):
    todo = f"clips have several labels; write save_best='{MEAN_AP}'"
    with pytest.raises(InputError, match=rf"save_best = '{best}' does not choose the best here: {todo}"):
        of_0(tmp_path, f"evaluation = dict(metrics=['{MEAN_AP}'], save_best='{best}')", multi_label=True)
    with pytest.raises(InputError, match=rf"write save_best='acc/{MEAN_AP}'"):
        of_1(tmp_path, f"default_hooks = dict(checkpoint=dict(save_best='{best}'))", multi_label=True)


def test_auto_of_one_label_names_the_metric_it_stands_for(tmp_path):
    with pytest.raises(InputError, match=f"'auto' stands for {MEAN_AP}, .* one label; use 'top1_acc' or"):
        of_0(tmp_path, f"evaluation = dict(metrics=['{MEAN_AP}'], save_best='auto')")


def test_an_early_stop_in_custom_hooks_is_that_of_default_hooks(tmp_path):
    hook = "dict(type='EarlyStoppingHook', monitor='acc/top1', patience=3, min_delta=0, priority='LOW', strict=True)"
    custom = of_1(tmp_path / "custom", f"custom_hooks = [{hook}]")
    assert custom == of_1(tmp_path / "default", f"default_hooks = dict(early_stopping={hook})")
    assert custom.training.patience == 3


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("[dict(type='EarlyStoppingHook', monitor='acc/top1')]", r"\[0\].min_delta is missing, .* write min_delta=0,"),
        ("[dict(type='EarlyStoppingHook', monitor='acc/mean1', min_delta=0)]", "must be 'acc/top1' here"),
        ("[dict(type='EarlyStoppingHook', min_delta=0)] * 2", "is not data"),
        ("[dict(type='EarlyStoppingHook', min_delta=0), dict(type='EarlyStoppingHook')]", "is there twice"),
        (
            "[dict(type='EarlyStoppingHook', min_delta=0)]\ndefault_hooks = dict(early_stopping=dict(min_delta=0))",
            "has a second EarlyStoppingHook beside default_hooks",
        ),
        ("[dict(type='EMAHook', momentum=1e-4)]", r":\d+: .*'EMAHook' averages .* --set training.ema_decay=0.9998"),
        ("[dict(type='SWAHook')]", "'SWAHook' is a hook of the config's own.*; EarlyStoppingHook is supported"),
    ],
)
def test_other_custom_hooks_are_refused(tmp_path, more, expected):
    with pytest.raises(InputError, match=expected):
        of_1(tmp_path, f"custom_hooks = {more}")


def test_custom_hooks_of_0x_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"custom_hooks\[0\].type = 'EMAHook' averages the weights"):
        of_0(tmp_path, "custom_hooks = [dict(type='EMAHook')]")


@pytest.mark.parametrize(("kind", "accumulate"), [("GradientCumulativeFp16", 4), ("Fp16", 1)])
def test_hooks_of_fp16_in_0x(tmp_path, kind, accumulate):
    more = "cumulative_iters=4, " if accumulate > 1 else ""
    hook = f"type='{kind}OptimizerHook', {more}loss_scale='dynamic', coalesce=True, grad_clip=dict(max_norm=9)"
    training = of_0(tmp_path, f"optimizer_config = dict({hook})").training
    assert (training.precision, training.loss_scale, training.accumulate) == ("fp16", 0, accumulate)
    assert training.clip_grad_norm == 9
    with pytest.raises(InputError, match=f"fp16 is there beside {kind}OptimizerHook"):
        of_0(tmp_path, f"optimizer_config = dict({hook})\nfp16 = dict(loss_scale=512.)")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "train=dict(type=dataset_type, ",
            "train=dict(type='RepeatDataset', times=2, ",
            r":\d+: data.train.type = 'RepeatDataset' mixes .* write its inner data set .* by times",
        ),
        (
            "dict(type='Flip', flip_ratio=0.5)",
            "dict(type='ColorJitter', color_space_aug=True)",
            "hue=0.1 instead of color_space_aug",
        ),
        ("type='Recognizer3D',", "type='Recognizer3D', init_cfg=dict(type='Pretrained'),", "model.init_cfg is of the"),
    ],
)
def test_what_to_write_instead_is_named(tmp_path, before, after, expected):
    text = config_0()
    assert before in text
    with pytest.raises(InputError, match=expected):
        load_recipe(str(config(tmp_path, text.replace(before, after))))


def test_synchronised_norms_on_a_cpu_are_named_by_their_line(tmp_path):
    text = config_0().replace("norm_eval=False", "norm_eval=False, norm_cfg=dict(type='SyncBN')")
    parsed = read_config_arguments(str(config(tmp_path, text)), [])
    line = 1 + next(i for i, line in enumerate(text.splitlines()) if "SyncBN" in line)
    expected = rf"my_config.py:{line}: model.backbone.norm_cfg.type = 'SyncBN': .* GPUs only; write 'BN3d'$"
    with pytest.raises(InputError, match=expected), in_config_words(parsed, "train"):
        check_sync_norms(parsed.config.recipe.training, "cpu")


def test_metrics_of_several_labels_are_named():
    with pytest.raises(InputError, match=r"these are multi-label: choose from .*mean_average_precision"):
        check_metrics(["top_k_accuracy"], (1,), multi_label=True)
