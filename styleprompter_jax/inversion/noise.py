"""The random streams of a rendering."""

import operator
from typing import Any

import jax
import jax.numpy as jnp

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.seeds import key_of
from styleprompter_jax.core.values import LARGEST, shown
from styleprompter_jax.models.generators.stylegan2 import NOISE_MODES


def noise_rngs(noise_mode: str, rng: Any) -> dict:
    """Returns the random streams of a call; {} if nothing is random.

    Args:
        noise_mode: one of `NOISE_MODES`.
        rng: a key of JAX or a seed, for "random".
    """
    if noise_mode not in NOISE_MODES:
        raise StylePrompterError(
            f"noise_mode is {shown(noise_mode)}: it must be one of "
            f"{', '.join(NOISE_MODES)}."
        )
    if noise_mode != "random":
        return {}
    if rng is None:
        raise StylePrompterError('noise_mode "random" needs rng=, a key or a seed.')
    return {"noise": _key(rng)}


def _key(rng: Any) -> jax.Array:
    is_array = isinstance(rng, jax.Array)
    if is_array and jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) and not rng.shape:
        return rng
    try:
        if is_array and rng.dtype == jnp.uint32 and rng.ndim == 1:
            # A key as `jax.random.PRNGKey` makes it; one program serves both kinds.
            return jax.random.wrap_key_data(rng)
        if isinstance(rng, bool):
            raise TypeError
        if not 0 <= (seed := operator.index(rng)) <= LARGEST:
            raise ValueError
        return key_of(seed)
    except (TypeError, ValueError, OverflowError) as error:
        raise StylePrompterError(
            f"rng is {shown(rng)}: give a key of jax.random, or a seed from 0 to "
            f"{LARGEST}."
        ) from error
