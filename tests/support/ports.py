"""The folders of the ports with tiny data in the layouts of their READMEs, and their commands in this process."""

import json
import os
import shlex
import shutil
import stat
import subprocess

import i3d
from support.commands import run_here
from support.foreign_files import mindspore_arrays, mindspore_bytes
from support.paths import ROOT
from support.rendering import render

MINDSPORE, ASCEND = ROOT / "ports" / "mindspore", ROOT / "ports" / "ascend"


def caller(tmp_path):
    """Runs a line of a README by bash up to the call of Python, and that in this process, which has loaded PyTorch."""
    recorder, called = tmp_path / "python", tmp_path / "called"
    recorder.write_text(f'#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done > {called}\n')
    recorder.chmod(recorder.stat().st_mode | stat.S_IXUSR)

    def call(line, **more):
        subprocess.run(shlex.split(line), check=True, env={**os.environ, "PYTHON": str(recorder)})
        return run_here(["python", *called.read_text().splitlines()], **more)

    return call


def place(tmp_path, monkeypatch, port):
    """A copy of the folder of a port, as current folder."""
    root = tmp_path / "port"
    shutil.copytree(port, root)
    monkeypatch.chdir(root)
    return root


def mindspore_project(tmp_path, monkeypatch):
    """The port's folder with its data set and tiny settings: 9 frames of 193 pixels, which Inception needs."""
    root, data = place(tmp_path, monkeypatch, MINDSPORE), tmp_path / "kinetic-400"
    for split, labels in [("train", ["zumba", "abseiling"]), ("val", ["abseiling"])]:
        (data / split).mkdir(parents=True)
        lines = ["label,youtube_id,time_start,time_end,split"]
        for k, label in enumerate(labels):
            render(data / split / f"___qijXy2f{k}_000011_000021.mp4", num_frames=12)
            lines.append(f"{label},___qijXy2f{k},11,21,{split}")
        (data / f"kinetics-400_{split}.csv").write_text("\n".join(lines))
    (root / "data_path").symlink_to(data)
    (root / "data" / "data.json").write_text(json.dumps({"root": str(data)}))
    config = root / "config" / "i3d_rgb.yaml"
    changes = {"batch_size: 4": "batch_size: 1", "seq: 64": "seq: 9", "workers: 8": "workers: 0", "256": "193"}
    changes |= {"224": "193", "epochs: 30": "epochs: 1", "t_max: 30": "t_max: 1", "epoch: 30": "epoch: 1"}
    text = config.read_text()
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    config.write_text(text)
    return root


def published(root):
    """Put the published checkpoint of the port, with the weights of this package, into its folder."""
    content = mindspore_bytes(mindspore_arrays(i3d.load_model().state_dict()))
    (root / "i3d_rgb_kinetics400.ckpt").write_bytes(content)
