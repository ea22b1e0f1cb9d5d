"""Affine transformations of images, with a separate matrix for each image.

Axes: ``b`` batch, ``h w`` space, ``c`` channels, NHWC. Interpolation has two steps. A
half-band filter of six taps, which keeps details, gives the midpoints between pixels.
Linear interpolation gives values between pixels and midpoints. Values at pixels do not
change, so moves by whole pixels and quarter turns keep every value, and the identity
changes nothing. Beyond the edges, the image is mirrored.
"""

import jax
import jax.numpy as jnp
from jax import lax

_TAPS = (3 / 256, -25 / 256, 150 / 256)  # half of the symmetric half-band filter


def affine_warp(images: jax.Array, matrix: jax.Array) -> jax.Array:
    """Moves the pixels of each image by an affine transformation.

    Args:
        images: (b, h, w, c), with at least 4 pixels for each side.
        matrix: (b, 2, 3), from (x, y, 1) of a pixel of the result to (x, y) in the
            image, in pixels from its centre.

    Returns:
        (b, h, w, c). It is linear in the images.
    """
    _, h, w, _ = images.shape
    rows, columns = jnp.arange(h) - (h - 1) / 2, jnp.arange(w) - (w - 1) / 2
    x, y = (
        matrix[:, k, 0, None, None] * columns
        + matrix[:, k, 1, None, None] * rows[:, None]
        + matrix[:, k, 2, None, None]
        for k in (0, 1)
    )
    x, y = mirrored(x + (w - 1) / 2, w), mirrored(y + (h - 1) / 2, h)
    fine = with_midpoints(with_midpoints(images, 1), 2)
    return read_linearly(fine, 2 * x, 2 * y)


def mirrored(place: jax.Array, size: int) -> jax.Array:
    """Maps any place to a place from 0 to size - 1, with a mirror at either end."""
    there = jnp.mod(place, 2.0 * (size - 1))
    return jnp.minimum(there, 2 * (size - 1) - there)


def with_midpoints(x: jax.Array, axis: int) -> jax.Array:
    """Doubles an axis: inserts after each sample the midpoint to the next sample.

    The value after the last sample has no meaning.
    """
    size = x.shape[axis]
    pad = [(0, 0)] * x.ndim
    pad[axis] = (2, 3)
    wide = jnp.pad(x, pad, mode="reflect")
    parts = [lax.slice_in_dim(wide, k, k + size, axis=axis) for k in range(6)]
    middle = sum(t * (parts[k] + parts[5 - k]) for k, t in enumerate(_TAPS))
    shape = (*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return jnp.stack([x, middle], axis + 1).reshape(shape)


def read_linearly(images: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Interpolates linearly at places inside the images.

    Args:
        images: (b, h, w, c).
        x: (b, h', w') columns, from 0 to below w - 1.
        y: (b, h', w') rows, from 0 to below h - 1.

    Returns:
        (b, h', w', c).
    """
    b, h, w, c = images.shape
    left, top = jnp.floor(x), jnp.floor(y)
    across, down = (x - left)[..., None], (y - top)[..., None]
    first = (top * w + left).astype(jnp.int32)
    first = first + (jnp.arange(b) * (h * w))[:, None, None]
    flat = images.reshape(b * h * w, c)

    def at(offset: int) -> jax.Array:
        return flat.at[first + offset].get(mode="promise_in_bounds")

    upper = at(0) * (1 - across) + at(1) * across
    lower = at(w) * (1 - across) + at(w + 1) * across
    return upper * (1 - down) + lower * down
