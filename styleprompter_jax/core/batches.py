"""Pads batches to the one compiled shape, and removes the padding again."""

from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError


def pad(tree: Any, batch_size: int) -> Any:
    """Repeats the last row of each array until the array has batch_size rows.

    Raises:
        StylePrompterError: if an array has more rows.
    """

    def pad_one(array: np.ndarray) -> np.ndarray:
        missing = batch_size - len(array)
        if missing < 0:
            raise StylePrompterError(
                f"A batch has {len(array)} images, but must have at most {batch_size}: "
                "make smaller batches, or give a larger batch_size."
            )
        if not missing:
            return np.asarray(array)
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])

    return jax.tree.map(pad_one, tree)


def take(tree: Any, count: int) -> Any:
    """Returns the first rows of each array as NumPy, without the rows of `pad`."""
    return jax.tree.map(lambda array: np.asarray(array)[:count], tree)
