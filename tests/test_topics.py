"""What i3d can and cannot do: one table for README and help, and the answer to a source that is no file."""

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import i3d
from i3d.cli import main
from i3d.cli.main import app
from i3d.cli.topics import TOPICS, readme_table
from i3d.errors import I3DError
from i3d.utils.remote import why_no_file
from support.commands import run_here
from support.paths import ROOT


def test_the_table_of_the_readme_is_that_of_the_help():
    assert readme_table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_each_topic_has_an_answer_of_a_line_or_two():
    names = [topic.name for topic in TOPICS]
    assert len({*names}) == len(names)
    for topic in TOPICS:
        assert topic.here or topic.elsewhere
        assert len(topic.here) < 120
        assert len(topic.elsewhere) < 120
    printed = run_here(["i3d", "help", "topics"]).stdout
    for topic in TOPICS:
        answer = run_here(["i3d", "help", *topic.name.split()])
        assert answer.returncode == 0
        lines, _, usage = answer.stdout.partition("\n\n")  # a command of this name follows with its help
        assert lines.strip() in printed
        assert usage.startswith("Usage: i3d") == (topic.name in {name for name, *_ in main.COMMANDS})
        words = " ".join(lines.split())
        assert all(part.replace("`", "") in words for part in (topic.here, topic.elsewhere))


COMMANDS = [command for topic in TOPICS for command in re.findall("`(i3d [^`]+)`", topic.here + topic.elsewhere)]


@pytest.mark.parametrize("words", sorted({*COMMANDS}))
def test_each_command_exists(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, *tokens = shlex.split(words)
    if tokens == ["convert"]:
        return
    for flag, word in pairwise(("", *tokens)):
        if flag != "--out" and not word.startswith("-") and re.search(r"\.\w+$|/$", word):
            (tmp_path / word).mkdir() if word.endswith("/") else (tmp_path / word).write_text("base: i3d_rgb\n")
    (tmp_path / "my").mkdir(exist_ok=True)
    (tmp_path / "my/best.safetensors").write_text("")
    (tmp_path / "mine.safetensors").unlink(missing_ok=True)
    _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    assert bound.arguments or len(tokens) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["help"], "Use a model"),
        (["help", "data", "preview"], "i3d data preview"),
        (["help", "plot"], "curves"),
    ],
)
def test_help_of_a_command(words, expected):
    result = run_here(["i3d", *words])
    assert (result.returncode, expected in result.stdout) == (0, True)


def test_help_of_an_unknown_name():
    result = run_here(["i3d", "help", "teleport"])
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "teleport: is no topic and no command; topics are predict, own classes" in result.stderr


SOURCES = {
    "https://example.org/clip.mp4": "download it first: curl -LO 'https://example.org/clip.mp4'",
    "https://www.youtube.com/watch?v=abc%20d": "download it first: yt-dlp 'https://www.youtube.com/watch?v=abc%20d'",
    "youtu.be/abc": "yt-dlp 'youtu.be/abc'",
    "s3://bucket/clip.mp4": "is an address",
    "rtsp://10.0.0.1/live": "ffmpeg -t 10 -i rtsp://10.0.0.1/live -c copy part.mp4",
    "0": "ffmpeg -t 10 -i /dev/video0 part.mp4",
    "/dev/video1": "ffmpeg -t 10 -i /dev/video1 part.mp4",
    "webcam": "is a camera",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_is_no_file_is_answered_at_once(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [
        ["predict", source], ["features", source, "--out", "f"], ["flow", source, "--out", "f"],
        ["train", "--data", source, "--work-dir", "w"], ["test", "inception_rgb_kinetics400", "--data", source],
        ["data", "preview", source, "--out", "p"],
    ]  # fmt: skip
    for words in commands:
        result = run_here(["i3d", *words])
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert SOURCES[source] in result.stderr
        assert "(`i3d help topics`)" in result.stderr
        assert not [*tmp_path.iterdir()]
    with pytest.raises(I3DError, match=re.escape(SOURCES[source].split("'")[0].rstrip())):
        i3d.video.open_video(source)


@pytest.mark.parametrize("source", [source for source in SOURCES if "://" in source])
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_an_address_in_a_list_is_named_with_its_line(source, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{source} 0", f"{source} 1"] if suffix == ".txt" else ["path,label", f"{source},a", f"{source},b"]
    (tmp_path / f"list{suffix}").write_text("\n".join(lines) + "\n")
    for words in (["predict", f"list{suffix}"], ["train", "--data", f"list{suffix}", "--work-dir", "w"]):
        result = run_here(["i3d", *words])
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert "i3d reads files" in result.stderr
        assert f"list{suffix}" in result.stderr


@pytest.mark.parametrize("kind", [str, Path])
def test_an_address_has_both_slashes_in_errors_of_python(kind):
    address = "http://host/x.mp4"
    for function in (i3d.video.open_video, i3d.data.read_annotations, i3d.predict):
        with pytest.raises(I3DError) as error:
            function(kind(address))
        assert str(error.value).startswith(f"{address}: is an address, and i3d reads files; download it first")
    result = run_here(["i3d", "train", "--data", address, "--work-dir", "unused"])
    assert result.stderr.startswith(f"error: --data {address}: is an address")


def test_files_of_such_names_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0", "camera"):
        (tmp_path / name).mkdir()
        assert not why_no_file(name)
    for name in ("clip.mp4", "camera.mp4", "videos/0", "cam/clip.mp4", "C:/clips/a.mp4", "a:b.mp4", "100.mp4", "123"):
        assert not why_no_file(name), name


def test_an_address_is_refused_before_pytorch_is_loaded():
    code = "import sys; sys.argv = ['i3d', 'predict', 'rtsp://x/y']; from i3d.cli.main import main\n"
    code += "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, "AssertionError" in result.stderr) == (2, False), result.stderr
