"""Test models: scores of labelled clips (`i3d.evaluate`), metrics, reports and files of results.

The names are those of `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
