"""The encoders of pSp (arXiv 2008.00951) and e4e (arXiv 2102.02766).

IR-SE50 reads the image. For pSp a feature pyramid makes three maps of its last three
stages, and a small stack of convolutions, "map2style", makes one code of one of them:
codes 0 to 2 of the coarse map, 3 to 6 of the middle one, the others of the fine one.
The same layers make e4e's first code and what each other code adds to it. Two smaller
heads make one code for all layers, or all codes of one linear layer.

Axes: b batch, h w space, c channels, n codes, k codes of one map.
"""

import dataclasses
from typing import Annotated, Any, Literal, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax.linen.dtypes import promote_dtype

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Between, Length
from styleprompter_jax.models.generators.stylegan2 import EqualizedDense
from styleprompter_jax.models.ir_se50 import BLOCKS, WIDTHS, ir_se50
from styleprompter_jax.models.perceptual.layers import FrozenBatchNorm, conv
from styleprompter_jax.models.registry import EncoderBase, GeneratorBase
from styleprompter_jax.ops.pooling import adaptive_average_pool
from styleprompter_jax.ops.upsample_aligned import upsample_aligned

EncoderType = Literal[
    "GradualStyleEncoder",
    "Encoder4Editing",
    "BackboneEncoderUsingLastLayerIntoW",
    "BackboneEncoderUsingLastLayerIntoWPlus",
]
PYRAMID = ("GradualStyleEncoder", "Encoder4Editing")
_FIRST = (3, 4)  # codes of the coarse and of the middle map
_POOLED = 7  # cells a side of what the linear head into W+ reads
Size = Annotated[int, Between(1, 2**13)]


