"""Finds losses that are not finite on the device, without waiting for it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from styleprompter_jax.core.errors import StylePrompterError

IN_A_ROW = 20  # steps without an update, after which the run gives up


def guard(step: Callable, skip: bool) -> Callable:
    """Returns the step of an objective with ``finite`` among its metrics.

    Args:
        step: ``step(state, batch, rng) -> (state, metrics)``.
        skip: whether a step leaves the state unchanged if its metrics or new state are
            not finite.  This costs a pass over the changed arrays.
    """

    def guarded(state: Any, batch: Any, rng: jax.Array) -> tuple[Any, dict]:
        new, metrics = step(state, batch, rng)
        finite = _all_finite(metrics)
        if skip:
            # A frozen leaf comes out as the same object.
            pairs = zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True)
            finite &= _all_finite([a for a, b in pairs if a is not b])
            new = jax.tree.map(
                lambda a, b: a if a is b else jnp.where(finite, a, b), new, state
            )
        return new, metrics | {"finite": finite}

    return guarded


class Health:
    """Counts steps that are not finite, on the device, and stops at too many.

    Args:
        skip: see `guard`.
    """

    def __init__(self, skip: bool):
        self._skip = skip
        self._counts = jnp.zeros(3, jnp.int32)  # all, the last in a row, most in a row

    def add(self, finite: jax.Array) -> None:
        """Counts one step; does not wait for it."""
        self._counts = _add(self._counts, finite)

    def check(self, step: int, advice: Callable[[], str]) -> dict:
        """Returns the counts to log for the steps since the last call; waits for them.

        Args:
            step: the step that has just finished.
            advice: returns a message about the step to continue from.

        Raises:
            StylePrompterError: if a step was not finite, or with ``skip`` too many
                in a row.
        """
        count, row, most = (int(n) for n in self._counts)
        self._counts = jnp.array([0, row, row], jnp.int32)
        if count and not self._skip:
            raise StylePrompterError(
                f"The loss or its gradient became NaN or infinite by step {step}: "
                "lower config.learning_rate, or leave such steps out with "
                f"--config.on_nan=skip. {advice()}"
            )
        if most >= IN_A_ROW:
            raise StylePrompterError(
                f"{most} steps in a row up to step {step} gave NaN or infinity, and "
                f"none of them changed the model: lower config.learning_rate. "
                f"{advice()}"
            )
        return {"skipped_steps": count} if self._skip else {}


@jax.jit
def _add(counts: jax.Array, finite: jax.Array) -> jax.Array:
    count, row, most = counts
    row = jnp.where(finite, 0, row + 1)
    return jnp.stack([count + ~finite, row, jnp.maximum(most, row)])


def _all_finite(tree: Any) -> jax.Array:
    return jnp.all(
        jnp.stack(
            [
                jnp.all(jnp.isfinite(leaf))
                for leaf in jax.tree.leaves(tree)
                if jnp.issubdtype(leaf.dtype, jnp.inexact)
            ]
        )
    )
