"""What is chosen for the user: a pure function of a few facts; and what a mirror does to class names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.errors import InputError
from i3d.finetuning.defaults import DatasetStats, FinetuneOptions, choose
from i3d.finetuning.mirrored_classes import MirrorRule, mirror_rule
from i3d.recipes.settings import Preprocessing
from support.commands import run_here
from support.examples import examples

PRE = Preprocessing(short_side=32, crop=32, mean=(127.5,) * 3, std=(60.0,) * 3)
OPTIONAL = {
    "mode": ("head", "last", "all"),
    "head": ("linear", "prototype"),
    "norms": ("frozen", "trained", "re-estimated"),
    "flip": ("on", "off", "swap"),
    "balance": ("none", "sampler", "loss", "focal", "logit-adjust"),
    "precision": ("fp32", "bf16"),
}
MOVING = ("epochs", "batch_size", "lr", "layer_decay")


def facts(counts, *, classes=None, seconds=2.0, num_frames=50, device="cpu", **more):
    names = classes or tuple(f"class {k}" for k in range(len(counts)))
    return DatasetStats(
        names, tuple(counts), seconds, num_frames, device, more.pop("has_fast_bf16", False), PRE, **more
    )


any_facts = st.builds(
    facts,
    st.lists(st.integers(0, 100_000), min_size=2, max_size=12),
    seconds=st.none() | st.floats(0.01, 1e5),
    num_frames=st.integers(1, 10**7),
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    has_fast_bf16=st.booleans(),
    is_rgb=st.booleans(),
    multi_label=st.booleans(),
)
any_asked = st.fixed_dictionaries(
    {name: st.none() | st.sampled_from(values) for name, values in OPTIONAL.items()}
    | {"views": st.none() | st.integers(1, 50), "test_clips": st.none() | st.integers(1, 50)}
    | {"epochs": st.none() | st.integers(1, 500), "batch_size": st.none() | st.integers(1, 512)}
    | {"lr": st.none() | st.floats(1e-8, 1e5), "layer_decay": st.none() | st.floats(0.01, 1)}
)


@pytest.fixture(scope="module")
def flags():
    """The options that `i3d train --help` names."""
    return set(re.findall(r"--[a-z][a-z-]*", run_here(["i3d", "train", "--help"]).stdout))


def refused(told, seen, mode, head, views):
    """Whether something was asked for that has no meaning for such classes, or where no layer moves."""
    if told["flip"] == "swap":  # these class names speak of no sides
        return True
    if mode == "head" and views == 1 and told["flip"] == "on":
        return True
    nothing = ("logit-adjust", "loss", "sampler") if mode == "head" else ("logit-adjust",)
    if seen.multi_label and told["balance"] in nothing:
        return True
    if mode == "head" and head == "prototype" and told["balance"] in ("focal", "logit-adjust"):
        return True
    return mode == "head" and (told["norms"] == "trained" or any(told[name] is not None for name in MOVING))


@examples(150)
@given(any_facts, any_asked)
def test_any_sane_facts_give_a_plan_in_which_what_was_asked_for_wins(flags, seen, told):
    asked = FinetuneOptions(**told)
    mode = asked.mode or choose(seen, FinetuneOptions())[0].mode
    head = asked.head or choose(seen, FinetuneOptions())[0].head
    views = told["views"] or choose(seen, FinetuneOptions(test_clips=told["test_clips"]))[0].views
    if refused(told, seen, mode, head, views):
        with pytest.raises(InputError, match=r"^--"):
            choose(seen, asked)
        return
    plan, choices = choose(seen, asked)
    training = plan.training
    got = {
        "mode": plan.mode,
        "head": plan.head,
        "views": plan.views,
        "test_clips": plan.protocol.num_clips,
        "precision": training.precision,
        "norms": plan.norms,
        "balance": plan.balance,
    }
    if plan.mode != "head":
        got |= {"epochs": training.epochs, "batch_size": training.batch_size, "lr": training.optimizer.lr}
        got |= {"layer_decay": training.layer_decay}
    assert {name: got[name] for name in got if told[name] is not None} == {
        n: told[n] for n in got if told[n] is not None
    }
    assert (plan.protocol.clip_len, plan.protocol.frame_interval) == (
        training.sampling.clip_len,
        training.sampling.frame_interval,
    )
    assert training.precision == plan.precision
    assert all(choice.what and choice.value and choice.why for choice in choices)
    named = [choice.flag.split()[0] for choice in choices]
    assert set(named) <= flags
    words = {choice.flag: choice.why for choice in choices}
    assert all(
        words[f"--{n.replace('_', '-')}"] == "as you say" for n in ("views", "test_clips") if told[n] is not None
    )
    assert choose(seen, asked) == (plan, choices)


@given(any_facts)
def test_without_a_wish_the_facts_decide(seen):
    plan, choices = choose(seen, FinetuneOptions())
    few = min((count for count in seen.counts_K if count), default=0)
    assert plan.mode == ("head" if seen.device == "cpu" else "last" if few < 20 else "all")
    assert plan.head == ("prototype" if few < 5 and not seen.multi_label else "linear")
    assert plan.norms != "re-estimated"
    assert "as you say" not in {choice.why for choice in choices}
    assert 1 <= plan.views <= 4
    assert 1 <= plan.protocol.num_clips <= 4


@pytest.mark.parametrize(
    ("seconds", "clip"), [(0.5, (16, 1)), (0.8, (16, 1)), (1.2, (32, 1)), (1.6, (32, 1)), (2.6, (32, 2)), (60, (32, 2))]
)
def test_clips_span_what_the_network_was_trained_on_where_videos_are_so_long(seconds, clip):
    plan, _ = choose(facts([10, 10], seconds=seconds), FinetuneOptions())
    assert (plan.protocol.clip_len, plan.protocol.frame_interval) == clip
    assert plan.protocol.target_fps == 25


def test_frames_without_times_are_taken_as_they_are():
    plan, _ = choose(facts([10, 10], seconds=None, num_frames=18), FinetuneOptions())
    assert (plan.protocol.clip_len, plan.protocol.frame_interval, plan.protocol.target_fps) == (16, 1, None)


def test_uneven_classes_count_alike_and_even_ones_as_they_are():
    assert choose(facts([40, 10]), FinetuneOptions())[0].training.loss.class_weights == "balanced"
    assert choose(facts([29, 10]), FinetuneOptions())[0].training.loss.class_weights == "none"
    assert choose(facts([40, 10]), FinetuneOptions(balance="sampler"))[0].training.balance == "classes"
    assert choose(facts([40, 10]), FinetuneOptions(balance="focal"))[0].training.loss.focal_gamma == 2
    assert choose(facts([40, 10]), FinetuneOptions(balance="logit-adjust"))[0].training.loss.logit_adjustment == 1


def test_classes_that_a_mirror_would_falsify_change_places():
    named = ("turn left", "turn right", "left hook", "run")
    plan, choices = choose(facts([10] * 4, classes=named), FinetuneOptions())
    augmentation = plan.training.augmentation
    assert (augmentation.mirrored, augmentation.no_flip) == ((("turn left", "turn right"),), ("left hook",))
    assert next(c for c in choices if c.flag == "--flip").why.startswith("in a mirror 'turn left' becomes 'turn right'")
    off = choose(facts([10] * 4, classes=named), FinetuneOptions(flip="off"))[0].training.augmentation
    assert (off.flip, off.mirrored, off.no_flip) == (0, (), ())
    on = choose(facts([10] * 4, classes=named), FinetuneOptions(flip="on"))[0].training.augmentation
    assert (on.flip, on.mirrored, on.no_flip) == (0.5, (), ())


def test_settings_of_layers_are_refused_where_none_moves():
    for asked in (
        FinetuneOptions(lr=0.1),
        FinetuneOptions(epochs=3),
        FinetuneOptions(batch_size=2),
        FinetuneOptions(layer_decay=0.5),
        FinetuneOptions(norms="trained"),
    ):
        with pytest.raises(InputError, match="--finetune"):
            choose(facts([10, 10]), asked)
        assert choose(facts([10, 10]), FinetuneOptions(**{**vars(asked), "mode": "last"}))[0].mode == "last"


@pytest.mark.parametrize("balance", ["focal", "logit-adjust"])
def test_class_means_have_no_loss(balance):
    with pytest.raises(InputError, match="--head linear"):
        choose(facts([10, 10]), FinetuneOptions(head="prototype", balance=balance))
    assert choose(facts([10, 10]), FinetuneOptions(mode="all", head="prototype", balance=balance))[0].balance == balance


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
def test_sides_are_found_in_names(classes, pairs, alone):
    assert mirror_rule(classes) == MirrorRule(tuple(pairs), tuple(alone))


SIDES = (("left", "right"), ("leftward", "rightward"), ("clockwise", "anticlockwise"), ("cw", "ccw"))
words = st.text("abdegkmpt", min_size=2, max_size=6).filter(
    lambda w: w not in {word for pair in SIDES for word in pair}
)
name_parts = st.lists(words | st.sampled_from(SIDES), min_size=1, max_size=4)


@given(st.lists(name_parts, min_size=1, max_size=6), st.sampled_from("_ -"))
def test_a_mirror_of_a_mirror_is_the_class_itself(parts, between):
    """Names with their twins: all that speak of sides are paired, both ways, and no other is."""
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


@pytest.mark.slow
@examples(30)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=6, unique=True))
def test_any_names_are_taken(names):
    rule = mirror_rule(tuple(names))
    told = [*rule.alone, *(name for pair in rule.pairs for name in pair)]
    assert len(set(told)) == len(told)
    assert set(told) <= set(names)
