"""Nested dicts of arrays as safetensors files, written whole."""

import os
from collections.abc import Mapping

import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict

from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.safetensors_files import read_safetensors, write_safetensors


def save_arrays(
    path: str | os.PathLike, tree: Mapping, metadata: dict[str, str] | None = None
) -> None:
    """Writes a nested dict of arrays as safetensors, keys joined by "/".

    The folder must be there: a mistyped name is not to make one.
    """
    flat = {
        key: np.asarray(value, order="C")
        for key, value in flatten_dict(tree, sep="/").items()
    }
    with atomic_path(path, parents=False) as partial:
        try:
            write_safetensors(partial, flat, metadata or {})
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def load_arrays(path: str | os.PathLike) -> dict:
    """Reads what `save_arrays` wrote: a nested dict of NumPy arrays.

    Raises:
        StylePrompterError: if the file is missing or damaged.
    """
    try:
        return unflatten_dict(read_safetensors(path).arrays, sep="/")
    except (IndexError, TypeError) as error:
        raise StylePrompterError(f"{path} has arrays below an array.") from error
