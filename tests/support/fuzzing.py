"""How many damaged files a fuzz test makes: all of them in `make fuzz`, a twentieth in `make test`."""

from support.examples import FUZZ

FULL = 20  # the factor of `make fuzz`


def rounds(full):
    """The number of mutants, `full` in `make fuzz`. Each mutant is seeded by its number, so both draw the same ones."""
    return full * min(FUZZ, FULL) // FULL
