"""Finds by their names the classes that mirroring changes: "turn left" in a mirror is "turn right".

mirror_rule(("turn_left", "turn_right", "left_hook"))
MirrorRule(pairs=(("turn_left", "turn_right"),), alone=("left_hook",))
"""

import re
from dataclasses import dataclass
from typing import Final

PAIRS: Final = (
    ("left", "right"), ("leftward", "rightward"), ("leftwards", "rightwards"), ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"), ("cw", "ccw"),
)  # fmt: skip
OPPOSITE: Final = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W_A-Za-z]+")  # of turn_left, turnLeft2, TURN LEFT, links


@dataclass(frozen=True)
class MirrorRule:
    """How mirroring changes classes."""

    pairs: tuple[tuple[str, str], ...]  # they become each other
    alone: tuple[str, ...]  # their mirror image is not a class

    def __bool__(self) -> bool:
        return bool(self.pairs or self.alone)


def mirror_rule(classes: tuple[str, ...]) -> MirrorRule:
    """The classes whose names contain a side or a sense of rotation, in pairs and alone."""
    by_key = {_key(name): name for name in classes}
    pairs: list[tuple[str, str]] = []
    alone: list[str] = []
    for name in classes:
        if any(name in pair for pair in pairs) or not set(_key(name).split()) & OPPOSITE.keys():
            continue
        paired = {name, *(one for pair in pairs for one in pair)}
        words = " ".join(OPPOSITE.get(word, word) for word in _key(name).split())
        keys = (words, words.replace("anticlockwise", "counterclockwise"))
        partners = [by_key[key] for key in keys if key in by_key and by_key[key] not in paired]
        if partners:
            pairs.append((name, partners[0]))
        else:
            alone.append(name)
    return MirrorRule(tuple(pairs), tuple(alone))


def _key(name: str) -> str:
    """A name as lower-case words; "counter-clockwise" and the like are one word."""
    words = " ".join(word.lower() for word in WORD.findall(name))
    return re.sub(r"\b(anti|counter) clockwise\b", r"\1clockwise", words)
