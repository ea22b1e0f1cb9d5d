"""How far two batches of images are apart, one number per image.

All take (b, h, w, c) in [-1, 1] and return (b,). LPIPS and identity need networks and
live in `perceptual`.
"""

import jax
import jax.numpy as jnp

from styleprompter_jax.ops.ssim import RANGE, ms_ssim, ssim

__all__ = ["mae", "ms_ssim", "mse", "psnr", "ssim"]


def mse(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean squared error on the [-1, 1] scale (4 times that of [0, 1])."""
    return jnp.square(x - y).mean((1, 2, 3))


def mae(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean absolute error on the [-1, 1] scale (2 times that of [0, 1])."""
    return jnp.abs(x - y).mean((1, 2, 3))


def psnr(x: jax.Array, y: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in decibels, the peak being the range of 2.

    The same number as for images in [0, 1] or [0, 255]; infinite for equal images.
    """
    return 10 * jnp.log10(RANGE**2 / mse(x, y))
