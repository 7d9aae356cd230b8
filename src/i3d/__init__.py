"""Recognise human actions in video with Inflated 3D ConvNets.

>>> import i3d
>>> i3d.predict("clip.mp4").top1  # doctest: +SKIP
LabelScore(label='playing cricket', score=0.9951)

The names are those of `__init__.pyi`; each is imported when it is first used, so that `import i3d` stays light.
"""

import lazy_loader

from i3d._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
