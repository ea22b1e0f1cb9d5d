"""How far two batches of images are apart, one number per image.

All take (b, h, w, c) in [-1, 1] and return (b,). LPIPS and identity need networks and
live in `perceptual`.
"""

from functools import partial

import jax
import jax.numpy as jnp

from styleprompter_jax.ops.ssim import RANGE, ms_ssim, ms_ssim_weights, ssim

__all__ = ["compare", "mae", "ms_ssim", "mse", "psnr", "resized", "ssim"]


@jax.jit
def compare(outputs: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
    """What training and evaluation say of inversions: "mse", "psnr", "ssim", "ms_ssim".

    Args:
        outputs: (b, s, s, 3), at the images' size; see `resized`.
        images: (b, s, s, 3), what they are to be.
    """
    # SSIM's luminance compares means, and everyone's begin at black: not at -1.
    pair = outputs + 1, images + 1
    return {
        "mse": mse(outputs, images),
        "psnr": psnr(outputs, images),
        "ssim": ssim(*pair),
        "ms_ssim": ms_ssim(*pair, ms_ssim_weights(images.shape[1])),
    }


@partial(jax.jit, static_argnums=1)
def resized(images: jax.Array, size: int | tuple[int, int]) -> jax.Array:
    """Images (b, h, w, 3) to a side, or a height and width, without aliasing.

    A triangle filter that widens as the image shrinks, as that of images/files.py.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[1:3] == (height, width):
        return images
    shape = (images.shape[0], height, width, 3)
    return jax.image.resize(images, shape, "linear", antialias=True)


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
