"""Jobs for worker processes in the tests; some end their process. Apart, because each process imports this."""

import os
import signal

from i3d.data.frame_extraction.jobs import FrameJob
from i3d.errors import InputError


class DyingJob(FrameJob):
    """Its process is killed, as by the system when memory runs out, in the middle of a clip of this name."""

    def run(self, settings):
        if "b 2" in self.path:
            with self.part():
                os.kill(os.getpid(), signal.SIGKILL)
        return super().run(settings)


def work(job):
    if job == "die":
        os._exit(7)
    if job == "wrong":
        raise InputError("wrong: told to the caller")
    return job.upper(), os.getpid()
