"""What the commands print: results and tables on stdout, progress on stderr. Names are those of `__init__.pyi`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
