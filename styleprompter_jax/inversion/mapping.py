"""The mapping network: normal z to codes, drawn towards the mean code.

Axes: b batch, n codes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from styleprompter_jax.core.programs import by_size
from styleprompter_jax.core.values import whole
from styleprompter_jax.inversion import calls

if TYPE_CHECKING:
    from styleprompter_jax.inversion.pipeline import StylePrompter


def mapping(
    model: "StylePrompter", z: Any, truncation_psi: float, truncation_cutoff: int | None
) -> jax.Array:
    """Maps z to codes; see `StylePrompter.mapping`."""
    cfg = model.config.generator
    z, psi = calls.check_z(model.config, z, truncation_psi)
    if truncation_cutoff is not None:
        truncation_cutoff = whole(truncation_cutoff, "truncation_cutoff")
    w = map_z(len(z), model.module, model.variables, z)
    mean = model.const["latent_avg"]
    if mean.ndim == 1 and truncation_cutoff is None:
        return mean + psi * (w - mean)
    w, psi = w[:, None], psi[..., None]
    truncated = mean + psi * (w - mean)
    cutoff = cfg.num_codes if truncation_cutoff is None else truncation_cutoff
    first = jnp.arange(cfg.num_codes)[:, None] < cutoff
    return jnp.where(first, truncated, w)


@by_size(static_argnums=0)
def map_z(module: nn.Module, variables: Mapping, z: Any) -> Any:
    """Maps z to codes without truncation; compiled once a batch size."""
    return module.apply(variables, z, method="mapping")
