"""The log of finished items: what is reused, what is refused, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from i3d.data.content import file_signature
from i3d.data.resume import (
    ResumeLog,
    changed_settings,
    check_settings,
    describe_changes,
    is_current,
    read_record,
)
from i3d.errors import InputError
from i3d.utils.outputs import COMPLETE

KEYS = ("a", "b", "c")


def open_log(out, settings=None, keys=KEYS, **options):
    settings = {"fps": 20.0} if settings is None else settings
    options = {"encode": lambda value: {"value": value}, "decode": lambda row: row["value"], **options}
    return ResumeLog(out, settings, keys, **options)


def values(log, signature=(1,)):
    return [log.get(key, lambda: signature) for key in KEYS]


@pytest.fixture
def out(tmp_path):
    with open_log(tmp_path / "r.json") as log:
        log.add("a", [1], 10)
        log.add("b", [1], 20)
    return tmp_path / "r.json"


def test_items_are_reused_while_their_sources_are_unchanged(out):
    with open_log(out) as log:
        assert values(log) == [10, 20, None]
        assert values(log, signature=(2,)) == [None, None, None]
        log.add("a", [2], 11)
        log.add("c", [], 30)  # without a signature, as the standard input
    with open_log(out) as log:
        assert values(log) == [None, 20, None]
        assert values(log, signature=(2,)) == [11, None, None]
        assert values(log, signature=()) == [None, None, None]


def test_a_signature_changes_with_the_file(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"1")
    first = file_signature(str(tmp_path / "v.mp4"))
    (tmp_path / "v.mp4").write_bytes(b"22")
    assert file_signature(str(tmp_path / "v.mp4")) != first
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.jpg").write_bytes(b"1")
    one = file_signature(str(tmp_path / "frames"))
    (tmp_path / "frames" / "2.jpg").write_bytes(b"")
    assert file_signature(str(tmp_path / "frames")) != one
    os.mkfifo(tmp_path / "pipe")
    for name in ("gone.mp4", "pipe", "a\0b"):
        assert file_signature(str(tmp_path / name)) == []


@pytest.mark.parametrize("tail", ['{"key": "c", "sig', "x"])
def test_a_line_that_a_kill_has_cut_is_ignored_and_removed(out, tail):
    path = out.with_name(".r.json.resume")
    with path.open("a") as file:
        file.write(tail)
    with open_log(out) as log:
        assert values(log) == [10, 20, None]
        log.add("c", [1], 30)
    with open_log(out) as log:
        assert values(log) == [10, 20, 30]


@pytest.mark.parametrize("line", ["junk", "[]", "[" * 3000, '{"key": "c", "signature": [1], "row": {"value": 30}}'])
def test_a_line_that_is_not_ours_is_dropped(out, line, caplog):
    with out.with_name(".r.json.resume").open("a") as file:
        file.write(f"{line}\n")
    with open_log(out) as log:
        assert values(log) == [10, 20, None]
    named = ": c" if "key" in line else ""
    dropped = "dropped, and what they held is done again"
    assert caplog.messages == [f"{log.path}: 1 line damaged or edited (line 4{named}); {dropped}"]
    caplog.clear()
    open_log(out).close()
    assert not caplog.messages  # it is no longer in the log


def test_every_changed_character_is_found(out, caplog):
    """An item is believed as it was logged, or done again; other settings than those that were logged are refused."""
    path = out.with_name(".r.json.resume")
    content = path.read_bytes()
    for place in range(len(content) - 1):
        for byte in {content[place] ^ 1, ord("0"), ord("\n"), 0xFF} - {content[place]}:
            path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
            caplog.clear()
            try:
                with open_log(out) as log:
                    read = values(log)
            except InputError as error:
                assert place < content.index(b"\n") + 1
                assert "--force" in str(error)
                assert "\n" not in str(error)
                continue
            assert read in ([None, 20, None], [10, None, None], [None, None, None])
            assert len(caplog.messages) == 1


def test_an_item_that_cannot_be_decoded_is_an_error(out):
    with open_log(out, decode=lambda row: row["other"]) as log, pytest.raises(InputError, match="damaged"):
        values(log)


def test_other_settings_are_named_and_refused(out):
    before = out.with_name(".r.json.resume").read_bytes()
    message = r"holds results made with other settings \(fps was 20\.0, now 24\.0; crop was not set, now 224\).*--force"
    with pytest.raises(InputError, match=message):
        open_log(out, {"fps": 24.0, "crop": 224})
    with pytest.raises(InputError, match="holds results of b, which is not in this run"):
        open_log(out, keys=("a",))
    assert out.with_name(".r.json.resume").read_bytes() == before
    with open_log(out, {"fps": 24.0}, force=True) as log:
        assert values(log) == [None, None, None]
    with open_log(out, {"fps": 24.0}) as log:
        assert values(log) == [None, None, None]


def test_an_output_without_a_log_is_refused(tmp_path):
    (tmp_path / "r.json").write_text("precious")
    with pytest.raises(InputError, match=r"--force \(nothing is left to resume: its run is complete, or it is of"):
        open_log(tmp_path / "r.json")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


HOLDER = """
import os, sys, time
from i3d.data.resume import ResumeLog
log = ResumeLog(__import__("pathlib").Path(sys.argv[1]), {"fps": 20.0}, [str(i) for i in range(10**6)],
                encode=lambda value: {"value": value}, decode=lambda row: row["value"])
