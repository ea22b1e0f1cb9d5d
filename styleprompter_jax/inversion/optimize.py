"""Codes fitted to their images by gradient descent, from where the encoder put them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax import losses
from styleprompter_jax.core.programs import by_size
from styleprompter_jax.core.values import real, whole
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.changes import changed, deltas_of
from styleprompter_jax.ops import descent
from styleprompter_jax.ops.framing import framed

if TYPE_CHECKING:
    from styleprompter_jax.inversion.pipeline import StylePrompter


class _How(NamedTuple):
    """The static arguments of a step."""

    module: nn.Module
    refine: bool
    noise_mode: str
    structure: bool


def optimize(
    model: "StylePrompter",
    images: Any,
    latents: Latents,
    steps: int,
    *,
    refine: bool | None,
    noise_mode: str,
    structure: float,
    learning_rate: float,
    told: Callable[[int], None] | None,
    **options: Any,
) -> Latents:
    """Fits codes to images; see `StylePrompter.optimize`."""
    images = calls.check_pictures(model.config, images)
    start, refine, options = calls.check_fit(
        model.config, latents, len(images), refine, noise_mode, options
    )
    steps = whole(steps, "steps")
    structure = real(structure, "structure", 0)
    learning_rate = real(learning_rate, "learning_rate", 0)
    how = _How(model.module, refine, noise_mode, structure > 0)
    weight = np.float32(structure)  # traced: one program serves all weights
    w_plus, done = np.array(start.w_plus), 0
    groups = latents.by_change()
    for rows, change in groups:
        variables = changed(model.variables, deltas_of(model, change))
        part, shown, own = jax.tree.map(
            lambda x, rows=rows: x[rows] if x.ndim else x, (start, images, options)
        )
        asked = len(shown)
        part, shown, own = model.devices.split((part, shown, own))
        codes, state = part.w_plus, descent.start(part.w_plus)
        for rate in descent.rates(learning_rate, steps):
            current = dataclasses.replace(part, w_plus=codes)
            codes, state = _step(
                len(shown), how, variables, current, state, shown, own, rate, weight
            )
            done += 1
            if told is not None and done % len(groups) == 0:
                jax.block_until_ready(codes)  # JAX has only scheduled the step
                told(done // len(groups))
        w_plus[rows] = codes[:asked]
    return dataclasses.replace(latents, w_plus=jnp.asarray(w_plus))


@by_size(static_argnums=0)
def _step(
    how: Any,
    variables: Mapping,
    latents: Latents,
    state: Any,
    images: jax.Array,
    options: Any,
    rate: Any,
    weight: Any,
) -> tuple[Any, Any]:
    def loss(w_plus: jax.Array) -> jax.Array:
        outputs = how.module.apply(
            variables,
            w_plus,
            latents.features,
            **options,
            refine=how.refine,
            noise_mode=how.noise_mode,
            method="decode",
        )
        outputs = framed(outputs, *images.shape[1:3])
        size = min(images.shape[1], outputs.shape[1])
        pair = losses.pool_to(outputs, size), losses.pool_to(images, size)
        total = losses.l2(*pair)
        if how.structure:
            total += weight * losses.structure(*pair)
        # A sum over images, so that each image has its own fit.
        return len(images) * total

    gradient = jax.grad(loss)(latents.w_plus)
    return descent.descend(latents.w_plus, gradient, state, rate)
