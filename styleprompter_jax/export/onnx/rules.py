"""Converts operations of JAX to operations of ONNX, with one function for each.

A rule gets the graph, the traced operation and its inputs. At least one input is a
tensor. The rule returns a tensor, or a list of tensors.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from styleprompter_jax.export.onnx.contractions import convolution, product
from styleprompter_jax.export.onnx.elementwise import ELEMENTWISE
from styleprompter_jax.export.onnx.graph import (
    Graph,
    Tensor,
    Value,
    common_axes,
    is_symbol,
    refuse,
    stored_axes,
)
from styleprompter_jax.export.onnx.reshaping import reshaped


def _reshape(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    return reshaped(graph, x, eqn.params["new_sizes"])


def _squeeze(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    return _without(x, {a % len(x.shape) for a in eqn.params["dimensions"]})


def _without(x: Tensor, gone: set[int]) -> Tensor:
    """Drops axes of size 1."""
    kept = [a for a in range(len(x.shape)) if a not in gone]
    shape = tuple(x.shape[a] for a in kept)
    return Tensor(x.name, shape, tuple(kept.index(a) for a in x.order))


def _transpose(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    places = list(eqn.params["permutation"])
    shape = tuple(x.shape[a] for a in places)
    return Tensor(x.name, shape, tuple(places.index(a) for a in x.order))


def _broadcast(graph: Graph, eqn: Any, x: Tensor, *sizes: Any) -> Tensor:
    places = eqn.params["broadcast_dimensions"]
    return Tensor(x.name, tuple(eqn.params["shape"]), tuple(places[a] for a in x.order))


def _tile(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    reps = eqn.params["reps"]
    shape = tuple(n * r for n, r in zip(x.shape, reps, strict=True))
    if any(r != 1 and a in x.order for a, r in enumerate(reps)):
        times = [reps[a] for a in x.order]
        return Tensor(graph.node("Tile", x.name, graph.sizes(times)), shape, x.order)
    return Tensor(x.name, shape, x.order)


def cut(
    graph: Graph, x: Tensor, starts: Sequence, ends: Sequence, steps: Sequence
) -> Tensor:
    """Slices along all axes of JAX; an end may be beyond the axis."""
    shape, changed = [], []
    for axis, size in enumerate(x.shape):
        whole = starts[axis] == 0 and steps[axis] == 1 and ends[axis] == size
        if whole:
            shape.append(size)
            continue
        shape.append(len(range(starts[axis], ends[axis], steps[axis])))
        if axis in x.order:
            changed.append(axis)
    if not changed:
        return Tensor(x.name, tuple(shape), x.order)
    name = graph.node(
        "Slice",
        x.name,
        graph.sizes([starts[a] for a in changed]),
        graph.sizes([ends[a] for a in changed]),
        graph.sizes([x.order.index(a) for a in changed]),
        graph.sizes([steps[a] for a in changed]),
    )
    return graph.made(name, shape, x.order)


def _slice(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
    return cut(graph, x, starts, ends, eqn.params["strides"] or [1] * len(starts))


def _split(graph: Graph, eqn: Any, x: Tensor) -> list[Tensor]:
    return _parts(graph, x, eqn.params["axis"], [int(n) for n in eqn.params["sizes"]])


def _unstack(graph: Graph, eqn: Any, x: Tensor) -> list[Tensor]:
    axis = eqn.params["axis"]
    if is_symbol(x.shape[axis]):
        refuse(eqn)
    return [
        _without(part, {axis}) for part in _parts(graph, x, axis, [1] * x.shape[axis])
    ]


def _parts(graph: Graph, x: Tensor, axis: int, sizes: list[int]) -> list[Tensor]:
    shapes = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in sizes]
    if axis not in x.order:
        return [Tensor(x.name, shape, x.order) for shape in shapes]
    place, count = x.order.index(axis), len(sizes)
    names = graph.node("Split", x.name, graph.sizes(sizes), outputs=count, axis=place)
    names = [names] if count == 1 else names
    return [graph.made(n, s, x.order) for n, s in zip(names, shapes, strict=True)]


def _gather(graph: Graph, eqn: Any, x: Tensor, indices: np.ndarray) -> Tensor:
    """Converts a slice with known bounds: JAX writes it so for any batch size."""
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    many = indices.ndim - 1
    starts, ends = [0] * len(x.shape), list(sizes)
    steps = [1] * len(x.shape)
    moved: dict[int, int] = {}  # from an axis to the axis of its indices
    for k, axis in enumerate(numbers.start_index_map):
        places = indices[..., k]
        along = [a for a in range(many) if (np.diff(places, axis=a) != 0).any()]
        line = np.moveaxis(places, along, range(len(along)))
        line = line.reshape(*line.shape[: len(along)], -1)[..., 0]
        gaps = set(np.diff(line).tolist()) if len(along) == 1 else set()
        regular = len(along) == 0 or (len(along) == 1 and len(gaps) == 1)
        if not regular or (along and sizes[axis] != 1) or min(gaps, default=1) < 1:
            refuse(eqn)
        starts[axis] = int(line.flat[0])
        if along:
            steps[axis], moved[axis] = gaps.pop(), along[0]
        ends[axis] = int(line.flat[-1]) + sizes[axis]
    x = cut(graph, x, starts, ends, steps)
    # The positions in the result of the axes of the slice and of the indices.
    rank = len(eqn.outvars[0].aval.shape)
    free = [a for a in range(rank) if a not in numbers.offset_dims]
    kept = [a for a in range(len(x.shape)) if a not in numbers.collapsed_slice_dims]
    placed = dict(zip(kept, numbers.offset_dims, strict=True))
    placed |= {axis: free[k] for axis, k in moved.items()}
    order = tuple(placed[a] for a in x.order)
    return Tensor(x.name, tuple(eqn.outvars[0].aval.shape), order)


def _concatenate(graph: Graph, eqn: Any, *values: Value) -> Tensor:
    return _joined(graph, values, eqn.params["dimension"], eqn.outvars[0].aval.shape)


def _stack(graph: Graph, eqn: Any, *values: Value) -> Tensor:
    axis = eqn.params["axis"]
    wide = [_expanded(value, axis) for value in values]
    return _joined(graph, wide, axis, eqn.outvars[0].aval.shape)


def _expanded(value: Value, axis: int) -> Value:
    """Returns a value with one more axis, of size 1."""
    if isinstance(value, np.ndarray):
        return np.expand_dims(value, axis)
    shape = (*value.shape[:axis], 1, *value.shape[axis:])
    return Tensor(value.name, shape, tuple(a + (a >= axis) for a in value.order))


def _joined(
    graph: Graph, values: Sequence[Value], axis: int, shape: Sequence
) -> Tensor:
    axes = common_axes(values)
    if axis not in axes:
        # Stores it after the preceding axis, because a reshape may join the two.
        axes.insert(axes.index(axis - 1) + 1 if axis - 1 in axes else 0, axis)
    batch = next((a for a in axes if is_symbol(shape[a])), None)
    full = [a for a in axes if a != batch]
    names = [graph.laid_out(value, axes, full) for value in values]
    if batch is not None:
        names = _with_batch(graph, axes, batch, values, names)
    return graph.made(graph.node("Concat", *names, axis=axes.index(axis)), shape, axes)


def _with_batch(
    graph: Graph,
    axes: Sequence[int],
    batch: int,
    values: Sequence[Value],
    names: Sequence[str],
) -> list[str]:
    """Adds zeros with a batch axis to values that have no batch axis.

    The runtime then needs no shape, which it would only know at the call.
    """
    has = [batch in stored_axes(value) for value in values]
    if all(has):
        return list(names)
    others = [k for k, a in enumerate(axes) if a != batch]
    low, high = graph.sizes([0] * len(others)), graph.sizes([1] * len(others))
    first = names[has.index(True)]
    small = graph.node("Slice", first, low, high, graph.sizes(others))
    zeros = graph.node("Mul", small, graph.constant(np.float32(0)))
    return [
        name if with_batch else graph.node("Add", name, zeros)
        for name, with_batch in zip(names, has, strict=True)
    ]


def _pad(graph: Graph, eqn: Any, x: Tensor, fill: np.ndarray) -> Tensor:
    config = eqn.params["padding_config"]
    shape = eqn.outvars[0].aval.shape
    if any(inner or low < 0 or high < 0 for low, high, inner in config):
        refuse(eqn)
    padded = [a for a, (low, high, _) in enumerate(config) if low or high]
    axes = [*x.order, *(a for a in padded if a not in x.order)]
    name = graph.laid_out(x, axes, padded)
    widths = [config[a][side] for side in (0, 1) for a in axes]
    made = graph.node("Pad", name, graph.sizes(widths), graph.constant(fill))
    return graph.made(made, shape, axes)


def _reduce(op: str) -> Callable:
    def rule(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
        axes = eqn.params["axes"]
        stored = [x.order.index(a) for a in axes if a in x.order]
        kept = [a for a in range(len(x.shape)) if a not in axes]
        name = x.name
        if stored:
            name = graph.node(op, name, graph.sizes(sorted(stored)), keepdims=0)
        same = [x.shape[a] for a in axes if a not in x.order]
        if op == "ReduceSum" and np.prod(same) != 1:
            name = graph.node("Mul", name, graph.constant(np.float32(np.prod(same))))
        order = tuple(kept.index(a) for a in x.order if a in kept)
        return Tensor(name, tuple(x.shape[a] for a in kept), order)

    return rule


def _convert(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    old, new = eqn.invars[0].aval.dtype, eqn.outvars[0].aval.dtype
    if old == new:
        return x
    if new != np.float32:
        refuse(eqn)
    return Tensor(graph.node("Cast", x.name, to=TensorProto.FLOAT), x.shape, x.order)


RULES: dict[str, Callable] = ELEMENTWISE | {
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "tile": _tile,
    "slice": _slice,
    "split": _split,
    "unstack": _unstack,
    "gather": _gather,
    "concatenate": _concatenate,
    "stack": _stack,
    "pad": _pad,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "convert_element_type": _convert,
    "dot_general": product,
    "conv_general_dilated": convolution,
}
