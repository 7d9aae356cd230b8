"""Datasets: read, check, split and write lists of clips, and load batches of them.

>>> from i3d.data import read_annotations, split_annotations, write_annotations
>>> clips = read_annotations("actions/")  # doctest: +SKIP
>>> write_annotations(split_annotations(clips, val=0.2).annotations, "clips.csv")  # doctest: +SKIP

The names are those of `__init__.pyi`; each is imported on first use: reading a list does not import PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
