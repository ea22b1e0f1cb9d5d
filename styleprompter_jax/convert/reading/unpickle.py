"""Reads a pickle as data, and imports, calls and executes nothing from it.

A pickle is a program for a stack machine, and its instructions may name any function of
any installed module. This module has its own machine. It looks up a name in a fixed
table of the few (module, name) pairs that weight files need. Each pair stands for a
function of this package that builds plain data. Any other name stops the reading. An
instruction that weight files do not use stops it too.

Reading has two steps, because a file may store its numbers after the pickle. `Machine`
runs the instructions and leaves placeholders. Then `resolve.resolve` replaces them.
"""

import dataclasses
import struct
from collections.abc import Callable, Mapping
from typing import Any

from styleprompter_jax.core.refusal import DAMAGED, Refusal, is_name, quoted

_STEPS = 500_000  # largest number of instructions; weight files have about 10,000
_BYTES = 16  # largest size of the tree's arrays, as a multiple of the file's size
_SPARE_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Object:
    """Stands for an object; its class is never imported.

    ``type`` is "argparse.Namespace", or the name of a persistent class of NVIDIA
    ("Generator"). ``state`` is its content in the file: a dict of its attributes.
    """

    type: str
    state: Any


class Budget:
    """The limit of steps and memory for one file, including repeated instructions."""

    def __init__(self, file_size: int):
        self.steps = _STEPS
        self.bytes = _BYTES * file_size + _SPARE_BYTES

    def spend_steps(self, count: int) -> None:
        """Takes instructions, or entries of a list, from the remaining steps.

        Raises:
            Refusal: if too few steps remain.
        """
        self.steps -= count
        if self.steps < 0:
            raise Refusal(
                f"it needs more than {_STEPS:,} steps to read; no weight file needs "
                "that: do not use this file."
            )

    def spend_bytes(self, count: int) -> None:
        """Takes bytes of arrays from the remaining memory.

        Raises:
            Refusal: if too few bytes remain.
        """
        self.bytes -= count
        if self.bytes < 0:
            raise Refusal(
                f"its tensors would need more than {_BYTES} times the size of the "
                "file: save expanded tensors with .contiguous()."
            )


