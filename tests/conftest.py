"""Fixtures of several files."""

import cv2
import pytest

from rendering import numbered_frame, render


@pytest.fixture
def kinetics(tmp_path, monkeypatch):
    """The tree of MMAction2's documents, with two clips a split; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data" / "kinetics400"
    for split in ("train", "val"):
        videos, frames = root / f"videos_{split}", root / f"rawframes_{split}"
        videos.mkdir(parents=True)
        for i in range(2):
            render(videos / f"{i}.mp4", num_frames=12)
            (frames / str(i)).mkdir(parents=True)
            for k in range(12):
                cv2.imwrite(str(frames / str(i) / f"img_{k + 1:05d}.jpg"), numbered_frame(k))
        (root / f"kinetics400_{split}_list_videos.txt").write_text("0.mp4 0\n1.mp4 1\n")
        (root / f"kinetics400_{split}_list_rawframes.txt").write_text("0 12 0\n1 12 1\n")
    return tmp_path
