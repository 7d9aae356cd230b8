"""The MindSpore port's config: each key has its meaning here, or is refused in one line."""

import json
import re

import pytest
import yaml

from i3d.cli.ports import mindspore as ports
from i3d.cli.ports.mindspore_config import changes_of, read_port_config
from i3d.errors import InputError
from i3d.recipes.io import load_recipe, with_overrides
from i3d.recipes.protocols import with_protocol, with_test_settings
from support.commands import run_here
from support.ports import MINDSPORE, mindspore_project


@pytest.fixture
def mindspore(tmp_path, monkeypatch):
    return mindspore_project(tmp_path, monkeypatch)


def test_the_config_of_the_port_is_the_published_recipe():
    parsed = read_port_config(MINDSPORE / "config" / "i3d_rgb.yaml")
    assert (parsed.epochs, parsed.batch_size, parsed.train_settings) == (30, 4, ())
    assert changes_of(parsed.test_settings, with_protocol(load_recipe("i3d_rgb"), "mindspore")) == ()
    assert (parsed.unused, parsed.assumed) == ((), ())


CHANGES = [  # of the config, and the settings of the recipe that they change
    ("momentum: 0.9", "momentum: 0.8", ["training.optimizer.momentum=0.8"]),
    ("t_max: 30", "t_max: 60", ['training.schedule={"kind": "cosine", "end": 0.0, "length": 60.0}']),
    ("warmup_epochs: 0", "warmup_epochs: 4", ["training.warmup_epochs=4.0", "training.warmup_start=0.001"]),
    ('"cosine_annealing"', '"exponential"\n    lr_epochs: [2, 4]\n    lr_gamma: 0.2',
     ['training.schedule={"kind": "step", "epochs": [2, 4], "gamma": 0.2}']),
    ("prob: 0.5", "prob: 0.0", ["training.augmentation.flip=0.0"]),
    ("VideoResize\n                  size: [256, 256]", "VideoShortEdgeResize\n                  size: 240",
     ["training.augmentation.resize=240"]),
    ("shuffle: True", "shuffle: True\n            shuffle: True", []),  # twice, as in the port
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "settings"), CHANGES, ids=[change[1][:20] for change in CHANGES])
def test_what_a_config_changes_in_the_recipe(tmp_path, before, after, settings):
    text = (MINDSPORE / "config" / "i3d_rgb.yaml").read_text()
    assert before in text
    (tmp_path / "c.yaml").write_text(text.replace(before, after, 1))
    parsed = read_port_config(tmp_path / "c.yaml")
    assert list(parsed.train_settings) == settings
    with_overrides(load_recipe("i3d_rgb"), list(parsed.train_settings))


PIPELINES = [  # the operations before VideoToTensor, and the settings that they are
    ("train", "VideoShortEdgeResize 256, VideoCenterCrop [240, 240], VideoRandomCrop [224, 224]",
     {"steps": ["short side 256", "centre 240 x 240"], "resize": None, "crop": "random", "size": 224}),
    ("train", "VideoShortEdgeResize 300, VideoRandomCrop 256, VideoResize [193, 193], VideoRandomHorizontalFlip",
     {"steps": [], "resize": 300, "crop": "random", "side": 256, "size": 193, "flip": 0.5}),
    ("train", "VideoResize [300, 400], VideoResize [256, 320], VideoCenterCrop [200, 200]",
     {"steps": ["resized to 400 x 300"], "resize": (256, 320), "crop": "center", "size": 200}),
    ("train", "VideoRandomCrop [224, 224]", {"steps": [], "resize": None, "crop": "random", "size": 224, "flip": 0}),
    ("eval", "VideoCenterCrop [224, 224]", {"steps": [], "short_side": None, "crop": 224}),
    ("eval", "VideoResize [200, 200]", {"steps": ["resized to 200 x 200"], "short_side": None, "crop": 200}),
    ("eval", "VideoShortEdgeResize 320, VideoCenterCrop [300, 300], VideoShortEdgeResize 256, VideoCenterCrop [99, 99]",
     {"steps": ["short side 320", "centre 300 x 300"], "short_side": 256, "crop": 99}),
]  # fmt: skip


