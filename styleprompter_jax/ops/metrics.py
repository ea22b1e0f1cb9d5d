"""Metrics that compare two batches of images, with one number for each image.

All metrics take (b, h, w, c) in [-1, 1] and return (b,). LPIPS and identity need
networks, and are in `losses.perceptual`.
"""

from functools import partial

import jax
import jax.numpy as jnp

from styleprompter_jax.ops.ssim import RANGE, ms_ssim, ms_ssim_weights, ssim

__all__ = ["compare", "mae", "ms_ssim", "mse", "psnr", "resized", "ssim"]


@jax.jit
def compare(outputs: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
    """Computes the metrics of inversions: "mse", "psnr", "ssim", "ms_ssim".

    Args:
        outputs: (b, s, s, 3), at the size of the images; see `resized`.
        images: (b, s, s, 3), the original images.
    """
    # SSIM's luminance compares means. By convention, black is 0, not -1.
    pair = outputs + 1, images + 1
    return {
        "mse": mse(outputs, images),
        "psnr": psnr(outputs, images),
        "ssim": ssim(*pair),
        "ms_ssim": ms_ssim(*pair, ms_ssim_weights(images.shape[1])),
    }


@partial(jax.jit, static_argnums=1)
def resized(images: jax.Array, size: int | tuple[int, int]) -> jax.Array:
    """Resizes images (b, h, w, 3) to a side or (height, width), without aliasing.

    The filter is a triangle that becomes wider for smaller sizes, as in
    images/files.py.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[1:3] == (height, width):
        return images
    shape = (images.shape[0], height, width, 3)
    return jax.image.resize(images, shape, "linear", antialias=True)


def mse(x: jax.Array, y: jax.Array) -> jax.Array:
    """Computes the mean squared error on the [-1, 1] scale (4 times that of [0, 1])."""
    return jnp.square(x - y).mean((1, 2, 3))


def mae(x: jax.Array, y: jax.Array) -> jax.Array:
    """Computes the mean absolute error on the [-1, 1] scale (twice that of [0, 1])."""
    return jnp.abs(x - y).mean((1, 2, 3))


def psnr(x: jax.Array, y: jax.Array) -> jax.Array:
    """Computes the peak signal-to-noise ratio in decibels; the peak is the range of 2.

    It equals the ratio of images in [0, 1] or [0, 255]. It is infinite for equal
    images.
    """
    return 10 * jnp.log10(RANGE**2 / mse(x, y))
