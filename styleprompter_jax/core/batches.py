"""Pads batches to the one compiled shape, and removes the padding again."""

from typing import Any

import jax
import numpy as np


def pad(tree: Any, batch_size: int) -> Any:
    """Repeats the last row of each array until the array has batch_size rows."""

    def pad_one(array: np.ndarray) -> np.ndarray:
        missing = batch_size - len(array)
        if not missing:
            return np.asarray(array)
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])

    return jax.tree.map(pad_one, tree)


def take(tree: Any, count: int) -> Any:
    """Returns the first rows of each array as NumPy, without the rows of `pad`."""
    return jax.tree.map(lambda array: np.asarray(array)[:count], tree)
