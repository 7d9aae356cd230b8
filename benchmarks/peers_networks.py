"""The networks of other packages, to measure this package's against: their own code, from their wheels.

MMAction2 1.2.0 cannot be imported whole (a file of its localizers lacks in the wheel), so its ResNet3d alone is. The
Inception network of piergiaj/pytorch-i3d is in no package of that name; cd-fvd ships its file.

    folder = install(Path("build/peers"))       # pip, without their dependencies, beside this environment
    net = mmaction2_r50(); net = pytorch_i3d()
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import types
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

WHEELS: Final = (
    *("mmaction2==1.2.0", "mmengine==0.10.7", "mmcv-lite==2.1.0", "addict==2.4.0", "termcolor==3.3.0", "yapf==0.43.0"),
    *("pytorchvideo==0.1.5", "fvcore==0.1.5.post20221221", "iopath==0.1.10", "parameterized==0.9.0"),
    *("portalocker==4.4.2", "platformdirs", "yacs==0.1.8", "tabulate==0.10.0", "cd-fvd==0.1.1"),
)
INFLATE: Final = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))


def install(folder: Path) -> Path:
    """Install the wheels in a folder, and append it to `sys.path`."""
    marker = folder / ".installed"
    if not marker.exists() or marker.read_text() != "\n".join(WHEELS):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
        if subprocess.run([*pip, *WHEELS], check=False).returncode:
            raise SystemExit(
                "the peers' wheels cannot be installed here (pip's reason is above): there is no comparison"
            )
        marker.write_text("\n".join(WHEELS))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return folder


def mmaction2_r50(*, non_local: str | None = None) -> nn.Module:
    """The recognizer of i3d_r50_32x2x1 as MMAction2 tests it: ResNet3d, average, linear; to (N, 400)."""
    import mmaction

    for name in ("models", "models.backbones"):  # their __init__ would import everything
        package = types.ModuleType(f"mmaction.{name}")
        package.__path__ = [str(Path(mmaction.__path__[0], *name.split(".")))]
        sys.modules.setdefault(f"mmaction.{name}", package)
    backbones = importlib.import_module("mmaction.models.backbones.resnet3d")
    more = {}
    if non_local is not None:
        more = {
            "non_local": ((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
            "non_local_cfg": {"sub_sample": True, "use_scale": False, "norm_cfg": {"type": "BN3d"}, "mode": non_local},
        }
    backbone = backbones.ResNet3d(
        depth=50,
        pretrained=None,
        pretrained2d=False,
        conv1_kernel=(5, 7, 7),
        conv1_stride_t=2,
        pool1_stride_t=2,
        conv_cfg={"type": "Conv3d"},
        norm_eval=False,
        inflate=INFLATE,
        zero_init_residual=False,
        **more,
    )
    return _Recognizer(backbone).eval()


def pytorch_i3d() -> nn.Module:
    """The Inception network of 400 classes; (N, 3, T, 224, 224) -> (N, 400, T')."""
    spec = importlib.util.find_spec("cdfvd")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (file,) = Path(spec.submodule_search_locations[0]).rglob("pytorch_i3d.py")
    module_spec = importlib.util.spec_from_file_location("peer_pytorch_i3d", file)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    net: nn.Module = module.InceptionI3d(400, in_channels=3).eval()
    return net


def pytorchvideo_r50() -> nn.Module:
    """`i3d_r50` of PyTorchVideo's hub, built as it is there."""
    _stand_in("torchvision", ops=_stand_in("torchvision.ops", RoIAlign=None))  # of its detection heads alone
    resnet = importlib.import_module("pytorchvideo.models.resnet")
    net: nn.Module = resnet.create_resnet(
        input_channel=3,
        model_depth=50,
        model_num_class=400,
        dropout_rate=0.5,
        stem_conv_kernel_size=(5, 7, 7),
        stage1_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=((3, 1, 1), [(3, 1, 1), (1, 1, 1)], [(3, 1, 1), (1, 1, 1)], [(1, 1, 1), (3, 1, 1)]),
    ).eval()
    return net


def _stand_in(name: str, **members: object) -> types.ModuleType:
    """A stand-in for a missing module that is imported and not used."""
    module = sys.modules.setdefault(name, types.ModuleType(name))
    for member, value in members.items():
        setattr(module, member, value)
    return module


class _Recognizer(nn.Module):
    """MMAction2's I3DHead behind its backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc_cls = nn.Linear(2048, 400)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        x_NCTHW = torch.nn.functional.adaptive_avg_pool3d(self.backbone(x_NCTHW), (1, 1, 1))
        logits_NK: Tensor = self.fc_cls(x_NCTHW.flatten(1))
        return logits_NK
