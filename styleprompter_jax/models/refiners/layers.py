"""A refiner with a block for each refined layer of the generator.

Axes: b batch, h space, c channels.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax

from styleprompter_jax.models.registry import RefinerBase


class LayerRefiner(nn.Module):
    """One block ``layer_{l}`` for each refined layer; a subclass names its ``block``.

    A block is a module with the fields config and dtype. Its call takes a map of the
    generator, the encoder's maps, beta and deterministic.
    """

    config: RefinerBase
    dtype: Any = None

    block: ClassVar[Any]

    def setup(self) -> None:
        """Makes a block for each refined layer."""
        self.layer = {
            str(layer): self.block(self.config, self.dtype)
            for layer in self.config.refined_layers
        }

    def __call__(
        self,
        layer: int,
        x: jax.Array,
        features: Sequence[jax.Array],
        beta: Any = (1.0, 1.0),
        deterministic: bool = True,
    ) -> jax.Array:
        """Refines the map x (b, h, h, c) of one layer; the rest as in its block."""
        return self.layer[str(layer)](x, features, beta, deterministic)
