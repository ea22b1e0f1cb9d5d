"""Adaptive average pooling, as matrix products."""

import jax
import jax.numpy as jnp
import numpy as np


def adaptive_average_pool(images: jax.Array, size: int | tuple[int, int]) -> jax.Array:
    """Average pooling to any size, with PyTorch's windows (``AdaptiveAvgPool2d``).

    Output i averages the inputs from floor(i n / size) up to, and without,
    ceil((i + 1) n / size); so windows overlap where ``size`` does not divide n.

    Args:
        images: (b, h, w, c).
        size: side of the result, or its height and width; where it is larger than that
            of the images, pixels are repeated.
    """
    _, h, w, _ = images.shape
    height, width = (size, size) if isinstance(size, int) else size
    if (h, w) == (height, width):
        return images
    kind = jnp.promote_types(images.dtype, jnp.float32)
    # In full precision also where products of matrices are rounded by default.
    return jnp.einsum(
        "bhwc,yh,xw->byxc",
        images,
        _windows(h, height).astype(kind),
        _windows(w, width).astype(kind),
        precision=jax.lax.Precision.HIGHEST,
    )


def _windows(n: int, size: int) -> np.ndarray:
    """The matrix (size, n) whose row i holds the weights of window i."""
    i, cell = np.arange(size)[:, None], np.arange(n)
    inside = (cell >= i * n // size) & (cell < -(-(i + 1) * n // size))
    return inside / inside.sum(1, keepdims=True)
