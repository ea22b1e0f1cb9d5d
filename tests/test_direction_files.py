"""Files of other programs about directions in a model folder."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.store.model_folder import (
    DIRECTIONS,
    load_directions,
    save_directions,
)

WRONG = [
    *({"layers": value} for value in ("12", [0.5], {"1": 2}, [], 5, [-1], [True])),
    *({"range": value} for value in ("12", [3, -3], [1e39, 1e39], [1, 2, 3])),
    *({"beta": value} for value in ("11", {"1": 1, "2": 2}, [1e39, 1], None)),
    *({"strength": value} for value in (True, 1e39, "3", None, 10**400)),
    *({"origin": 5}, {"vector": [1]}, {"response": 5}, {"zzz": 1}, 5, []),
]


@pytest.mark.parametrize("fields", WRONG, ids=lambda fields: str(fields)[:40])
def test_fields_of_wrong_types(fields, tmp_path):
    metadata = {"directions": json.dumps({"smile": fields})}
    arrays = {"smile": np.ones(16, np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / DIRECTIONS, metadata)
    with pytest.raises(StylePrompterError, match="directions again") as error:
        load_directions(tmp_path)
    message = str(error.value)
    assert str(tmp_path / DIRECTIONS) in message
    assert "smile" in message or "too large" in message
    for python in ("argument", "object", "__init__", "ufunc", "unpack"):
        assert python not in message.removeprefix(str(tmp_path)), message


def test_arrays_that_the_metadata_does_not_name(tmp_path):
    arrays = {"smile": np.ones(16, np.float32)}
    path = tmp_path / DIRECTIONS
    safetensors.numpy.save_file(arrays, path, {"directions": "{}"})
    with pytest.raises(StylePrompterError, match="does not name its arrays"):
        load_directions(tmp_path)


@pytest.mark.parametrize("wrong", [{"layers": ()}, {"range": (3.0, -3.0)}])
def test_what_could_not_be_read_is_not_written(wrong, tmp_path):
    direction = dataclasses.replace(Direction(np.ones(4, np.float32)), **wrong)
    with pytest.raises(StylePrompterError, match="was not written, because"):
        save_directions(tmp_path, {"a": direction})
    assert not list(tmp_path.iterdir())


def test_replaced_weights_of_smart(tmp_path):
    """`dataclasses.replace` passes the old options, whose beta must not win."""
    old = Direction(np.ones(4, np.float32), beta=(0.7, 0.2), options={"gain": 2.0})
    replace = dataclasses.replace
    found = {
        "same": replace(old, strength=2.0),
        "other": replace(old, beta=(0.5, 1.0)),
        "reset": replace(old, beta=(1, 1)),
        "options": replace(old, options={"beta": (0.1, 0.2)}),
    }
    save_directions(tmp_path, found)
    for read in (found, load_directions(tmp_path)):
        assert {name: one.beta for name, one in read.items()} == {
            "same": (0.7, 0.2), "other": (0.5, 1), "reset": (1, 1),
            "options": (0.1, 0.2),
        }  # fmt: skip
        assert read["other"].options == {"gain": 2.0, "beta": (0.5, 1)}
        assert read["reset"].options == {"gain": 2.0}
