"""Writes and reads nested dicts of arrays as safetensors files."""

import os
from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.problems import refuse
from styleprompter_jax.core.safetensors_files import read_safetensors, write_safetensors


def save_arrays(
    path: str | os.PathLike, tree: Mapping, metadata: dict[str, str] | None = None
) -> None:
    """Writes a nested dict of arrays as safetensors, with keys joined by "/".

    The file is written completely or not at all. The folder must exist, so that a
    mistyped name does not create a folder.
    """
    flat = {
        key: np.asarray(value, order="C")
        for key, value in flatten_dict(tree, sep="/").items()
    }
    with atomic_path(path, parents=False) as partial:
        write_safetensors(partial, flat, metadata or {})


def load_arrays(path: str | os.PathLike) -> dict:
    """Reads a file of `save_arrays` to a nested dict of NumPy arrays.

    Raises:
        StylePrompterError: if the file is missing or damaged.
    """
    try:
        return unflatten_dict(read_safetensors(path).arrays, sep="/")
    except (IndexError, TypeError) as error:
        raise StylePrompterError(
            f"{path} uses the name of an array as the name of a group too: make the "
            "file again."
        ) from error


def fit_variables(
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping,
    headline: str,
    others: Mapping[str, tuple] | None = None,
) -> dict:
    """Returns float32 variables from flat arrays, which must match ``shapes`` exactly.

    Args:
        arrays: arrays by key.
        shapes: the result of `jax.eval_shape` of a module's init.
        headline: the first line of the error message.
        others: alternative shapes of arrays, by key.

    Raises:
        StylePrompterError: if an array is missing, is unexpected, has the wrong shape
            or type, or is not finite. The message names all these arrays.
    """
    expected = {
        key: (collection, leaf)
        for collection, tree in shapes.items()
        for key, leaf in flatten_dict(tree, sep="/").items()
    }
    problems: dict[str, list[str]] = {}
    variables: dict[str, dict] = {collection: {} for collection in shapes}
    for key, (collection, leaf) in expected.items():
        if key not in arrays:
            problems.setdefault("missing", []).append(f"{key} {list(leaf.shape)}")
            continue
        array = arrays[key]
        with np.errstate(over="ignore"):
            value = array.astype(np.float32, copy=False)
        variables[collection][key] = value
        if array.shape not in (leaf.shape, (others or {}).get(key)):
            problems.setdefault("wrong shape", []).append(
                f"{key} is {list(array.shape)}, but must be {list(leaf.shape)}"
            )
        elif not np.issubdtype(array.dtype, np.floating):
            problems.setdefault("not floating point", []).append(key)
        elif not np.isfinite(value).all():  # float64 may overflow in float32
            problems.setdefault("not finite", []).append(key)
    if unexpected := [key for key in arrays if key not in expected]:
        problems["unexpected"] = unexpected
    refuse(f"{headline}:", problems)
    return {
        collection: unflatten_dict(flat, sep="/")
        for collection, flat in variables.items()
    }
