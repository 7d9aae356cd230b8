"""MMAction2's `tools/train.py` on i3d: its flags and configs (parsed, never executed), our training.

python tools/train.py configs/recognition/i3d/NAME.py --work-dir W --validate --seed 0 --deterministic
"""

from i3d.cli.main import run_cli
from i3d.cli.mmaction2.train import train

if __name__ == "__main__":
    run_cli(train)
