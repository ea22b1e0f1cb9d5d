"""Batches filled up to the one shape that is compiled, and cut back."""

from typing import Any

import jax
import numpy as np


def pad(tree: Any, batch_size: int) -> Any:
    """Arrays with their last row repeated until they have batch_size rows."""

    def pad_one(array: np.ndarray) -> np.ndarray:
        missing = batch_size - len(array)
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])

    return jax.tree.map(pad_one, tree)


def take(tree: Any, count: int) -> Any:
    """The first rows of arrays, as NumPy: what `pad` added is left out."""
    return jax.tree.map(lambda array: np.asarray(array)[:count], tree)
