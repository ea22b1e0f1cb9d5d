"""SwinV2 with latent tokens: the encoder of StylePrompter (arXiv 2307.16151).

A SwinV2 transformer (arXiv 2111.09883) reads the image together with n *latent tokens*.
In each block, the tokens join the attention of every window, and their results are
summed over the windows. A small head converts each token to a code of W+. SMART gets
the maps of all stages.

Axes: b batch, h w space, c channels, k windows of one image, p (and q) cells of one
window, n (and m) latent tokens, e heads, d channels of one head.
"""

import dataclasses
import math
from typing import Annotated, Any, ClassVar, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Between, Length
from styleprompter_jax.models.encoders.swin_layers import (
    Dense,
    LayerNorm,
    PatchEmbed,
    PatchMerging,
    PredictionHead,
    SwinBlock,
)
from styleprompter_jax.models.registry import EncoderBase, GeneratorBase

Size = Annotated[int, Between(1, 2**16)]
_BLOCKS = 128  # of all stages; SwinV2-G has 50
_MASK = 2**14  # cells a side of a map times those of a window; their square is a mask


@dataclasses.dataclass(frozen=True)
class SwinConfig(EncoderBase):
    """Architecture of an encoder; the defaults are SwinV2-T at 256 px.

    Attributes:
        image_size: side of the images in pixels.
        patch_size: side of a cell of the first map in pixels.
        embed_dim: channels of the first stage; each later stage doubles them.
        depths: blocks in each stage; the map's side halves after each but the last.
        num_heads: attention heads in each stage.
        window_size: cells a side of a window; a map of at most this size is one window.
        num_tokens: latent tokens, one for each W+ code: 2 log2(output size) - 2.
        head_dim: width of the head's two hidden layers.
        w_dim: width of a code.
        mlp_ratio: hidden width of a block's MLP over its channels.
        drop_path: rate of stochastic depth in the last block, rising from 0.
        remat: recompute each block in the backward pass, to save memory.
        token_mlp: the tokens go through the MLP of each block too; not as published.
    """

    type = "swin"
    variants: ClassVar = {
        "tiny": dict(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
        "small": dict(embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
        "base": dict(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    }
    derived = ("image_size", "num_tokens", "w_dim")
    rates = ("drop_path",)
    ignored = ("drop_path", "remat")

    image_size: Annotated[int, Between(1, 2**13)] = 256
    patch_size: Annotated[int, Between(1, 256)] = 4
    embed_dim: Annotated[int, Between(1, 2**13)] = 96
    depths: Annotated[tuple[Annotated[int, Between(1, 64)], ...], Length(1, 8)] = (
        *(2, 2, 6, 2),
    )
    num_heads: Annotated[tuple[Annotated[int, Between(1, 1024)], ...], Length(1, 8)] = (
        *(3, 6, 12, 24),
    )
    window_size: Annotated[int, Between(1, 64)] = 16
    num_tokens: Annotated[int, Between(1, 64)] = 18
    head_dim: Size = 1024
    w_dim: Size = 512
    mlp_ratio: Annotated[int, Between(1, 64)] = 4
    drop_path: Annotated[float, Between(0, 1)] = 0.1
    remat: bool = False
    token_mlp: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.depths) != len(self.num_heads):
            raise StylePrompterError(
                f"SwinConfig: {len(self.depths)} depths but {len(self.num_heads)} "
                "num_heads: give one of each for every stage."
            )
        if sum(self.depths) > _BLOCKS:
            raise StylePrompterError(
                f"SwinConfig: depths {list(self.depths)} are {sum(self.depths)} "
                f"blocks, more than {_BLOCKS}: give fewer."
            )
        coarsest = self.patch_size * 2 ** (len(self.depths) - 1)
        if self.image_size % coarsest:
            raise StylePrompterError(
                f"SwinConfig: image_size {self.image_size} must be a multiple of "
                f"{coarsest}, the patch_size doubled after each stage but the last."
            )
        for stage, (size, heads) in enumerate(
            zip(self.map_sizes, self.num_heads, strict=True)
        ):
            if size > self.window_size and size * self.window_size > _MASK:
                raise StylePrompterError(
                    f"SwinConfig: the {size}x{size} map of stage {stage} is too large "
                    f"for windows of {self.window_size}: enlarge patch_size."
                )
            if size > self.window_size and size % self.window_size:
                raise StylePrompterError(
                    f"SwinConfig: the {size}x{size} map of stage {stage} does not "
                    f"divide into windows of {self.window_size}: change window_size."
                )
            if (self.embed_dim << stage) % heads:
                raise StylePrompterError(
                    f"SwinConfig: {self.embed_dim << stage} channels of stage {stage} "
                    f"do not divide into {heads} num_heads: change num_heads."
                )

    @property
    def trunk(self) -> tuple[str, ...]:
        """The layers that read the image; the latent tokens and the head are new."""
        return ("patch_embed", "layers_")

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Cells a side of each stage's map."""
        first = self.image_size // self.patch_size
        return tuple(first >> stage for stage in range(len(self.depths)))

    @property
    def feature_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(h, w, c) of the maps that the encoder returns, coarse to fine."""
        last = len(self.depths) - 1
        # The map after a stage is the input of the next stage.
        stages = (min(stage + 1, last) for stage in reversed(range(len(self.depths))))
        sizes = self.map_sizes
        return tuple((sizes[k], sizes[k], self.embed_dim << k) for k in stages)

    @property
    def num_codes(self) -> int:
        """n, one code for each latent token."""
        return self.num_tokens

    def with_codes(self, num_codes: int, w_dim: int) -> Self:
        """Returns the same encoder for another number and width of codes."""
        return dataclasses.replace(self, num_tokens=num_codes, w_dim=w_dim)

    @classmethod
    def for_generator(
        cls, generator: GeneratorBase, image_size: int, **fields: Any
    ) -> Self:
        """Makes the encoder of a generator; SwinV2-T without a named variant."""
        return cls.variant(
            fields.pop("variant", "tiny"),
            image_size=image_size,
            num_tokens=generator.num_codes,
            w_dim=generator.w_dim,
            **fields,
        )


class SwinEncoder(nn.Module):
    """Network from images to W+ codes and feature maps.

    Each image has its own latent tokens, so its code does not depend on the other
    images in the batch. The published code mixes the tokens of a batch; for one image,
    both agree.
    """

    config: SwinConfig
    dtype: Any = None

    @nn.compact
    def __call__(
        self, images: jax.Array, *, deterministic: bool = True
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Encodes images.

        Args:
            images: (b, s, s, 3) in [-1, 1], s = config.image_size.
            deterministic: True uses no stochastic depth; False needs the RNG stream
                "drop_path".

        Returns:
            codes (b, num_tokens, w_dim), as offsets from the generator's mean code, and
            the feature maps (b, h, w, c), coarse to fine: the output of the last stage,
            and then the merged output of the stages before it.
        """
        cfg = self.config
        batch = images.shape[0]
        if images.shape[1:] != (cfg.image_size, cfg.image_size, 3):
            raise StylePrompterError(
                f"The encoder reads images of shape (b, {cfg.image_size}, "
                f"{cfg.image_size}, 3), not {images.shape}; resize them first."
            )
        block_type = nn.remat(SwinBlock, static_argnums=3) if cfg.remat else SwinBlock
        rates = iter(np.linspace(0, cfg.drop_path, sum(cfg.depths)).tolist())

        x = PatchEmbed(cfg.embed_dim, cfg.patch_size, self.dtype, name="patch_embed")(
            images
        )
        bound = math.sqrt(6 / (3 * cfg.patch_size**2 + cfg.embed_dim))
        tokens = self.param(
            "latent_tok",
            lambda key, shape: jax.random.uniform(key, shape, minval=-1) * bound,
            (cfg.num_tokens, cfg.embed_dim),
        )
        tokens = jnp.broadcast_to(tokens, (batch, *tokens.shape)).astype(x.dtype)
        features = []
        for i, (depth, size) in enumerate(zip(cfg.depths, cfg.map_sizes, strict=True)):
            window = min(cfg.window_size, size)
            for j in range(depth):
                shifted = j % 2 == 1 and size > window
                block = block_type(
                    cfg.num_heads[i],
                    window,
                    window // 2 if shifted else 0,
                    cfg.mlp_ratio,
                    next(rates),
                    self.dtype,
                    cfg.token_mlp,
                    name=f"layers_{i}_blocks_{j}",
                )
                x, tokens = block(x, tokens, deterministic)
            if i + 1 < len(cfg.depths):
                x = PatchMerging(self.dtype, name=f"layers_{i}_downsample")(x)
                widen = Dense(
                    x.shape[-1], dtype=self.dtype, name=f"dim_up_layers_{i}_0"
                )
                norm = LayerNorm(dtype=self.dtype, name=f"dim_up_layers_{i}_1")
                tokens = norm(widen(tokens))
            features.append(x)
        codes = PredictionHead(
            cfg.head_dim, cfg.w_dim, self.dtype, name="prediction_head"
        )(tokens)
        return codes, tuple(reversed(features))
