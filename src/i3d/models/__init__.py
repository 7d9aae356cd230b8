"""Networks, each whole in one file, and the engine that runs them.

>>> from i3d.models import build_network
>>> from i3d.recipes.settings import ResNetSettings
>>> net = build_network(ResNetSettings(depth=18))  # float clips (N, C, T, H, W) -> logits (N, K)

The names are those of `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
