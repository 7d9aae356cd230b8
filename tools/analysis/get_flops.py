"""MMAction2's `tools/analysis/get_flops.py` on i3d: see `i3d/cli/mmaction2/analysis.py`."""

from i3d.cli.main import run_cli
from i3d.cli.mmaction2.analysis import get_flops

if __name__ == "__main__":
    run_cli(get_flops)