class Placeholder:
    """A value that `resolve.resolve` converts to its final form."""

    def build(self, state: Any) -> None:
        """Takes the state from the BUILD instruction."""
        raise Refusal(f"{type(self).__name__} takes no state; {DAMAGED}")

    def resolve(self, resolver: Any) -> Any:
        """Returns the final form; ``resolver.entry`` resolves its parts."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Function:
    """A function that a pickle may call: ``call(*arguments)`` may raise `Refusal`."""

    call: Callable


Names = Mapping[tuple[str, str], Any]


class Machine:
    """Runs the instructions of one pickle.

    Args:
        data: the bytes of the file.
        position: position of the pickle in the bytes.
        names: the value for each permitted (module, name).
        budget: the budget that all pickles of a file share.
        persistent: a function from a persistent id to its value.
    """

    def __init__(
        self,
        data: memoryview,
        position: int,
        names: Names,
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
    ):
        self.data = data
        self.position = position
        self.names = names
        self.budget = budget
        self.persistent = persistent
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Returns the value of the pickle; `position` is then the byte after it.

        Raises:
            Refusal: naming the byte offset.
        """
        start = self.position
        try:
            while True:
                start = self.position
                self.budget.spend_steps(1)
                opcode = self._take(1)[0]
                if opcode == _STOP:
                    (value,) = self.stack
                    if self.marks:
                        raise ValueError
                    return value
                step = _INSTRUCTIONS.get(opcode)
                if step is None:
                    raise Refusal(
                        f"the instruction 0x{opcode:02x} does not belong in a weight "
                        f"file; {DAMAGED}"
                    )
                step(self)
        except Refusal as error:
            raise Refusal(f"at byte {start}, {error}") from error
        # The stack, the memo or an argument does not fit the instruction.
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise Refusal(
                f"at byte {start}, the instruction does not fit the ones before it; "
                f"{DAMAGED}"
            ) from error

    def _take(self, count: int) -> memoryview:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise Refusal("the file ends here: download or copy it again.")
        return self.data[start : self.position]

    def _number(self, code: str) -> Any:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _line(self) -> str:
        # No module or class has a longer name.
        line = bytes(self.data[self.position : self.position + 256])
        end = line.index(b"\n")
        self.position += end + 1
        return line[:end].decode()

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _marked(self) -> list:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def _mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _protocol(self) -> None:
        if (version := self._number("<B")) not in range(2, 6):
            raise Refusal(f"pickle protocol {version} is unknown; {DAMAGED}")

    # Values.

    def _long(self) -> None:
        count = self._number("<B")
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _text(self, length: str, encoding: str = "utf-8") -> None:
        self._push(str(self._take(self._number(length)), encoding))

    def _bytes(self, length: str) -> None:
        self._push(self._take(self._number(length)))

    def _tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        split = len(self.stack) - count
        self.stack[split:] = [tuple(self.stack[split:])]

    # Containers.

    def _extend(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError
        target.extend(items)

    def _update(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[dict_key(key)] = value

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    # The memo.

    def _get(self, code: str) -> None:
        self._push(self.memo[self._number(code)])

    def _put(self, code: str) -> None:
        self.memo[self._number(code)] = self.stack[-1]

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    # Names and calls.

    def _push_named(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise TypeError
        if (module, name) not in self.names:
            if module.startswith("dnnlib.tflib"):
                raise Refusal(
                    "this is NVIDIA's pickle for TensorFlow: download the PyTorch "
                    "version of the network (stylegan2-ada-pytorch or stylegan3)."
                )
            raise Refusal(
                f"{quoted(f'{module}.{name}')} does not belong in a weight file, and "
                "styleprompter_jax runs no code from a file: save only the weights "
                "with torch.save(model.state_dict(), path), or do not use this file."
            )
        self._push(self.names[module, name])

    def _global(self) -> None:
        module = self._line()
        self._push_named(module, self._line())

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._push_named(module, name)

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Function or type(arguments) is not tuple:
            raise TypeError
        self._push(function.call(*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Placeholder):
            target.build(state)
        # Attributes of a dict (the _metadata of a state dict) have no weights.
        elif type(target) is not dict or type(state) is not dict:
            raise TypeError

    def _persistent_id(self) -> None:
        if self.persistent is None:
            raise Refusal(f"it refers to data outside the file; {DAMAGED}")
        self._push(self.persistent(self.stack.pop()))


def dict_key(key: Any) -> str | int | None:
    """Returns the key of a dict, if it is cheap to hash and compare.

    It refuses tuples: the hash of a tuple that is nested a hundred times never ends.

    Raises:
        Refusal: for any other key.
    """
    if key is None or type(key) is bool:
        return key
    if type(key) is str and is_name(key):
        return key
    if type(key) is int and -(2**63) <= key < 2**63:
        return key
    raise Refusal(
        "a dict has a key that is neither a short printable string nor a number; "
        f"{DAMAGED}"
    )


_STOP = ord(".")
# The instructions of pickle's protocols 2 to 5 for plain data, objects and arrays. The
# table leaves out on purpose: the text of protocols 0 and 1, INST, OBJ, NEWOBJ_EX,
# extension codes, DUP and POP, and buffers outside the file.
_INSTRUCTIONS: dict[int, Callable[[Machine], Any]] = {
    0x80: Machine._protocol,
    0x95: lambda m: m._take(8),  # FRAME: how far to read ahead
    ord("("): Machine._mark,
    ord("N"): lambda m: m._push(None),
    0x88: lambda m: m._push(True),
    0x89: lambda m: m._push(False),
    ord("J"): lambda m: m._push(m._number("<i")),
    ord("K"): lambda m: m._push(m._number("<B")),
    ord("M"): lambda m: m._push(m._number("<H")),
    0x8A: Machine._long,
    ord("G"): lambda m: m._push(m._number(">d")),
    # Strings of Python 2, which have no declared encoding.
    ord("U"): lambda m: m._text("<B", "latin-1"),
    ord("T"): lambda m: m._text("<I", "latin-1"),
    0x8C: lambda m: m._text("<B"),
    ord("X"): lambda m: m._text("<I"),
    0x8D: lambda m: m._text("<Q"),
    ord("C"): lambda m: m._bytes("<B"),
    ord("B"): lambda m: m._bytes("<I"),
    0x8E: lambda m: m._bytes("<Q"),
    0x96: lambda m: m._bytes("<Q"),
    ord(")"): lambda m: m._push(tuple()),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("t"): lambda m: m._push(tuple(m._marked())),
    ord("]"): lambda m: m._push(list()),
    0x8F: lambda m: m._push(list()),  # a set, read as a list
    0x91: lambda m: m._push(m._marked()),  # a frozenset, likewise
    ord("a"): Machine._append,
    ord("e"): lambda m: m._extend(m._marked()),
    0x90: lambda m: m._extend(m._marked()),
    ord("}"): lambda m: m._push(dict()),
    ord("s"): Machine._set_item,
    ord("u"): lambda m: m._update(m._marked()),
    ord("h"): lambda m: m._get("<B"),
    ord("j"): lambda m: m._get("<I"),
    ord("q"): lambda m: m._put("<B"),
    ord("r"): lambda m: m._put("<I"),
    0x94: Machine._memoize,
    ord("c"): Machine._global,
    0x93: Machine._stack_global,
    ord("R"): Machine._call,
    0x81: Machine._call,  # NEWOBJ: the permitted classes are functions here
    ord("b"): Machine._build,
    ord("Q"): Machine._persistent_id,
}
