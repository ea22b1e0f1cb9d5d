"""Losses of the pixels, and of the codes.

Every loss is a mean over the batch; images are NHWC in [-1, 1].
"""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import reduce
from jax import lax

from styleprompter_jax.ops.ssim import ssim


def pool_to(images: jax.Array, size: int) -> jax.Array:
    """Average pooling to (b, size, size, 3); the sizes must divide each other."""
    factor = images.shape[1] // size
    if factor <= 1:
        return images
    return reduce(images, "b (h p) (w q) c -> b h w c", "mean", p=factor, q=factor)


def l2(output: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference."""
    return jnp.mean((output - target) ** 2)


def hardest(output: jax.Array, target: jax.Array, share: float = 0.05) -> jax.Array:
    """Mean squared difference of the pixels of each image that are farthest off.

    What is small and lies where little else varies, a strip of clothing at the border,
    hardly shows in a mean over all pixels: the encoder settles for its average colour.

    Args:
        output: (b, h, w, c).
        target: (b, h, w, c).
        share: of an image's pixels, to be counted.
    """
    errors = reduce((output - target) ** 2, "b h w c -> b (h w)", "mean")
    count = max(1, round(share * errors.shape[1]))
    return jnp.mean(lax.top_k(errors, count)[0])


def structure(output: jax.Array, target: jax.Array) -> jax.Array:
    """1 - SSIM, averaged over scales: full size, half, a quarter, ... down to 16 px.

    What stands for a perceptual distance where no perceptual weights exist.  A mean
    of the scales, where MS-SSIM takes a product, keeps the gradient of every scale
    alive while the images still differ much.
    """
    scales: list[jax.Array] = []
    while not scales or output.shape[1] >= 16:
        scales.append(1 - jnp.mean(ssim(output, target)))
        output, target = (pool_to(x, x.shape[1] // 2) for x in (output, target))
    return functools.reduce(operator.add, scales) / len(scales)


def align(offsets: jax.Array) -> jax.Array:
    """Mean square of the codes' distance from latent_avg, (b, n, w_dim) -> ()."""
    return jnp.mean(offsets**2)


# By the name of its weight in a config: what compares an output with its target.
RECONSTRUCTION: dict[str, Callable] = {
    "l2": l2,
    "hardest": hardest,
    "structure": structure,
}
