"""Adam with a learning rate that falls to zero, for any number of steps.

    state = start(values)
    for rate in rates(0.05, steps):
        values, state = descend(values, jax.grad(loss)(values), state, rate)

`optax.cosine_decay_schedule` counts steps inside the compiled program, in float32. So
each number of steps would need a separate program, and results would differ from
version 0.1. A rate that is an argument costs nothing.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import optax

_ADAM = optax.scale_by_adam()
start = _ADAM.init
RISE = 10  # steps in which `held_rates` rises
FALL = 0.3  # share of the steps, at the end, in which it falls to 0


def rates(first: float, steps: int) -> Iterator[float]:
    """Yields the rate of each step, from ``first`` towards 0."""
    for k in range(steps):
        yield first * (1 + math.cos(math.pi * k / steps)) / 2


def held_rates(most: float, steps: int) -> Iterator[float]:
    """Yields rates that rise, stay and fall, for all parameters of a generator.

    Adam's first steps move all of them by the same length, which adds up: a full rate
    would first undo much of a good start. Then a cosine would fall too early.

    Args:
        most: the rate between rise and fall.
        steps: the number of rates.
    """
    for k in range(steps):
        yield most * min(1.0, (k + 1) / RISE, (steps - k) / (FALL * steps))


def descend(
    values: Any, gradient: Any, state: optax.OptState, rate: float | jax.Array
) -> tuple[Any, optax.OptState]:
    """Performs one step.

    Args:
        values: a tree of arrays.
        gradient: a tree of the same shapes.
        state: the state from `start`, or from the previous step.
        rate: a number, or an array that multiplies the step of each leaf.

    Returns:
        The values and the state after the step.
    """
    updates, state = _ADAM.update(gradient, state)
    return jax.tree.map(lambda x, update: x - rate * update, values, updates), state
