"""MMAction2's `tools/analysis/benchmark.py` on i3d: see `i3d/cli/mmaction2/analysis.py`."""

from i3d.cli.main import run_cli
from i3d.cli.mmaction2.analysis import benchmark

if __name__ == "__main__":
    run_cli(benchmark)
