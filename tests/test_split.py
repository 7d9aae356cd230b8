"""Splits that do not divide groups, and lists written in any form."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.annotations import build_annotations
from i3d.data.class_files import read_labels
from i3d.data.formats.read import read_annotations
from i3d.data.formats.write import write_annotations, write_classes
from i3d.data.rows import Rows
from i3d.data.split import split_annotations
from i3d.errors import InputError


def table(rows, tmp_path=None, **more):
    from pathlib import Path

    table_rows = Rows()
    for i, (label, group) in enumerate(rows):
        table_rows.add(f"c{i}.mp4", (label,), group=group, line=i + 1, **more)
    return build_annotations(table_rows, source=Path("list.csv"), root=tmp_path or Path("/r"))


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), min_size=2, max_size=80),
    st.floats(0.1, 0.4), st.sampled_from([0.0, 0.2]), st.integers(0, 9),
)  # fmt: skip
def test_groups_never_straddle(rows, val, test, seed):
    annotations = table([(label, f"g{group}") for label, group in rows])
    split = split_annotations(annotations, val=val, test=test, seed=seed)
    splits = {}
    for clip in split.annotations:
        assert splits.setdefault(clip.group, clip.split) == clip.split
    assert split.counts_SK.sum() == len(rows)
    assert test or not split.counts_SK[2].any()
    again = split_annotations(annotations, val=val, test=test, seed=seed)
    assert np.array_equal(again.annotations.splits_N, split.annotations.splits_N)


def test_classes_are_divided_evenly():
    rows = [(label, f"{label}{i // 2}") for label in "abcd" for i in range(100)]
    split = split_annotations(table(rows), val=0.2, test=0.1)
    assert split.counts_SK.tolist() == [[70] * 4, [20] * 4, [10] * 4]
    assert split.num_groups == 200
    assert split.warnings == ()
    other = split_annotations(table(rows), val=0.2, test=0.1, seed=1)
    assert not np.array_equal(other.annotations.splits_N, split.annotations.splits_N)


def test_groups_of_very_unequal_size():
    rows = [("a", "big")] * 50 + [("a", f"small{i}") for i in range(50)]
    split = split_annotations(table(rows), val=0.2)
    assert split.counts_SK[:, 0].tolist() == [80, 20, 0]
    assert {clip.split for clip in split.annotations if clip.group == "big"} == {"train"}


def test_a_class_of_one_group_is_a_warning():
    split = split_annotations(table([("a", f"g{i}") for i in range(10)] + [("b", "only")]), val=0.2)
    assert split.warnings == ("val has no clip of 1 class, which has too few groups: 'b'",)


def test_where_groups_come_from(tmp_path):
    names = [f"v_Run_g{g:02d}_c{c:02d}.avi" for g in range(10) for c in range(4)]
    source = tmp_path / "l.txt"
    source.write_text("".join(f"{name} 0\n" for name in names))
    split = split_annotations(read_annotations(source), val=0.2)
    assert split.num_groups == 10  # from the names of UCF101
    people = tmp_path / "p.txt"
    people.write_text("".join(f"p{i % 7}_{i}.mp4 0\n" for i in range(70)))
    assert split_annotations(read_annotations(people), val=0.3).num_groups == 70
    split = split_annotations(read_annotations(people), val=0.3, group_by=r"(p\d)_")
    assert split.num_groups == 7
    write_annotations(split.annotations, tmp_path / "again.csv")
    again = read_annotations(tmp_path / "again.csv")
    assert split_annotations(again, val=0.3, keep_existing=False).num_groups == 7  # the list has the groups
    resplit = split_annotations(again, val=0.3)
    assert resplit.warnings == ("all clips already have a split and keep it; pass --ignore-splits to split them again",)
    with pytest.raises(InputError, match=r"p\.txt:1: 'p0_0\.mp4': does not match --group-by"):
        split_annotations(read_annotations(people), group_by=r"(q\d)_")
    with pytest.raises(InputError, match="has no parentheses"):
        split_annotations(read_annotations(people), group_by=r"p\d_")
    with pytest.raises(InputError, match="not a regular expression"):
        split_annotations(read_annotations(people), group_by=r"(p")
    parts = tmp_path / "parts.csv"
    parts.write_text("path,label,start,end\n" + "".join(f"v{i // 5}.mp4,a,{i % 5},{i % 5 + 1}\n" for i in range(50)))
    split = split_annotations(read_annotations(parts), val=0.2)
    assert split.num_groups == 10  # parts of one video stay together


def test_parts_of_a_file_stay_together_whatever_their_groups_and_spelling(tmp_path):
    rows = [f"{'./' * (k % 2)}v{i}.mp4,a,{k},{k + 1},{f'g{i}' if k else ''}" for i in range(20) for k in range(3)]
    source = tmp_path / "l.csv"
    source.write_text("path,label,start,end,group\n" + "\n".join(rows))
    split = split_annotations(read_annotations(source), val=0.3)
    assert split.num_groups == 20
    splits = {}
    for clip in split.annotations:
        assert splits.setdefault(clip.path.removeprefix("./"), clip.split) == clip.split


def test_existing_splits_stay(tmp_path):
    source = tmp_path / "l.csv"
    source.write_text(
        "path,label,split,group\n" + "".join(f"c{i}.mp4,a,{'test' if i < 5 else ''},g{i}\n" for i in range(25))
    )
    split = split_annotations(read_annotations(source), val=0.2)
    assert [clip.split for clip in split.annotations][:5] == ["test"] * 5
    assert split.counts_SK[:, 0].tolist() == [16, 4, 5]  # fractions of the remaining clips
    resplit = split_annotations(read_annotations(source), val=0.2, keep_existing=False)
    assert resplit.counts_SK[:, 0].tolist() == [20, 5, 0]
    torn = tmp_path / "t.csv"
    torn.write_text("path,label,split,group\na.mp4,a,train,g\nb.mp4,a,val,g\n")
    with pytest.raises(InputError, match=r"t\.csv:3: 'b\.mp4': its group is in train and in val"):
        split_annotations(read_annotations(torn))


@pytest.mark.parametrize("shares", [{"val": 0}, {"val": 0.5, "test": 0.5}, {"val": -0.1}, {"val": 1.5}])
def test_shares_that_make_no_sense(shares):
    with pytest.raises(InputError, match="must be fractions"):
        split_annotations(table([("a", "g")]), **shares)


@pytest.mark.parametrize("name", ["l.csv", "l.tsv", "l.jsonl"])
def test_tables_hold_everything(tmp_path, name):
    source = tmp_path / "in.jsonl"
    rows = [
        {"path": "a, b (1).mp4", "label": "run", "start": 0.5, "end": 1.25, "split": "train", "group": "g 1"},
        {"path": 'ü "x".mp4', "label": "walk", "group": "g2"},
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    annotations = read_annotations(source)
    write_annotations(annotations, tmp_path / name, force=True)
    again = read_annotations(tmp_path / name)
    for a, b in zip(annotations, again, strict=True):
        assert (a.path, a.labels, a.start_seconds, a.end_seconds, a.split, a.group) == (
            b.path, b.labels, b.start_seconds, b.end_seconds, b.split, b.group,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_classes_without_names_retain_their_numbers(tmp_path, name):
    (tmp_path / "in.txt").write_text("a.mp4 3\nb.mp4 11\nc.mp4 0\n")
    write_annotations(read_annotations(tmp_path / "in.txt"), tmp_path / name)
    assert [clip.labels for clip in read_annotations(tmp_path / name)] == [(3,), (11,), (0,)]
    (tmp_path / "m.txt").write_text("a.mp4 3 5\nb.mp4 11\n")
    write_annotations(read_annotations(tmp_path / "m.txt", multi_label=True), tmp_path / name, force=True)
    assert [clip.labels for clip in read_annotations(tmp_path / name, multi_label=True)] == [(3, 5), (11,)]


def test_mmaction2_lists_contain_what_the_format_allows(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("path,label\nb (1).mp4,walk\na.mp4,run\n")
    write_annotations(read_annotations(source), tmp_path / "l.txt")
    assert (tmp_path / "l.txt").read_text() == "b (1).mp4 1\na.mp4 0\n"
    source.write_text("path,label,start,end\na.mp4,run,1,\n")
    with pytest.raises(InputError, match=r"in\.csv:2: 'a\.mp4': has a start or an end, which this list cannot hold"):
        write_annotations(read_annotations(source), tmp_path / "l2.txt")
    with pytest.raises(InputError, match=r"must end in \.csv"):
        write_annotations(read_annotations(source), tmp_path / "l.xml")


def test_lists_of_frames_count_them(tmp_path):
    for clip, count in (("run/a", 3), ("walk/b", 5)):
        for i in range(count):
            (tmp_path / clip).mkdir(parents=True, exist_ok=True)
            (tmp_path / clip / f"img_{i + 1:05d}.jpg").write_bytes(b"x")
    write_annotations(read_annotations(tmp_path), tmp_path / "l.txt")
    assert (tmp_path / "l.txt").read_text() == "run/a 3 0\nwalk/b 5 1\n"
    again = read_annotations(tmp_path / "l.txt")
    assert [clip.num_frames for clip in again] == [3, 5]
    offsets = tmp_path / "o.txt"
    offsets.write_text("run/a 1 2 0\nwalk/b 0 5 1\n")
    write_annotations(read_annotations(offsets, format="frames-offset"), tmp_path / "o2.txt")
    assert (tmp_path / "o2.txt").read_text() == offsets.read_text()


@pytest.mark.parametrize(
    "names", [("run 1", "walk 0"), ("1", "2", "10"), ("class 0",), ("run", "walk"), ("level 1", "floor 0")]
)
def test_class_files_are_read_back_as_they_were_written(tmp_path, names):
    write_classes(names, tmp_path / "classes.txt")
    assert read_labels(tmp_path / "classes.txt") == names
