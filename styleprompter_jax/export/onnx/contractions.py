"""Converts products of matrices, and convolutions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from styleprompter_jax.export.onnx.graph import (
    Graph,
    Tensor,
    Value,
    arranged,
    is_symbol,
    stored_axes,
)


def product(graph: Graph, eqn: Any, a: Any, b: Any) -> Tensor:
    """Converts JAX's `dot_general`."""
    ((ca, cb), (ba, bb)) = eqn.params["dimension_numbers"]
    shape = eqn.outvars[0].aval.shape
    free_a = [k for k in range(len(a.shape)) if k not in (*ca, *ba)]
    free_b = [k for k in range(len(b.shape)) if k not in (*cb, *bb)]
    batch = len(ba)
    place_a = {k: batch + n for n, k in enumerate(free_a)}
    place_b = {k: batch + len(free_a) + n for n, k in enumerate(free_b)}
    place_a |= {k: n for n, k in enumerate(ba)}
    place_b |= {k: n for n, k in enumerate(bb)}
    if not ba and len(ca) == 1:
        # For a matrix of weights, the tensor's other axes keep their stored order.
        if isinstance(b, np.ndarray) and len(free_b) == 1:
            weights = arranged(b, [*cb, *free_b], range(b.ndim))
            made = _by_weights(graph, a, ca[0], weights)
            return _placed(graph, *made, place_a, ca[0], place_b[free_b[0]], shape)
        if isinstance(a, np.ndarray) and len(free_a) == 1:
            weights = arranged(a, [*ca, *free_a], range(a.ndim))
            made = _by_weights(graph, b, cb[0], weights)
            return _placed(graph, *made, place_b, cb[0], place_a[free_a[0]], shape)
    stored = [k for k in stored_axes(a) if k in ba]
    order = [ba.index(k) for k in stored]
    order += [n for n in range(batch) if n not in order]
    left = _matrix(graph, a, [ba[n] for n in order], free_a, ca, True)
    right = _matrix(graph, b, [bb[n] for n in order], free_b, cb, False)
    name = graph.node("MatMul", left, right)
    axes = [*order, *(place_a[k] for k in free_a), *(place_b[k] for k in free_b)]
    if len(free_a) != 1 or len(free_b) != 1:
        sizes = [0] * batch + [_flat(shape, [k]) for k in axes[batch:]]
        name = graph.node("Reshape", name, graph.sizes(sizes))
    has = {place_a[k] for k in stored_axes(a) if k in ba}
    has |= {place_b[k] for k in stored_axes(b) if k in bb}
    return graph.made(name, shape, axes, [n for n in range(batch) if n not in has])


def _by_weights(
    graph: Graph, x: Tensor, axis: int, weights: np.ndarray
) -> tuple[str, list[int]]:
    """Multiplies an axis by a (k, n) matrix; returns the name and the stored axes."""
    if len(x.order) == 4 and x.order[1] == axis:
        name = graph.node("Conv", x.name, graph.constant(weights.T[:, :, None, None]))
        return name, list(x.order)
    axes = [*(k for k in x.order if k != axis), axis]
    name = graph.laid_out(x, axes, [axis])
    return graph.node("MatMul", name, graph.constant(weights)), axes


def _placed(
    graph: Graph,
    name: str,
    axes: Sequence[int],
    places: dict[int, int],
    axis: int,
    new: int,
    shape: Sequence,
) -> Tensor:
    """Returns a product with the axes of the result."""
    return graph.made(name, shape, [new if k == axis else places[k] for k in axes])


def _matrix(
    graph: Graph,
    x: Value,
    batch: Sequence[int],
    free: Sequence[int],
    contracted: Sequence[int],
    is_left: bool,
) -> str:
    """Arranges the axes of one factor for a batch of matrix products."""
    inner = [*free, *contracted] if is_left else [*contracted, *free]
    name = graph.laid_out(x, [*batch, *inner], inner)
    if len(free) == len(contracted) == 1:
        return name
    pairs = (free, contracted) if is_left else (contracted, free)
    sizes = [_flat(x.shape, axes) for axes in pairs]
    return graph.node("Reshape", name, graph.sizes([0] * len(batch) + sizes))


def _flat(shape: Sequence, axes: Sequence[int]) -> int:
    """Returns the size of joined axes; -1 if it depends on the batch."""
    if any(is_symbol(shape[k]) for k in axes):
        return -1
    return int(np.prod([shape[k] for k in axes], dtype=int))


def convolution(graph: Graph, eqn: Any, x: Tensor, kernel: np.ndarray) -> Tensor:
    """Converts JAX's `conv_general_dilated` with known weights.

    If JAX inserts zeros into the input, the result is a transposed convolution.
    """
    p = eqn.params
    numbers, groups = p["dimension_numbers"], p["feature_group_count"]
    axes, shape = list(numbers.lhs_spec), eqn.outvars[0].aval.shape
    name = graph.laid_out(x, axes, axes[1:])
    weights = kernel.transpose(numbers.rhs_spec)
    stride, pads = p["lhs_dilation"], np.array(p["padding"]).T
    if any(n != 1 for n in stride):
        sizes = np.array(weights.shape[2:])
        own = sizes - 1 - pads  # pads of the transposed convolution; below 0, a border
        weights = np.flip(weights, tuple(range(2, weights.ndim)))
        name = graph.node(
            "ConvTranspose",
            name,
            graph.constant(_turned(weights, groups)),
            strides=[int(n) for n in stride],
            pads=np.maximum(own, 0).ravel().tolist(),
            group=groups,
        )
        if (border := np.maximum(-own, 0)).any():
            widths = np.pad(border, ((0, 0), (2, 0))).ravel()
            name = graph.node("Pad", name, graph.sizes(widths))
    else:
        name = graph.node(
            "Conv",
            name,
            graph.constant(weights),
            strides=[int(n) for n in p["window_strides"]],
            dilations=[int(n) for n in p["rhs_dilation"]],
            pads=pads.ravel().tolist(),
            group=groups,
        )
    return graph.made(name, shape, list(numbers.out_spec))


def _turned(weights: np.ndarray, groups: int) -> np.ndarray:
    """Swaps the channels of (o, i / groups, h, w) weights within each group."""
    o, i, *rest = weights.shape
    parts = weights.reshape(groups, o // groups, i, *rest)
    return np.swapaxes(parts, 1, 2).reshape(groups * i, o // groups, *rest)
