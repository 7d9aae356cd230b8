"""MMAction2's `tools/test.py` on i3d: its flags and configs (parsed, never executed), our test.

python tools/test.py configs/recognition/i3d/NAME.py epoch_100.pth --eval top_k_accuracy --out result.json
"""

from i3d.cli.main import run_cli
from i3d.cli.mmaction2.test import run_test

if __name__ == "__main__":
    run_cli(run_test)
