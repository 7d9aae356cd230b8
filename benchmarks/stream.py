"""Live sources in real time, through the command line: lag, drops, stalls, losses; memory and descriptors over minutes.

    python benchmarks/stream.py benchmarks/results                # all: about 13 minutes
    python benchmarks/stream.py results --only fast stall         # some
    python benchmarks/stream.py results --minutes 2               # a shorter `long`
    python benchmarks/stream.py results --small                   # a small network, on a busy machine

fast   a file that is played as a camera; windows are due three times as often as the network can label them
stall  a pipe: 20 s of video, nothing for 5 s, these 5 s (150 frames) at once, 20 s of video
lost   an HTTP camera that ends after 10 s, refuses twice, and comes back with frames of another size
long   an HTTP camera that breaks off each minute
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import lru_cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Final

import av
import cv2
import torch
from dense_features import frame
from result_files import Row, result_path, write_csv

from i3d.models.factory import build_network
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Preprocessing, ResNetSettings
from i3d.streaming.scorer import WindowScorer
from i3d.utils.device import ComputeConfig
from i3d.video.writer import write_video
from i3d.weights.checkpoint import Card, save_checkpoint
from i3d.weights.pretrained import DEFAULT

WINDOW: Final = 64  # frames at 25 fps of the shipped network: 2.56 s
SPAN: Final = WINDOW / 25
Watched = dict[str, Any]
Feed = Callable[[int, threading.Event], None]  # writes to a descriptor; the event: the stream has begun


def save_small(folder: Path) -> str:
    """A network of random weights that takes a small part of the time; its windows are as long."""
    network = ResNetSettings(depth=18, base_channels=16, num_classes=2)
    pre = Preprocessing(short_side=128, crop=112, mean=(127.5,) * 3, std=(60.0,) * 3)
    protocol = ClipProtocol(clip_len=WINDOW, frame_interval=1, num_clips=1, target_fps=25)
    recipe = Recipe(name="small", network=network, preprocessing=pre, protocol=protocol, dataset="")
    path = folder / "small.safetensors"
    card = Card(recipe=recipe, labels=("a", "b"), licence="none", origin={"source": "a benchmark"})
    save_checkpoint(path, build_network(network).state_dict(), card)
    return str(path)


def watch(words: list[str], *, model: str, seconds: float, feed: Feed | None = None) -> Watched:
    """Run `i3d stream WORDS --json` for so long; its rows, and its memory, descriptors and threads each second."""
    command = [sys.executable, "-m", "i3d", "stream", *words, "--model", model, "--json"]
    command += ["--precision", "auto", "--max-seconds", f"{seconds:g}"]
    begun = threading.Event()
    read, write = os.pipe()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=read, text=True)
    os.close(read)
    if feed is None:
        os.close(write)
    else:
        threading.Thread(target=feed, args=(write, begun), daemon=True).start()
    samples: list[tuple[float, int, int, int]] = []
    rows: list[dict[str, Any]] = []
    assert process.stdout is not None
    for line in process.stdout:
        rows.append(json.loads(line))
        begun.set()
        if rows[-1]["type"] == "stats":
            samples.append((rows[-1]["seconds"], *usage(process.pid)))
    if process.wait():
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return {"rows": rows, "samples": samples, "summary": rows[-1], "labels": [r for r in rows if r["type"] == "label"]}


def usage(process: int) -> tuple[int, int, int]:
    """Memory in MiB, open descriptors and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    descriptors = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
    return int(status["VmRSS"].split()[0]) >> 10, descriptors, int(status["Threads"])


def fast(model: str) -> Row:
    """A source at three times the speed of the network, for 60 s."""
    scorer = WindowScorer(model, compute=ComputeConfig("cpu", "auto"))
    pass_seconds = scorer.seconds(batch=1, frames=WINDOW)
    clip = Path(tempfile.mkdtemp()) / "fast.mp4"
    write_video(clip, (frame(number) for number in range(30 * 75)), fps=Fraction(30))
    stride = max(1, round(25 * pass_seconds / 3)) / 25
    words = [str(clip), "--policy", "newest", "--stride-seconds", f"{stride:g}"]
    watched = watch(words, model=model, seconds=60)
    return {
        **row_of("fast", watched),
        "note": f"a pass of {pass_seconds:.2f} s alone, a stride of {stride:.2f} s, a window of {SPAN:g} s",
        "ok": watched["summary"]["lag_max"] < SPAN and watched["summary"]["skipped"] > 0,
    }


def stall(model: str) -> Row:
    """Five seconds without a frame, and then 150 frames at once."""
    held = (20.0, 25.0)
    watched = watch(["-"], model=model, seconds=45, feed=lambda *to: send_transport_stream(*to, 60, held))
    behind = [row["seconds"] - row["last_pts"] for row in watched["labels"]]
    first, last = min(behind[:5]), min(behind[-5:])
    return {
        **row_of("stall", watched),
        "note": f"labels are {last - first:+.2f} s later by their time stamps at the end than at the start",
        "ok": watched["summary"]["lag_max"] < SPAN and last - first < 0.5,
    }


