"""Windows of a feature map, and tables for the attention inside them.

Axes: b batch, h w space, c channels, k windows of one image, p cells of one window (row
by row), r offsets. No function has parameters to train. The tables depend only on
sizes, and are NumPy constants.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from styleprompter_jax.core.errors import StylePrompterError

Array = TypeVar("Array", jax.Array, np.ndarray)


def window_partition(x: Array, window: int) -> Array:
    """Splits a map into square windows: (b, h, w, ...) -> (b, k, p, ...).

    The order of windows, and of cells in a window, is row by row. ``h`` and ``w`` are
    multiples of ``window``.
    """
    return rearrange(x, "b (h y) (w x) ... -> b (h w) (y x) ...", y=window, x=window)


def window_reverse(x: Array, window: int, height: int) -> Array:
    """Joins windows to a map of this height: (b, k, p, ...) -> (b, h, w, ...)."""
    return rearrange(
        x,
        "b (h w) (y x) ... -> b (h y) (w x) ...",
        h=height // window,
        y=window,
        x=window,
    )


def coarser(size: int, side: int, title: str) -> int:
    """Returns the smaller of two sides of maps, whose cells the other map divides.

    Args:
        size: side of the generator's map, in cells.
        side: side of the encoder's map.
        title: name of the refiner, for the message.

    Raises:
        StylePrompterError: if neither side is a multiple of the other.
    """
    grid = min(size, side)
    if size % grid or side % grid:
        raise StylePrompterError(
            f"A map with {size} cells a side and a map with {side} do not fit together "
            f"in {title}: one must be a multiple of the other, so change "
            "refined_layers or the encoder."
        )
    return grid


def shift_regions(size: int, window: int, shift: int) -> np.ndarray:
    """Numbers the regions of a shifted map that were connected before the shift.

    After ``roll(x, -shift)``, the last windows of each row and column contain cells
    from opposite borders. Cells may attend to each other only if their region numbers
    are equal.

    Returns:
        int32 (k, p) for a ``size`` x ``size`` map.
    """
    # Each side has three bands: whole windows, the part of the last window from the
    # same border, and the part from the opposite border.
    band = np.digitize(np.arange(size), [size - window, size - shift])
    regions = (3 * band[:, None] + band[None, :]).astype(np.int32)
    return window_partition(regions[None, :, :, None], window)[0, :, :, 0]


def log_offsets(window: int) -> np.ndarray:
    """Computes log-spaced offsets (row, column) between two cells of a window.

    They are for SwinV2's continuous position bias (arXiv 2111.09883, eq. 4), scaled as
    in the published code: ``sign(t) log2(|t| + 1) / log2(8)`` with t from -8 to 8.

    Returns:
        float64 (2 window - 1, 2 window - 1, 2), query minus key.
    """
    t = 8.0 * np.arange(1 - window, window) / max(window - 1, 1)
    t = np.sign(t) * np.log2(np.abs(t) + 1) / np.log2(8)
    return np.stack(np.meshgrid(t, t, indexing="ij"), axis=-1)


def spread_offsets(table: jax.Array) -> jax.Array:
    """Expands one value for each offset to one value for each pair of cells.

    table (c, 2 m - 1, 2 m - 1), m = window -> (c, p, p) for queries q and keys k:
    ``out[:, q, k] = table[:, y_q - y_k + m - 1, x_q - x_k + m - 1]``.
    """
    by_column = rearrange(_toeplitz(table), "c r x1 x2 -> c x1 x2 r")
    return rearrange(_toeplitz(by_column), "c x1 x2 y1 y2 -> c (y1 x1) (y2 x2)")


def _toeplitz(values: jax.Array) -> jax.Array:
    """Expands 2 n - 1 offsets to n x n pairs.

    out[..., i, j] = values[..., i - j + n - 1]. A gather gives this too, but its
    gradient is a scatter, which is slow on every device. If the repeated values are
    read in rows of 2 n, each row is shifted by one. So this function repeats, cuts and
    flips, and these operations have simple gradients.
    """
    *rest, offsets = values.shape
    n = (offsets + 1) // 2
    line = jnp.broadcast_to(values[..., None, :], (*rest, n + 1, offsets))
    line = line.reshape(*rest, (n + 1) * offsets)[..., : n * 2 * n]
    rows = line.reshape(*rest, n, 2 * n)[..., :n]  # rows[i, j] = values[i + j]
    return rows[..., ::-1]
