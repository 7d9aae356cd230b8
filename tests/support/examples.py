"""How many examples a property is tried with."""

import os

from hypothesis import settings

FUZZ = int(os.environ.get("I3D_FUZZ", "1"))  # `make fuzz` multiplies the numbers of examples by it


def examples(count, **options):
    """`count` examples, by the profile of the run (`conftest.py`)."""
    return settings(max_examples=count * FUZZ, **options)
