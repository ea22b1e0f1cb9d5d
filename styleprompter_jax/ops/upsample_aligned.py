"""Bilinear upsampling whose corners stay where they are, as matrix products."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def upsample_aligned(images: jax.Array, size: Sequence[int]) -> jax.Array:
    """Bilinear upsampling with PyTorch's ``align_corners=True``.

    Args:
        images: (b, h, w, c).
        size: of the result, (h', w').

    Returns:
        (b, h', w', c), the first and last rows and columns those of the images.
    """
    _, h, w, _ = images.shape
    kind = jnp.promote_types(images.dtype, jnp.float32)
    # In full precision also where products of matrices are rounded by default.
    resized = jnp.einsum(
        "bhwc,yh,xw->byxc",
        images,
        _weights(h, size[0]).astype(kind),
        _weights(w, size[1]).astype(kind),
        precision=jax.lax.Precision.HIGHEST,
    )
    return resized.astype(images.dtype)


def _weights(n: int, size: int) -> np.ndarray:
    """The matrix (size, n) whose row i holds what output i takes of each input."""
    place = np.linspace(0, n - 1, size)[:, None]
    return np.maximum(1 - np.abs(place - np.arange(n)), 0)
