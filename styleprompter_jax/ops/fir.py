"""Resamples with the [1, 3, 3, 1] filter of StyleGAN2.

Axes: ``b`` batch, ``h w`` space, ``c`` channels; everything is NHWC. The filter is
separable and symmetric. On CPUs and GPUs, it is a sum of shifted slices: XLA fuses
these into one pass over memory, and their gradients are sums of the same kind. A
depthwise convolution is many times slower on CPUs. On TPUs, the filter is two depthwise
convolutions, because a TPU reads each slice separately.
"""

import functools
import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from styleprompter_jax.ops.platforms import by_platform

TAPS = (1.0, 3.0, 3.0, 1.0)


def blur(
    x: jax.Array, padding: Sequence[tuple[int, int]], gain: float = 1.0, stride: int = 1
) -> jax.Array:
    """Filters with [1, 3, 3, 1] x [1, 3, 3, 1] / 64 * gain after zero padding.

    Args:
        x: (b, h, w, c).
        padding: ((top, bottom), (left, right)), the numbers of zeros to add first.
        gain: factor of the result.
        stride: keep every stride-th row and column.

    Returns:
        (b, h', w', c) with h' = (h + top + bottom - 4) // stride + 1.
    """
    how: dict[str, Any] = dict(
        padding=padding, taps=[t * gain**0.5 / 8.0 for t in TAPS], stride=stride
    )
    return by_platform(
        x, tpu=partial(by_convolutions, **how), default=partial(by_slices, **how)
    )


def by_slices(
    x: jax.Array,
    *,
    padding: Sequence[tuple[int, int]],
    taps: Sequence[float],
    stride: int,
) -> jax.Array:
    """Computes `blur` as sums of slices; each axis has the filter ``taps``."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    for axis in (1, 2):
        span = (x.shape[axis] - 4) // stride * stride + 1
        parts = [
            t * lax.slice_in_dim(x, k, k + span, stride, axis)
            for k, t in enumerate(taps)
        ]
        x = functools.reduce(operator.add, parts)
    return x


def by_convolutions(
    x: jax.Array,
    *,
    padding: Sequence[tuple[int, int]],
    taps: Sequence[float],
    stride: int,
) -> jax.Array:
    """Computes `blur` as a depthwise convolution along each axis."""
    channels = x.shape[-1]
    # A TPU would round float32 to bfloat16.
    precision = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    for axis in (1, 2):
        shape, strides, pads = [1, 1, 1, channels], [1, 1], [(0, 0), (0, 0)]
        shape[axis - 1], strides[axis - 1] = len(taps), stride
        pads[axis - 1] = padding[axis - 1]
        kernel = np.repeat(taps, channels).reshape(shape)
        x = lax.conv_general_dilated(
            x,
            jnp.asarray(kernel, x.dtype),
            strides,
            pads,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
            precision=precision,
        )
    return x


def upsample2(x: jax.Array) -> jax.Array:
    """Doubles the size: inserts zeros, then applies the filter with gain 4.

    Args:
        x: (b, h, w, c).

    Returns:
        (b, 2h, 2w, c). Each new sample is 3/4 of the nearer old sample plus 1/4 of the
        farther one. Samples beyond the edge are zero.
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


def downsample2(x: jax.Array) -> jax.Array:
    """Halves the size, to (b, h/2, w/2, c): filters, then keeps every second sample."""
    return blur(x, ((1, 1), (1, 1)), stride=2)
