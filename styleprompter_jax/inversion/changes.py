"""Changes of a generator, checked and added to the parameters of a model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import shown
from styleprompter_jax.editing.generator_change import GeneratorChange

if TYPE_CHECKING:
    from styleprompter_jax.inversion.pipeline import StylePrompter

Deltas = Mapping[str, jax.Array | np.ndarray]


def deltas_of(model: "StylePrompter", change: GeneratorChange | None) -> Deltas:
    """Returns the numbers to add to a model's generator; {} for no change.

    Raises:
        StylePrompterError: if the change is of another model, or does not fit.
    """
    if change is None:
        return {}
    if not isinstance(change, GeneratorChange):
        raise StylePrompterError(
            f"The change of a generator is {shown(change)}: give latents as `tune` or "
            "`Latents.load` returns them."
        )
    if change.model != model.sha256:
        if change.source and change.source == model.source:
            raise StylePrompterError(
                f"The weights of {model.source} have changed since the tuning of these "
                "latents: restore the old weights, or tune again."
            )
        whose = f", {change.source}" if change.source else ""
        raise StylePrompterError(
            f"The generator of these latents was tuned from another model{whose}: "
            "decode them with that model, or tune again."
        )
    parts = model.params["generator"]
    params = flatten_dict(parts, sep="/")
    tuned = {key for keys in model.config.generator.layer_keys(parts) for key in keys}
    deltas = dict(change.deltas)  # which may be in a file
    for key, delta in deltas.items():
        if key not in tuned or params[key].shape != delta.shape:
            raise StylePrompterError(
                f"The change of the generator does not fit this model, such as {key}: "
                "tune again."
            )
    return deltas


def changed(variables: Mapping, deltas: Deltas) -> Mapping:
    """Returns a model's variables with these numbers added to its generator's."""
    if not deltas:
        return variables
    params = flatten_dict(variables["params"]["generator"], sep="/")
    params |= {k: params[k] + d.astype(params[k].dtype) for k, d in deltas.items()}
    generator = {"generator": unflatten_dict(params, sep="/")}
    return {**variables, "params": {**variables["params"], **generator}}
