"""Settings with which MMAction2's documented commands end within seconds."""

import torch

from i3d.models.factory import build_network
from i3d.recipes.settings import ResNetSettings
from support.foreign_files import mmaction2_v0, torch_bytes
from support.mmaction2_configs import DOT_1, NAME_1, PLAIN_1

RAW = "i3d_r50_32x2x1_100e_kinetics400_rgb"
VIDEO = "i3d_r50_video_32x2x1_100e_kinetics400_rgb"
NAMES_1 = [PLAIN_1, DOT_1, *(NAME_1.format(*x) for x in [("", "dense-"), ("-heavy", ""), ("-nl-gaussian", ""),
           ("-nl-embedded-gaussian", "")])]  # fmt: skip
# Settings that make a documented command end within seconds: another network, short clips, small frames.
TINY_MODEL = ["model.backbone.depth=18", "model.backbone.base_channels=2", "model.backbone.pretrained=None",
              "model.cls_head.in_channels=16"]  # fmt: skip


def tiny_0(*, videos):
    """The same for a 0.x config. In pipelines of videos DecordInit comes first and shifts the other steps by one."""
    first = int(videos)
    return [
        "total_epochs=1",
        "data.videos_per_gpu=1",
        "data.workers_per_gpu=0",
        *TINY_MODEL,
        *(f"data.{split}.pipeline.{first}.clip_len=8" for split in ("train", "val")),
        f"data.train.pipeline.{first + 4}.scale=64,64",
        f"data.val.pipeline.{first + 3}.crop_size=64",
    ]


TINY_1 = ["train_cfg.max_epochs=1", "train_dataloader.batch_size=1", "train_dataloader.num_workers=0", *TINY_MODEL,
          "train_dataloader.dataset.pipeline.1.clip_len=8", "val_dataloader.dataset.pipeline.1.clip_len=8",
          "train_dataloader.dataset.pipeline.5.scale=64,64",
          "val_dataloader.dataset.pipeline.4.crop_size=64"]  # fmt: skip


def config(tmp_path, text, name="my_config"):
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    return path


def tiny_checkpoint(path, *, classes=400, config="", version=0):
    """Write an MMAction2 checkpoint of the network of TINY_MODEL, with the text of a config in it."""
    torch.manual_seed(0)
    state = build_network(ResNetSettings(depth=18, base_channels=2, num_classes=classes)).state_dict()
    named = {
        k.replace("fc.", "cls_head.fc_cls.") if k.startswith("fc.") else f"backbone.{k}": v for k, v in state.items()
    }
    path.parent.mkdir(exist_ok=True)
    content = mmaction2_v0(named, config=config)
    if version == 1:
        content["meta"] = {"mmengine_version": "0.10.1", "cfg": config}
    path.write_bytes(torch_bytes(content))
    return path


def tiny_test(name):
    """Settings with which a documented test command ends within seconds."""
    is_1 = "8xb8" in name
    steps = "{}_dataloader.dataset.pipeline" if is_1 else "data.{}.pipeline"
    first = int("video" in name or "my_config" in name or is_1)
    changes = [(first, "clip_len=8"), (first + 2, "scale=(-1,64)"), (first + 3, "crop_size=64")]
    small = [f"{steps.format(split)}.{number}.{change}" for split in ("test", "val") for number, change in changes]
    return [*TINY_MODEL, "test_dataloader.num_workers=0" if is_1 else "data.workers_per_gpu=0", *small]