def with_operations(part, text):
    table = yaml.safe_load((MINDSPORE / "config" / "i3d_rgb.yaml").read_text())
    words = [step.split(maxsplit=1) for step in re.split(r", (?=Video)", text)]
    steps = [{"type": kind, **({"size": json.loads(size[0])} if size else {})} for kind, *size in words]
    table["data_loader"][part]["map"]["operations"] = [*steps, {"type": "VideoToTensor"}]
    return table


@pytest.mark.parametrize(("part", "operations", "expected"), PIPELINES, ids=[text for _, text, _ in PIPELINES])
def test_pipelines_run_as_they_stand(tmp_path, part, operations, expected):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(with_operations(part, operations)))
    parsed = read_port_config(tmp_path / "c.yaml")
    recipe = with_overrides(load_recipe("i3d_rgb"), list(parsed.train_settings))
    if part == "eval":
        scored = with_test_settings(recipe, [f"{k}={json.dumps(v)}" for k, v in parsed.test_settings.items()])
        assert scored.preprocessing == recipe.preprocessing  # the checkpoint has it too
        fields = dict(recipe.preprocessing)
    else:
        augmentation = recipe.training.augmentation
        fields = {**dict(augmentation), "crop": augmentation.crop.kind, "side": augmentation.crop.side}
    fields["steps"] = [str(step) for step in fields["steps"]]
    assert {key: fields[key] for key in expected} == expected


ODD_PIPELINES = [
    ("train", "VideoRandomHorizontalFlip, VideoRandomCrop [224, 224]", "follows VideoRandomHorizontalFlip; move it be"),
    ("train", "VideoRandomCrop [224, 224], VideoRandomHorizontalFlip, VideoRandomHorizontalFlip", "move it before"),
    ("train", "VideoRandomCrop [256, 256], VideoRandomCrop [224, 224]", "change the order"),
    ("train", "VideoRandomCrop [256, 256], VideoCenterCrop [224, 224]", "follows a random crop; crop the mid"),
    ("train", "VideoShortEdgeResize 256", "does not bring frames to squares of one size; end with VideoCenterCrop"),
    ("train", "VideoResize [200, 200], VideoRandomCrop [224, 224]", "a crop of 224 does not fit into frames"),
    ("eval", "VideoShortEdgeResize 200, VideoCenterCrop [224, 224]", "crop 224 is larger than short_side 200"),
    ("eval", "VideoRandomCrop [224, 224]", "the step 'VideoRandomCrop' is not supported; supported: VideoResize, Vid"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "operations", "expected"), ODD_PIPELINES, ids=[text for _, text, _ in ODD_PIPELINES])
def test_pipelines_that_have_no_meaning_here_are_refused(tmp_path, part, operations, expected):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(with_operations(part, operations)))
    with pytest.raises(InputError, match=re.escape(expected)) as error:
        read_port_config(tmp_path / "c.yaml")
    assert str(error.value).startswith(str(tmp_path / "c.yaml"))


