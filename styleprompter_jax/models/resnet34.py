"""ResNet-34 (He et al., CVPR 2016), in the form of ReStyle's encoders.

No pooling follows the first convolution, so that the maps are as large as IR-SE50's.
Axes: ``b h w c``, NHWC.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from styleprompter_jax.models.ir_se50 import WIDTHS
from styleprompter_jax.models.perceptual.layers import FrozenBatchNorm, PReLU, conv

BLOCKS = (3, 4, 6, 3)


def resnet34(
    images: jax.Array,
    widths: Sequence[int] = WIDTHS,
    blocks: Sequence[int] = BLOCKS,
    dtype: Any = None,
    norm: Callable[..., nn.Module] = FrozenBatchNorm,
) -> list[jax.Array]:
    """Computes the map after each block.

    It makes its parameters, "conv1", "bn1", "relu" and "body_*", in the module whose
    compact method calls it.

    Args:
        images: (b, h, w, c).
        widths: channels of each stage.
        blocks: number of blocks in each stage.
        dtype: dtype of the maps; None for the dtype of the images.
        norm: makes each BatchNorm; called with ``dtype`` and ``name``.

    Returns:
        16 maps: 3 with 1/2 of the images' side, 4 with 1/4, 6 with 1/8, 3 with 1/16.
    """
    x = conv(widths[0], 7, 2, 3, dtype=dtype, name="conv1")(images)
    x = norm(dtype=dtype, name="bn1")(x)
    x = PReLU(dtype=dtype, name="relu")(x)
    maps: list[jax.Array] = []
    for stage, (channels, count) in enumerate(zip(widths, blocks, strict=True)):
        for k in range(count):
            stride = 2 if stage and not k else 1
            x = _Block(channels, stride, norm, dtype, name=f"body_{len(maps)}")(x)
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
        shortcut = x
        if s > 1 or x.shape[-1] != c:
            shortcut = conv(c, 1, s, dtype=dtype, name="downsample_0")(x)
            shortcut = norm(dtype=dtype, name="downsample_1")(shortcut)
        x = conv(c, 3, s, 1, dtype=dtype, name="conv1")(x)
        x = nn.relu(norm(dtype=dtype, name="bn1")(x))
        x = conv(c, 3, 1, 1, dtype=dtype, name="conv2")(x)
        x = norm(dtype=dtype, name="bn2")(x)
        return nn.relu(x + shortcut)
