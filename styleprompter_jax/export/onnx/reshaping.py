"""Converts reshapes, and keeps the stored order of the axes if possible."""

from collections.abc import Sequence
from typing import Any

from styleprompter_jax.export.onnx.graph import Graph, Tensor, is_symbol, of_one


def reshaped(graph: Graph, x: Tensor, sizes: Sequence) -> Tensor:
    """Reshapes a tensor with the same result as JAX, in the order of JAX's axes.

    Split and joined axes keep their place in the stored order, if all joined axes are
    stored next to each other.
    """
    groups = [
        (_large(x.shape, old), _large(sizes, new))
        for old, new in _groups(x.shape, sizes)
    ]
    shape = tuple(sizes)
    changed = [old for old, new in groups if not len(old) == len(new) <= 1]
    if not changed:  # the reshape only adds or removes axes of size 1
        places = {old[0]: new[0] for old, new in groups if old}
        return Tensor(x.name, shape, tuple(places[a] for a in x.order))
    order = list(x.order)
    if not all(_beside(order, old) for old in changed):
        order = sorted({*order, *(a for old in changed for a in old)})
    name = graph.laid_out(x, order, [a for old in changed for a in old])
    made = {old[0]: new for old, new in groups if old}
    axes = [a for k in order for a in made.get(k, ())]
    target = [-1 if is_symbol(sizes[a]) else int(sizes[a]) for a in axes]
    return graph.made(graph.node("Reshape", name, graph.sizes(target)), shape, axes)


def _beside(order: Sequence[int], axes: Sequence[int]) -> bool:
    """Returns whether the axes are stored one after the other."""
    if not set(axes) <= set(order):
        return False
    first = order.index(axes[0])
    return list(order[first : first + len(axes)]) == list(axes)


def _large(sizes: Sequence, axes: Sequence[int]) -> list[int]:
    return [a for a in axes if is_symbol(sizes[a]) or sizes[a] != 1]


def _groups(old: Sequence, new: Sequence) -> list[tuple[list[int], list[int]]]:
    """Returns the smallest groups of old and new axes with equal products of sizes."""
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [i] if i < len(old) else [], [j] if j < len(new) else []
        i, j = i + len(left), j + len(right)
        a, b = _product(old, left), _product(new, right)
        while a != b:
            if i < len(old) and (j >= len(new) or _is_less(a, b)):
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
            a, b = _product(old, left), _product(new, right)
        groups.append((left, right))
    return groups


def _product(sizes: Sequence, axes: Sequence[int]) -> Any:
    made: Any = 1
    for a in axes:
        made = made * sizes[a]
    return made


def _is_less(a: Any, b: Any) -> bool:
    """Returns whether product a is smaller; a product with the batch is larger."""
    if is_symbol(a) != is_symbol(b):
        return is_symbol(b)
    return of_one(a) < of_one(b)
