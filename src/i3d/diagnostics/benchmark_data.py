"""`i3d benchmark data`: the loading speed of clips, and the time of each stage."""

import time
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from i3d.data.loading.dataset import ClipDataset, TrainView
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, counted
from i3d.utils.arguments import checks_types
from i3d.utils.cores import num_cores
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress


@dataclass(frozen=True)
class DataSpeed:
    """Clips per second by number of worker processes (0: this process), and the time of each stage."""

    num_clips: int
    view: str
    stage_ms: dict[str, float]  # of one clip, in this process
    clips_per_second: dict[int, float]  # by number of workers
    num_cores: int
    bad: tuple[str, ...]

    @property
    def clip_ms(self) -> float:
        return sum(self.stage_ms.values())

    @property
    def bottleneck(self) -> str:
        """The slowest stage, with advice."""
        stage = max(self.stage_ms, key=lambda name: self.stage_ms[name])
        return f"{stage}, {100 * self.stage_ms[stage] / self.clip_ms:.0f} % of a clip's time: {ADVICE[stage]}"

    def as_dict(self) -> dict[str, Any]:
        """The measurements as JSON values."""
        return {**asdict(self), "clip_ms": self.clip_ms, "bottleneck": self.bottleneck}


ADVICE = {
    "open": "the storage opens files slowly; pack them (`i3d data pack`) or copy them to a faster disk",
    "seek": "seeking in long files is slow; cut the videos, or extract frames",
    "decode": "re-encode videos smaller and with more keyframes, extract frames, or use more workers",
    "resize": "store the videos at the short side of the recipe (`i3d data extract-frames --short-side`)",
    "crop": "a fused recipe resamples once instead of twice",
    "change": "use fewer or cheaper augmentations",
    "collate": "memory is slow; use smaller batches",
}


@checks_types
def measure_data(
    dataset: ClipDataset,
    *,
    num_clips: int = 64,
    batch_size: int = 8,
    workers: tuple[int, ...] = (0, 1, 2),
    on_progress: ProgressCallback = ignore_progress,
) -> DataSpeed:
    """Load `num_clips` clips in training order, once for each number of workers, after a warm-up batch.

    The first pass over files outside the page cache also measures the storage.
    """
    if num_clips < 1:
        raise InputError(f"num_clips must be at least 1, got {num_clips}")
    bad: dict[int, str] = {}
    stage_ms: dict[str, float] = {}
    speeds = {}
    for num_workers in sorted({0, *workers}):
        loader = ClipLoader(dataset, batch_size=batch_size, num_workers=num_workers, max_bad=1.0)
        dataset.timer.is_on = num_workers == 0
        num_loaded, seconds = _load(loader, num_clips, f"load clips, {counted(num_workers, 'worker')}", on_progress)
        dataset.timer.is_on = False
        speeds[num_workers] = num_loaded / seconds
        if num_workers == 0:
            stage_ms = {name: 1000 * spent / num_loaded for name, spent in dataset.timer.seconds.items()}
        bad.update({index: clip.reason for index, clip in loader.bad.items()})
    view = "training" if isinstance(dataset.view, TrainView) else "test"
    return DataSpeed(num_clips, view, stage_ms, speeds, num_cores(), tuple(bad.values()))


def _load(loader: ClipLoader, num_clips: int, stage: str, on_progress: ProgressCallback) -> tuple[int, float]:
    """The number of loaded clips and the seconds, after a warm-up batch."""
    num_loaded, start = 0, 0.0
    on_progress(Progress(stage, 0, num_clips, "clip"))
    for epoch in count(0):
        for batch in loader.batches(epoch=epoch):
            if start == 0.0:  # until here, processes start and import code
                loader.dataset.timer.reset()
                start = time.perf_counter()
                continue
            num_loaded += len(batch)
            on_progress(Progress(stage, min(num_loaded, num_clips), num_clips, "clip"))
            if num_loaded >= num_clips:
                return num_loaded, time.perf_counter() - start
        if epoch and not num_loaded:
            raise InputError("no clip can be read; see `i3d data check`")
    raise AssertionError
