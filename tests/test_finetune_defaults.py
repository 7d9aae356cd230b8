"""The settings that fine-tuning chooses, a pure function; and how mirroring changes classes, by their names."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.annotations import build_annotations
from i3d.data.rows import Rows
from i3d.errors import InputError
from i3d.finetuning import finetune
from i3d.finetuning.defaults import choose
from i3d.finetuning.inspect_data import DatasetStats
from i3d.finetuning.mirrored_classes import MirrorRule, mirror_rule
from i3d.finetuning.options import FinetuneOptions
from i3d.models.factory import build_network
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Preprocessing, ResNetSettings
from i3d.utils.device import ComputeConfig, has_amx, has_bf16
from support.commands import run_here
from support.examples import examples
from support.finetuning_runs import save_tiny

PRE = Preprocessing(short_side=32, crop=32, mean=(127.5,) * 3, std=(60.0,) * 3)
FLOW = Preprocessing(short_side=32, crop=32, mean=(127.5,) * 2, std=(60.0,) * 2)
OPTIONAL = {
    "train_layers": ("head", "last", "all"),
    "head": ("auto", "linear", "prototype"),
    "norms": ("frozen", "trained", "re-estimated"),
    "flip": ("on", "off", "swap"),
    "balance": ("none", "sampler", "loss", "focal", "logit-adjust"),
}
MOVING = ("epochs", "batch_size", "lr", "layer_decay")


def known(counts, *, classes=None, seconds=2.0, num_frames=50, device="cpu", is_rgb=True, multi_label=False, **more):
    """The arguments of `choose` beside the options."""
    names = classes or tuple(f"class {k}" for k in range(len(counts)))
    network = ResNetSettings(depth=18, base_channels=2, in_channels=3 if is_rgb else 2)
    protocol = ClipProtocol(clip_len=8, frame_interval=1, num_clips=1)
    recipe = Recipe(name="start", network=network, preprocessing=PRE if is_rgb else FLOW, protocol=protocol, dataset="")
    stats = DatasetStats(names, tuple(counts), seconds, num_frames, multi_label)
    return {"stats": stats, "recipe": recipe, "device": device, "has_fast_bf16": False, **more}


any_known = st.builds(
    known,
    st.lists(st.integers(0, 100_000), min_size=2, max_size=12),
    seconds=st.none() | st.floats(0.01, 1e5),
    num_frames=st.integers(1, 10**7),
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    has_fast_bf16=st.booleans(),
    precision=st.sampled_from([None, "fp32", "bf16"]),
    is_rgb=st.booleans(),
    multi_label=st.booleans(),
)
any_options = st.fixed_dictionaries(
    {name: st.none() | st.sampled_from(values) for name, values in OPTIONAL.items()}
    | {"views": st.none() | st.integers(1, 50), "test_clips": st.none() | st.integers(1, 50)}
    | {"epochs": st.none() | st.integers(1, 500), "batch_size": st.none() | st.integers(1, 512)}
    | {"lr": st.none() | st.floats(1e-8, 1e5), "layer_decay": st.none() | st.floats(0.01, 1)}
)


@pytest.fixture(scope="module")
def flags():
    """The options that `i3d train --help` names."""
    return set(re.findall(r"--[a-z][a-z-]*", run_here(["i3d", "train", "--help"]).stdout))


def refused(given_, stats, train_layers, head):
    """Whether an option has no meaning for such classes, or where only the classifier is trained."""
    if given_["flip"] == "swap":  # no class name contains left or right
        return True
    without_effect = ("logit-adjust", "loss", "sampler") if train_layers == "head" else ("logit-adjust",)
    if stats.multi_label and given_["balance"] in without_effect:
        return True
    if train_layers == "head" and head == "prototype" and given_["balance"] in ("focal", "logit-adjust"):
        return True
    return train_layers == "head" and (given_["norms"] == "trained" or any(given_[name] is not None for name in MOVING))


@pytest.mark.slow
@examples(150)
@given(any_known, any_options)
def test_the_options_win_and_every_decision_has_a_reason_and_a_flag(flags, known_, given_):
    chosen = choose(FinetuneOptions(), **known_)
    train_layers, head = given_["train_layers"] or chosen.train_layers, given_["head"] or chosen.head
    if refused(given_, known_["stats"], train_layers, head):
        with pytest.raises(InputError, match=r"^--"):
            choose(FinetuneOptions(**given_), **known_)
        return
    options = FinetuneOptions(**given_)
    config = choose(options, **known_)
    training = config.training
    got = {
        "train_layers": config.train_layers,
        "head": config.head,
        "views": config.views,
        "test_clips": config.protocol.num_clips,
        "norms": config.norms,
    }
    if config.train_layers != "head":
        got |= {"epochs": training.epochs, "batch_size": training.batch_size, "lr": training.optimizer.lr}
        got |= {"layer_decay": training.layer_decay}
    assert {name: got[name] for name in got if given_[name] is not None} == {
        n: given_[n] for n in got if given_[n] is not None
    }
    assert known_["precision"] in (None, config.precision)
    assert (config.protocol.clip_len, config.protocol.frame_interval) == (
        training.sampling.clip_len,
        training.sampling.frame_interval,
    )
    assert all(decision.value and decision.reason for decision in config.decisions)
    assert {decision.flag.split()[0] for decision in config.decisions} <= flags
    reasons = {decision.flag: decision.reason for decision in config.decisions}
    assert all(
        reasons[f"--{n.replace('_', '-')}"] == "set by you"
        for n in ("views", "test_clips", "balance", "head", "train_layers", "norms")
        if given_[n] is not None
    )
    assert choose(options, **known_) == config


@given(any_known)
def test_without_options_the_clips_and_the_device_decide(known_):
    stats = known_["stats"]
    config = choose(FinetuneOptions(), **{**known_, "precision": None})
    few = min((count for count in stats.counts_K if count), default=0)
    assert config.train_layers == ("head" if known_["device"] == "cpu" else "last" if few < 20 else "all")
    assert config.head == ("linear" if stats.multi_label else "auto")
    assert config.norms != "re-estimated"
    assert "set by you" not in {decision.reason for decision in config.decisions}
    assert 1 <= config.views <= 4
    assert 1 <= config.protocol.num_clips <= 4


@pytest.mark.parametrize(
    ("seconds", "clip"), [(0.5, (16, 1)), (0.8, (16, 1)), (1.2, (32, 1)), (1.6, (32, 1)), (2.6, (64, 1)), (60, (64, 1))]
)
def test_clips_span_the_training_length_where_videos_are_so_long(seconds, clip):
    config = choose(FinetuneOptions(), **known([10, 10], seconds=seconds))
    assert (config.protocol.clip_len, config.protocol.frame_interval) == clip
    assert config.protocol.target_fps == 25


def test_a_cpu_reads_many_clips_with_half_the_frames():
    shape = lambda **more: choose(FinetuneOptions(**more), **known([600, 600])).protocol  # noqa: E731
    assert (shape().clip_len, shape().frame_interval, shape().crops) == (32, 2, "two")
    assert (shape(flip="off").clip_len, shape(flip="off").crops) == (64, "center")
    assert choose(FinetuneOptions(), **known([600, 600], device="cuda")).protocol.clip_len == 64


def test_mirror_images_are_views_unless_they_change_a_class():
    assert choose(FinetuneOptions(), **known([10, 10])).protocol.crops == "two"
    assert choose(FinetuneOptions(flip="off"), **known([10, 10])).protocol.crops == "center"
    assert choose(FinetuneOptions(), **known([10, 10], classes=("left", "right"))).protocol.crops == "center"


def test_what_the_classifier_reads_is_one_decision():
    for settings, pooling in (([], "maxima"), (["network.head_pooling=mean"], "mean")):
        config = choose(FinetuneOptions(), **known([10, 10]), settings=settings)
        rows = [decision for decision in config.decisions if decision.flag == "--set network.head_pooling"]
        assert (config.recipe.network.head_pooling, [row.value for row in rows]) == (pooling, [pooling])


def test_frames_without_times_are_not_resampled():
    config = choose(FinetuneOptions(), **known([10, 10], seconds=None, num_frames=18))
    assert (config.protocol.clip_len, config.protocol.frame_interval, config.protocol.target_fps) == (16, 1, None)


def test_uneven_classes_count_alike_and_even_ones_as_they_are():
    assert choose(FinetuneOptions(), **known([40, 10])).training.loss.class_weights == "balanced"
    assert choose(FinetuneOptions(), **known([29, 10])).training.loss.class_weights == "none"
    assert choose(FinetuneOptions(balance="sampler"), **known([40, 10])).training.balance == "classes"
    assert choose(FinetuneOptions(balance="focal"), **known([40, 10])).training.loss.focal_gamma == 2
    assert choose(FinetuneOptions(balance="logit-adjust"), **known([40, 10])).training.loss.logit_adjustment == 1


def test_classes_that_a_mirror_would_falsify_change_places():
    named = ("turn left", "turn right", "left hook", "run")
    config = choose(FinetuneOptions(), **known([10] * 4, classes=named))
    augmentation = config.training.augmentation
    assert (augmentation.mirrored, augmentation.no_flip) == ((("turn left", "turn right"),), ("left hook",))
    assert next(d for d in config.decisions if d.flag == "--flip").reason == (
        "in a mirror 'turn left' becomes 'turn right', 'left hook' is not mirrored"
    )
    off = choose(FinetuneOptions(flip="off"), **known([10] * 4, classes=named)).training.augmentation
    assert (off.flip, off.mirrored, off.no_flip) == (0, (), ())
    on = choose(FinetuneOptions(flip="on", views=2), **known([10] * 4, classes=named)).training.augmentation
    assert (on.flip, on.mirrored, on.no_flip) == (0.5, (), ())


def test_settings_of_layers_are_refused_where_none_is_trained():
    for given_ in ({"lr": 0.1}, {"epochs": 3}, {"batch_size": 2}, {"layer_decay": 0.5}, {"norms": "trained"}):
        with pytest.raises(InputError, match="--train-layers"):
            choose(FinetuneOptions(**given_), **known([10, 10]))
        assert choose(FinetuneOptions(**given_, train_layers="last"), **known([10, 10])).train_layers == "last"


LAYERS = {"train_layers": "last"}


def test_layers_are_trained_without_dropout_as_the_classifier_was_fitted():
    config = choose(FinetuneOptions(**LAYERS), **known([10, 10]))
    assert config.recipe.network.dropout == 0
    assert "--set network.dropout" in [decision.flag for decision in config.decisions]
    given = choose(FinetuneOptions(**LAYERS), **known([10, 10]), settings=["network.dropout=0.3"])
    assert given.recipe.network.dropout == 0.3
    assert choose(FinetuneOptions(), **known([10, 10])).recipe.network.dropout > 0


@pytest.mark.parametrize(
    ("setting", "options", "more", "message"),
    [
        ("training.augmentation.brightness=0.5", {"views": 1}, {}, "without random views"),
        ("training.augmentation={crop: {kind: center}}", {"views": 1}, {}, "without random views"),
        ("training.sampling.clip_len=32", {"views": 1}, {}, "without random views"),
        ("training.loss.label_smoothing=0.5", {"head": "prototype"}, {}, "--head linear"),
        ("training.loss={focal_gamma: 2.0}", {"head": "prototype"}, {}, "--head linear"),
        ("training.loss.class_weights=[1.0, 2.0]", {}, {}, "balanced or none"),
        ("training.loss.class_weights=balanced", {}, {"multi_label": True}, "multi-label"),
        ("training.balance=classes", {}, {"multi_label": True}, "multi-label"),
        ("training.loss.logit_adjustment=1.0", LAYERS, {"multi_label": True}, "multi-label"),
        ("network.dropout=0.9", {}, {}, "--train-layers last or all"),
        ("network.norm_eval=true", {}, {}, "--train-layers last or all"),
        ("training.patience=2", {}, {}, "--train-layers last or all"),
        ("training.init=x.pth", LAYERS, {}, "--init"),
        ("training.precision=fp32", {}, {"precision": "bf16"}, "--precision bf16: contradicts"),
        ("training.epochs=4", {"epochs": 3, **LAYERS}, {}, "--epochs 3: contradicts"),
        ("training.steps=4", {"epochs": 3, **LAYERS}, {}, "--epochs 3: contradicts"),
        ("training.batch_size=4", {"batch_size": 3, **LAYERS}, {}, "--batch-size 3: contradicts"),
        ("training.optimizer.lr=0.5", {"lr": 0.1, **LAYERS}, {}, "--lr 0.1: contradicts"),
        ("training.optimizer={kind: adamw, lr: 0.5}", {"lr": 0.1, **LAYERS}, {}, "--lr 0.1: contradicts"),
        ("training.layer_decay=0.5", {"layer_decay": 0.7, **LAYERS}, {}, "--layer-decay 0.7: contradicts"),
        ("protocol.num_clips=3", {"test_clips": 2}, {}, "--test-clips 2: contradicts"),
        ("training.loss.focal_gamma=1.0", {"balance": "none"}, {}, "--balance none: contradicts"),
        ("training.freeze_norms=false", LAYERS, {}, "use --norms"),
    ],
)  # fmt: skip
def test_settings_without_effect_or_against_a_flag_are_refused(setting, options, more, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        choose(FinetuneOptions(**options), **known([10, 10], **more), settings=[setting])
    assert setting.partition("=")[0] in str(error.value)


@pytest.mark.parametrize(
    ("setting", "options", "more"),
    [
        ("training.augmentation.brightness=0.5", {"views": 2}, {}),
        ("training.augmentation.brightness=0.5", {"views": 1, **LAYERS}, {}),
        ("training.loss.label_smoothing=0.5", {}, {}),
        ("training.loss.label_smoothing=0.5", {"head": "prototype", **LAYERS}, {}),
        ("training.loss.class_weights=balanced", {"head": "prototype"}, {}),
        ("training.loss.class_weights=[1.0, 2.0]", LAYERS, {}),
        ("network.dropout=0.9", LAYERS, {}),
        ("training.precision=bf16", {}, {"precision": "bf16"}),
        ("training.freeze_norms=true", LAYERS, {}),
    ],
)
def test_settings_with_an_effect_are_taken(setting, options, more):
    config = choose(FinetuneOptions(**options), **known([10, 10], **more), settings=[setting])
    assert (f"--set {setting.partition('=')[0]}", "set by you") in {(d.flag, d.reason) for d in config.decisions}


def test_a_setting_is_given_once_and_replaces_what_was_decided():
    with pytest.raises(InputError, match=r"--set training.epochs: is given as 4 and as 2"):
        choose(FinetuneOptions(**LAYERS), **known([9, 9]), settings=["training.epochs=4", "training.epochs=2"])
    settings = ["training.epochs=4", "training.precision=bf16", "training.patience=2", "training.accumulate=5"]
    config = choose(FinetuneOptions(**LAYERS), **known([9, 9]), settings=settings)
    rows = [(decision.flag, decision.value) for decision in config.decisions]
    assert not {"--epochs", "--precision", "--accumulate"} & {flag for flag, _ in rows}
    assert rows.count(("--set training.patience", "2")) == 1
    assert ("--set training.patience", "5") not in rows


@pytest.mark.parametrize("balance", ["focal", "logit-adjust"])
def test_class_means_have_no_loss(balance):
    with pytest.raises(InputError, match="--head linear"):
        choose(FinetuneOptions(head="prototype", balance=balance), **known([10, 10]))
    assert (
        choose(FinetuneOptions(train_layers="all", head="prototype", balance=balance), **known([10, 10])).head
        == "prototype"
    )


# mirrors


@pytest.mark.parametrize(
    ("classes", "pairs", "alone"),
    [
        (("turn_left", "turn_right"), [("turn_left", "turn_right")], []),
        (("turnLeft", "turnRight", "run"), [("turnLeft", "turnRight")], []),
        (("SWIPE LEFT", "swipe right"), [("SWIPE LEFT", "swipe right")], []),
        (("left hook", "jab"), [], ["left hook"]),
        (("spin clockwise", "spin counter-clockwise"), [("spin clockwise", "spin counter-clockwise")], []),
        (("spin clockwise", "spin anticlockwise"), [("spin clockwise", "spin anticlockwise")], []),
        (("rotate_cw", "rotate_ccw"), [("rotate_cw", "rotate_ccw")], []),
        (("left to right", "right to left"), [("left to right", "right to left")], []),
        (("leftover food", "bright light", "cleft"), [], []),
        (("laufen", "日本", "copyright"), [], []),
        (("left2", "right2"), [("left2", "right2")], []),
    ],
)
def test_sides_are_detected_in_names(classes, pairs, alone):
    assert mirror_rule(classes) == MirrorRule(tuple(pairs), tuple(alone))


SIDES = (("left", "right"), ("leftward", "rightward"), ("clockwise", "anticlockwise"), ("cw", "ccw"))
words = st.text("abdegkmpt", min_size=2, max_size=6).filter(
    lambda w: w not in {word for pair in SIDES for word in pair}
)
name_parts = st.lists(words | st.sampled_from(SIDES), min_size=1, max_size=4)


@given(st.lists(name_parts, min_size=1, max_size=6), st.sampled_from("_ -"))
def test_a_mirror_of_a_mirror_is_the_class_itself(parts, between):
    """Names with their mirrored names: all that name a side are paired, both ways, and no other is."""
    names = dict.fromkeys(
        between.join(part if isinstance(part, str) else part[side] for part in each)
        for each in parts
        for side in (0, 1)
    )
    rule = mirror_rule(tuple(names))
    paired = [name for pair in rule.pairs for name in pair]
    assert len(set(paired)) == len(paired)
    assert rule.alone == ()
    sided = {w for pair in SIDES for w in pair}
    assert set(paired) == {name for name in names if set(name.split(between)) & sided}
    for one, other in rule.pairs:
        assert mirror_rule((one, other)).pairs == ((one, other),)
        assert mirror_rule((other, one)).pairs == ((other, one),)


@examples(30)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=6, unique=True))
def test_any_names_are_accepted(names):
    rule = mirror_rule(tuple(names))
    classified = [*rule.alone, *(name for pair in rule.pairs for name in pair)]
    assert len(set(classified)) == len(classified)
    assert set(classified) <= set(names)


class AskedError(Exception):
    pass


CLIPS_ROWS = Rows()
CLIPS_ROWS.add("a.mp4", ("a",))
CLIPS = build_annotations(CLIPS_ROWS, source=Path("list.csv"), root=Path())
PROCESSORS = {  # what PyTorch detects, and what fine-tuning computes in
    "AMX": ({"amx_bf16": True, "avx512_bf16": True}, "bf16"),
    "Zen 4, Zen 5, Cooper Lake": ({"amx_bf16": False, "avx512_bf16": True}, "bf16"),
    "AVX-512 alone": ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, "fp32"),
    "another architecture": ({}, "fp32"),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_precision_is_that_of_the_processor(tmp_path, monkeypatch, name):
    """What `finetune` passes on, and the reason that is printed."""
    capabilities, precision = PROCESSORS[name]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    asked = {}

    def ask(*_, **more):
        asked.update(more)
        raise AskedError

    monkeypatch.setattr(finetune, "choose", ask)
    monkeypatch.setattr(finetune, "inspect_clips", lambda *_, **__: (SimpleNamespace(annotations=None), None))
    monkeypatch.setattr(finetune, "divide", lambda *_, **__: None)
    with pytest.raises(AskedError):
        finetune.finetune(
            CLIPS,  # no clip is read
            work_dir=tmp_path / "run",
            init=save_tiny(tmp_path / "tiny.safetensors"),
            compute=ComputeConfig("cpu"),
        )
    config = choose(FinetuneOptions(), **known([9, 9], has_fast_bf16=asked["has_fast_bf16"]))
    assert config.precision == precision
    reason = next(decision.reason for decision in config.decisions if decision.value == precision)
    assert (reason == "this device has no instructions for bf16") == (precision == "fp32")


def test_the_instructions_for_bf16_are_those_of_the_operating_system():
    cpuinfo = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    if flags is None:
        pytest.skip("the system lists no instructions")
    listed = set(flags[1].split())
    assert has_amx() == ("amx_bf16" in listed)
    assert has_bf16() == bool(listed & {"amx_bf16", "avx512_bf16"})


def test_initial_weights_need_no_classifier(tmp_path, monkeypatch):
    """The choice of settings comes after the weights are loaded."""
    net = build_network(ResNetSettings(base_channels=2, num_classes=3))
    state = {key: tensor for key, tensor in net.state_dict().items() if not key.startswith("fc.")}
    torch.save(state, tmp_path / "backbone.pth")

    def ask(*_, **__):
        raise AskedError

    monkeypatch.setattr(finetune, "inspect_clips", ask)
    with pytest.raises(AskedError):
        finetune.finetune(
            CLIPS,  # no clip is read
            work_dir=tmp_path / "run",
            init=str(tmp_path / "backbone.pth"),
            compute=ComputeConfig("cpu"),
        )
