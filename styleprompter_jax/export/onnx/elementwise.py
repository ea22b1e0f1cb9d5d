"""Converts elementwise operations."""

from collections.abc import Callable
from typing import Any

import numpy as np

from styleprompter_jax.export.onnx.graph import (
    Graph,
    Tensor,
    Value,
    common_axes,
    condensed,
)


def _joined(graph: Graph, op: str, shape: Any, *values: Value) -> Tensor:
    """Applies an operation that broadcasts its inputs."""
    axes = common_axes(values)
    names = [_trimmed(graph, value, axes) for value in values]
    return graph.made(graph.node(op, *names), shape, axes)


def _trimmed(graph: Graph, value: Value, axes: list[int]) -> str:
    """Returns a value without the leading axes that it does not store."""
    stored = value.order if isinstance(value, Tensor) else ()
    if isinstance(value, np.ndarray):
        small = condensed(value)
        stored = tuple(a for a in range(value.ndim) if small.shape[a] != 1)
    places = [axes.index(a) for a in stored]
    return graph.laid_out(value, axes[min(places, default=len(axes)) :])


def _of(op: str) -> Callable:
    def rule(graph: Graph, eqn: Any, *values: Value) -> Tensor:
        return _joined(graph, op, eqn.outvars[0].aval.shape, *values)

    return rule


def _same(graph: Graph, op: str, x: Tensor) -> Tensor:
    return Tensor(graph.node(op, x.name), x.shape, x.order)


def _reciprocal_root(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    return _same(graph, "Reciprocal", _same(graph, "Sqrt", x))


def _square(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    return Tensor(graph.node("Mul", x.name, x.name), x.shape, x.order)


def _power(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    exponent = eqn.params["y"]
    if exponent == 2:
        return _square(graph, eqn, x)
    name = graph.node("Pow", x.name, graph.constant(np.float32(exponent)))
    return Tensor(name, x.shape, x.order)


def _max(graph: Graph, eqn: Any, a: Value, b: Value) -> Tensor:
    x: Any
    other: Any
    for x, other in ((a, b), (b, a)):
        known = isinstance(other, np.ndarray)
        if isinstance(x, Tensor) and known and not np.any(condensed(other)):
            return _same(graph, "Relu", x)
    return _joined(graph, "Max", eqn.outvars[0].aval.shape, a, b)


def _select(graph: Graph, eqn: Any, which: Value, *cases: Any) -> Tensor:
    shape = eqn.outvars[0].aval.shape
    x = cases[1]
    slope = _slope(graph, which, cases[0], x)
    if slope is None:
        return _joined(graph, "Where", shape, which, x, cases[0])
    if slope not in graph.arrays:
        name = graph.node("PRelu", x.name, slope)
    else:
        alpha = float(graph.arrays[slope].item())
        name = graph.node("LeakyRelu", x.name, alpha=alpha)
    return Tensor(name, x.shape, x.order)


def _slope(graph: Graph, which: Any, other: Any, x: Any) -> str | None:
    """Returns the slope a of ``where(x > 0, x, a * x)``; saves passes over the map."""
    if not all(isinstance(value, Tensor) for value in (which, other, x)):
        return None
    test, scaled = graph.makers.get(which.name), graph.makers.get(other.name)
    if test is None or test.op_type not in ("Greater", "GreaterOrEqual"):
        return None
    zero = graph.arrays.get(test.input[1])
    if test.input[0] != x.name or zero is None or zero.item() != 0:
        return None
    if scaled is None or scaled.op_type != "Mul" or x.name not in scaled.input:
        return None
    slope = next(name for name in scaled.input if name != x.name)
    constant = slope not in graph.makers or graph.makers[slope].op_type == "Cast"
    return slope if constant and x.order == other.order else None


def _not_equal(graph: Graph, eqn: Any, *values: Value) -> Tensor:
    return _same(
        graph, "Not", _joined(graph, "Equal", eqn.outvars[0].aval.shape, *values)
    )


ELEMENTWISE: dict[str, Callable] = {
    "add": _of("Add"),
    "add_any": _of("Add"),
    "sub": _of("Sub"),
    "mul": _of("Mul"),
    "div": _of("Div"),
    "max": _max,
    "min": _of("Min"),
    "exp": _of("Exp"),
    "log": _of("Log"),
    "tanh": _of("Tanh"),
    "erf": _of("Erf"),
    "sqrt": _of("Sqrt"),
    "logistic": _of("Sigmoid"),
    "neg": _of("Neg"),
    "abs": _of("Abs"),
    "ge": _of("GreaterOrEqual"),
    "gt": _of("Greater"),
    "le": _of("LessOrEqual"),
    "lt": _of("Less"),
    "eq": _of("Equal"),
    "ne": _not_equal,
    "rsqrt": _reciprocal_root,
    "square": _square,
    "integer_pow": _power,
    "select_n": _select,
}
