"""BatchNorm of the encoders that are trained here."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

# The axis that the devices of a training lie along; its step is mapped over it.
AXIS = "batch"
_MOMENTUM = 0.1  # how much of a running statistic is the newest batch's


class BatchNorm(nn.Module):
    """BatchNorm by the statistics of the batch in training, and by running ones else.

    The running mean and variance lie in the collection "const" beside the generator's
    stored noise: no optimiser sees them.  Where that collection is mutable, a batch
    moves them.

    Attributes:
        deterministic: normalise by the running statistics.  Else by those of the batch
            on all devices, which needs the mapped axis `AXIS`.
        epsilon: added to the variance.
        dtype: of the result; None for that of the input.
    """

    deterministic: bool = True
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(b, ..., c) -> (b, ..., c)."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("const", "mean", jnp.zeros, shape)
        running_var = self.variable("const", "var", jnp.ones, shape)
        mean, var = running_mean.value, running_var.value
        if not self.deterministic:
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            axes = tuple(range(x.ndim - 1))
            mean = lax.pmean(jnp.mean(wide, axes), AXIS)
            var = lax.pmean(jnp.mean((wide - mean) ** 2, axes), AXIS)
            if self.is_mutable_collection("const"):
                count = x.size // x.shape[-1] * lax.axis_size(AXIS)
                unbiased = var * (count / max(1, count - 1))
                for running, new in ((running_mean, mean), (running_var, unbiased)):
                    running.value += _MOMENTUM * (new - running.value)
        scale = scale * lax.rsqrt(var + self.epsilon)
        x = x * scale + (bias - mean * scale)
        return x if self.dtype is None else x.astype(self.dtype)
