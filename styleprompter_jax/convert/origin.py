"""Facts of a published checkpoint beside its weights, which an export writes again.

`convert` keeps them in the header of model.safetensors: the options, the shape of
latent_avg, and the numbers of steps that BatchNorm layers count. A training that writes
the model again drops them, because they are not those of the new weights.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import parse_json

COUNT = "num_batches_tracked"
_LARGEST = 2**16  # characters of options as JSON; longer ones are left out


class Origin(NamedTuple):
    """The facts.

    Attributes:
        options: of the training, those that JSON can hold.
        latent_avg: the shape of the mean code.
        counts: steps, by the whole key in the published layout; a missing one is 0.
    """

    options: dict[str, Any]
    latent_avg: tuple[int, ...]
    counts: dict[str, int]

    def text(self) -> str:
        """As JSON."""
        return json.dumps(self._asdict(), sort_keys=True)


NOTHING = Origin({}, (), {})  # of a model that was trained here


def origin_of(
    options: Mapping, latent_avg: Any, arrays: Mapping[str, Any], starts: Mapping
) -> Origin:
    """The facts of a checkpoint.

    Args:
        options: of its training.
        latent_avg: its mean code, or None.
        arrays: its state dict.
        starts: by the start of a part's keys there, their start in the published
            layout.
    """
    plain = {str(k): v for k, v in options.items() if _is_plain(v)}
    counts = {
        there + key.removeprefix(start): int(value)
        for start, there in starts.items()
        for key, value in arrays.items()
        if key.startswith(start) and key.endswith(f".{COUNT}")
        if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iu" and value
    }
    if len(json.dumps(plain)) > _LARGEST:
        plain = {}
    return Origin(plain, tuple(getattr(latent_avg, "shape", ())), counts)


def read_origin(text: str, place: str) -> Origin:
    """The inverse of `Origin.text`.

    Raises:
        StylePrompterError: if it is damaged.
    """
    try:
        tree = parse_json(text)
        found = Origin(tree["options"], tuple(tree["latent_avg"]), tree["counts"])
        if not isinstance(found.options, dict):
            raise ValueError("options are no object")
        if not all(_is_count(n) for n in (*found.latent_avg, *found.counts.values())):
            raise ValueError("a number is not a count")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StylePrompterError(
            f"{place} has a damaged note about its origin ({error}): convert the model "
            "again."
        ) from error
    return found


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_plain(value: Any) -> bool:
    """Whether JSON gives a value back as it was."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return value is None or isinstance(value, bool | str)
