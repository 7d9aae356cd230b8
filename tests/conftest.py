"""Fixtures of several files, and the settings of the whole run. A failure is printed when it happens."""

import os
import signal

import cv2
import pytest
from hypothesis import settings

from support.examples import FUZZ
from support.rendering import numbered_frame, render

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in the order of one thread, here and in processes that tests start
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes beside those of the tests

# `make test` draws the same examples in every run and on every machine; `make fuzz` draws new ones, and more of them.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("fuzz", max_examples=100 * FUZZ, deadline=None, print_blob=True)
settings.load_profile("fuzz" if "I3D_FUZZ" in os.environ else "fixed")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs with SIGINT ignored, and a process that they start inherits this. A handler is
        # not inherited: with one, tests can interrupt the processes that they start.
        signal.signal(signal.SIGINT, lambda *_: None)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:  # None in the processes of pytest-xdist
        config.pluginmanager.register(FailuresAtOnce(reporter))


class FailuresAtOnce:
    def __init__(self, reporter):
        self.reporter = reporter

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.reporter.write_line(
                f"\n{report.when} of {report.nodeid} failed after {report.duration:.0f} s", red=True
            )
            self.reporter.write_line(report.longreprtext)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """A cache of the run, instead of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("I3D_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=hasattr(os, "sched_getscheduler"))
def _normal_priority():
    """No encoder leaves this process with real-time priority, which starves all others (`rendering.encode`)."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


@pytest.fixture
def kinetics(tmp_path, monkeypatch):
    """The folders of MMAction2's documentation with two clips a split, as current folder."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data" / "kinetics400"
    for split in ("train", "val"):
        videos, frames = root / f"videos_{split}", root / f"rawframes_{split}"
        videos.mkdir(parents=True)
        for i in range(2):
            render(videos / f"{i}.mp4", num_frames=12)
            (frames / str(i)).mkdir(parents=True)
            for k in range(12):
                cv2.imwrite(str(frames / str(i) / f"img_{k + 1:05d}.jpg"), numbered_frame(k))
        (root / f"kinetics400_{split}_list_videos.txt").write_text("0.mp4 0\n1.mp4 1\n")
        (root / f"kinetics400_{split}_list_rawframes.txt").write_text("0 12 0\n1 12 1\n")
    return tmp_path
