"""Writes and reads the named directions of a model folder, in a separate file."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import parse_json
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.safetensors_files import read_safetensors
from styleprompter_jax.editing.directions import Direction, Response
from styleprompter_jax.store.array_files import save_arrays
from styleprompter_jax.store.places import DIRECTIONS


def save_directions(
    folder: str | os.PathLike,
    directions: Mapping[str, Direction],
    dtype: str | None = None,
) -> None:
    """Writes the named directions of a model folder, and replaces the existing ones.

    Args:
        folder: the model folder.
        directions: the directions, by name.
        dtype: the dtype of their responses: "float16" halves the size, None keeps
            float32.

    Raises:
        StylePrompterError: for a direction that `load_directions` would refuse. In this
            case, nothing is written.
    """
    path = Path(folder) / DIRECTIONS
    check_names(directions, f"{path} was not written")
    arrays, metadata = {}, {}
    for name, direction in directions.items():
        fields = {
            field.name: getattr(direction, field.name)
            for field in dataclasses.fields(direction)
        }
        arrays[name], response = fields.pop("vector"), fields.pop("response")
        if response is not None:
            arrays |= {
                key: getattr(response, k).astype(dtype or np.float32)
                for k, key in _keys(name).items()
            }
        metadata[name] = fields
    text = json.dumps(metadata)
    try:
        for name, fields in json.loads(text).items():
            _check_fields(name, fields)
    except ValueError as error:
        raise StylePrompterError(
            f"{path} was not written, because {error}: correct the direction."
        ) from error
    save_arrays(path, arrays, {"directions": text})


def load_directions(folder: str | os.PathLike) -> dict[str, Direction]:
    """Reads the named directions of a model folder; {} if it has no such file.

    Raises:
        StylePrompterError: if the file is damaged.
    """
    path = Path(folder) / DIRECTIONS
    if not os.path.lexists(path):  # a broken link counts as damage
        return {}
    arrays, metadata = read_safetensors(path)
    try:
        if "directions" not in metadata:
            raise ValueError("its metadata contains no directions")
        entries = parse_json(metadata["directions"])
        if arrays and not entries:
            raise ValueError("its metadata does not name its arrays")
        return {name: _direction(name, entries[name], arrays) for name in entries}
    except ValueError as error:
        raise StylePrompterError(
            f"{path} is not a valid file of directions ({error}): delete it or find "
            "the directions again."
        ) from error


def _check_fields(name: str, fields: Any) -> None:
    """Raises a ValueError that names the fault in the metadata of a direction."""
    if type(fields) is not dict:
        raise ValueError(f"the entry of {quoted(name)} is {quoted(fields)}")
    for field, value in fields.items():
        if field not in _CHECKS:
            raise ValueError(f"{quoted(name)} has the unknown field {quoted(field)}")
        fits, wanted = _CHECKS[field]
        if not fits(value):
            raise ValueError(
                f"{field} of {quoted(name)} is {quoted(value)}, but must be {wanted}"
            )


def _direction(name: str, fields: Any, arrays: Mapping[str, np.ndarray]) -> Direction:
    """Builds a direction from metadata and arrays, or raises a ValueError."""
    _check_fields(name, fields)
    keys = _keys(name)
    has_response = not arrays.keys().isdisjoint(keys.values())
    for key in (name, *keys.values()) if has_response else (name,):
        if key not in arrays:
            raise ValueError(f"it has no array {quoted(key)}")
    try:
        # float64 may overflow; infinite values are refused.
        with np.errstate(over="ignore"):
            response = None
            if has_response:
                response = Response(**{k: arrays[key] for k, key in keys.items()})
            return Direction(arrays[name], response=response, **fields)
    except StylePrompterError as error:
        reason = str(error).rstrip(".")
        raise ValueError(f"{quoted(name)}: {reason}") from error


def _is_number(value: Any) -> bool:
    """Returns whether a JSON value is a number in the range of float32."""
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _is_pair(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(map(_is_number, value))


def _are_options(value: Any) -> bool:
    return type(value) is dict and all(
        _is_number(v) or (type(v) is list and v and all(map(_is_number, v)))
        for v in value.values()
    )


def _are_layers(value: Any) -> bool:
    return value is None or (
        type(value) is list
        and len(value) > 0
        and all(type(k) is int and 0 <= k < 2**15 for k in value)
    )


_LARGEST = float(np.finfo(np.float32).max)
# For each metadata field of a direction: a check, and a description of valid values.
_CHECKS = {
    "layers": (_are_layers, "null or a list of indices"),
    "range": (lambda v: _is_pair(v) and v[0] <= v[1], "two numbers, low and high"),
    "strength": (_is_number, "a number"),
    "beta": (_is_pair, "two numbers"),  # in files of version 0.1
    "options": (_are_options, "numbers, or lists of numbers, by name"),
    "origin": (lambda v: type(v) is str, "a string"),
}


def _keys(name: str) -> dict[str, str]:
    """Returns the key of each response field's array in a file."""
    return {f.name: f"{name}:{f.name}" for f in dataclasses.fields(Response)}
