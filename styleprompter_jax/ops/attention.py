"""Parts of cosine attention: unit vectors, logits, and softmax over split keys."""

import functools
import operator

import jax
import jax.numpy as jnp


def normalize(x: jax.Array, scale: float | jax.Array = 1.0) -> jax.Array:
    """Scales the last axis to length ``scale``; computes at least in float32."""
    x32 = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # The minimum of the square keeps the gradient finite at zero.
    power = jnp.sum(x32**2, axis=-1, keepdims=True)
    return (x32 * (scale * jax.lax.rsqrt(jnp.maximum(power, 1e-24)))).astype(x.dtype)


def logits(q: jax.Array, k: jax.Array) -> jax.Array:
    """Computes (..., q, d), (..., k, d) -> (..., q, k); sums at least in float32."""
    kind = jnp.promote_types(k.dtype, jnp.float32)
    return jnp.einsum("...qd,...kd->...qk", q, k, preferred_element_type=kind)


def attend(*parts: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Computes softmax attention over keys in several arrays, without joining them.

    Args:
        parts: for each array of keys, logits (..., q, k) and values (..., k, d).

    Returns:
        (..., q, d).
    """
    peaks = [jnp.max(x, axis=-1, keepdims=True) for x, _ in parts]
    highest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, peaks))
    weights = [jnp.exp(x - highest) for x, _ in parts]
    totals = (jnp.sum(w, axis=-1, keepdims=True) for w in weights)
    total = functools.reduce(operator.add, totals)
    values = map(_values, weights, (v for _, v in parts))
    return functools.reduce(operator.add, values) / total


def _values(weights: jax.Array, v: jax.Array) -> jax.Array:
    """Computes (..., q, k), (..., k, d) -> (..., q, d); sums at least in float32."""
    weights = weights.astype(v.dtype)
    kind = jnp.promote_types(v.dtype, jnp.float32)
    return jnp.einsum("...qk,...kd->...qd", weights, v, preferred_element_type=kind)
