"""ArcFace's IR-SE50 for the identity loss (Deng et al., CVPR 2019).

The network recognises faces. It is the network of ``model_ir_se50.pth``.
"""

import flax.linen as nn
import jax
from einops import rearrange

from styleprompter_jax.models.ir_se50 import ir_se50
from styleprompter_jax.models.perceptual.layers import (
    Features,
    FrozenBatchNorm,
    unit,
)
from styleprompter_jax.ops.pooling import adaptive_average_pool

_LEVELS = (2, 6, 20, 23)  # blocks of the five-level form
_SIZE = 112


class ArcFace(nn.Module):
    """Network from aligned faces to unit vectors for `layers.cosine_distance`.

    Attributes:
        multi_level: True for the five-level form: the outputs of blocks 2, 6, 20 and 23
            and the embedding, of the whole image. False for the embedding alone, of the
            face's crop.
    """

    multi_level: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> Features:
        """Computes the features of faces that are aligned as in FFHQ.

        Args:
            images: (b, h, h, 3) in [-1, 1]; other sizes than 256 px are pooled to it.

        Returns:
            The embedding (b, 512); in the five-level form, a tuple of five (b, c).
        """
        x = adaptive_average_pool(images, 256)
        if not self.multi_level:
            x = x[:, 35:223, 32:220]
        x = adaptive_average_pool(x, _SIZE)

        maps = ir_se50(x)
        levels = [
            unit(rearrange(maps[block], "b h w c -> b (h w c)"))
            for block in (_LEVELS if self.multi_level else ())
        ]
        x = FrozenBatchNorm(name="output_layer_0")(maps[-1])
        # The weights of the next layer need PyTorch's order.
        x = rearrange(x, "b h w c -> b (c h w)")
        x = FrozenBatchNorm(name="output_layer_4")(
            nn.Dense(512, name="output_layer_3")(x)
        )
        return (*levels, unit(x)) if self.multi_level else unit(x)
