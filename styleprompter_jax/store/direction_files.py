"""The named directions of a model folder, in a file beside the model."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from styleprompter_jax.core.json_files import parse_json
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.safetensors_files import read_safetensors
from styleprompter_jax.editing.directions import Direction, Response
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.store.array_files import save_arrays
from styleprompter_jax.store.places import DIRECTIONS


def save_directions(
    folder: str | os.PathLike,
    directions: Mapping[str, Direction],
    dtype: str | None = None,
) -> None:
    """Writes the named directions of a model folder, in place of those it had.

    ``dtype`` is that of their responses: "float16" halves them, None keeps float32.
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
    save_arrays(path, arrays, {"directions": json.dumps(metadata)})


def load_directions(folder: str | os.PathLike) -> dict[str, Direction]:
    """The named directions of a model folder; {} where it has none."""
    path = Path(folder) / DIRECTIONS
    if not os.path.lexists(path):  # a link that leads nowhere is damage
        return {}
    arrays, metadata = read_safetensors(path)
    try:
        directions = {}
        for name, fields in parse_json(metadata["directions"]).items():
            keys, response = _keys(name), None
            if not arrays.keys().isdisjoint(keys.values()):
                response = Response(**{k: arrays[key] for k, key in keys.items()})
            directions[name] = Direction(arrays[name], response=response, **fields)
        return directions
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StylePrompterError(
            f"{path} is no file of directions ({error}): delete it or find the "
            "directions again."
        ) from error


def _keys(name: str) -> dict[str, str]:
    """By a response's field, the key of its array in a file."""
    return {f.name: f"{name}:{f.name}" for f in dataclasses.fields(Response)}
