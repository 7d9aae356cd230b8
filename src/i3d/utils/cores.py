"""How many cores a process may use, and how many threads it should start. Without PyTorch."""

import multiprocessing
import os
from pathlib import Path


def num_cores() -> int:
    """The cores that this process may use: by its affinity, and by the quota of its control group."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such group, or no quota: "max 100000"
        pass
    return cores


def num_threads() -> int:
    """Threads for work on the CPU: the cores, divided among the processes of torchrun; 1 in a worker process."""
    if multiprocessing.parent_process() is not None:
        return 1  # its main process starts one worker for each core or so
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, num_cores() // max(1, int(processes) if processes.isdecimal() else 1))
