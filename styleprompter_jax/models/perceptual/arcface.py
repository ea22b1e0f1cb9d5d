"""ArcFace's IR-SE50, which recognises faces (Deng et al., CVPR 2019), as the ID loss.

The network is that of ``model_ir_se50.pth``: a ResNet of 24 pre-activated blocks with
squeeze-and-excitation.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from styleprompter_jax.models.perceptual.layers import (
    Features,
    FrozenBatchNorm,
    PReLU,
    conv,
    unit,
)
from styleprompter_jax.ops.pooling import adaptive_average_pool

_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels and blocks
_LEVELS = (2, 6, 20, 23)  # blocks that the five-level form reads
_SIZE = 112


class ArcFace(nn.Module):
    """Aligned faces to unit vectors; compare them with `layers.cosine_distance`.

    Attributes:
        multi_level: the five-level form: the outputs of blocks 2, 6, 20 and 23 and the
            embedding, of the whole image; else the embedding alone, of the face's crop.
    """

    multi_level: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> Features:
        """Features of faces aligned as FFHQ has them.

        Args:
            images: (b, h, h, 3) in [-1, 1]; pooled to 256 px where they are not.

        Returns:
            The embedding (b, 512); in the five-level form a tuple of five (b, c).
        """
        x = adaptive_average_pool(images, 256)
        if not self.multi_level:
            x = x[:, 35:223, 32:220]
        x = adaptive_average_pool(x, _SIZE)

        x = conv(64, padding=1, name="input_layer_0")(x)
        x = PReLU(name="input_layer_2")(FrozenBatchNorm(name="input_layer_1")(x))
        levels, block = [], 0
        for channels, count in _STAGES:
            for k in range(count):
                x = _Block(channels, 1 if k else 2, name=f"body_{block}")(x)
                if self.multi_level and block in _LEVELS:
                    levels.append(unit(rearrange(x, "b h w c -> b (h w c)")))
                block += 1
        x = FrozenBatchNorm(name="output_layer_0")(x)
        # In PyTorch's order, in which the weights that follow are stored.
        x = rearrange(x, "b h w c -> b (c h w)")
        x = FrozenBatchNorm(name="output_layer_4")(
            nn.Dense(512, name="output_layer_3")(x)
        )
        return (*levels, unit(x)) if self.multi_level else unit(x)


class _Block(nn.Module):
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c, s = self.channels, self.stride
        if x.shape[-1] == c:
            shortcut = x[:, ::s, ::s]
        else:
            shortcut = conv(c, 1, s, name="shortcut_layer_0")(x)
            shortcut = FrozenBatchNorm(name="shortcut_layer_1")(shortcut)
        x = FrozenBatchNorm(name="res_layer_0")(x)
        x = PReLU(name="res_layer_2")(conv(c, padding=1, name="res_layer_1")(x))
        x = conv(c, stride=s, padding=1, name="res_layer_3")(x)
        x = FrozenBatchNorm(name="res_layer_4")(x)
        gate = jnp.mean(x, (1, 2), keepdims=True)
        gate = nn.relu(nn.Dense(c // 16, use_bias=False, name="res_layer_5_fc1")(gate))
        gate = nn.Dense(c, use_bias=False, name="res_layer_5_fc2")(gate)
        return x * nn.sigmoid(gate) + shortcut
