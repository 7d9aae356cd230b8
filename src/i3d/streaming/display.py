"""A window with the newest frame of each source and its labels, by Tk, in a thread of its own.

OpenCV without a window system has none to show; Tk comes with most Pythons.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np

from i3d.errors import InputError, first_line, printable
from i3d.inference.label_box import LabelBox
from i3d.inference.prediction import LabelScore
from i3d.video.base import FrameHWC

MAX_SIDE: Final = 640  # pixels of a frame
REFRESH_MS: Final = 40
TODO: Final = "leave out --show (in Python, show=True); labels are printed all the same"


class Display:
    """Frames and labels of sources. Closing the window sets `stop`."""

    def __init__(self, names: Sequence[str], stop: threading.Event) -> None:
        """Open the window. Without Tk or a screen that is an InputError."""
        self._names, self._stop = list(names), stop
        self._lock = threading.Lock()
        self._frames: dict[str, FrameHWC] = {}
        self._labels: dict[str, tuple[LabelScore, ...]] = {}
        self._error: Exception | None = None
        opened = threading.Event()
        self._tk = _import_tk()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="display", daemon=True)
        self._thread.start()
        opened.wait()
        if self._error is not None:
            raise InputError(f"--show: no window can be opened ({first_line(self._error)}); {TODO}")

    def taker_of(self, name: str) -> Callable[[FrameHWC], None]:
        """A function that takes each frame of a source."""

        def take(frame_HWC: FrameHWC) -> None:
            scale = MAX_SIDE / max(frame_HWC.shape[:2])
            size = (max(1, round(frame_HWC.shape[1] * scale)), max(1, round(frame_HWC.shape[0] * scale)))
            shown_HWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)
            with self._lock:
                self._frames[name] = shown_HWC.astype(np.uint8, copy=False)

        return take

    def show_labels(self, name: str, labels: tuple[LabelScore, ...]) -> None:
        """The labels of a source from now on."""
        with self._lock:
            self._labels[name] = labels

    def close(self) -> None:
        """Close the window."""
        self._stop.set()
        self._thread.join(2)

    def drawn(self, name: str) -> bytes | None:
        """The newest frame of a source with its labels, as PPM; None before the first."""
        with self._lock:
            shown_HWC, labels = self._frames.get(name), self._labels.get(name, ())
        if shown_HWC is None:
            return None
        shown_HWC = shown_HWC.copy()
        height, width = shown_HWC.shape[:2]
        if labels:
            _box(labels, height, width).blend(shown_HWC)
        return b"P6 %d %d 255\n" % (width, height) + shown_HWC.tobytes()

    def _run(self, opened: threading.Event) -> None:
        try:
            root = self._tk.Tk()
            root.title("i3d stream")
            root.protocol("WM_DELETE_WINDOW", self._stop.set)
            panels = {name: self._tk.Label(root, text=printable(name), compound="bottom") for name in self._names}
            for number, panel in enumerate(panels.values()):
                panel.grid(row=number // 2, column=number % 2)
        except Exception as error:
            self._error = error
            opened.set()
            return
        opened.set()
        self._refresh(root, panels)
        root.mainloop()

    def _refresh(self, root: Any, panels: dict[str, Any]) -> None:
        if self._stop.is_set():
            root.destroy()
            return
        for name, panel in panels.items():
            if (ppm := self.drawn(name)) is not None:
                panel.image = self._tk.PhotoImage(master=root, data=ppm)  # Tk keeps no reference of its own
                panel.configure(image=panel.image)
        root.after(REFRESH_MS, self._refresh, root, panels)


@lru_cache(maxsize=32)  # labels change a few times a second, frames more often
def _box(labels: tuple[LabelScore, ...], height: int, width: int) -> LabelBox:
    return LabelBox.draw(labels, height=height, width=width)


def _import_tk() -> Any:
    """tkinter, if this Python has it and there is a screen."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        raise InputError(f"--show: there is no screen (DISPLAY is not set); {TODO}")
    try:
        return importlib.import_module("tkinter")
    except ImportError as error:
        raise InputError(f"--show: this Python has no tkinter ({first_line(error)}); {TODO}") from error
