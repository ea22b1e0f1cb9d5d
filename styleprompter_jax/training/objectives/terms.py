"""The losses of stages "encoder" and "refiner", each by the name of its weight.

A loss is a function without arguments, and a loss of weight 0 is never called.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from styleprompter_jax import losses

Terms = dict[str, Callable[[], jax.Array]]


def of_images(
    networks: Mapping[str, nn.Module],
    variables: Mapping,
    part: str,
    output: jax.Array,
    images: jax.Array,
) -> Terms:
    """Returns losses of the whole output, and of the inner part of a face.

    Args:
        networks: the networks of the perceptual losses in use, by loss.
        variables: the variables of the networks, by loss.
        part: the trained part, "encoder" or a refiner.
        output: (b, h, w, 3).
        images: the targets, of the same shape.
    """

    def perceptual(name: str, output: jax.Array, images: jax.Array) -> jax.Array:
        module = losses.PERCEPTUAL[name].trained_on(networks[name], part)
        features = partial(module.apply, variables[name])
        return jnp.mean(losses.distances(name, features, output, images))

    known = losses.RECONSTRUCTION | {
        name: partial(perceptual, name) for name in networks
    }
    whole = {name: partial(loss, output, images) for name, loss in known.items()}
    inner = losses.inner_crop(output), losses.inner_crop(images)
    return whole | {
        f"{name}_crop": partial(known[name], *inner)
        for name in losses.CROPPED
        if name in known
    }


def of_codes(offsets: jax.Array, deltas: jax.typing.ArrayLike) -> Terms:
    """Returns losses of the encoder's codes.

    Args:
        offsets: differences from the mean code, (b, n, w_dim).
        deltas: number of codes after the first that train.
    """
    return {
        "align": partial(losses.align, offsets),
        "w_norm": partial(losses.w_norm, offsets),
        "delta": partial(losses.delta, offsets, deltas),
    }


def weighted(terms: Terms, weights: Mapping[str, Any]) -> tuple[Any, dict]:
    """Returns the weighted sum, and by name the sum and its terms."""
    used = {name: term() for name, term in terms.items() if weights.get(name)}
    total = sum(weights[name] * loss for name, loss in used.items())
    return total, {"loss": total, **{f"loss_{k}": v for k, v in used.items()}}
