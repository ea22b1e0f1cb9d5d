"""Windows of a feature map, and the tables that attention inside them needs.

Axes: b batch, h w space, c channels, k windows of one image, p cells of one
window (row by row), r offsets.  Nothing here has parameters; the tables depend on
sizes only and are NumPy constants.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

Array = TypeVar("Array", jax.Array, np.ndarray)


def window_partition(x: Array, window: int) -> Array:
    """Cuts a map into square windows: (b, h, w, ...) -> (b, k, p, ...).

    Windows and the cells inside them are both counted row by row; ``h`` and ``w``
    are multiples of ``window``.
    """
    return rearrange(x, "b (h y) (w x) ... -> b (h w) (y x) ...", y=window, x=window)


def window_reverse(x: Array, window: int, height: int) -> Array:
    """Puts windows back into a map of that height: (b, k, p, ...) -> (b, h, w, ...)."""
    return rearrange(
        x,
        "b (h w) (y x) ... -> b (h y) (w x) ...",
        h=height // window,
        y=window,
        x=window,
    )


def shift_regions(size: int, window: int, shift: int) -> np.ndarray:
    """Names the parts of a shifted map that were neighbours before the shift.

    After ``roll(x, -shift)`` the last windows of each row and column join cells
    from opposite borders; cells may attend to each other only where their numbers
    here are equal.  Returns int32 (k, p) for a ``size`` x ``size`` map.
    """
    # Three bands a side: whole windows, the unbroken part of the last window, and
    # the part that came round from the other border.
    band = np.digitize(np.arange(size), [size - window, size - shift])
    regions = (3 * band[:, None] + band[None, :]).astype(np.int32)
    return window_partition(regions[None, :, :, None], window)[0, :, :, 0]


def log_offsets(window: int) -> np.ndarray:
    """Log-spaced offsets (row, column) between two cells of a window.

    float64 (2 window - 1, 2 window - 1, 2), query minus key, for SwinV2's continuous
    position bias (arXiv 2111.09883, eq. 4) as the published code scales it:
    ``sign(t) log2(|t| + 1) / log2(8)`` with t from -8 to 8.
    """
    t = 8.0 * np.arange(1 - window, window) / max(window - 1, 1)
    t = np.sign(t) * np.log2(np.abs(t) + 1) / np.log2(8)
    return np.stack(np.meshgrid(t, t, indexing="ij"), axis=-1)


def spread_offsets(table: jax.Array) -> jax.Array:
    """From one value an offset to one value a pair of cells.

    table (c, 2 m - 1, 2 m - 1), m = window -> (c, p, p) for queries q and keys k:
    ``out[:, q, k] = table[:, y_q - y_k + m - 1, x_q - x_k + m - 1]``.
    """
    by_column = rearrange(_toeplitz(table), "c r x1 x2 -> c x1 x2 r")
    return rearrange(_toeplitz(by_column), "c x1 x2 y1 y2 -> c (y1 x1) (y2 x2)")


def _toeplitz(values: jax.Array) -> jax.Array:
    """From 2 n - 1 offsets to n x n pairs: out[..., i, j] = values[..., i - j + n - 1].

    A gather would do, but its gradient is a scatter, which is slow everywhere.  Read
    in rows of 2 n, the repeated values move on by one a row; so repeating, cutting
    and flipping are enough, and their gradients are as plain.
    """
    *rest, offsets = values.shape
    n = (offsets + 1) // 2
    line = jnp.broadcast_to(values[..., None, :], (*rest, n + 1, offsets))
    line = line.reshape(*rest, (n + 1) * offsets)[..., : n * 2 * n]
    rows = line.reshape(*rest, n, 2 * n)[..., :n]  # rows[i, j] = values[i + j]
    return rows[..., ::-1]
