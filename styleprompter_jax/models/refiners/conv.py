"""A convolutional refiner, to compare SMART with.

It reads what SMART reads, at the same layers, but with convolutions instead of
attention. Feature-space methods of inversion have this form: HFGI (arXiv 2109.06590)
and StyleFeatureEditor (arXiv 2406.10601) predict a residual and a gate for a map of the
generator. This is our own small network of that form, not a copy of either.

Axes: b batch, h w space, c channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import repeat

from styleprompter_jax.core.fields import Between
from styleprompter_jax.models.refiners.layers import LayerRefiner
from styleprompter_jax.models.registry import Layers, RefinerBase
from styleprompter_jax.ops.windows import coarser


@dataclasses.dataclass(frozen=True)
class ConvConfig(RefinerBase):
    """Architecture of the convolutional refiner.

    Attributes:
        refined_layers: as for `SmartConfig`.
        width: channels of the maps between the convolutions.
    """

    type = "conv"
    # The weights of the residual and of the gate; see `ConvBlock`.
    options: ClassVar = {"beta": (1.0, 1.0)}
    edit_options: ClassVar = {"beta": (0.5, 0.5)}
    title = "the convolutional refiner"

    refined_layers: Layers = (4,)
    width: Annotated[int, Between(1, 2**16)] = 128


class ConvBlock(nn.Module):
    """Refines the map of one layer.

    The last convolution starts at zero, so that training starts from the image without
    the refiner, as with SMART.
    """

    config: ConvConfig
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        features: Sequence[jax.Array],
        beta: Any = (1.0, 1.0),
        deterministic: bool = True,
    ) -> jax.Array:
        """Refines a map.

        Args:
            x: the generator's map (b, h, h, c).
            features: the encoder's maps (b, s, s, c_i); the larger of s and h must be a
                multiple of the smaller.
            beta: weights of the residual, which is added to x, and of the gate, which
                scales x. Each is a number or (b,); (0, 0) leaves x.
            deterministic: has no effect, because this block has no dropout.

        Returns:
            (b, h, h, c).
        """
        size, channels = x.shape[1], x.shape[-1]
        beta_1, beta_2 = (jnp.reshape(y, (-1, 1, 1, 1)).astype(x.dtype) for y in beta)

        def conv(y: jax.Array, width: int, side: int, name: str, **how: Any) -> Any:
            layer = nn.Conv(width, (side, side), dtype=self.dtype, name=name, **how)
            return layer(y)

        def read(feature: jax.Array, name: str) -> jax.Array:
            """Reads the cells that cover a cell of x, or that it covers."""
            grid = coarser(size, feature.shape[1], self.config.title)
            stride = feature.shape[1] // grid
            y = conv(feature, self.config.width, stride, name, strides=stride)
            block = size // grid
            return repeat(y, "b h w c -> b (h y) (w x) c", y=block, x=block)

        y = conv(x, self.config.width, 1, "input_conv")
        for i, feature in enumerate(features):
            y += read(feature, f"feature_conv_{i}")
        y = conv(nn.leaky_relu(y, 0.2), self.config.width, 3, "conv")
        y = conv(
            nn.leaky_relu(y, 0.2),
            2 * channels,
            3,
            "output_conv",
            kernel_init=nn.initializers.zeros,
        )
        residual, gate = jnp.split(y, 2, axis=-1)
        return x + beta_1 * residual + beta_2 * gate * x


class ConvRefiner(LayerRefiner):
    """One `ConvBlock` for each refined layer of the generator."""

    block = ConvBlock
