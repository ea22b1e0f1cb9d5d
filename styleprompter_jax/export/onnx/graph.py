"""Builds an ONNX graph, whose values store the axes of JAX in any order.

JAX's images are NHWC, and convolutions of ONNX read NCHW. So a `Tensor` has the stored
order of its axes. An operation that does not depend on the order keeps it. A transpose
costs nothing until an operation needs another order. A tensor does not store axes of
size 1, or axes along which all values are equal.

Known values are NumPy arrays with the shape that JAX gives them for a batch of one.
They become constants of the graph only when an operation combines them with a tensor.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from styleprompter_jax.core.errors import StylePrompterError

# The first version where `Reduce*` reads axes as an input, and `Split` a part count.
OPSET = 18
_HALVED_FROM = 1024  # elements; smaller constants stay float32


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
        name: the name in the graph.
        shape: the shape in JAX; the size of the batch is a symbol.
        order: the stored axes, in the stored order. The value is constant along all
            other axes.
    """

    name: str
    shape: tuple
    order: tuple[int, ...]


Value = Tensor | np.ndarray


def is_symbol(size: Any) -> bool:
    """Returns whether a size depends on the batch."""
    return not isinstance(size, int | np.integer)


def of_one(size: Any) -> int:
    """Returns the size when the batch has one row."""
    if not is_symbol(size):
        return int(size)
    # JAX has no public function for this. `_evaluate` is as old as symbolic sizes.
    return int(size._evaluate(dict.fromkeys(size.get_vars(), 1)))


def refuse(eqn: Any) -> NoReturn:
    """Raises the error for an operation, or a variant of one, that has no rule."""
    raise StylePrompterError(
        f"The graph of this model needs the operation {eqn.primitive.name!r} in a form "
        "that this program cannot write as ONNX: export the model with --format jax."
    )


def condensed(array: np.ndarray) -> np.ndarray:
    """Returns a broadcast array with size 1 along the axes of the broadcast."""
    return array[tuple(slice(0, 1 if s == 0 else None) for s in array.strides)]


class Graph:
    """Collects nodes and constants.

    Args:
        half: store large constants in float16; the graph computes in float32.
    """

    def __init__(self, half: bool = False):
        self.nodes: list = []
        self.constants: list = []
        self.makers: dict[str, Any] = {}  # the node of each output
        self.arrays: dict[str, np.ndarray] = {}  # constants of one number
        self._half = half
        self._names: dict[bytes, str] = {}
        self._count = 0

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node, and returns the name of its output, or a list of names."""
        names = [self._new(op.lower()) for _ in range(outputs)]
        made = helper.make_node(op, inputs, names, **attributes)
        self.nodes.append(made)
        self.makers |= dict.fromkeys(names, made)
        return names[0] if outputs == 1 else names

    def _new(self, stem: str) -> str:
        self._count += 1
        return f"/{stem}_{self._count}"  # names of inputs have no slash

    def constant(self, array: Any) -> str:
        """Returns the name of a constant; equal constants share one name."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        content = hashlib.sha256(array.data if array.size else b"")
        content.update(repr((array.dtype.str, array.shape)).encode())
        key = content.digest()
        if key not in self._names:
            self._names[key] = self._stored(array)
        return self._names[key]

    def _stored(self, array: np.ndarray) -> str:
        name = self._new("constant")
        if array.size == 1:
            self.arrays[name] = array
        if not (self._half and array.dtype == np.float32 and array.size > _HALVED_FROM):
            self.constants.append(numpy_helper.from_array(array, name))
            return name
        self.constants.append(numpy_helper.from_array(array.astype(np.float16), name))
        return self.node("Cast", name, to=TensorProto.FLOAT)

    def prune(self, outputs: Iterable[str]) -> None:
        """Removes the nodes and constants that no output needs."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = [c for c in self.constants if c.name in needed]

    def sizes(self, values: Any) -> str:
        """Returns the name of a constant of integers, for example a shape or axes."""
        return self.constant(np.array(values, np.int64))

    def made(
        self, name: str, shape: Sequence, axes: Sequence[int], ones: Iterable[int] = ()
    ) -> Tensor:
        """Returns the tensor of a node's output, and removes its axes of size 1.

        Args:
            name: the name of the output.
            shape: the shape in JAX.
            axes: the axes of the output, in the order of the output.
            ones: axes that have size 1 in the output and are larger in JAX.
        """
        gone = {a for a in axes if a in set(ones) or shape[a] == 1}
        if gone:
            places = [k for k, a in enumerate(axes) if a in gone]
            name = self.node("Squeeze", name, self.sizes(places))
        return Tensor(name, tuple(shape), tuple(a for a in axes if a not in gone))

    def laid_out(
        self, value: Value, axes: Sequence[int], full: Iterable[int] = ()
    ) -> str:
        """Returns the name of a value with these axes, in this order.

        Args:
            value: a tensor, or a known array.
            axes: all stored axes of the value; other axes get size 1.
            full: axes that get their whole size; never the batch of a known array.
        """
        full = set(full)
        if isinstance(value, np.ndarray):
            return self.constant(arranged(value, axes, full))
        stored = [a for a in axes if a in value.order]
        name = value.name
        if tuple(stored) != value.order:
            places = [value.order.index(a) for a in stored]
            name = self.node("Transpose", name, perm=places)
        missing = [k for k, a in enumerate(axes) if a not in value.order]
        if missing:
            name = self.node("Unsqueeze", name, self.sizes(missing))
        wide = [a in full and a not in value.order for a in axes]
        if any(w and value.shape[a] != 1 for w, a in zip(wide, axes, strict=True)):
            grown = [
                value.shape[a] if w else 1 for w, a in zip(wide, axes, strict=True)
            ]
            name = self.node("Expand", name, self.sizes(grown))
        return name


def arranged(
    array: np.ndarray, axes: Sequence[int], full: Iterable[int] = ()
) -> np.ndarray:
    """Returns an array with these axes, in this order; see `Graph.laid_out`."""
    small = condensed(array)
    sizes = [
        array.shape[a] if a in set(full) else small.shape[a] for a in range(array.ndim)
    ]
    array = np.broadcast_to(small, sizes)
    rest = [a for a in range(array.ndim) if a not in axes]
    array = array.transpose([*rest, *axes])
    return array.reshape(array.shape[len(rest) :])


def stored_axes(value: Value) -> tuple[int, ...]:
    """Returns the axes along which a value varies, in the stored order."""
    if isinstance(value, Tensor):
        return value.order
    small = condensed(value)
    return tuple(a for a in range(value.ndim) if small.shape[a] != 1)


def common_axes(values: Sequence[Value]) -> list[int]:
    """Returns one order of axes for several values: the order of the largest tensor."""
    orders = [stored_axes(value) for value in values]
    tensors = [v.order for v in values if isinstance(v, Tensor)]
    found = max(map(list, tensors), key=len)
    for axis in sorted({a for order in orders for a in order} - set(found)):
        after = [k for k, other in enumerate(found) if other < axis]
        found.insert(after[-1] + 1 if after else 0, axis)
    return found
