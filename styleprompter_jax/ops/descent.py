"""Adam with a rate that falls to zero along a cosine, for fits of any number of steps.

    state = start(values)
    for rate in rates(0.05, steps):
        values, state = descend(values, jax.grad(loss)(values), state, rate)

`optax.cosine_decay_schedule` counts steps within the compiled program, in float32: each
number of steps would be a program of its own, and results would differ from those of
version 0.1.  A rate that is an argument costs nothing.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import optax

_ADAM = optax.scale_by_adam()
start = _ADAM.init


def rates(first: float, steps: int) -> Iterator[float]:
    """The rate of each step: from ``first`` towards 0."""
    for k in range(steps):
        yield first * (1 + math.cos(math.pi * k / steps)) / 2


def descend(
    values: Any, gradient: Any, state: optax.OptState, rate: float | jax.Array
) -> tuple[Any, optax.OptState]:
    """One step.

    Args:
        values: a tree of arrays.
        gradient: of the same shapes.
        state: from `start`, or the step before.
        rate: a number, or an array that multiplies each leaf's step.

    Returns:
        The values and the state after it.
    """
    updates, state = _ADAM.update(gradient, state)
    return jax.tree.map(lambda x, update: x - rate * update, values, updates), state
