"""The residual StyleGAN2 discriminator (Karras et al. 2020, config F).

Axes: ``b`` batch, ``h w`` space, ``c`` channels, NHWC.  Equalised learning rate
everywhere, as in the generator.
"""

import dataclasses
import itertools
import math
from functools import partial
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from flax.linen.dtypes import promote_dtype

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Between, Fields
from styleprompter_jax.models.generators.stylegan2 import (
    Channels,
    EqualizedDense,
    ImageSize,
    default_channels,
    leaky_relu,
)
from styleprompter_jax.ops.fir import downsample2
from styleprompter_jax.ops.modulated_conv import conv2d, downsample_conv


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(Fields):
    """Architecture of a discriminator.

    Attributes:
        image_size: pixels a side, a power of two from 8.
        channels: width at 4, 8, ..., image_size px; () means config F.
        mbstd_group: size of a minibatch-stddev group: it is lowered to the batch where
            that is smaller, and must divide it otherwise.
        conv_clamp: clamp activations to +-conv_clamp (NVIDIA's half-precision nets).
    """

    image_size: ImageSize = 1024
    channels: Channels = ()
    mbstd_group: Annotated[int, Between(1, 2**16)] = 4
    conv_clamp: Annotated[float, Between(1e-6, 1e9)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        channels = self.channels or default_channels(self.image_size)
        object.__setattr__(self, "channels", channels)
        if self.image_size != 2 ** (len(channels) + 1):
            raise StylePrompterError(
                f"{type(self).__name__}: {len(channels)} channels do not fit an "
                f"image_size of {self.image_size}: give one for each of 4, 8, ..., "
                "image_size."
            )


class EqualizedConv(nn.Module):
    """Convolution with equalised learning rate, bias and activation optional."""

    features: int
    kernel_size: int = 3
    down: bool = False
    activate: bool = True
    clamp: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (b, h, w, i) to (b, h, w, features), half as large with ``down``."""
        k, fan_in = self.kernel_size, x.shape[-1]
        kernel = self.param(
            "kernel", nn.initializers.normal(1.0), (k, k, fan_in, self.features)
        )
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        kernel = kernel * (1.0 / math.sqrt(k * k * fan_in))
        if self.down and k == 1:
            x = downsample2(x)  # a 1x1 kernel does not need the dropped pixels
        x = downsample_conv(x, kernel) if self.down and k > 1 else conv2d(x, kernel)
        if self.activate:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x = leaky_relu(x + bias.astype(x.dtype))
            if self.clamp is not None:
                x = jnp.clip(x, -self.clamp, self.clamp)
        return x


def minibatch_stddev(x: jax.Array, group: int) -> jax.Array:
    """Appends one map: the standard deviation over groups of samples, averaged.

    (b, h, w, c) -> (b, h, w, c + 1).
    """
    b, h, w, _ = x.shape
    group = min(group, b)
    y = rearrange(x, "(g m) h w c -> g m h w c", g=group)
    # The squares of a small spread of large values need float32.
    y = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    std = jnp.sqrt(jnp.var(y, axis=0) + 1e-8).astype(x.dtype)
    std = jnp.mean(std, (1, 2, 3))
    return jnp.concatenate(
        [x, repeat(std, "m -> (g m) h w 1", g=group, h=h, w=w)], axis=-1
    )


class Discriminator(nn.Module):
    """Images (b, size, size, 3) in [-1, 1] -> logits (b,), large for real ones."""

    config: DiscriminatorConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images (b, size, size, 3) to logits (b,)."""
        cfg = self.config
        channels = cfg.channels[::-1]
        conv = partial(EqualizedConv, clamp=cfg.conv_clamp, dtype=self.dtype)
        x = conv(channels[0], 1, name="from_rgb")(images)
        for k, (here, below) in enumerate(itertools.pairwise(channels)):
            name = f"b{cfg.image_size >> k}"
            y = conv(here, name=f"{name}_conv0")(x)
            y = conv(below, down=True, name=f"{name}_conv1")(y)
            skip = EqualizedConv(
                below,
                1,
                down=True,
                activate=False,
                dtype=self.dtype,
                name=f"{name}_skip",
            )(x)
            x = (y + skip) / math.sqrt(2)
        x = minibatch_stddev(x, cfg.mbstd_group)
        x = conv(channels[-1], name="b4_conv")(x)
        x = rearrange(x, "b h w c -> b (h w c)")
        x = leaky_relu(EqualizedDense(channels[-1], dtype=self.dtype, name="b4_fc")(x))
        # Logits in float32 at least, because the losses read their differences.
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return EqualizedDense(1, name="b4_out")(x)[:, 0]
