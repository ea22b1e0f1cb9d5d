"""Adaptive average pooling as matrix products."""

import jax
import jax.numpy as jnp
import numpy as np


def adaptive_average_pool(images: jax.Array, size: int | tuple[int, int]) -> jax.Array:
    """Averages over windows to any size, like PyTorch's ``AdaptiveAvgPool2d``.

    Output i is the mean of the inputs from floor(i n / size) up to, but not including,
    ceil((i + 1) n / size). So windows overlap if ``size`` does not divide n.

    Args:
        images: (b, h, w, c).
        size: side of the result, or (height, width); a size above that of the images
            repeats pixels.
    """
    _, h, w, _ = images.shape
    height, width = (size, size) if isinstance(size, int) else size
    if (h, w) == (height, width):
        return images
    kind = jnp.promote_types(images.dtype, jnp.float32)
    # Full precision, even if matrix products have less precision by default.
    return jnp.einsum(
        "bhwc,yh,xw->byxc",
        images,
        _windows(h, height).astype(kind),
        _windows(w, width).astype(kind),
        precision=jax.lax.Precision.HIGHEST,
    )


def _windows(n: int, size: int) -> np.ndarray:
    """Returns the matrix (size, n) whose row i contains the weights of window i."""
    i, cell = np.arange(size)[:, None], np.arange(n)
    inside = (cell >= i * n // size) & (cell < -(-(i + 1) * n // size))
    return inside / inside.sum(1, keepdims=True)
