"""Directions from files: what others publish, as one array."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from styleprompter_jax.convert.files import read_file
from styleprompter_jax.core.names import check_name
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.errors import StylePrompterError

_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")


def find_direction(
    name_or_path: str | os.PathLike,
    known: Mapping[str, Direction],
    num_codes: int,
    w_dim: int,
) -> tuple[str, Direction]:
    """The direction that a command's argument stands for, and what to call it.

    Args:
        name_or_path: a key of `known`, or a file (see `read_direction`).
        known: the model's own directions.
        num_codes, w_dim: shape of the model's codes.

    Raises:
        StylePrompterError: if it is neither, or results cannot be called so.
    """
    name = os.fspath(name_or_path)
    if name in known:
        return check_name(name, "The model's directions"), known[name]
    path = Path(name).expanduser()
    if path.suffix.lower() in _SUFFIXES or path.exists():
        name = check_name(path.stem, os.fspath(path))
        return name, read_direction(path, num_codes, w_dim)
    raise StylePrompterError(
        f"The model knows no direction {name!r}, and there is no such file; it knows "
        f"{', '.join(sorted(known)) or 'none'}."
    )


def read_direction(path: str | os.PathLike, num_codes: int, w_dim: int) -> Direction:
    """Reads a direction from an .npy, or a file that holds one array.

    Args:
        path: the file, with [w_dim], [1, w_dim], [n, w_dim] or [1, n * w_dim].
        num_codes, w_dim: shape of the model's codes.

    Raises:
        StylePrompterError: if it cannot be read or does not fit the model.
    """
    array = only_array(read_file(path))
    if array is None:
        raise StylePrompterError(
            f"{path} cannot be read as a direction: give a file with one array."
        )
    return make_direction(array, num_codes, w_dim, os.fspath(path))


def direction_arrays(tree: Any, stem: str) -> dict[str, np.ndarray]:
    """The arrays of a file that may hold directions, by name; {} if it is another file.

    Args:
        tree: see `read_file`.
        stem: the name of the file, which is that of the only array of one.
    """
    array = only_array(tree)
    if array is not None:
        return {stem: array}
    if isinstance(tree, Mapping) and all(
        isinstance(array, np.ndarray) and array.ndim <= 3 for array in tree.values()
    ):
        return {str(key): array for key, array in tree.items()}
    return {}


def only_array(tree: Any) -> np.ndarray | None:
    """The array that is all a file holds, in a dict or list or not; else None."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list | tuple) and len(tree) == 1:
        (tree,) = tree
    return tree if isinstance(tree, np.ndarray) else None


def make_direction(
    array: np.ndarray, num_codes: int, w_dim: int, name: str
) -> Direction:
    """A direction of a model, whichever of the usual shapes it was published in.

    Args:
        array: see `read_direction`.
        num_codes, w_dim: shape of the model's codes.
        name: what to call the file in a message.

    Raises:
        StylePrompterError: if it does not fit the model.
    """
    array = np.asarray(array)
    shape = list(array.shape)
    if array.shape in ((1, num_codes * w_dim), (num_codes * w_dim,)):
        array = array.reshape(num_codes, w_dim)
    elif array.shape in ((1, w_dim), (1, num_codes, w_dim)):
        array = array[0]
    if array.shape not in ((w_dim,), (num_codes, w_dim)):
        raise StylePrompterError(
            f"{name} holds {shape}, but a direction of this model is [{w_dim}], "
            f"[{num_codes}, {w_dim}] or [1, {num_codes * w_dim}]."
        )
    if array.dtype.kind not in "fiu":
        raise StylePrompterError(f"{name} holds {array.dtype}, which is no direction.")
    if not np.isfinite(array).all():
        raise StylePrompterError(f"{name} holds NaN or infinity.")
    # Published directions have length 1, or nearly so: one step would hardly show.
    return Direction(array, strength=3.0, origin=name)
