"""A terminal in which a test runs a command: what it shows after each change, as a person would see it."""

import contextlib
import fcntl
import os
import re
import select
import struct
import sys
import termios
import time
from dataclasses import dataclass, field
from threading import Thread
from unittest import mock

import pyte

from i3d.cli.main import main
from support.processes import start

ROWS = 60
ERASE = b"\r\x1b[2K"  # the line of the bar is drawn again: what was shown until then counts as a screen
BAR = re.compile("[━╸╺]")
LAST_SECONDS = 0.3  # in which nothing more is written


@dataclass
class Recording:
    """The lines of the terminal after each change, and how the command ended."""

    screens: list[list[str]] = field(default_factory=list)
    code: int | None = None
    cursor_is_hidden: bool = False

    @property
    def bars(self):
        """The lines of bars, in the order in which they were shown."""
        return [line for lines in self.screens for line in lines if BAR.search(line)]

    @property
    def stages(self):
        """The stages that bars named, each once where it follows itself."""
        stages = [re.split("  +", line)[0] for line in self.bars]
        return [stage for stage, before in zip(stages, ["", *stages], strict=False) if stage != before]

    @property
    def text(self):
        """What is left on the terminal, without spaces and line ends: long lines wrap anywhere."""
        return re.sub(r"\s", "", "".join(self.screens[-1]))


def record(words, *, columns, interrupt_at=None):
    """Run `i3d WORDS` in a terminal of this width: in this process or, with `interrupt_at`, in its own.

    There Ctrl-C is typed once a bar matches it.
    """
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    screen, recording = pyte.Screen(columns, ROWS), Recording([[""]])
    stream = pyte.ByteStream(screen)
    try:
        if interrupt_at is None:
            run = Thread(target=_show, args=(master, stream, screen, recording, lambda: recording.code is not None))
            run.start()
            code = _run_here(words, slave, columns)
            termios.tcdrain(slave)
            recording.code = code
            run.join()
        else:
            with mock.patch.dict(os.environ, {"TERM": "xterm-256color"}):
                os.environ.pop("COLUMNS", None)
                process = start(["i3d", *words], terminal=os.ttyname(slave))
            _show(master, stream, screen, recording, lambda: process.poll() is not None, interrupt_at)
            recording.code = process.poll()
        recording.cursor_is_hidden = screen.cursor.hidden
    finally:
        os.close(master)
        os.close(slave)
    return recording


def _run_here(words, slave, columns):
    """Run the command with the terminal as its output; its exit code."""
    with (
        open(slave, "w", buffering=1, closefd=False) as out,
        mock.patch.dict(os.environ, {"TERM": "xterm-256color", "COLUMNS": str(columns)}),
        mock.patch.object(sys, "argv", ["i3d", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        try:
            main()
        except SystemExit as ended:
            return ended.code or 0
    return 0


def _show(master, stream, screen, recording, has_ended, interrupt_at=None):
    """Show what the command writes, until it has ended."""
    end = time.monotonic() + 200
    # On a busy machine, what was written last arrives a while after the end.
    while not has_ended() or select.select([master], [], [], LAST_SECONDS)[0]:
        select.select([master], [], [], 0.02)
        assert time.monotonic() < end, screen.display
        if not select.select([master], [], [], 0)[0]:
            continue
        for piece in re.split(b"(?=%b)" % re.escape(ERASE), os.read(master, 1 << 16)):
            stream.feed(piece)
            recording.screens.append([line.rstrip() for line in screen.display])
        if interrupt_at is not None and recording.bars and re.search(interrupt_at, recording.bars[-1]):
            os.write(master, b"\x03")
            interrupt_at = None


def check_screens(recording, *, columns):
    """No bar shares its line, wraps, or leaves anything behind."""
    for lines in recording.screens:
        shown = [number for number, line in enumerate(lines) if line]
        with_bar = [number for number in shown if BAR.search(lines[number])]
        assert len(with_bar) <= 1, lines
        for number in with_bar:
            assert number == shown[-1], lines  # below it, nothing: it is one line, and messages are above it
            assert re.match(r"[a-z][\w ,-]*?  ", lines[number]), lines[number]
            assert len(lines[number].removesuffix("^C")) <= columns - 4, lines[number]  # which the terminal echoes
    assert not any(BAR.search(line) for line in recording.screens[-1]), recording.screens[-1]
    assert not recording.cursor_is_hidden
