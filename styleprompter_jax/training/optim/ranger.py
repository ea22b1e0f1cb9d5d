"""Ranger, the optimiser of the published code, as optax transformations.

Ranger is gradient centralisation (arXiv 2004.01461), RAdam (arXiv 1908.03265) and
Lookahead (arXiv 1907.08610).  Optax's own parts do not fit.  `optax.centralize` expects
the output axis first, but in Flax it is the last.  `optax.radam` corrects the bias of
the second moment before it adds eps.  `optax.lookahead` needs two sets of parameters.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

_ADAPTIVE_FROM = 5.0  # length of RAdam's moving average (N_sma in the published code)


def ranger(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.95,
    b2: float = 0.999,
    eps: float = 1e-5,
    sync_period: int = 6,
    slow_step_size: float = 0.5,
    centralize_logit_scale: bool = False,
) -> optax.GradientTransformation:
    """Chains `centralize`, `scale_by_radam`, learning rate and `lookahead`.

    Args:
        learning_rate: a number or an optax schedule.
        b1: see `scale_by_radam`.
        b2: see `scale_by_radam`.
        eps: see `scale_by_radam`.
        sync_period: see `lookahead`.
        slow_step_size: see `lookahead`.
        centralize_logit_scale: see `centralize`.

    Returns:
        A transformation whose update needs the parameters.
    """
    return optax.chain(
        centralize(centralize_logit_scale),
        scale_by_radam(b1, b2, eps),
        optax.scale_by_learning_rate(learning_rate),
        lookahead(sync_period, slow_step_size),
    )


def centralize(logit_scale: bool = False) -> optax.GradientTransformation:
    """Subtracts from each gradient its mean over all axes but the output axis.

    The output axis of a "kernel" (dense or convolution) is the last axis.  In any
    other array it is the first, so each latent token is centred separately.  Arrays
    with one axis, for example biases and scales, do not change.

    Args:
        logit_scale: NOTE(reference): the published code stores the scale of a head's
            attention as an array (1, 1).  Its gradient is centred to zero, so it never
            trains.  True does the same.
    """

    def center(path: tuple, gradient: jax.Array) -> jax.Array:
        name = path[-1].key
        if name == "logit_scale" and logit_scale:
            return jnp.zeros_like(gradient)
        if gradient.ndim < 2:
            return gradient
        axes = range(gradient.ndim)
        axes = axes[:-1] if name == "kernel" else axes[1:]
        return gradient - jnp.mean(gradient, tuple(axes), keepdims=True)

    return optax.stateless(
        lambda updates, _: jax.tree_util.tree_map_with_path(center, updates)
    )


def scale_by_radam(
    b1: float = 0.95, b2: float = 0.999, eps: float = 1e-5
) -> optax.GradientTransformation:
    """Applies rectified Adam: first moment alone until the second one is reliable.

    Args:
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment, whose bias is *not* corrected.
    """
    table = _radam_table(b1, b2)

    def init(params: Any) -> optax.ScaleByAdamState:
        # Two sets of zeros: a donated state must not contain a buffer twice.
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(
        gradients: Any, state: optax.ScaleByAdamState, params: Any = None
    ) -> tuple[Any, optax.ScaleByAdamState]:
        del params
        mu = optax.tree.update_moment(gradients, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(gradients, state.nu, b2, 2)
        row = jnp.minimum(state.count, len(table) - 1)
        size, adaptive = jnp.asarray(table, float)[row]

        def scale(m: jax.Array, v: jax.Array) -> jax.Array:
            return size * m / jnp.where(adaptive > 0, jnp.sqrt(v) + eps, 1.0)

        count = optax.safe_increment(state.count)
        return jax.tree.map(scale, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def _radam_table(b1: float, b2: float) -> np.ndarray:
    """Returns (step size, adaptive or not) by step, (steps, 2).

    Both values depend on the step alone.  The length of the average is a small
    difference of large numbers: in float32, its fourth digit would be wrong at first.
    So this function uses float64.  Steps beyond the table use its last row.
    """
    t = np.arange(1, math.ceil(20 / (1 - b2)))
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    adaptive = length > _ADAPTIVE_FROM
    rectified = np.maximum(length, _ADAPTIVE_FROM)
    rectified = (rectified - 4) * (rectified - 2) / rectified
    rectified *= longest / ((longest - 4) * (longest - 2))
    size = np.where(adaptive, np.sqrt((1 - b2**t) * rectified), 1) / (1 - b1**t)
    return np.stack([size, adaptive], 1)


class LookaheadState(NamedTuple):
    """The slow weights, and the number of steps so far."""

    count: jax.Array  # type: ignore[assignment]  # no tuple's method
    slow: optax.Params


def lookahead(
    sync_period: int = 6, slow_step_size: float = 0.5
) -> optax.GradientTransformation:
    """Moves slow weights towards the parameters each period, and copies them back.

    It must be last in a chain.  The slow weights start as the initial parameters.

    Args:
        sync_period: steps from one synchronisation to the next.
        slow_step_size: the fraction of the distance that the slow weights move.
    """

    def init(params: Any) -> LookaheadState:
        # A copy, so that the donated state has no buffer twice.
        return LookaheadState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.array, params))

    def update(
        updates: Any, state: LookaheadState, params: Any
    ) -> tuple[Any, LookaheadState]:
        count = optax.safe_increment(state.count)
        sync = count % sync_period == 0
        fast = optax.apply_updates(params, updates)
        slow = jax.tree.map(
            lambda s, f: jnp.where(sync, s + slow_step_size * (f - s), s),
            state.slow,
            fast,
        )
        updates = jax.tree.map(
            lambda u, s, p: jnp.where(sync, s - p, u), updates, slow, params
        )
        return updates, LookaheadState(count, slow)

    return optax.GradientTransformation(init, update)
