"""Clips of one source: found by the group column, names of datasets, suffixes, content; else the risk is reported."""

import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from i3d.data.annotations import build_annotations
from i3d.data.check.dataset import check_dataset
from i3d.data.formats.read import read_annotations
from i3d.data.rows import Rows
from i3d.data.sources import guess_sources
from i3d.data.split import find_groups, split_annotations
from i3d.evaluation.result import compute_metrics
from i3d.finetuning.data_issues import find_data_issues
from i3d.finetuning.diagnosis import diagnose
from i3d.finetuning.inspect_data import _source_risk
from support.checked_lists import CheckedList
from support.evaluations import make_evaluation
from support.finetuning_runs import frames_of, make_clip, make_folder, save_tiny, train
from support.rendering import encode

KNOWN = {  # names of two sources, three clips each
    "ucf101": [f"run/v_Run_g0{g}_c0{c}.avi" for g in (1, 2) for c in (1, 2, 3)],
    "ucf101 frames": [f"run/v_Run_g0{g}_c0{c}" for g in (1, 2) for c in (1, 2, 3)],
    "hmdb51": [f"run/A_{g}_film_run_f_cm_np1_fr_med_{c}.avi" for g in (1, 2) for c in (0, 1, 2)],
    "kinetics": [f"run/-a_bcdefgh{g}_00001{c}_00002{c}.mp4" for g in (1, 2) for c in (1, 2, 3)],
    "kth": [f"run/person0{g}_{what}_d1_uncomp.avi" for g in (1, 2) for what in ("running", "walking", "boxing")],
    "suffixes": [f"run/clip{g}{suffix}.mp4" for g in "ab" for suffix in ("", "_mirror", " copy")],
}


def listed(paths, *, labels=None, splits=None):
    rows = Rows()
    for i, path in enumerate(paths):
        rows.add(path, (labels[i] if labels else "a",), split=splits[i] if splits else "")
    return build_annotations(rows, source=Path("list.csv"), root=Path())


@pytest.mark.parametrize("name", KNOWN)
def test_clips_of_a_source_that_names_show_stay_together(name):
    groups_N, _ = find_groups(listed(KNOWN[name]))
    assert groups_N.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "paths",
    [
        ["a/1.mp4", "a/2.mp4", "b/1.mp4"],
        ["a/run_1.mp4", "a/run_2.mp4", "a/run_3.mp4"],
        ["a/x_mirror.mp4", "b/x.mp4", "a/y copy.mp4"],
        ["a/cam (1).mp4", "a/cam (2).mp4"],
    ],
)
def test_other_names_are_not_joined(paths):
    assert len(set(find_groups(listed(paths))[0].tolist())) == len(paths)


PEOPLE = [f"{act}/p{person}_{act}.mp4" for act in ("run", "walk") for person in range(6)]
PARTS = [f"{act}/film{film}_{part}.mp4" for act in ("run", "walk") for film in "abc" for part in (1, 2)]


@pytest.mark.parametrize(
    ("paths", "first"),
    [
        (PEOPLE, "p0"), (PARTS, "filma"),
        ([f"{act}/{i}.mp4" for act in ("run", "walk") for i in range(6)], None),
        ([f"{act}/{act}_{i}.mp4" for act in ("run", "walk") for i in range(6)], None),
        ([f"run/clip{i:03d}.mp4" for i in range(12)], None),
    ],
)  # fmt: skip
def test_beginnings_of_names_are_reported_and_group_when_they_are_passed(paths, first):
    clips = listed(paths, labels=[path.split("/")[0] for path in paths])
    guess = guess_sources(paths, [clips.labels_of(index) for index in range(len(clips))])
    risk = _source_risk(clips)
    assert risk.startswith("The sources of the clips are unknown")
    if first is None:
        assert guess is None
        assert "share a beginning" not in risk
        return
    assert guess.names_N[0] == first
    assert f"such as {first!r} of {guess.names_N.count(first)} clips" in risk
    assert guess.pattern in risk
    assert split_annotations(clips, group_by=guess.pattern).num_groups == len(set(guess.names_N))


