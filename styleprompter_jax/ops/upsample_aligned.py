"""Bilinear upsampling with aligned corners, as matrix products."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def upsample_aligned(images: jax.Array, size: Sequence[int]) -> jax.Array:
    """Upsamples with bilinear weights, like PyTorch's ``align_corners=True``.

    Args:
        images: (b, h, w, c).
        size: size of the result, (h', w').

    Returns:
        (b, h', w', c). Its first and last rows and columns come only from those of the
        images.
    """
    _, h, w, _ = images.shape
    kind = jnp.promote_types(images.dtype, jnp.float32)
    # Full precision, even if matrix products have less precision by default.
    resized = jnp.einsum(
        "bhwc,yh,xw->byxc",
        images,
        _weights(h, size[0]).astype(kind),
        _weights(w, size[1]).astype(kind),
        precision=jax.lax.Precision.HIGHEST,
    )
    return resized.astype(images.dtype)


def _weights(n: int, size: int) -> np.ndarray:
    """Returns the matrix (size, n) whose row i contains the weights of output i."""
    place = np.linspace(0, n - 1, size)[:, None]
    return np.maximum(1 - np.abs(place - np.arange(n)), 0)
