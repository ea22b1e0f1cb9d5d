"""Facts that a published checkpoint has beside its weights, and that exports need.

`convert` keeps them in the header of model.safetensors: the options, the shape of
latent_avg, and the step counts of BatchNorm layers. Training does not copy them to the
model that it writes, because they do not describe the new weights.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import parse_json

COUNT = "num_batches_tracked"
_NAMED = 10  # lost options in a sentence
_LARGEST = 2**16  # characters of options as JSON; longer ones are left out


class Origin(NamedTuple):
    """The facts of a checkpoint.

    Attributes:
        options: the training options that JSON can represent.
        latent_avg: the shape of the mean code; () if it is unknown, and None if the
            checkpoint has no mean code.
        counts: step counts by the whole key in the published layout. A missing count
            is 0.
    """

    options: dict[str, Any]
    latent_avg: tuple[int, ...] | None
    counts: dict[str, int]

    def text(self) -> str:
        """Returns the facts as JSON."""
        return json.dumps(self._asdict(), sort_keys=True)

    def lost(self, options: Mapping) -> tuple[str, ...]:
        """Returns a sentence that names the options it lacks; () if it has all."""
        names = [str(key) for key in options if key not in self.options]
        more = ", ..." if len(names) > _NAMED else ""
        listed = f"{', '.join(names[:_NAMED])}{more}"
        return (f"Options that an export leaves out: {listed}.",) if names else ()


NOTHING = Origin({}, (), {})  # for a model that this package trained


def origin_of(
    options: Mapping, latent_avg: Any, arrays: Mapping[str, Any], starts: Mapping
) -> Origin:
    """Returns the facts of a checkpoint.

    Args:
        options: the training options.
        latent_avg: the mean code, or None.
        arrays: the state dict.
        starts: from the key prefix of each part in the state dict to its prefix in the
            published layout.
    """
    # As deep as in `Origin.text`.
    plain = {k: v for k, v in options.items() if _is_plain({"options": {k: v}})}
    counts = {
        there + key.removeprefix(start): int(value)
        for start, there in starts.items()
        for key, value in arrays.items()
        if key.startswith(start) and key.endswith(f".{COUNT}")
        if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iu"
        if value and _is_count(int(value))
    }
    if len(json.dumps(plain)) > _LARGEST:
        plain = {}
    shape = None if latent_avg is None else tuple(getattr(latent_avg, "shape", ()))
    return Origin(plain, shape, counts)


def read_origin(text: str, place: str) -> Origin:
    """Parses the JSON of `Origin.text`.

    Raises:
        StylePrompterError: if the text is damaged.
    """
    try:
        tree = parse_json(text)
        mean = tree["latent_avg"]
        shape = None if mean is None else tuple(mean)
        found = Origin(tree["options"], shape, tree["counts"])
        if not isinstance(found.options, dict):
            raise ValueError("options are no object")
        if not all(_is_count(n) for n in (*(shape or ()), *found.counts.values())):
            raise ValueError("a number is not a count")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StylePrompterError(
            f"{place} has a damaged note about its origin ({error}): convert the model "
            "again."
        ) from error
    return found


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**18  # `parse_json` keeps 18 digits


def _is_plain(value: Any) -> bool:
    """Returns whether a value is unchanged after conversion to JSON and back."""
    try:
        return repr(parse_json(json.dumps(value))) == repr(value)
    except (TypeError, ValueError, RecursionError):
        return False