def test_known_sources_are_no_risk():
    assert _source_risk(listed(KNOWN["ucf101"])) == ""


@pytest.mark.parametrize("paths", [*KNOWN.values(), PEOPLE, PARTS], ids=[*KNOWN, "people", "parts"])
def test_sources_in_two_splits_of_the_user_are_reported(tmp_path, paths):
    splits = [("train", "val")[i % 2] for i in range(len(paths))]
    checked = CheckedList(tmp_path, [("ab"[i % 2], split, {}) for i, split in enumerate(splits)])
    if paths is PEOPLE:
        splits = [("train", "val")[i >= 6] for i in range(len(paths))]
    clips = listed(paths, labels=[("a", "b")[i >= len(paths) // 2] for i in range(len(paths))], splits=splits)
    issues = [issue for issue in find_data_issues(clips, checked.report) if issue.kind == "sources"]
    assert len(issues) == 1
    assert "(train and val)" in issues[0].message
    if paths in (PEOPLE, PARTS):
        pattern = issues[0].group_by
        assert (
            f"`i3d data split --ignore-splits --group-by {shlex.quote(pattern)}` keeps them together"
            in issues[0].message
        )
        assert split_annotations(clips, group_by=pattern, keep_existing=False).num_groups < len(clips)
    else:
        assert issues[0].group_by == ""


def test_the_diagnosis_has_the_risk_in_one_line():
    labels = [n % 2 for n in range(200)]
    evaluated = make_evaluation(np.eye(2)[labels], labels)
    sentences = diagnose(evaluated, compute_metrics(evaluated), train_top1=1.0, issues=(), source_risk="The risk.")
    assert sentences == ["No problem was found.", "The risk."]


def test_mirrored_copies_are_near_duplicates_and_stay_in_one_split(tmp_path):
    for i in range(4):
        frames = frames_of(i, i, num_frames=12, height=64, width=64)
        for k, frame in enumerate(frames):
            cv2.circle(frame, (8 + 4 * k, 12 + 10 * i), 9, (255, 255, 255), -1)
        encode(tmp_path / f"{'xyzw'[i]}one.mp4", frames, options={"crf": "10"})
        mirrored = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
        encode(tmp_path / f"{'xyzw'[i]}two.mp4", mirrored, options={"crf": "28"})
    report = check_dataset(tmp_path, near_duplicates="all", num_workers=0)
    pairs = {row.path: row.duplicate_of for row in report.rows if row.status == "near-duplicate"}
    assert pairs == {f"{name}two.mp4": f"{name}one.mp4" for name in "xyzw"}


def test_a_run_prints_the_risk(tmp_path):
    make_folder(tmp_path / "clips", ("a", "b"), 3)
    for k, name in enumerate("ab"):
        for person in range(3):
            make_clip(tmp_path / "clips" / name / f"p{person}_{name}.mp4", k)
            (tmp_path / "clips" / name / f"{person}.mp4").unlink()
    tiny = save_tiny(tmp_path / "tiny.safetensors")
    output = train(tmp_path / "clips", tmp_path / "W", tiny, "--views", 1, "--head", "prototype", "--precision", "fp32")
    (line,) = (line for line in output.splitlines() if line.startswith("The sources of the clips are unknown"))
    assert "such as 'p0' of 2 clips" in line
    assert line in json.loads((tmp_path / "W/finetune.json").read_text())["diagnosis"]
    grouped = train(
        tmp_path / "clips", tmp_path / "G", tiny, "--views", 1, "--head", "prototype", "--precision", "fp32",
        "--group-by", line.split("--group-by ")[1].removesuffix(".").strip("'"),
    )  # fmt: skip
    assert "6 clips in 3 groups" in grouped
    assert "sources of the clips are unknown" not in grouped
    assert len(read_annotations(tmp_path / "G/split.csv")) == 6
