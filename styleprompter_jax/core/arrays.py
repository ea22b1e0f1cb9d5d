"""Checks of the arrays that a caller passes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import shown


def as_numbers(value: Any, what: str) -> jax.Array | np.ndarray:
    """Returns a float32 array: JAX for a JAX array, NumPy for other values.

    It does not wait for arrays on a device, so it finds NaN and infinity only in NumPy
    arrays and lists.

    Args:
        value: an array, or numbers in lists.
        what: the subject of the error message: "The images".

    Raises:
        StylePrompterError: for None, text, lists of different lengths, and values that
            are not real numbers or not finite in float32.
    """
    array: jax.Array | np.ndarray
    if isinstance(value, jax.Array):
        array = value
    else:
        try:
            array = np.asarray(value)
        except Exception as error:  # lists of different lengths, tensors on devices
            raise StylePrompterError(
                f"{what} are {shown(value)}, which is not an array of numbers: pass a "
                "NumPy or JAX array of real numbers."
            ) from error
    kind = array.dtype
    if not (jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer)):
        raise StylePrompterError(
            f"{what} are {shown(value)}, which is not an array of numbers: pass a "
            "NumPy or JAX array of real numbers."
        )
    if isinstance(array, jax.Array):
        return array.astype(jnp.float32)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise StylePrompterError(
            f"{what} contain NaN, infinity or numbers beyond float32: pass finite "
            "numbers."
        )
    return array
