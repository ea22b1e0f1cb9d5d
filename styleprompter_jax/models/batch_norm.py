"""BatchNorm, for the encoders that training updates."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

# The mapped axis of a training step, with the devices along it.
AXIS = "batch"
_MOMENTUM = 0.1  # the weight of the newest batch in a running statistic


class BatchNorm(nn.Module):
    """Normalises with the statistics of the batch in training, else with running ones.

    The running mean and variance are in the collection "const", beside the generator's
    stored noise, so no optimiser changes them. A batch updates them if that collection
    is mutable.

    Attributes:
        deterministic: True uses the running statistics. False uses the statistics of
            the batch on all devices, and needs the mapped axis `AXIS`.
        epsilon: added to the variance.
        dtype: dtype of the result; None for the dtype of the input.
    """

    deterministic: bool = True
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (b, ..., c) to (b, ..., c)."""
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
        return normalised(x, scale, bias, mean, var, self.epsilon, self.dtype)


def normalised(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    epsilon: float,
    dtype: Any = None,
) -> jax.Array:
    """Normalises (..., c) with statistics (c,): one product and one sum."""
    scale = scale * lax.rsqrt(var + epsilon)
    x = x * scale + (bias - mean * scale)
    return x if dtype is None else x.astype(dtype)
