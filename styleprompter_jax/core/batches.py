"""Batches filled up to the one shape that is compiled, and cut back."""

import jax
import numpy as np


def pad(tree, batch_size: int):
    """Arrays with their last row repeated until they have batch_size rows."""

    def pad_one(array):
        missing = batch_size - len(array)
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])

    return jax.tree.map(pad_one, tree)


def take(tree, count: int):
    """The first rows of arrays, as NumPy: what `pad` added is left out."""
    return jax.tree.map(lambda array: np.asarray(array)[:count], tree)
