"""Computes operations whose inputs are all known, for a batch of one.

An array that JAX broadcasts stays a view of a small array. For example, a bias never
gets the size of its map.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from styleprompter_jax.export.onnx.graph import condensed, of_one


def computed(eqn: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the results of an operation of JAX on NumPy arrays."""
    params = {name: _of_one(value) for name, value in eqn.params.items()}
    name = eqn.primitive.name
    if name == "broadcast_in_dim":
        return [_broadcast(inputs[0], params)]
    if name == "reshape" and _adds_ones(inputs[0].shape, params["new_sizes"]):
        return [_with_ones(inputs[0], params["new_sizes"])]
    if name in _ELEMENTWISE:
        small = [condensed(x) for x in inputs]
        kind = eqn.outvars[0].aval.dtype
        made = np.asarray(_ELEMENTWISE[name](*small), kind)
        return [np.broadcast_to(made, np.broadcast_shapes(*(x.shape for x in inputs)))]
    if name in _SHAPED:
        return [_SHAPED[name](params, *inputs)]
    results = eqn.primitive.bind(*inputs, **params)
    results = results if eqn.primitive.multiple_results else [results]
    return [np.asarray(x) for x in results]


_ELEMENTWISE: dict[str, Callable] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "convert_element_type": lambda x: x,
    "max": np.maximum,
    "min": np.minimum,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "square": np.square,
    "lt": np.less,
    "ge": np.greater_equal,
    "gt": np.greater,
    "eq": np.equal,
    "ne": np.not_equal,
    "exp": np.exp,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "select_n": lambda which, *cases: np.choose(which.astype(int), cases),
}


def _slice(params: dict, x: np.ndarray) -> np.ndarray:
    bounds = zip(params["start_indices"], params["limit_indices"], strict=True)
    strides = params["strides"] or [1] * x.ndim
    pairs = zip(bounds, strides, strict=True)
    return x[tuple(slice(first, last, step) for (first, last), step in pairs)]


def _pad(params: dict, x: np.ndarray, fill: np.ndarray) -> np.ndarray:
    widths = [(low, high) for low, high, _ in params["padding_config"]]
    return np.pad(x, widths, constant_values=fill)


def _iota(params: dict) -> np.ndarray:
    shape = [1] * len(params["shape"])
    shape[params["dimension"]] = -1
    line = np.arange(params["shape"][params["dimension"]], dtype=params["dtype"])
    return np.broadcast_to(line.reshape(shape), params["shape"])


# JAX compiles each operation for each shape. NumPy computes all of them in less time.
_SHAPED: dict[str, Callable] = {
    "reshape": lambda p, x: x.reshape(p["new_sizes"]),
    "transpose": lambda p, x: x.transpose(p["permutation"]),
    "squeeze": lambda p, x: np.squeeze(x, p["dimensions"]),
    "concatenate": lambda p, *x: np.concatenate(x, p["dimension"]),
    "rev": lambda p, x: np.flip(x, p["dimensions"]),
    "reduce_sum": lambda p, x: x.sum(p["axes"], dtype=x.dtype),
    "integer_pow": lambda p, x: x ** p["y"],
    "slice": _slice,
    "pad": _pad,
    "iota": _iota,
}


def _of_one(value: Any) -> Any:
    """Returns an operation's parameter for a batch of one."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_of_one(each) for each in value)
    return of_one(value) if hasattr(value, "get_vars") else value


def _broadcast(array: np.ndarray, params: dict) -> np.ndarray:
    sizes = [1] * len(params["shape"])
    for axis, place in enumerate(params["broadcast_dimensions"]):
        sizes[place] = array.shape[axis]
    return np.broadcast_to(_with_ones(array, sizes), params["shape"])


def _adds_ones(old: Sequence[int], new: Sequence[int]) -> bool:
    return [n for n in old if n != 1] == [n for n in new if n != 1]


def _with_ones(array: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Returns a view with axes of size 1 in other places; strides of 0 stay 0."""
    kept = array[tuple(slice(None) if n != 1 else 0 for n in array.shape)]
    index = tuple(slice(None) if n != 1 else None for n in sizes)
    return kept[index]
