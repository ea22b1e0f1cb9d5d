"""Resampling with the [1, 3, 3, 1] filter of StyleGAN2.

Axes: ``b`` batch, ``h w`` space, ``c`` channels; everything is NHWC.  The filter is
separable and symmetric.  It is written as sums of shifted slices, which XLA fuses
into one pass over memory on every backend and which differentiate into the same
kind of sums; a depthwise convolution is many times slower on CPUs.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

TAPS = (1.0, 3.0, 3.0, 1.0)


def blur(x, padding: Sequence[tuple[int, int]], gain: float = 1.0, stride: int = 1):
    """Filter with [1, 3, 3, 1] x [1, 3, 3, 1] / 64 * gain after zero padding.

    Args:
      x: (b, h, w, c).
      padding: ((top, bottom), (left, right)) zeros to add first.
      gain: factor of the result.
      stride: keep every stride-th row and column.

    Returns:
      (b, h', w', c) with h' = (h + top + bottom - 4) // stride + 1.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    taps = [t * gain**0.5 / 8.0 for t in TAPS]
    for axis in (1, 2):
        span = (x.shape[axis] - 4) // stride * stride + 1
        x = sum(
            t * lax.slice_in_dim(x, k, k + span, stride, axis)
            for k, t in enumerate(taps)
        )
    return x


def upsample2(x):
    """Twice the size: zero insertion, then the filter with gain 4.

    Args:
      x: (b, h, w, c).

    Returns:
      (b, 2h, 2w, c).  Each new sample is 3/4 of the nearer old one and 1/4 of the
      farther one; beyond the edge lies zero.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        pad = [(0, 0)] * x.ndim
        pad[axis] = (1, 1)
        padded = jnp.pad(x, pad)
        before = lax.slice_in_dim(padded, 0, size, axis=axis)
        after = lax.slice_in_dim(padded, 2, size + 2, axis=axis)
        pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


def downsample2(x):
    """Half the size: the filter, then every second sample.  (b, h/2, w/2, c)."""
    return blur(x, ((1, 1), (1, 1)), stride=2)
