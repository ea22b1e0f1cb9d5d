"""Losses of training, of fits and optimisation, and of evaluation."""

from styleprompter_jax.losses.perceptual import (
    PERCEPTUAL,
    Network,
    Perceptual,
    distances,
)
from styleprompter_jax.losses.reconstruction import (
    RECONSTRUCTION,
    align,
    hardest,
    l2,
    pool_to,
    structure,
)

__all__ = [
    "PERCEPTUAL",
    "RECONSTRUCTION",
    "Network",
    "Perceptual",
    "align",
    "distances",
    "hardest",
    "l2",
    "pool_to",
    "structure",
]
