"""`i3d cache`: what the cache holds, and that nothing else is ever removed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from i3d.utils.atomic_files import replacing
from i3d.utils.cache import Cache, cache_key, use_inductor_cache
from support.commands import run_here


@pytest.fixture
def cache(tmp_path):
    """A cache with a file of each kind."""
    cache = Cache(tmp_path / "cache")
    keys = [cache_key(number=number) for number in range(4)]
    cache.save_json(keys[0], {"notes": []})
    cache.path(keys[0], ".flow.mkv").write_bytes(b"flow" * 1000)
    cache.save_array(keys[1], np.zeros(3, np.float32))
    cache.save_bytes(keys[2], b"network")
    cache.save_json(keys[3], {"rows": []})
    return cache


def run(*words, **options):
    return run_here(["i3d", "cache", *words], **options)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if not path.is_dir())


def test_the_list_has_kinds_sizes_and_last_use(cache):
    result = run("list", "--cache", cache.folder)
    assert result.returncode == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    counts = {words[0]: words[1] for words in lines if len(words) > 3}
    assert {"flow": "2", "features": "1", "networks": "1", "reports": "1", "all": "5"}.items() <= counts.items()
    assert time.strftime("%Y-%m-%d") in result.stdout
    assert result.stderr == f"the cache is {cache.folder}\n"
    described = json.loads(run("list", "--json", env={"I3D_CACHE": str(cache.folder)}).stdout)
    assert described["folder"] == str(cache.folder)
    assert described["kinds"]["flow"]["files"] == 2
    assert described["kinds"]["flow"]["bytes"] > 4000
    assert described["kinds"]["unfinished"] == {"files": 0, "bytes": 0, "last_used": None}


def test_clear_asks_for_a_confirmation_without_a_terminal(cache):
    before = files_in(cache.folder)
    result = run("clear", "--cache", cache.folder)
    assert result.returncode == 2
    assert f"would remove 5 files (0.0 MB) of {cache.folder}; confirm with --yes" in result.stderr
    assert files_in(cache.folder) == before
    assert run("clear", "--cache", cache.folder, "--yes").returncode == 0
    assert files_in(cache.folder) == []
    assert "removed 0 files" in run("clear", "--cache", cache.folder).stderr


def test_kinds_and_ages(cache):
    old = time.time() - 40 * 86_400
    for path in cache.folder.rglob("*.bin"):
        os.utime(path, (old, old))
    assert "removed 1 file," in run("clear", "--cache", cache.folder, "--older-than", 30, "--yes").stderr
    assert not list(cache.folder.rglob("*.bin"))
    assert "removed 2 files," in run("clear", "flow", "--cache", cache.folder, "--yes").stderr
    assert sorted(path.suffix for path in cache.folder.rglob("*.*")) == [".array", ".record"]
    removed = json.loads(run("clear", "features", "reports", "--cache", cache.folder, "--yes", "--json").stdout)
    assert removed["num_files"] == 2
    wrong = run("clear", "videos", "--cache", cache.folder)
    assert wrong.returncode == 2
    assert "'videos': is not one of flow, features, networks, reports, unfinished" in wrong.stderr


def test_other_files_stay(cache, tmp_path):
    place = next(cache.folder.glob("??"))
    others = [cache.folder / "inductor/ab/x.bin", cache.folder / "notes.txt", place / "video.flow.mkv",
              place / f"{'a' * 62}.mkv", place / f"{'A' * 62}.bin", place / f"{'a' * 62}.bin.old",
              cache.folder / "abc" / f"{'a' * 62}.bin", place / f"{'b' * 62}.bin" / "inner"]  # fmt: skip
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / f"{'c' * 62}.bin").write_text("mine")
    (cache.folder / "ff").symlink_to(tmp_path / "elsewhere")
    (place / f"{'d' * 62}.bin").symlink_to(tmp_path / "elsewhere" / f"{'c' * 62}.bin")
    assert "other files or folders in it" in run("list", "--cache", cache.folder).stderr
    assert "removed 5 files" in run("clear", "--cache", cache.folder, "--yes").stderr
    assert all(path.read_text() == "mine" for path in others)
    assert (tmp_path / "elsewhere" / f"{'c' * 62}.bin").read_text() == "mine"
    assert (place / f"{'d' * 62}.bin").is_symlink()


def test_what_a_process_reads_or_writes_stays(cache):
    key = cache_key(number=9)
    (cache.folder / key[:2]).mkdir(exist_ok=True)
    with replacing(cache.path(key, ".bin")) as unfinished:
        unfinished.write_bytes(b"half")
        left = unfinished.with_name(unfinished.name.replace(unfinished.name[-8:-4], "0000"))
        left.write_bytes(b"of a killed process")
        with cache.path(cache_key(number=2), ".bin").open("rb"):
            result = run("clear", "--cache", cache.folder, "--yes")
        assert unfinished.exists()
        assert not left.exists()
    assert result.returncode == 0
    if sys.platform == "linux":
        assert "2 files: in use by a running process, and not removed" in result.stderr
        assert cache.load_bytes(cache_key(number=2)) == b"network"
    assert cache.load_bytes(cache_key(number=0)) is None


def test_a_folder_that_is_missing_or_none(tmp_path):
    for verb in ("list", "clear"):
        assert run(verb, "--cache", tmp_path / "none").returncode == 0
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("mine")
    for verb in ("list", "clear"):
        result = run(verb, "--cache", tmp_path / "file")
        assert result.returncode == 2
        assert "file: is no folder; name the folder of the cache" in result.stderr


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read all folders")
def test_a_folder_that_cannot_be_read(cache):
    place = next(cache.folder.glob("??"))
    place.chmod(0)
    try:
        assert run("list", "--cache", cache.folder).returncode == 3
    finally:
        place.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("answer", "is_removed"), [("y", True), ("n", False), ("", False)])
def test_it_asks_on_a_terminal(cache, answer, is_removed):
    main, other = os.openpty()
    words = [sys.executable, "-m", "i3d", "cache", "clear", "--cache", str(cache.folder)]
    with subprocess.Popen(words, stdin=other, stdout=subprocess.DEVNULL, stderr=other) as process:
        os.close(other)
        printed = b""
        while b"[y/N]" not in printed:
            printed += os.read(main, 1000)
        os.write(main, f"{answer}\n".encode())
        assert process.wait(30) == 0
    os.close(main)
    assert (files_in(cache.folder) == []) is is_removed


@pytest.mark.parametrize(("value", "expected"), [(None, "cache/inductor"), ("", "cache/inductor"), ("mine", "mine")])
def test_compiled_code_is_in_the_cache_unless_a_variable_names_a_folder(tmp_path, monkeypatch, value, expected):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    if value is None:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    elif value:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / value))
    use_inductor_cache(Cache(tmp_path / "cache"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / expected)
