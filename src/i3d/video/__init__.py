"""Read, sample, transform and write video.

>>> from i3d.video import open_video
>>> with open_video("clip.mp4") as video:  # doctest: +SKIP
...     frames_THWC = video.frames_at([0, 10, 20]).frames_THWC  # uint8 RGB

The names are those of `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
