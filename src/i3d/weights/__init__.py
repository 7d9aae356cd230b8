"""Load weights of any source, and save them as i3d checkpoints.

>>> from i3d.weights import load_weights
>>> load_weights("inception_rgb_kinetics400").card.recipe.name
'inception_rgb_kinetics400'

The names are those of `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