DROPPED = object()
TRAIN_SET, EVAL_SET = ("data_loader", "train", "dataset"), ("data_loader", "eval", "dataset")
STEPS_OF = {part: ("data_loader", part, "map", "operations") for part in ("train", "eval")}
MUTANTS = [  # a key, its value, and what is printed: an error, a note, or the setting it becomes
    (("learning_rate", "lr"), DROPPED, "note: not set, so as in the published config: learning_rate.lr 0.0012"),
    (("learning_rate", "lr"), None, "error: lr has no value; write one, or remove the line"),
    (("learning_rate", "lr"), "fast", "error: learning_rate.lr = 'fast' must be a number"),
    (("learning_rate", "lr"), -0.1, "error: learning_rate.lr = '-0.1' must be from 1e-12 to 1,000,000"),
    (("learning_rate", "lr"), 0, "error: learning_rate.lr = '0' must be from"),
    (("learning_rate", "lr"), 10**300, "must be from 1e-12 to 1,000,000"),
    (("learning_rate", "lr"), True, "error: learning_rate.lr = 'True' must be a number"),
    (("learning_rate", "eta_min"), 1.0, "error: learning_rate.eta_min = '1.0' must be below the learning rate, 0.0012"),
    (("learning_rate", "lr_epochs"), [2, 4], "note: without effect here: learning_rate.lr_epochs (of exponential)"),
    (("learning_rate", "lr_scheduler"), "exponential", "error: learning_rate.lr_epochs must be whole numbers"),
    (("learning_rate", "max_epoch"), 5, "note: without effect here: learning_rate.max_epoch (the schedule spans"),
    (("learning_rate", "gamma"), 1, "error: learning_rate.gamma = '1' is not supported; did you mean lr_gamma?"),
    (("optimizer",), DROPPED, "note: not set, so as in the published config: optimizer.type SGD, optimizer.mom"),
    (("optimizer", "momentum"), 1.5, "error: optimizer.momentum = '1.5' must be from 0 to 0.999999"),
    (("optimizer", "weight_decay"), -1, "error: optimizer.weight_decay = '-1' must be from 0 to 1,000"),
    (("optimizer", "loss_scale"), 1024, "note: without effect here: optimizer.loss_scale (of float16; this is"),
    (("model", "num_classes"), 3, "note: model.num_classes is 3, the data set has 2 classes: so has the network"),
    (("model", "num_classes"), -3, "error: model.num_classes = '-3' must be from 1"),
    (("model", "type"), "C3D", "error: model.type = 'C3D' must be 'I3D' here"),
    (("loss",), "cross entropy", "error: loss = 'cross entropy' must be a dict"),
    (("train", "epochs"), 10**9, "error: train.epochs = '1000000000' must be from 1 to 1,000,000"),
    (("train", "ckpt_path"), "", "error: train.ckpt_path = '' names no folder; write ./output/"),
    (("train", "pretrained_model"), "gone.ckpt", "note: without effect here: train.pretrained_model (pre_tr"),
    (("train", "save_checkpoint_steps"), 100, "note: without effect here: train.save_checkpoint_steps (i3d saves"),
    (("context", "device_target"), "TPU", "error: context.device_target = 'TPU' must be one of GPU, Ascend, CPU"),
    (("context", "device_id"), 3, "note: device 'cuda:3' "),
    (("context", "mode"), 7, "error: context.mode = '7' must be 0 or 1 here"),
    (("dataset_sink_mode",), True, "note: without effect here: dataset_sink_mode (MindSpore's own)"),
    ((*TRAIN_SET, "batch_size"), 0, "error: data_loader.train.dataset.batch_size = '0' must be from 1 to 65,536"),
    ((*TRAIN_SET, "batch_size"), 2.5, "error: data_loader.train.dataset.batch_size = '2.5' must be a whole number"),
    ((*TRAIN_SET, "shuffle"), False, "--set training.shuffle=false"),
    ((*TRAIN_SET, "shuffle"), "Ture", "error: data_loader.train.dataset.shuffle = 'Ture' must be True or False"),
    ((*EVAL_SET, "shuffle"), True, "note: without effect here: data_loader.eval.dataset.shuffle (the order of clips"),
    ((*TRAIN_SET, "num_parallel_workers"), 10**5, "num_parallel_workers = '100000' must be from 0 to 1,024"),
    ((*TRAIN_SET, "seq"), DROPPED, "note: not set, so as in the published config: data_loader.train.dataset.seq 64"),
    ((*TRAIN_SET, "path"), "gone", "note: the data set is root of data/data.json; `path` of the config is not read"),
    ((*STEPS_OF["eval"], 0), DROPPED, "--set preprocessing.short_side=null"),
    ((*STEPS_OF["eval"], 0, "size"), DROPPED, "error: data_loader.eval.map.operations[0].size must be a whole number"),
    ((*STEPS_OF["eval"], 0, "interpolation"), "bicubic", "error: data_loader.eval.map.operations[0].interpolation = '"),
    ((*STEPS_OF["eval"], 0, "interpolation"), "bilinear", "note: without effect here: data_loader.eval.map.oper"),
    ((*STEPS_OF["train"], 0, "size"), [256.5, 256], "operations[0].size must be [height, width] in whole pixels"),
    ((*STEPS_OF["train"], 1), DROPPED, "--set training.augmentation.size=256"),
    ((*STEPS_OF["train"], 3), DROPPED, "error: data_loader.train.map.operations does not end with VideoToTensor"),
    (STEPS_OF["train"], [], "error: data_loader.train.map.operations does not end with VideoToTensor; add"),
    (("data_loader",), 3, "error: data_loader = '3' must be a dict"),
    (("data_loder",), {"train": 1}, "error: data_loder is not supported; did you mean data_loader?"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "value", "expected"), MUTANTS, ids=[f"{m[0][-1]} {m[2][:28]}" for m in MUTANTS])
