"""A look at the instructions of a pickle before any is followed: does it ask for more than it is worth?"""

import pickletools
from typing import Any, BinaryIO, Final

from i3d.errors import WeightsError

MAX_INSTRUCTIONS: Final = 200_000  # a checkpoint of 600 entries with its optimiser has some 30,000
MAX_TUPLE_WEIGHT: Final = 100_000
_MARK: Final = None
_PUTS: Final = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS: Final = ("GET", "BINGET", "LONG_BINGET")


def check_pickle(file: BinaryIO) -> None:
    """Raises WeightsError for a pickle with too many instructions, or whose memo or tuples would grow without measure.

    A tuple's hash visits all that it holds, so a tuple of two equal tuples of two equal tuples ... costs 2^depth.
    Its weight is counted here as it would be visited.
    """
    stack: list[int | None] = []
    memo: dict[int, int] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count > MAX_INSTRUCTIONS:
            raise WeightsError(f"a pickle of over {MAX_INSTRUCTIONS} instructions")
        if opcode.name.startswith("EXT"):
            raise WeightsError("a pickle that calls registered extensions")
        if opcode.name in _PUTS:
            if int(argument or 0) > count:
                raise WeightsError("a pickle that asks for more places of memory than it has instructions")
            memo[int(argument or 0)] = _top(stack)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = _top(stack)
        elif opcode.name in _GETS:
            stack.append(memo.get(int(argument or 0), 1))
        elif opcode.name == "DUP":
            stack.append(_top(stack))
        else:
            _follow(opcode, stack)


def _follow(opcode: Any, stack: list[int | None]) -> None:
    """What an instruction takes from the stack and what it leaves there, as weights."""
    before, weight = list(opcode.stack_before), 1
    if pickletools.markobject in before:
        while (item := _pop(stack)) is not _MARK:
            weight += item
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        weight += _pop(stack) or 0
    if weight > MAX_TUPLE_WEIGHT and opcode.name.startswith("TUPLE"):
        raise WeightsError("a pickle of tuples in tuples without end")
    for kind in opcode.stack_after:
        is_mark = kind is pickletools.markobject
        stack.append(_MARK if is_mark else weight if opcode.name.startswith("TUPLE") else 1)


def _pop(stack: list[int | None]) -> int | None:
    if not stack:
        raise WeightsError("a damaged pickle (it takes what is not there)")
    return stack.pop()


def _top(stack: list[int | None]) -> int:
    if not stack or stack[-1] is _MARK:
        raise WeightsError("a damaged pickle (it takes what is not there)")
    return stack[-1] or 1
