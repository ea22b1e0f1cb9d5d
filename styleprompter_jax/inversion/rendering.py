"""Latents to images, each by its own generator, compiled once a batch size.

Axes: b images, s side of one.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.programs import by_size
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion.changes import Deltas, changed

if TYPE_CHECKING:
    from styleprompter_jax.inversion.pipeline import StylePrompter


class How(NamedTuple):
    """The static arguments of a rendering."""

    module: nn.Module
    refine: bool
    noise_mode: str


def render(
    model: "StylePrompter",
    how: How,
    groups: Sequence[tuple[slice | np.ndarray, Deltas]],
    latents: Latents,
    options: Mapping,
    rngs: Mapping,
) -> jax.Array:
    """Renders b latents to images (b, s, s, 3).

    Args:
        model: whose variables and devices these are.
        how: the static arguments.
        groups: rows of the latents, and the numbers to add to the generator for them.
        latents: checked latents, without their changes.
        options: checked options of the refiner.
        rngs: of the noise; {} without random noise.
    """
    if len(groups) == 1:
        ((_, deltas),) = groups
        rows, own = model.devices.split((latents, options))
        inputs = model.variables, deltas, rows, own, rngs
        return model.devices.cut(_render(len(rows), how, *inputs), len(latents))
    # One by one, because each size of a group would need a compilation.
    made: dict[int, jax.Array] = {}
    for rows, deltas in groups:
        for k in np.arange(len(latents))[rows]:
            part, own = jax.tree.map(
                lambda x, k=k: x[k : k + 1] if x.ndim else x, (latents, options)
            )
            keys = {name: jax.random.fold_in(key, k) for name, key in rngs.items()}
            made[k] = _render(1, how, model.variables, deltas, part, own, keys)
    return jnp.concatenate([made[k] for k in range(len(latents))])


@by_size(static_argnums=0)
def _render(
    how: Any,
    variables: Mapping,
    deltas: Deltas,
    latents: Latents,
    options: Mapping,
    rngs: Mapping,
) -> Any:
    own = changed(variables, deltas)
    common = dict(noise_mode=how.noise_mode, rngs=rngs)
    if not how.refine:
        return how.module.apply(own, latents.w_plus, **common, method="synthesize")
    maps = latents.features
    return how.module.apply(
        own, latents.w_plus, maps, **options, **common, method="decode"
    )
