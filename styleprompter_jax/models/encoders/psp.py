"""The encoders of pSp (arXiv 2008.00951), e4e (2102.02766) and ReStyle (2104.02699).

IR-SE50 or ResNet-34 reads the image. In pSp, a feature pyramid makes three maps from
the last three stages. A small stack of convolutions, "map2style", makes one code from
one map: codes 0 to 2 from the coarse map, 3 to 6 from the middle map, the others from
the fine map. ReStyle makes all codes from the coarse map. In e4e, the same layers make
the first code and the offset of each other code from it. Two smaller heads make one
code for all layers, or all codes with one linear layer.

ReStyle's encoders work in passes. They see the image beside the image of the codes of
the pass before, and add their output to these codes.

Axes: b batch, h w space, c channels, n codes, k codes of one map.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax.linen.dtypes import promote_dtype

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Between, Length
from styleprompter_jax.models.batch_norm import BatchNorm
from styleprompter_jax.models.generators.stylegan2 import EqualizedDense
from styleprompter_jax.models.ir_se50 import BLOCKS, WIDTHS, ir_se50
from styleprompter_jax.models.perceptual.layers import conv
from styleprompter_jax.models.registry import SHOWN, EncoderBase, GeneratorBase
from styleprompter_jax.models.resnet34 import BLOCKS as RESNET_BLOCKS
from styleprompter_jax.models.resnet34 import resnet34
from styleprompter_jax.ops.pooling import adaptive_average_pool
from styleprompter_jax.ops.upsample_aligned import upsample_aligned

EncoderType = Literal[
    "GradualStyleEncoder",
    "Encoder4Editing",
    "BackboneEncoder",
    "ProgressiveBackboneEncoder",
    "ResNetGradualStyleEncoder",
    "ResNetBackboneEncoder",
    "ResNetProgressiveBackboneEncoder",
    "BackboneEncoderUsingLastLayerIntoW",
    "BackboneEncoderUsingLastLayerIntoWPlus",
]


class Form(NamedTuple):
    """The trunk and the head of an encoder.

    Attributes:
        trunk: the network that reads the image, "ir_se50" or "resnet34".
        head: the layers that make codes: map2style blocks of a "pyramid" of three maps
            or of the "coarse" map, or one linear layer for its mean ("w") or for all
            ("w_plus").
        adds: whether the head adds the other codes to the first.
    """

    trunk: str
    head: str
    adds: bool = False


FORMS: dict[str, Form] = {
    "GradualStyleEncoder": Form("ir_se50", "pyramid"),
    "Encoder4Editing": Form("ir_se50", "pyramid", adds=True),
    "BackboneEncoder": Form("ir_se50", "coarse"),
    "ProgressiveBackboneEncoder": Form("ir_se50", "coarse", adds=True),
    "ResNetGradualStyleEncoder": Form("resnet34", "pyramid"),
    "ResNetBackboneEncoder": Form("resnet34", "coarse"),
    "ResNetProgressiveBackboneEncoder": Form("resnet34", "coarse", adds=True),
    "BackboneEncoderUsingLastLayerIntoW": Form("ir_se50", "w"),
    "BackboneEncoderUsingLastLayerIntoWPlus": Form("ir_se50", "w_plus"),
}


class Trunk(NamedTuple):
    """A network that reads the image.

    Attributes:
        maps: makes the network, as `ir_se50` does.
        blocks: published number of blocks in each stage.
        first: how the names of the layers before the blocks begin.
    """

    maps: Callable[..., list[jax.Array]]
    blocks: tuple[int, ...]
    first: tuple[str, ...]


_TRUNKS = {
    "ir_se50": Trunk(ir_se50, BLOCKS, ("input_layer_",)),
    "resnet34": Trunk(resnet34, RESNET_BLOCKS, ("conv1", "bn1", "relu")),
}
_FIRST = (3, 4)  # codes of the coarse and of the middle map
_POOLED = 7  # cells a side of the input of the linear head into W+
_STRIDE = 16  # pixels of a cell of the coarse map
Size = Annotated[int, Between(1, 2**13)]
Blocks = Annotated[tuple[Annotated[int, Between(1, 64)], ...], Length(4, 4)]


@dataclasses.dataclass(frozen=True)
class PspConfig(EncoderBase):
    """Architecture of an encoder; the defaults are pSp's of 18 codes.

    Attributes:
        encoder_type: the name of its class in the published code; see `FORMS`.
        image_size: pixels from left to right, a power of two.
        input_channels: channels of the input: 3 for an image, 1 for a sketch, 19 for
            label maps of faces; in passes 3 more, for the inversion.
        num_styles: n, the number of codes.
        w_dim: width of a code.
        widths: channels of the four stages of the trunk.
        blocks: blocks of each stage; None for those of the published trunk.
        start_from_latent_avg: codes are offsets from the mean code.
        image_height: pixels from top to bottom, at most image_size, the default.
        passes: default number of passes; 0 for an encoder that sees the image alone,
            once.
    """

    type = "psp"
    derived = ("image_size", "num_styles", "w_dim")
    ignored = ("passes",)

    encoder_type: EncoderType = "GradualStyleEncoder"
    image_size: Annotated[int, Between(32, 2**13)] = 256
    input_channels: Annotated[int, Between(1, 1024)] = 3
    num_styles: Annotated[int, Between(8, 64)] = 18
    w_dim: Size = 512
    widths: Annotated[tuple[Size, ...], Length(4, 4)] = WIDTHS
    blocks: Blocks | None = None
    start_from_latent_avg: bool = True
    image_height: Annotated[int, Between(16, 2**13)] | None = None
    passes: Annotated[int, Between(0, 1000)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size & (self.image_size - 1):
            raise StylePrompterError(
                f"PspConfig: image_size {self.image_size} is not a power of two."
            )
        if self.height > self.image_size:
            raise StylePrompterError(
                f"PspConfig: image_height {self.height} is more than image_size, "
                f"{self.image_size}."
            )
        if self.passes and self.input_channels <= SHOWN:
            raise StylePrompterError(
                f"PspConfig: an encoder in passes reads more than {SHOWN} channels, an "
                f"image and its inversion, but input_channels is {self.input_channels}."
            )
        if self.blocks is None:
            object.__setattr__(self, "blocks", _TRUNKS[self.form.trunk].blocks)

    @property
    def form(self) -> Form:
        """The trunk and the head of the encoder type."""
        return FORMS[self.encoder_type]

    @property
    def height(self) -> int:
        """Pixels of an image from top to bottom."""
        return self.image_height or self.image_size

    @property
    def num_codes(self) -> int:
        """n, the number of codes that it makes."""
        return self.num_styles

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of an image."""
        shown = SHOWN if self.passes else 0
        return (self.height, self.image_size, self.input_channels - shown)

    @property
    def maps(self) -> dict[str, tuple[int, int]]:
        """By name, coarse to fine: (codes from the map, steps down to one cell)."""
        first = (self.image_size // _STRIDE).bit_length() - 1
        if self.form.head == "coarse":
            return {"coarse": (self.num_styles, first)}
        counts = (*_FIRST, self.num_styles - sum(_FIRST))
        return {
            name: (count, first + k)
            for k, (name, count) in enumerate(
                zip(("coarse", "middle", "fine"), counts, strict=True)
            )
        }

    @property
    def trunk(self) -> tuple[str, ...]:
        """The first layers, and the blocks."""
        return (*_TRUNKS[self.form.trunk].first, "body_")

    @property
    def codes_of_layers(self) -> dict[str, np.ndarray]:
        """The layers of each code, stacked by map, and the layers of the maps."""
        if self.form.head not in ("pyramid", "coarse"):
            return {}
        layers: dict[str, np.ndarray] = {}
        first = 0
        for k, (name, (count, _)) in enumerate(self.maps.items()):
            layers[name] = first + np.arange(count)
            if k:
                layers[f"latlayer{k}"] = np.array(first)
            first += count
        return layers

    @property
    def has_deltas(self) -> bool:
        """Whether the encoder makes w and deltas, as e4e does."""
        return self.form.adds

    def with_deltas(self, params: Mapping, deltas: Any) -> dict:
        """Returns the parameters with zeros in the last layers of other deltas."""
        changed = {}
        for name in self.maps:
            kept = self.codes_of_layers[name] <= deltas
            linear = params[name]["linear"]
            linear = {k: (x.T * kept).T for k, x in linear.items()}
            changed[name] = params[name] | {"linear": linear}
        return {**params, **changed}

    def with_codes(self, num_codes: int, w_dim: int) -> Self:
        """Returns the same encoder with this number and width of codes."""
        return dataclasses.replace(self, num_styles=num_codes, w_dim=w_dim)

    @classmethod
    def for_generator(
        cls, generator: GeneratorBase, image_size: int, **fields: Any
    ) -> Self:
        """Returns the encoder of a generator's codes."""
        return cls(
            image_size=image_size,
            num_styles=generator.num_codes,
            w_dim=generator.w_dim,
            **fields,
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
            images: (b, h, w, c), c = config.input_channels; in [-1, 1], or one-hot
                labels. In passes the inversion's channels come last.
            deterministic: False normalises by the statistics of the batch, as training
                does (`models.batch_norm`).

        Returns:
            codes (b, n, w_dim), and no maps.
        """
        cfg = self.config
        if images.shape[1:] != cfg.module_shape:
            raise StylePrompterError(
                f"The encoder reads images of shape (b, *{cfg.module_shape}), not "
                f"{images.shape}; resize them first."
            )
        norm = partial(BatchNorm, deterministic)
        trunk = _TRUNKS[cfg.form.trunk].maps
        outputs = trunk(images, cfg.widths, cfg.blocks or (), self.dtype, norm)
        match cfg.form.head:
            case "pyramid":
                codes = self._of_maps(self._pyramid(outputs))
            case "coarse":
                codes = self._of_maps([outputs[-1]])
            case "w":
                codes = self._of_mean(outputs[-1])
            case _:
                codes = self._of_all(outputs[-1], norm)
        if cfg.form.adds:
            codes = jnp.concatenate([codes[:, :1], codes[:, 1:] + codes[:, :1]], 1)
        return codes, ()

    def _pyramid(self, outputs: list[jax.Array]) -> list[jax.Array]:
        """Makes maps (b, h, w, w_dim), coarse to fine, from the trunk's outputs."""
        cfg, dtype = self.config, self.dtype
        _, fine, middle, coarse = (outputs[k - 1] for k in np.cumsum(cfg.blocks or ()))
        maps = [coarse]
        for name, lateral in (("latlayer1", middle), ("latlayer2", fine)):
            x = conv(cfg.widths[-1], 1, bias=True, dtype=dtype, name=name)(lateral)
            maps.append(upsample_aligned(maps[-1], x.shape[1:3]) + x)
        return maps

    def _of_maps(self, maps: list[jax.Array]) -> jax.Array:
        """Makes codes (b, n, w_dim), some from each map."""
        cfg = self.config
        codes = [
            _MapToStyles(count, steps, cfg.w_dim, self.dtype, name=name)(x)
            for x, (name, (count, steps)) in zip(maps, cfg.maps.items(), strict=True)
            if count
        ]
        return jnp.concatenate(codes, 1)

    def _of_mean(self, x: jax.Array) -> jax.Array:
        """Makes one code, n times, from the mean of a map."""
        cfg, x = self.config, jnp.mean(x, (1, 2))
        code = EqualizedDense(cfg.w_dim, dtype=self.dtype, name="linear")(x)
        return jnp.repeat(code[:, None], cfg.num_styles, 1)

    def _of_all(self, x: jax.Array, norm: Callable) -> jax.Array:
        """Makes codes (b, n, w_dim) from all cells of a map with two linear layers."""
        cfg, dtype = self.config, self.dtype
        x = norm(dtype=dtype, name="output_layer_2_0")(x)
        x = adaptive_average_pool(x, _POOLED)
        # The stored weights of the next layer have PyTorch's order.
        x = rearrange(x, "b h w c -> b (c h w)")
        x = nn.Dense(cfg.w_dim, dtype=dtype, name="output_layer_2_3")(x)
        size = cfg.num_styles * cfg.w_dim
        codes = EqualizedDense(size, dtype=dtype, name="linear")(x)
        return rearrange(codes, "b (n c) -> b n c", n=cfg.num_styles)


class _MapToStyles(nn.Module):
    """Maps (b, h, w, c) to k codes (b, k, features), with k "map2style" at once.

    Their convolutions keep the number of channels.
    """

    count: int
    steps: int
    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, x = x.shape[-1], x[None]
        for step in range(self.steps):
            conv_name = f"conv_{step}"
            x = _Convs(self.count, channels, self.dtype, name=conv_name)(x)
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
    """k convolutions 3x3 with stride 2, each for its own map, or all for one map.

    They are one product of matrices in a batch of k. On CPUs, a convolution with groups
    takes twenty times as long.
    """

    count: int
    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (k or 1, b, h, w, c) to (k, b, h/2, w/2, features)."""
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
