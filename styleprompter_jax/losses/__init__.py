"""Losses of training, of fits and optimisation, and of evaluation."""

from styleprompter_jax.losses.perceptual import (
    PERCEPTUAL,
    Network,
    Perceptual,
    distances,
)
from styleprompter_jax.losses.reconstruction import (
    CODES,
    CROPPED,
    RECONSTRUCTION,
    align,
    delta,
    hardest,
    inner_crop,
    l2,
    pool_to,
    structure,
    w_norm,
)

__all__ = [
    "CODES",
    "CROPPED",
    "PERCEPTUAL",
    "RECONSTRUCTION",
    "Network",
    "Perceptual",
    "align",
    "delta",
    "distances",
    "hardest",
    "inner_crop",
    "l2",
    "pool_to",
    "structure",
    "w_norm",
]
