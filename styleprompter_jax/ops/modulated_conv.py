"""Convolutions of StyleGAN2 as dense convolutions with shared weights.

Axes: ``b`` batch, ``h w`` space, ``i o`` channels in and out. Activations are NHWC and
kernels HWIO, in the orientation of a cross-correlation (not flipped).

StyleGAN2 modulates the weights of each sample (Karras et al. 2020, eq. 1 and 3). This
equals one convolution that the whole batch shares, if the *input* channels are scaled
by the style and the *output* channels by the demodulation factor.
"""

import jax
import jax.numpy as jnp
from jax import lax

from styleprompter_jax.ops.fir import blur
from styleprompter_jax.ops.platforms import by_platform
from styleprompter_jax.ops.upsample_conv import strided_conv, upsample_conv

_NHWC = ("NHWC", "HWIO", "NHWC")


def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes a plain convolution: (b, h, w, i) * (kh, kw, i, o) -> (b, h, w, o)."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def modulated_conv(
    x: jax.Array,
    kernel: jax.Array,
    style: jax.Array,
    *,
    demodulate: bool = True,
    up: bool = False,
) -> jax.Array:
    """Computes a style-modulated 3x3 or 1x1 convolution, optionally to twice the size.

    Args:
        x: (b, h, w, i).
        kernel: (k, k, i, o), already scaled by its equalised learning rate.
        style: (b, i) factors of the input channels.
        demodulate: scale each output channel to unit variance (eps 1e-8).
        up: use a stride-2 transposed convolution, followed by the [1, 3, 3, 1] blur.

    Returns:
        (b, h, w, o), or (b, 2h, 2w, o) with ``up``.
    """
    x = x * style[:, None, None, :].astype(x.dtype)
    x = upsample_conv(x, kernel) if up else conv2d(x, kernel)
    if demodulate:
        power = jnp.einsum("bi,io->bo", style**2, jnp.sum(kernel**2, (0, 1)))
        x = x * lax.rsqrt(power + 1e-8)[:, None, None, :].astype(x.dtype)
    return x


def modulated_rgb(x: jax.Array, kernel: jax.Array, style: jax.Array) -> jax.Array:
    """Computes a style-modulated 1x1 convolution to few channels, not demodulated.

    Args:
        x: (b, h, w, i).
        kernel: (i, o), already scaled by its equalised learning rate.
        style: (b, i) factors of the input channels.

    Returns:
        (b, h, w, o).
    """
    return by_platform(
        x, kernel, style, tpu=rgb_of_scaled_map, default=rgb_by_scaled_weights
    )


def rgb_by_scaled_weights(
    x: jax.Array, kernel: jax.Array, style: jax.Array
) -> jax.Array:
    """Computes `modulated_rgb` with weights for each image.

    This needs no pass over the map to scale it.
    """
    return jnp.einsum("bhwi,bio->bhwo", x, style[:, :, None] * kernel)


def rgb_of_scaled_map(x: jax.Array, kernel: jax.Array, style: jax.Array) -> jax.Array:
    """Computes `modulated_rgb` with weights that the batch shares.

    With weights for each image, the compiler for TPUs puts the columns of the map
    innermost in memory. It then copies the map to this layout and back around each
    earlier convolution.
    """
    return (x * style[:, None, None, :]) @ kernel


def downsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes the blur, then a 3x3 convolution with stride 2.

    (b, h, w, i) * (3, 3, i, o) -> (b, h/2, w/2, o).
    """
    return strided_conv(blur(x, ((2, 2), (2, 2))), kernel)
