"""Static scan of a pickle: which globals it names, and whether loading it stays within bounds.

A pickle is a program for a stack machine. The loaders here run no code of it, and most opcodes cost as much as they
are long. Three do not, and are checked before anything is loaded: a memo index allocates memory up to that index,
hashing a tuple visits all that it holds (2^60 objects in 60 nested pairs), and a call may copy its arguments.
"""

import pickletools
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # protocol 2 has the names of Python 2
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from i3d.errors import WeightsError, first_line

MAX_OPCODES: Final = 150_000  # an I3D-ResNet-50 with its optimiser and message hub needs some 40,000
MAX_NAMES: Final = 200  # a checkpoint of MMEngine has 12
MAX_KEY: Final = 10_000  # objects and characters of a dict key
MAX_COPIED: Final = 64 << 20  # objects and characters that calls copy, in all
COPYING: Final = {"_codecs.encode", "builtins.set", "collections.Counter", "collections.OrderedDict", "torch.Size"}
_PUTS: Final = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_GETS: Final = ("GET", "BINGET", "LONG_BINGET")
_GROWING: Final = (pickletools.pylist, pickletools.pydict, pickletools.pyset, pickletools.anyobject)


@dataclass(slots=True)
class _Item:
    """An object on the stack of the pickle."""

    weight: int = 1  # objects and characters in it, counted as often as they are reached
    name: str = ""  # the global that it is or is made by
    grows: bool = False  # it is a container, or holds one
    shared: bool = False  # a container that comes from the memo


_MARK: Final = _Item()


def scan_pickle(file: BinaryIO) -> dict[str, str]:
    """The globals of the next pickle in `file`, and what their objects are filled as: "dict", "list" or "".

    Raises WeightsError for a corrupt pickle and for one that would take unbounded memory or time.
    """
    scanner = _Scanner()
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of unknown escapes
            for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if count > MAX_OPCODES:
                    raise WeightsError(f"a pickle of over {MAX_OPCODES:,} opcodes")
                scanner.step(opcode, argument, count)
    except (ValueError, OverflowError, MemoryError, EOFError) as error:
        raise WeightsError(f"corrupt pickle: {first_line(error)}") from error
    return scanner.names


class _Scanner:
    """The stack machine, on weights instead of objects."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._stack: list[_Item] = []
        self._memo: dict[int, _Item] = {}
        self._copied = 0

    def step(self, opcode: Any, argument: Any, count: int) -> None:
        """Follow one opcode; `count` is the number of those before it."""
        if opcode.name.startswith("EXT"):
            raise WeightsError("a pickle that uses the extension registry of copyreg")
        if opcode.name in _PUTS:
            index = len(self._memo) if argument is None else int(argument)
            if index > count:
                raise WeightsError("corrupt pickle: a memo index beyond the number of opcodes")
            self._memo[index] = self._top()
        elif opcode.name in _GETS or opcode.name == "DUP":
            item = self._top() if argument is None else self._memo.get(int(argument))
            if item is None:
                raise WeightsError(f"corrupt pickle: memo entry {argument} is missing")
            self._stack.append(_Item(item.weight, item.name, True, True) if item.grows else item)
        else:
            operands = self._pop_operands(opcode)
            self._stack.extend(self._results(opcode, argument, operands))

    def _results(self, opcode: Any, argument: Any, operands: Sequence[_Item]) -> list[_Item]:
        match opcode.name, operands:
            case "GLOBAL", _:
                module, _, name = argument.partition(" ")  # of Python 2, in protocols up to 2
                name = ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
                self.names.setdefault(name, "")
                if len(self.names) > MAX_NAMES:
                    raise WeightsError(f"a pickle that names over {MAX_NAMES} classes; save the network's state_dict()")
                return [_Item(name=name)]
            case "REDUCE" | "NEWOBJ", [function, arguments]:
                self._call(function.name, arguments)
                return [_Item(name=function.name, grows=True)]
            case "BUILD", [target, state]:
                self._call(target.name, state)  # an OrderedDict copies it
                return [target]
            case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS" | "ADDITEMS" as name, [target, *items]:
                self._fill(target, items, is_dict=name.startswith("SETITEM"))
                return [target]
        if opcode.name.startswith(("TUPLE", "LIST", "DICT", "FROZENSET")):
            grows = opcode.name[0] != "T" or any(item.grows for item in operands)
            shared = any(item.shared for item in operands)
            return [_Item(1 + sum(item.weight for item in operands), grows=grows, shared=shared)]
        weight = len(argument) if isinstance(argument, (str, bytes)) else 1
        after = opcode.stack_after
        return [_MARK if kind is pickletools.markobject else _Item(weight, grows=kind in _GROWING) for kind in after]

    def _call(self, function: str, arguments: _Item) -> None:
        if function not in COPYING:
            return
        self._copied += arguments.weight
        if arguments.shared or self._copied > MAX_COPIED:
            raise WeightsError(f"a pickle that copies its objects over and over ({function})")

    def _fill(self, target: _Item, items: Sequence[_Item], *, is_dict: bool) -> None:
        if target.shared:
            raise WeightsError("corrupt pickle: a container is filled twice")
        for key in items[::2] if is_dict else ():
            if key.weight > MAX_KEY:
                raise WeightsError(f"a dict key of over {MAX_KEY:,} objects")
        target.weight += sum(item.weight for item in items)
        if target.name in self.names:
            self.names[target.name] = "dict" if is_dict else "list"

    def _pop_operands(self, opcode: Any) -> list[_Item]:
        """What an opcode takes from the stack, the lowest first."""
        kinds, above = opcode.stack_before, list[_Item]()
        if not kinds:
            return above
        if pickletools.markobject in kinds:
            while (item := self._pop()) is not _MARK:
                above.append(item)
            kinds = kinds[: kinds.index(pickletools.markobject)]
        for _ in kinds:
            if (item := self._pop()) is _MARK and opcode.name != "POP":
                raise WeightsError("corrupt pickle: an opcode takes a mark for an object")
            above.append(item)
        return above[::-1]

    def _pop(self) -> _Item:
        if not self._stack:
            raise WeightsError("corrupt pickle: stack underflow")
        return self._stack.pop()

    def _top(self) -> _Item:
        if not self._stack or self._stack[-1] is _MARK:
            raise WeightsError("corrupt pickle: stack underflow")
        return self._stack[-1]
