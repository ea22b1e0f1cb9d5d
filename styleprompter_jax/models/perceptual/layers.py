"""What the fixed networks share: layers in inference form, and distances.

The networks are frozen: statistics of BatchNorm are parameters like all others, and
nothing here is ever trained.  Axes: ``b h w c``, NHWC.
"""

import functools
import operator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

_EPSILON = 1e-10

Features = jax.Array | tuple[jax.Array, ...]


class FrozenBatchNorm(nn.Module):
    """BatchNorm with stored statistics: one product and one sum."""

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., c) -> (..., c)."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.param("mean", nn.initializers.zeros, shape)
        var = self.param("var", nn.initializers.ones, shape)
        scale = scale * jax.lax.rsqrt(var + self.epsilon)
        x = x * scale + (bias - mean * scale)
        return x if self.dtype is None else x.astype(self.dtype)


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0) with a slope for each channel."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., c) -> (..., c)."""
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
    """A square convolution with PyTorch's symmetric padding."""
    return nn.Conv(
        features,
        (size, size),
        (stride, stride),
        [(padding, padding)] * 2,
        use_bias=bias,
        dtype=dtype,
        name=name,
    )


def unit(x: jax.Array, axis: int = -1) -> jax.Array:
    """Divided by its L2 norm over ``axis``.

    The epsilon stands inside the root, where the published losses add it to the norm:
    theirs has no gradient (NaN) at a zero vector, this one has.
    """
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis, keepdims=True) + _EPSILON)


def cosine_distance(a: Features, b: Features) -> jax.Array:
    """1 - cosine of unit vectors, added over levels.

    Written as half the squared distance, which does not cancel where a is near b; the
    gradient through `unit` is the same.

    Args:
        a: features, (b, c) or a tuple of such.
        b: likewise.

    Returns:
        (b,), from 0 to 2 for each level.
    """
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return functools.reduce(
        operator.add, (0.5 * jnp.sum((x - y) ** 2, -1) for x, y in pairs)
    )
