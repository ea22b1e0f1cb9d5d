"""Losses on pixels and on codes.

Every loss is a mean over the batch; images are NHWC in [-1, 1].
"""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import reduce
from jax import lax

from styleprompter_jax.ops.ssim import halve, ssim


def pool_to(images: jax.Array, size: int) -> jax.Array:
    """Averages to (b, size, size, 3); one size must divide the other.

    Images that are not larger than ``size`` do not change.
    """
    factor = images.shape[1] // size
    if factor <= 1:
        return images
    return reduce(images, "b (h p) (w q) c -> b h w c", "mean", p=factor, q=factor)


def l2(output: jax.Array, target: jax.Array) -> jax.Array:
    """Computes the mean squared difference."""
    return jnp.mean((output - target) ** 2)


def hardest(output: jax.Array, target: jax.Array, share: float = 0.05) -> jax.Array:
    """Computes the mean squared difference over the worst pixels of each image.

    In a mean over all pixels, a small detail in a uniform area has little weight, for
    example a strip of clothing at the border. The encoder then learns only its average
    colour.

    Args:
        output: (b, h, w, c).
        target: (b, h, w, c).
        share: the part of an image's pixels that counts.
    """
    errors = reduce((output - target) ** 2, "b h w c -> b (h w)", "mean")
    count = max(1, round(share * errors.shape[1]))
    return jnp.mean(lax.top_k(errors, count)[0])


def structure(output: jax.Array, target: jax.Array) -> jax.Array:
    """Computes 1 - SSIM, averaged over scales: full size, half, ... down to 16 px.

    A last odd row or column of a scale is missing in the next one.

    It replaces a perceptual distance if no perceptual weights exist. MS-SSIM takes the
    product of the scales. This loss takes their mean, so that every scale has a
    gradient even if the images differ strongly.
    """
    scales: list[jax.Array] = []
    while not scales or output.shape[1] >= 16:
        scales.append(1 - jnp.mean(ssim(output, target)))
        output, target = halve(output), halve(target)
    return functools.reduce(operator.add, scales) / len(scales)


def align(offsets: jax.Array) -> jax.Array:
    """Computes the mean square of the offsets from latent_avg, (b, n, w_dim) -> ()."""
    return jnp.mean(offsets**2)


def w_norm(offsets: jax.Array) -> jax.Array:
    """Computes the length of the offsets from latent_avg, (b, n, w_dim) -> ()."""
    return jnp.mean(_length(offsets, (1, 2)))


def delta(codes: jax.Array, deltas: jax.typing.ArrayLike) -> jax.Array:
    """Computes the sum of the lengths of the deltas that train.

    A delta is the difference of a code from the first code.

    Args:
        codes: (b, n, w_dim).
        deltas: number of deltas that train.
    """
    lengths = jnp.mean(_length(codes[:, 1:] - codes[:, :1], 2), 0)
    return jnp.sum(lengths * (jnp.arange(len(lengths)) < deltas))


def _length(x: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    """Computes the L2 norm over axes; its gradient at zero is zero."""
    squares = jnp.sum(x**2, axes)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def inner_crop(images: jax.Array) -> jax.Array:
    """Crops the inner part of faces that are aligned as in FFHQ, (b, s, s, c).

    At 256 px, these are rows 35:223 and columns 32:220.
    """
    top, bottom, left, right = (
        round(images.shape[1] * edge / 256) for edge in (35, 223, 32, 220)
    )
    return images[:, top:bottom, left:right]


# The losses that compare an output with its target, by the name of the weight in a
# config.
RECONSTRUCTION: dict[str, Callable] = {
    "l2": l2,
    "hardest": hardest,
    "structure": structure,
}
# Losses of the codes alone, for an encoder.
CODES = ("align", "w_norm", "delta")
# Losses that also exist for the `inner_crop`, as "l2_crop".
CROPPED = ("l2", "lpips")