def test_changed_configs_have_a_meaning_or_an_error(mindspore, monkeypatch, keys, value, expected):
    started = []
    monkeypatch.setattr(ports, "run_i3d", lambda words: started.append(" ".join(words)) or 1)
    table = yaml.safe_load((MINDSPORE / "config" / "i3d_rgb.yaml").read_text())
    table["model"]["num_classes"] = 2
    *above, last = keys
    place = table
    for key in above:
        place = place[key]
    if value is DROPPED:
        del place[last]
    else:
        place[last] = value
    (mindspore / "config" / "c.yaml").write_text(yaml.safe_dump(table))
    words = ["run_standalone_train.sh", "config/c.yaml", "inception_rgb_kinetics400"]
    result = run_here(["python", "-m", "i3d.cli.ports.mindspore", *words])
    lines = [re.sub(r"config/c.yaml(:\d+)?: ", "", line) for line in result.stderr.splitlines()]
    assert any(expected in line for line in [*lines, *started]), result.stderr
    errors = [line for line in lines if line.startswith("error: ")]
    assert (len(errors), result.returncode) == ((0, 1) if started else (1, 2))
    assert all(line.startswith(("note: ", "error: ")) for line in lines)


REFUSED = [
    ("momentum: 0.9", "momentun: 0.9", r"momentun = '0.9' is not supported; did you mean momentum\?"),
    ("momentum: 0.9", "momentum: fast", "optimizer.momentum = 'fast' must be a number"),
    ("type: 'SGD'", "type: 'Adam'", "optimizer.type = 'Adam' must be 'SGD' here"),
    ('"cosine_annealing"', '"dynamic_lr"', "lr_scheduler = 'dynamic_lr' is not supported; use cosine_annealing, or"),
    ("seq_mode: 'discrete'", "seq_mode: 'part'", "must be 'discrete' here: frames drawn from the whole video"),
    ("size: [224, 224]", "size: [224, 200]", "type = 'VideoRandomCrop' does not bring frames to squares of one size"),
    ("VideoResize", "VideoThreeCrop", "the step 'VideoThreeCrop' is not supported; supported: VideoResize, VideoSh"),
    ("model_name: i3d_rgb", "model_name: ../i3d", "model_name = '../i3d' begins the names of files; write letters"),
    ('device_target: "GPU"', "device_target: TPU", "device_target = 'TPU' must be one of GPU, Ascend, CPU"),
    ("batch_size: 4", "batch_size: 4\n            batch_size: 5", "batch_size is there twice with other values"),
    (
        "epochs: 30",
        "epochs: !!python/object/apply:os.system ['touch harmed']",
        r"not YAML \(.*not plain data, in line 36",
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), REFUSED, ids=[change[1][:24] for change in REFUSED])
def test_a_config_that_means_something_else_is_refused(tmp_path, monkeypatch, before, after, expected):
    monkeypatch.chdir(tmp_path)
    text = (MINDSPORE / "config" / "i3d_rgb.yaml").read_text()
    assert before in text
    (tmp_path / "c.yaml").write_text(text.replace(before, after, 1))
    with pytest.raises(InputError, match=expected) as error:
        read_port_config(tmp_path / "c.yaml")
    assert str(error.value).startswith(str(tmp_path / "c.yaml"))
    assert not (tmp_path / "harmed").exists()
