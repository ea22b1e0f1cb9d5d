"""Layers and distances that the fixed networks share.

The networks are frozen: no training changes them, and the statistics of BatchNorm are
ordinary parameters. Axes: ``b h w c``, NHWC.
"""

import functools
import operator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from styleprompter_jax.models.batch_norm import normalised

_EPSILON = 1e-10

Features = jax.Array | tuple[jax.Array, ...]


class FrozenBatchNorm(nn.Module):
    """BatchNorm with stored statistics."""

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., c) to (..., c)."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.param("mean", nn.initializers.zeros, shape)
        var = self.param("var", nn.initializers.ones, shape)
        return normalised(x, scale, bias, mean, var, self.epsilon, self.dtype)


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0) with a slope for each channel."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., c) to (..., c)."""
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        x, slope = promote_dtype(x, slope, dtype=self.dtype)
        return jnp.where(x > 0, x, slope * x)


def conv(
    features: int,
    size: int = 3,
    stride: int = 1,
    padding: int = 0,
    bias: bool = False,
    dtype: Any = None,
    name: str | None = None,
) -> nn.Conv:
    """Makes a square convolution with PyTorch's symmetric padding."""
    return nn.Conv(
        features,
        (size, size),
        (stride, stride),
        [(padding, padding)] * 2,
        use_bias=bias,
        dtype=dtype,
        name=name,
    )


def unit(x: jax.Array) -> jax.Array:
    """Divides an array by its L2 norm over its last axis.

    The epsilon is inside the root. The published losses add it to the norm instead, and
    have no gradient (NaN) at a zero vector. This function has one.
    """
    return x * jax.lax.rsqrt(jnp.sum(x**2, -1, keepdims=True) + _EPSILON)


def cosine_distance(a: Features, b: Features) -> jax.Array:
    """Computes 1 - cosine of unit vectors, added over levels.

    It uses half the squared distance, which is the same value. This avoids cancellation
    if a is near b, and the gradient through `unit` is the same.

    Args:
        a: features (b, c), or a tuple of such features.
        b: features of the same form.

    Returns:
        (b,), from 0 to 2 for each level.
    """
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return functools.reduce(
        operator.add, (0.5 * jnp.sum((x - y) ** 2, -1) for x, y in pairs)
    )
