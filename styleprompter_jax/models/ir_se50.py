"""IR-SE50: a ResNet of 24 pre-activated blocks with squeeze-and-excitation.

It is the trunk of ArcFace's ``model_ir_se50.pth`` and of the encoders of pSp and e4e.
Axes: ``b h w c``, NHWC.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from styleprompter_jax.models.perceptual.layers import FrozenBatchNorm, PReLU, conv

WIDTHS = (64, 128, 256, 512)  # channels of each stage, which halves the map first
BLOCKS = (3, 4, 14, 3)


def ir_se50(
    images: jax.Array,
    widths: Sequence[int] = WIDTHS,
    blocks: Sequence[int] = BLOCKS,
    dtype: Any = None,
    norm: Callable[..., nn.Module] = FrozenBatchNorm,
) -> list[jax.Array]:
    """Computes the map after each block.

    It makes its parameters, "input_layer_*" and "body_*", in the module whose compact
    method calls it.

    Args:
        images: (b, h, w, c).
        widths: channels of each stage.
        blocks: number of blocks in each stage.
        dtype: dtype of the maps; None for the dtype of the images.
        norm: makes each BatchNorm; called with ``dtype`` and ``name``.

    Returns:
        24 maps: 3 with 1/2 of the images' side, 4 with 1/4, 14 with 1/8, 3 with 1/16.
    """
    x = conv(widths[0], padding=1, dtype=dtype, name="input_layer_0")(images)
    x = norm(dtype=dtype, name="input_layer_1")(x)
    x = PReLU(dtype=dtype, name="input_layer_2")(x)
    maps: list[jax.Array] = []
    for channels, count in zip(widths, blocks, strict=True):
        for k in range(count):
            name = f"body_{len(maps)}"
            x = _Block(channels, 1 if k else 2, norm, dtype, name=name)(x)
            maps.append(x)
    return maps


class _Block(nn.Module):
    channels: int
    stride: int
    norm: Callable[..., nn.Module]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c, s, norm, dtype = self.channels, self.stride, self.norm, self.dtype
        if x.shape[-1] == c:
            shortcut = x[:, ::s, ::s]
        else:
            shortcut = conv(c, 1, s, dtype=dtype, name="shortcut_layer_0")(x)
            shortcut = norm(dtype=dtype, name="shortcut_layer_1")(shortcut)
        x = norm(dtype=dtype, name="res_layer_0")(x)
        x = conv(c, padding=1, dtype=dtype, name="res_layer_1")(x)
        x = PReLU(dtype=dtype, name="res_layer_2")(x)
        x = conv(c, stride=s, padding=1, dtype=dtype, name="res_layer_3")(x)
        x = norm(dtype=dtype, name="res_layer_4")(x)
        gate = jnp.mean(x, (1, 2), keepdims=True)
        gate = nn.relu(_dense(-(-c // 16), dtype, "res_layer_5_fc1")(gate))
        gate = _dense(c, dtype, "res_layer_5_fc2")(gate)
        return x * nn.sigmoid(gate) + shortcut


def _dense(features: int, dtype: Any, name: str) -> nn.Dense:
    return nn.Dense(features, use_bias=False, dtype=dtype, name=name)