def send_transport_stream(write: int, begun: threading.Event, seconds: float, held: tuple[float, float]) -> None:
    """Write 30 frames a second as they are filmed; those filmed between the two times wait for the second one.

    The first two seconds come at once, and the rest when the stream has begun: a network takes a while to load.
    """
    begin, waiting, options = 0.0, list[av.Packet](), {"flush_packets": "1"}
    with (
        suppress(OSError, av.error.FFmpegError),  # the reader has ended
        os.fdopen(write, "wb", buffering=0) as file,
        av.open(file, "w", format="mpegts", options=options) as out,
    ):
        stream = out.add_stream("libx264", 30, options={"preset": "ultrafast", "tune": "zerolatency", "g": "30"})
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for number in range(round(30 * seconds)):
            if number == 60:
                begun.wait()
                begin = time.monotonic() - 2
            waiting += stream.encode(av.VideoFrame.from_ndarray(frame(number % 300), format="rgb24"))
            if not held[0] <= number / 30 < held[1]:
                time.sleep(max(0.0, begin + number / 30 - time.monotonic()))
                out.mux(waiting)
                waiting.clear()


@lru_cache
def jpegs(width: int, height: int) -> list[bytes]:
    """Ten seconds of frames."""
    images = (cv2.resize(frame(number), (width, height)) for number in range(300))
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


@contextmanager
def camera(plan: Callable[[int], tuple[float, tuple[int, int]] | None]) -> Iterator[str]:
    """An HTTP camera of 30 JPEGs a second: `plan(k)` has seconds and size of connection k; None: it is refused."""
    connections = count()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            planned = plan(next(connections))
            if planned is None:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            seconds, (width, height) = planned
            jpegs(width, height)
            begin = time.monotonic()
            for number in range(round(30 * seconds)):
                jpeg = jpegs(width, height)[number % 300]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                time.sleep(max(0.0, begin + number / 30 - time.monotonic()))
                try:
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:
                    return

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live"
    finally:
        server.shutdown()
        server.server_close()


def lost(model: str) -> Row:
    """A camera that ends, refuses twice, and comes back with another size."""
    plans = {0: (10.0, (340, 256)), 1: None, 2: None}
    for size in ((340, 256), (480, 360)):
        jpegs(*size)  # rendered before: a busy machine takes seconds
    with camera(lambda number: plans.get(number, (60.0, (480, 360)))) as address:
        watched = watch([address, "--allow-network"], model=model, seconds=30)
    what = [row["what"] for row in watched["rows"] if row["type"] == "event"]
    after = [row for row in watched["labels"] if row["seconds"] > 18]
    return {
        **row_of("lost", watched),
        "note": "; ".join(what),
        "ok": watched["summary"]["reconnects"] == 1 and len(after) > 3 and watched["summary"]["lag_max"] < SPAN,
    }


def long(model: str, *, minutes: float) -> Row:
    """A camera that breaks off each minute: the memory of the second half is flat, as are descriptors and threads."""
    with camera(lambda _: (60.0, (340, 256))) as address:
        watched = watch([address, "--allow-network"], model=model, seconds=60 * minutes)
    samples = watched["samples"]
    by_minute = [[sample for sample in samples if sample[0] // 60 == minute] for minute in range(round(minutes))]
    memory, descriptors, threads = (
        [round(statistics.median(sample[k] for sample in part)) for part in by_minute if part] for k in (1, 2, 3)
    )
    middle = len(memory) // 2
    return {
        **row_of("long", watched),
        "note": f"medians by minute: MiB {memory}, descriptors {descriptors}, threads {threads}",
        "ok": memory[-1] <= 1.03 * memory[middle] and max(descriptors) <= 1 + min(descriptors) and max(threads) <= 4,
    }


def row_of(name: str, watched: Watched) -> Row:
    """What all measurements have."""
    row = watched["summary"]
    shares = {f"{k}_percent": round(100 * row[f"{k}_share"]) for k in ("dropped", "skipped")}
    keys = ("seconds", "captured", "used", "dropped", "left_out", "windows", "skipped", "lag_p50", "lag_p95", "lag_max")
    load = round(os.getloadavg()[1], 1)
    return {"what": name, **{key: row[key] for key in keys}, **shares, "reconnects": row["reconnects"], "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the table")
    parser.add_argument("--only", nargs="+", choices=("fast", "stall", "lost", "long"), help="measure only these")
    parser.add_argument("--minutes", type=float, default=10, help="of `long`")
    parser.add_argument("--small", action="store_true", help="a small network instead of the shipped one")
    options = parser.parse_args()
    name = "stream-small" if options.small else "stream"
    table = result_path(options.out, name, threads=torch.get_num_threads()).with_suffix(".csv")
    model = save_small(Path(tempfile.mkdtemp())) if options.small else DEFAULT
    measures: dict[str, Callable[[str], Row]] = {"fast": fast, "stall": stall, "lost": lost}
    measures["long"] = partial(long, minutes=options.minutes)
    rows = []
    for name in options.only or measures:
        rows.append(measures[name](model))
        print(rows[-1], flush=True)
    write_csv(table, rows)
    if not all(row["ok"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
