"""What the commands do: the modules that import PyTorch, each imported when a command first uses it.

`i3d.cli.*` declare the options, check them, then call these.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
