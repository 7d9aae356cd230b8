"""The number of random examples of a property test."""

import os

from hypothesis import settings

FUZZ = int(os.environ.get("I3D_FUZZ", "1"))  # `make fuzz` multiplies the numbers of examples by it


def examples(count, **options):
    """Settings with `count` examples in `make test`, and more in `make fuzz`; the rest is set in `conftest.py`."""
    return settings(max_examples=count * FUZZ, **options)
