"""Arrays that a caller gives, checked where they come in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import shown


def as_numbers(value: Any, what: str) -> jax.Array | np.ndarray:
    """Numbers as an array of float32: of NumPy, or of JAX where it is one of JAX.

    What is on a device is not waited for, so NaN is found in NumPy's arrays only.

    Args:
        value: an array, or numbers in lists.
        what: it is, at the beginning of a sentence: "The images".

    Raises:
        StylePrompterError: for None, text, lists of several lengths, values that are no
            real numbers, or not finite in float32.
    """
    array: jax.Array | np.ndarray
    if isinstance(value, jax.Array):
        array = value
    else:
        try:
            array = np.asarray(value)
        except Exception as error:  # lists of several lengths, tensors of other devices
            raise StylePrompterError(
                f"{what} are {shown(value)}, which is no array of numbers."
            ) from error
    kind = array.dtype
    if not (jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer)):
        raise StylePrompterError(
            f"{what} are {shown(value)}, which is no array of numbers."
        )
    if isinstance(array, jax.Array):
        return array.astype(jnp.float32)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise StylePrompterError(f"{what} hold NaN or infinity.")
    return array
