"""Times in other units than seconds: every command that cuts parts of videos refuses them, and asks for the unit."""

import pytest

from i3d.video import open_video
from support.commands import run
from support.evaluation_runs import save_model
from support.rendering import render
from support.training_runs import RECIPE

VERBS = {
    "check": "data check {list} --workers 1 --near-duplicates none",
    "preview": "data preview {list} --out out",
    "extract": "data extract-frames {list} --out out --workers 0",
    "test": "test m.safetensors --data {list} --workers 0",
    "train": "train --recipe tiny.yaml --data {list} --work-dir out --workers 0",
    "fine-tune": "train --data {list} --work-dir out --workers 0 --init m.safetensors",
    "benchmark": "benchmark data {list} --num-clips 2 --batch-size 1 --workers 0",
}
UNITS = {  # of 12 frames in 0.48 s: start and end, and the question
    "milliseconds": ((100, 400), "are these milliseconds?"),
    "from 0": ((0, 480), "are these milliseconds?"),
    "frames": ((2, 12), "are these milliseconds or frame numbers?"),
    "neither": ((2000, 9000), "the video ends at 0.480 s; give times in seconds"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for name in "ab":
        render(folder / f"{name}.mp4", num_frames=12)
    (folder / "tiny.yaml").write_text(RECIPE)
    save_model(folder / "m.safetensors", labels=("a", "b"))
    return folder


@pytest.fixture
def clips(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in inputs.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_asks_for_the_unit_of_times_behind_the_end(clips, verb, unit):
    (start, end), question = UNITS[unit]
    splits = (("a", "train"), ("a", "train"), ("b", "val"))  # two for training: of one clip no batch norm can train
    rows = [f"{name}.mp4,{name},{start},{end},{split}\n" for name, split in splits]
    (clips / "list.csv").write_text("path,label,start,end,split\n" + "".join(rows))
    result = run(*VERBS[verb].format(list="list.csv").split())
    assert result.returncode in (2, 3), result.output
    words = " ".join(result.output.replace("\n", " ").split())
    assert question in words, result.output
    assert "the video ends at 0.480 s" in words


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "benchmark"])
def test_a_part_in_another_unit_puts_the_other_parts_in_doubt(clips, verb):
    """0 to 0.2 may be fifths of a second, or of a millisecond."""
    for n in range(20):
        (clips / f"c{n}.mp4").symlink_to(clips / "a.mp4")
    rows = [f"c{n}.mp4,{'ab'[n % 2]},0,0.2,{'train' if n < 15 else 'val'}\n" for n in range(20)]
    (clips / "list.csv").write_text("path,label,start,end,split\n" + "".join(rows) + "a.mp4,a,100,400,train\n")
    words = VERBS[verb].format(list="list.csv").split()
    more = {"test": ["--split", "train", "--max-bad", "0.2"]}.get(verb, ["--max-bad", "0.2"] * (words[0] == "train"))
    result = run(*words, *more)
    words = " ".join(result.output.replace("\n", " ").split())
    assert "1 part of a video was refused for the unit of the times; parts with smaller numbers were read as" in words


def test_predict_reads_whole_videos_with_a_warning(clips):
    (clips / "list.csv").write_text("path,start,end\na.mp4,100,400\n")
    result = run("predict", "list.csv", "--model", "m.safetensors", "--device", "cpu")
    assert "list.csv: these columns are not read: start, end; whole videos are" in result.stderr
    assert result.returncode == 0


def test_rounding_is_no_other_unit(clips):
    with open_video(clips / "a.mp4") as video:
        assert video.frames_between(0.2, 1.4) == (5, 12)
        assert video.frames_between(None, 0.48) == (0, 12)
