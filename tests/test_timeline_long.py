"""Timelines of long videos: killed runs end as others do, and the memory does not grow with the length."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from i3d.data.segments.read import read_segments
from i3d.timelines.scores import BLOCK
from i3d.utils.outputs import resume_log
from support.finetuning_runs import frames_of, save_tiny
from support.processes import ENVIRONMENT, kill_running, start, wait_until
from support.rendering import encode

pytestmark = pytest.mark.slow
COLOURS = ("red", "green", "blue")
KILLS = 5
SECONDS = 16  # of each of two videos: 25 blocks of windows
MARGIN_MIB = 16  # of the peak memory: 55 minutes more have 19,800 frames of 5 KB, 100 MB


def long_video(path, *, seconds, fps, part=20):
    """A video whose colour changes every `part` seconds; few frames are drawn, and shown again and again."""
    drawn = [frames_of(7 + colour, colour, num_frames=8) for colour in range(3)]
    frames = [drawn[int(n / fps / part) % 3][n % 8] for n in range(round(seconds * fps))]
    return encode(path, frames, fps=fps, options={"g": "50", "preset": "ultrafast"})


def lines_of(log):
    return log.read_bytes().count(b"\n") if log.exists() else 0


def test_killed_five_times_the_outputs_have_the_same_bytes(tmp_path):
    model = save_tiny(tmp_path / "tiny.safetensors", labels=COLOURS)
    videos = [long_video(tmp_path / name, seconds=SECONDS, fps=25, part=4) for name in ("a.mp4", "b.mp4")]

    def command(folder):
        folder.mkdir(exist_ok=True)
        outputs = ["--out", folder / "s.json", "--plot", folder / "s.png"]
        how = ["--model", model, "--stride-seconds", 0.04, "--enter", 0.34, "--leave", 0.33, "--device", "cpu"]
        return ["i3d", "timeline", *videos, *outputs, *how]

    uninterrupted = start(command(tmp_path / "whole"), tmp_path / "log")
    assert uninterrupted.wait(300) == 0, (tmp_path / "log").read_text()[-3000:]
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert expected.keys() == {"s.json", "s.png"}
    assert [bool(one.segments) for one in read_segments(tmp_path / "whole" / "s.json")] == [True, True]

    folder, num_lines, total = tmp_path / "killed", 0, 2 * 25 * SECONDS // BLOCK
    for number in range(KILLS):
        process = start(command(folder), tmp_path / "log")
        at_least = max(num_lines + 2, (number + 1) * total // (KILLS + 1))
        log = resume_log(folder / "s.json")
        wait_until(lambda log=log, at_least=at_least: lines_of(log) >= at_least, process, log=tmp_path / "log")
        kill_running(process)  # it fails if the process had ended
        assert num_lines < lines_of(log) < total
        assert not list(folder.glob("s.*"))
        num_lines = lines_of(log)
    last = start(command(folder), tmp_path / "log")
    assert last.wait(300) == 0, (tmp_path / "log").read_text()[-3000:]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak memory is read from /proc")
def test_an_hour_takes_no_more_memory_than_five_minutes(tmp_path):
    model, peaks = save_tiny(tmp_path / "tiny.safetensors", labels=COLOURS), {}
    for minutes in (5, 60):
        video = long_video(tmp_path / f"{minutes}.mp4", seconds=60 * minutes, fps=6)
        out = tmp_path / f"{minutes}.json"
        how = ["--model", model, "--stride-seconds", 1, "--enter", 0.3, "--leave", 0.2, "--device", "cpu"]
        result = with_peak_memory("timeline", video, "--out", out, *how)
        (one,) = read_segments(out)
        assert one.seconds == pytest.approx(60 * minutes, abs=0.5)
        peaks[minutes] = result
    assert peaks[60] < peaks[5] + MARGIN_MIB, peaks


def with_peak_memory(*words):
    """Run `i3d WORDS` in a process of its own: its largest memory in MiB."""
    code = (
        "import re, sys\nfrom i3d.cli.main import main\nsys.argv[0] = 'i3d'\ntry:\n    main()\n"
        "finally:\n    print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[0])"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return int(re.search(r"VmHWM:\s+(\d+)", result.stdout)[1]) >> 10
