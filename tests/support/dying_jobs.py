"""Jobs for worker processes, each of which imports this module; some end their process."""

import os
import re
import signal
import time

import i3d.data.check.clip
from i3d.data.check.clip import inspect_clip
from i3d.data.frame_extraction.jobs import FrameJob
from i3d.errors import InputError
from i3d.utils.atomic_files import unfinished_folder


class DyingJob(FrameJob):
    """Kills its process in the middle of clip "b 2", as the system does when memory runs out."""

    def run(self, settings, cache=None):
        if "b 2" in self.path:
            with unfinished_folder(self.out):
                os.kill(os.getpid(), signal.SIGKILL)
        return super().run(settings, cache)


def work(job):
    if job == "die":
        os._exit(7)
    if job == "exit":
        os._exit(0)
    if job == "wrong":
        raise InputError("wrong: raised for the caller")
    return job.upper(), os.getpid()


def inspect_or_die(job):
    match job.file.stem:
        case "hangs":
            re.match(r"(a+)+$", "a" * 64 + "b")  # holds the interpreter's lock, as hanging C code may
        case "sleeps":
            time.sleep(600)
        case "exits":
            os._exit(7)
        case "segfaults":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fails":
            i3d.data.check.clip.find_truncation = None
        case "greedy":
            i3d.data.check.clip.find_truncation = lambda *_: bytearray(2 << 30)
    return inspect_clip(job)


def exit_at_once(*_):
    os._exit(3)