@dataclasses.dataclass(frozen=True)
class PspConfig(EncoderBase):
    """Architecture of an encoder; the defaults are pSp's of 18 codes.

    Attributes:
        encoder_type: which head, by the name of its class in the published code:
            pSp's, e4e's, one code of W for all layers, or W+ by one linear layer.
        image_size: pixels a side, a power of two.
        input_channels: of an image: 3, 1 for sketches, 19 for label maps of faces.
        num_styles: n, how many codes.
        w_dim: width of a code.
        widths: channels of the four stages of IR-SE50.
        blocks: how many each stage has.
        start_from_latent_avg: codes are offsets from the mean code.
    """

    type = "psp"
    derived = ("image_size", "num_styles", "w_dim")

    encoder_type: EncoderType = "GradualStyleEncoder"
    image_size: Annotated[int, Between(32, 2**13)] = 256
    input_channels: Annotated[int, Between(1, 1024)] = 3
    num_styles: Annotated[int, Between(8, 64)] = 18
    w_dim: Size = 512
    widths: Annotated[tuple[Size, ...], Length(4, 4)] = WIDTHS
    blocks: Annotated[tuple[Annotated[int, Between(1, 64)], ...], Length(4, 4)] = BLOCKS
    start_from_latent_avg: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size & (self.image_size - 1):
            raise StylePrompterError(
                f"PspConfig: image_size {self.image_size} is no power of two."
            )

    @property
    def num_codes(self) -> int:
        """n, how many codes it makes."""
        return self.num_styles

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of an image."""
        return (self.image_size, self.image_size, self.input_channels)

    @property
    def maps(self) -> dict[str, tuple[int, int]]:
        """By name, coarse to fine: (codes made of the map, steps down to one cell)."""
        first = self.image_size.bit_length() - 5  # the coarse map has 1/16 of the side
        counts = (*_FIRST, self.num_styles - sum(_FIRST))
        return {
            name: (count, first + k)
            for k, (name, count) in enumerate(
                zip(("coarse", "middle", "fine"), counts, strict=True)
            )
        }

    @classmethod
    def for_generator(
        cls, generator: GeneratorBase, image_size: int, **fields: Any
    ) -> Self:
        """Refuses: such encoders are converted, and not trained here."""
        raise StylePrompterError(
            'An encoder of the type "psp" is not trained here: convert a published '
            'one, or train the type "swin".'
        )


class PspEncoder(nn.Module):
    """Images to W+ codes; it has no feature maps for a refiner."""

    config: PspConfig
    dtype: Any = None

    @nn.compact
    def __call__(
        self, images: jax.Array, *, deterministic: bool = True
    ) -> tuple[jax.Array, tuple[()]]:
        """Encodes images.

        Args:
            images: (b, h, w, c), as `config.input_shape` has it; in [-1, 1], or
                one-hot labels.
            deterministic: of no matter: BatchNorm has its stored statistics always.

        Returns:
            codes (b, n, w_dim), and no maps.
        """
        cfg, dtype = self.config, self.dtype
        if images.shape[1:] != cfg.input_shape:
            raise StylePrompterError(
                f"The encoder reads images of shape (b, *{cfg.input_shape}), not "
                f"{images.shape}; resize them first."
            )
        outputs = ir_se50(images, cfg.widths, cfg.blocks, dtype)
        if cfg.encoder_type in PYRAMID:
            codes = self._pyramid(outputs)
            if cfg.encoder_type == "Encoder4Editing":
                # What is made of it for the other codes is added to the first.
                codes = codes.at[:, 1:].add(codes[:, :1])
        elif cfg.encoder_type == "BackboneEncoderUsingLastLayerIntoW":
            x = jnp.mean(outputs[-1], (1, 2))
            codes = EqualizedDense(cfg.w_dim, dtype=dtype, name="linear")(x)
            codes = jnp.repeat(codes[:, None], cfg.num_styles, 1)
        else:
            x = FrozenBatchNorm(dtype=dtype, name="output_layer_2_0")(outputs[-1])
            x = adaptive_average_pool(x, _POOLED)
            # In PyTorch's order, in which the weights that follow are stored.
            x = rearrange(x, "b h w c -> b (c h w)")
            x = nn.Dense(cfg.w_dim, dtype=dtype, name="output_layer_2_3")(x)
            size = cfg.num_styles * cfg.w_dim
            codes = EqualizedDense(size, dtype=dtype, name="linear")(x)
            codes = rearrange(codes, "b (n c) -> b n c", n=cfg.num_styles)
        return codes, ()

    def _pyramid(self, outputs: list[jax.Array]) -> jax.Array:
        """Codes (b, n, w_dim) of the maps after the blocks of IR-SE50."""
        cfg, dtype = self.config, self.dtype
        _, fine, middle, coarse = (outputs[k - 1] for k in np.cumsum(cfg.blocks))
        maps = [coarse]
        for name, lateral in (("latlayer1", middle), ("latlayer2", fine)):
            x = conv(cfg.w_dim, 1, bias=True, dtype=dtype, name=name)(lateral)
            maps.append(upsample_aligned(maps[-1], x.shape[1:3]) + x)
        codes = [
            _MapToStyles(count, steps, cfg.w_dim, dtype, name=name)(x)
            for x, (name, (count, steps)) in zip(maps, cfg.maps.items(), strict=True)
            if count
        ]
        return jnp.concatenate(codes, 1)


class _MapToStyles(nn.Module):
    """A map (b, h, w, c) to k codes (b, k, features), by k "map2style" at once."""

    count: int
    steps: int
    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x[None]
        for step in range(self.steps):
            conv_name = f"conv_{step}"
            x = _Convs(self.count, self.features, self.dtype, name=conv_name)(x)
            x = nn.leaky_relu(x, 0.01)
        linear = nn.vmap(
            EqualizedDense,
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )
        x = rearrange(x, "k b 1 1 c -> k b c")
        x = linear(self.features, dtype=self.dtype, name="linear")(x)
        return rearrange(x, "k b c -> b k c")


class _Convs(nn.Module):
    """k convolutions 3x3 with stride 2, each of a map of its own, or all of one.

    As one product of matrices in a batch of k: on CPUs a convolution with groups takes
    twenty times as long.
    """

    count: int
    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(k or 1, b, h, w, c) -> (k, b, h/2, w/2, features)."""
        shape = (self.count, 3, 3, x.shape[-1], self.features)
        init = nn.initializers.lecun_normal((1, 2, 3), batch_axis=0)
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.count, self.features))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        _, b, h, w, _ = x.shape
        x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
        taps = [x[:, :, i : i + h : 2, j : j + w : 2] for i, j in np.ndindex(3, 3)]
        x = rearrange(jnp.concatenate(taps, -1), "k b h w c -> k (b h w) c")
        x = x @ rearrange(kernel, "k i j c d -> k (i j c) d") + bias[:, None]
        return rearrange(x, "k (b h w) d -> k b h w d", b=b, h=-(-h // 2))
