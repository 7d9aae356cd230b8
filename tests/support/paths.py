"""Folders that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
REAL_CLIPS = ROOT.parent / "shared" / "clips"  # not part of the repository
