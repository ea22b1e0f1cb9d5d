"""The discriminator of codes that e4e is trained against (arXiv 2102.02766)."""

from typing import Any

import flax.linen as nn
import jax


class LatentDiscriminator(nn.Module):
    """Maps codes to logits with four linear layers.

    Attributes:
        width: of the hidden layers.
        dtype: of the computation; None for that of the codes.
    """

    width: int = 512
    dtype: Any = None

    @nn.compact
    def __call__(self, w: jax.Array) -> jax.Array:
        """Maps w (..., w_dim) to logits (...), high for codes that look true."""
        for k in range(3):
            w = nn.Dense(self.width, dtype=self.dtype, name=f"mlp_{k}")(w)
            w = nn.leaky_relu(w, 0.2)
        return nn.Dense(1, dtype=self.dtype, name="mlp_3")(w)[..., 0]
