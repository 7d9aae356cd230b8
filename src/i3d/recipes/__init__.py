"""Recipes: a network with its preprocessing, test protocol and training, as typed, frozen settings.

>>> from i3d.recipes import load_recipe, with_overrides
>>> recipe = load_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb")  # or a .yaml, .json or MMAction2 .py file
>>> with_overrides(recipe, ["training.epochs=20"]).training.epochs
20

The names are those of `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