if os.fork() == 0:  # as a worker that outlives its killed run for a while
    time.sleep(20)
    os._exit(0)
print("open", flush=True)
for i in range(10**6):
    log.add(str(i), [1], "x" * (i * 7919 % 3000))
"""


@pytest.mark.slow
def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path):
    out = tmp_path / "r.json"
    run = subprocess.Popen([sys.executable, "-c", HOLDER, out], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert run.stdout.readline() == b"open\n"
        for force in (False, True):
            with pytest.raises(
                InputError, match="another run is writing it; wait for that run, or choose another --out"
            ):
                open_log(out, force=force)
        log = out.with_name(".r.json.resume")
        while log.stat().st_size < 200_000:
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()  # in the middle of a write
        run.wait(10)
        lines = log.read_bytes().split(b"\n")[1:-1]
        assert len(lines) > 50
        with open_log(out, keys=[str(i) for i in range(10**6)]) as again:  # its worker still lives
            for i in range(len(lines)):
                assert again.get(str(i), lambda: [1]) == "x" * (i * 7919 % 3000)
            assert again.get(str(len(lines)), lambda: [1]) is None
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.stdout.close()


def on_ranks(function, size):
    """The results of `function(rank, all_gather)` of all ranks, which are threads."""
    barrier, slots = Barrier(size), [[] for _ in range(size)]

    def all_gather(rank, lines):
        slots[rank] = lines
        barrier.wait(30)
        gathered = [line for lines in slots for line in lines]
        barrier.wait(30)
        return gathered

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: function(rank, partial(all_gather, rank)), range(size)))


def test_the_logs_of_all_ranks_are_merged(tmp_path):
    out = tmp_path / "r.json"

    def one_item_each(rank, all_gather):
        with open_log(out, rank=rank, all_gather=all_gather) as log:
            before = values(log)
            log.add(KEYS[rank], [1], rank)
            return before

    assert on_ranks(one_item_each, 3) == [[None, None, None]] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".r.json.1.resume",
        ".r.json.2.resume",
        ".r.json.resume",
    ]
    with open_log(out) as log:
        assert values(log) == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == [".r.json.resume"]
    with open_log(out) as log:
        assert values(log) == [0, 1, 2]


def test_all_ranks_raise_the_refusal_of_one(tmp_path):
    outs = [tmp_path / str(rank) / "r.json" for rank in range(2)]
    for out in outs:
        out.parent.mkdir()
    outs[0].write_text("precious")

    def refusal(rank, all_gather):
        with pytest.raises(InputError) as error:
            open_log(outs[rank], rank=rank, all_gather=all_gather)
        return str(error.value)

    assert (
        on_ranks(refusal, 2)
        == [f"--out {outs[0]}: the file exists; choose another name, or replace it with --force{COMPLETE}"] * 2
    )


def test_names_with_signs_of_patterns(tmp_path):
    (tmp_path / ".rx.1.resume").write_text("not ours")
    with open_log(tmp_path / "r[x]") as log:
        log.add("a", [1], 1)
    with open_log(tmp_path / "r*") as log:
        assert values(log) == [None, None, None]
    assert (tmp_path / ".rx.1.resume").read_text() == "not ours"


def test_changes_are_named_by_their_place():
    before = {"a": 1, "b": {"c": [1, 2], "d": None}, "gone": 1}
    now = {"a": 1, "b": {"c": [1, 3], "d": {"e": 1}}, "new": 2}
    assert changed_settings(before, now) == [
        ("b.c", [1, 2], [1, 3]),
        ("b.d", None, {"e": 1}),
        ("gone", 1, None),
        ("new", None, 2),
    ]
    assert describe_changes({"a": 1}, {"a": 2}) == "a was 1, now 2"
    networks = [{"flow": "dis", "sha256": "0b39"}]
    assert describe_changes({"w": networks}, {"w": [{**networks[0], "flow": "tvl1"}]}) == "w[0].flow was dis, now tvl1"
    assert describe_changes(before, before) == ""
    many = describe_changes({str(i): 0 for i in range(7)}, {str(i): 1 for i in range(7)})
    assert many.endswith("4 was 0, now 1; and 2 more")
    check_settings(before, before, where="x.json")
    with pytest.raises(
        InputError, match=r"^x\.json: made with other settings \(a was 1, now 2\); choose another --out"
    ):
        check_settings({"a": 1}, {"a": 2}, where="x.json")


def test_a_record_is_current_if_settings_and_source_are_the_same(tmp_path):
    record = {"made_with": {"fps": 1}, "signature": [1]}
    assert is_current(record, {"fps": 1}, [1])
    assert not any((
        is_current(record, {"fps": 2}, [1]), is_current(record, {"fps": 1}, [2]), is_current(None, {}, [1]),
        is_current({}, {"fps": 1}, [1]), is_current({"made_with": {}, "signature": []}, {}, []),
    ))  # fmt: skip
    path = tmp_path / "r.json"
    assert read_record(path) is None
    for content, expected in (("{", {}), ("[1]", {}), ("\xff", {}), (json.dumps(record), record)):
        path.write_text(content, encoding="latin-1")
        assert read_record(path) == expected
    assert read_record(Path(path / "below.json")) is None
