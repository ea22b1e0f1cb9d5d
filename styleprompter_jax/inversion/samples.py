"""Codes of the mapping network, drawn from a seed: a sample of its distribution."""

import numpy as np

from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.inversion.pipeline import StylePrompter

_BATCH = 1000


def sample_w(model: StylePrompter, count: int, seed: int) -> np.ndarray:
    """Samples codes w from the mapping network.

    Args:
        model: whose mapping network it is.
        count: m, how many, 1 or more.
        seed: the same seed gives the same codes.

    Returns:
        float32 (m, w_dim).
    """
    z_dim = model.config.generator.z_dim
    z = np.random.default_rng(seed).standard_normal((count, z_dim), np.float32)
    size = min(_BATCH, count)
    parts = [z[k : k + size] for k in range(0, count, size)]
    w = np.concatenate(
        [take(model.mapping(pad(part, size)), len(part)) for part in parts]
    )
    # Some models give w once for each layer; without truncation, all are equal.
    return w if w.ndim == 2 else w[:, 0]
