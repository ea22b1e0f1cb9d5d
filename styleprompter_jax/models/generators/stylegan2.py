"""StyleGAN2: mapping and synthesis networks (Karras et al. 2020, arXiv 1912.04958).

This is the "skip" generator of config F, for any size and width. It computes the same
as the code of rosinality and of NVIDIA, from one parameter tree.

Axes: ``b`` batch, ``h w`` space, ``c`` channels, ``n`` W+ codes.  Images and maps are
NHWC, kernels HWIO.  Every stored kernel is N(0, 1) at the start and is multiplied by
its equalised learning rate at run time.

A W+ code array is (b, n, w_dim), n = 2 log2(size) - 2.  The 4x4 block reads codes 0
(convolution) and 1 (RGB); a later block reads i, i+1 (convolutions) and i+2 (RGB),
with i = 1, 3, 5, ...
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.traverse_util import flatten_dict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Between, Length
from styleprompter_jax.models.registry import GeneratorBase
from styleprompter_jax.ops.fir import upsample2
from styleprompter_jax.ops.modulated_conv import modulated_conv, modulated_rgb

Refine = Mapping[int, Callable[[jax.Array], jax.Array]]
NOISE_MODES = ("const", "random", "none")


def default_channels(image_size: int, multiplier: int = 2) -> tuple[int, ...]:
    """Returns widths at 4, 8, ..., image_size px: config F (multiplier 2), half (1)."""
    log_size = int(math.log2(image_size))
    return tuple(min(512, 16384 * multiplier >> k) for k in range(2, log_size + 1))


Size = Annotated[int, Between(1, 2**16)]
ImageSize = Annotated[int, Between(8, 2**13)]
Channels = Annotated[tuple[Size, ...], Length(0, 12)]


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(GeneratorBase):
    """Architecture of a generator.

    Attributes:
        image_size: pixels a side, a power of two from 8.
        channels: width at 4, 8, ..., image_size px; () means config F.
        z_dim, w_dim: widths of latent and code.
        mapping_layers: fully connected layers from z to w.
        mapping_lr_multiplier: learning-rate multiplier of the mapping network.
        conv_clamp: clamp activations to +-conv_clamp (NVIDIA's half-precision nets).
    """

    type = "stylegan2"

    image_size: ImageSize = 1024
    channels: Channels = ()
    z_dim: Size = 512
    w_dim: Size = 512
    mapping_layers: Annotated[int, Between(1, 64)] = 8
    mapping_lr_multiplier: Annotated[float, Between(1e-6, 1e6)] = 0.01
    conv_clamp: Annotated[float, Between(1e-6, 1e9)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        log_size = int(math.log2(self.image_size))
        if 2**log_size != self.image_size:
            raise StylePrompterError(
                f"GeneratorConfig: image_size {self.image_size} is not 8 or a larger "
                "power of two."
            )
        channels = self.channels or default_channels(self.image_size)
        object.__setattr__(self, "channels", channels)
        if len(channels) != log_size - 1:
            raise StylePrompterError(
                f"{type(self).__name__}: {len(channels)} channels do not fit an "
                f"image_size of {self.image_size}: give one for each of 4, 8, ..., "
                "image_size."
            )

    @property
    def num_codes(self) -> int:
        """n, the number of W+ codes."""
        return 2 * len(self.channels)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., image_size."""
        return tuple(4 << k for k in range(len(self.channels)))

    def affine_kernels(self, params: Mapping) -> list[jax.Array]:
        """Returns, for each code, the affine weights of the convolution that reads it.

        No convolution reads the last code, so its weights are those of the RGB layer.
        See `GeneratorBase`.
        """
        blocks = params["synthesis"]
        names = [f"b{size}" for size in self.resolutions]
        layers = [blocks[names[0]]["conv1"]]
        for name in names[1:]:
            layers += [blocks[name]["conv0"], blocks[name]["conv1"]]
        layers.append(blocks[names[-1]]["torgb"])
        return [layer["affine"]["kernel"] for layer in layers]

    def layer_keys(self, params: Mapping) -> list[list[str]]:
        """Returns a convolution, and the RGB layer of its code; see `GeneratorBase`."""
        found: list[list[str]] = [[] for _ in range(self.num_codes)]
        for key in flatten_dict({"synthesis": params["synthesis"]}, sep="/"):
            _, block, layer, *_ = key.split("/")
            code = 2 * self.resolutions.index(int(block[1:]))
            found[code + {"conv0": -1, "torgb": 1}.get(layer, 0)].append(key)
        return found


def leaky_relu(x: jax.Array) -> jax.Array:
    """Applies a leaky ReLU with slope 0.2, times sqrt 2 to keep the variance."""
    return jnp.where(x >= 0, x, 0.2 * x) * math.sqrt(2)


class EqualizedDense(nn.Module):
    """Linear layer with an equalised learning rate, from (b, i) to (b, features)."""

    features: int
    lr_multiplier: float = 1.0
    bias_init: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., i) to (..., features)."""
        lr = self.lr_multiplier
        fan_in = x.shape[-1]
        kernel = self.param(
            "kernel", nn.initializers.normal(1.0 / lr), (fan_in, self.features)
        )
        bias = self.param(
            "bias", nn.initializers.constant(self.bias_init / lr), (self.features,)
        )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return x @ (kernel * (lr / math.sqrt(fan_in))) + bias * lr


class MappingNetwork(nn.Module):
    """Network from z (b, z_dim) to w (b, w_dim): pixel norm, then dense layers."""

    config: GeneratorConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps z (b, z_dim) to w (b, w_dim)."""
        x = z * jax.lax.rsqrt(jnp.mean(z**2, -1, keepdims=True) + 1e-8)
        for k in range(self.config.mapping_layers):
            x = EqualizedDense(
                self.config.w_dim,
                self.config.mapping_lr_multiplier,
                dtype=self.dtype,
                name=f"fc{k}",
            )(x)
            x = leaky_relu(x)
        return x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and activation."""

    features: int
    up: bool = False
    clamp: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise_mode: str) -> jax.Array:
        """Maps x (b, h, w, i) and w (b, w_dim) to (b, h, w, features).

        With ``up``, the result is (b, 2h, 2w, features).
        """
        fan_in = x.shape[-1]
        size = x.shape[1] * (2 if self.up else 1)
        style = EqualizedDense(fan_in, bias_init=1.0, dtype=self.dtype, name="affine")(
            w
        )
        kernel = self.param(
            "kernel", nn.initializers.normal(1.0), (3, 3, fan_in, self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        strength = self.param("noise_strength", nn.initializers.zeros, ())
        stored = self.variable(
            "const",
            "noise_const",
            lambda: jax.random.normal(self.make_rng("params"), (size, size)),
        )
        x, kernel, bias, strength = promote_dtype(
            x, kernel, bias, strength, dtype=self.dtype
        )
        kernel = kernel * (1.0 / math.sqrt(9 * fan_in))
        x = modulated_conv(x, kernel, style, up=self.up)
        if noise_mode == "const":
            x = x + stored.value[:, :, None].astype(x.dtype) * strength
        elif noise_mode == "random":
            shape = (x.shape[0], size, size, 1)
            x = x + jax.random.normal(self.make_rng("noise"), shape, x.dtype) * strength
        x = leaky_relu(x + bias)
        return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, without demodulation."""

    clamp: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Maps x (b, h, w, i) and w (b, w_dim) to (b, h, w, 3)."""
        fan_in = x.shape[-1]
        style = EqualizedDense(fan_in, bias_init=1.0, dtype=self.dtype, name="affine")(
            w
        )
        kernel = self.param("kernel", nn.initializers.normal(1.0), (1, 1, fan_in, 3))
        bias = self.param("bias", nn.initializers.zeros, (3,))
        x, kernel, style = promote_dtype(x, kernel, style, dtype=self.dtype)
        x = modulated_rgb(x, kernel[0, 0] * (1.0 / math.sqrt(fan_in)), style)
        # The images of all resolutions are added in at least float32.
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32)) + bias
        return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution: (upsampling convolution,) convolution, RGB.

    ``refine_map`` and ``refine_next`` are functions of the output map. The block
    applies the first before the RGB layer reads the map, and the second after.
    """

    features: int
    clamp: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array | None,
        rgb: jax.Array | None,
        codes: jax.Array,
        noise_mode: str,
        refine_map: Callable | None = None,
        refine_next: Callable | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Computes map and image of this resolution from the resolution before.

        The first block gets neither, and starts with its constant.
        """
        conv: dict[str, Any] = dict(
            features=self.features, clamp=self.clamp, dtype=self.dtype
        )
        used = [codes[:, k] for k in range(codes.shape[1])]
        if x is None:
            const = self.param(
                "const", nn.initializers.normal(1.0), (4, 4, self.features)
            )
            const = const if self.dtype is None else const.astype(self.dtype)
            x = jnp.broadcast_to(const, (codes.shape[0], *const.shape))
        else:
            x = StyledConv(**conv, up=True, name="conv0")(x, used[0], noise_mode)
        x = StyledConv(**conv, name="conv1")(x, used[-2], noise_mode)
        x = x if refine_map is None else refine_map(x)
        y = ToRGB(clamp=self.clamp, dtype=self.dtype, name="torgb")(x, used[-1])
        rgb = y if rgb is None else upsample2(rgb) + y
        return (x if refine_next is None else refine_next(x)), rgb


class SynthesisNetwork(nn.Module):
    """Network from W+ codes (b, n, w_dim) to images (b, size, size, 3), about [-1, 1].

    ``dtype`` is the dtype of the maps. Images are float32, or float64 if the codes are.
    """

    config: GeneratorConfig
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        w_plus: jax.Array,
        *,
        noise_mode: str = "const",
        refine: Refine | None = None,
    ) -> jax.Array:
        """Renders w_plus (b, n, w_dim) to images (b, size, size, 3)."""
        cfg, refine = self.config, refine or {}
        if noise_mode not in NOISE_MODES:
            raise ValueError(
                f"noise_mode is {noise_mode!r}: it must be one of {NOISE_MODES}"
            )
        if w_plus.shape[1:] != (cfg.num_codes, cfg.w_dim):
            expected = f"(b, {cfg.num_codes}, {cfg.w_dim})"
            raise ValueError(f"w_plus has the shape {w_plus.shape}, not {expected}")
        x: jax.Array | None = None
        rgb: Any = None
        for k, (size, features) in enumerate(
            zip(cfg.resolutions, cfg.channels, strict=True)
        ):
            codes = w_plus[:, :2] if k == 0 else w_plus[:, 2 * k - 1 : 2 * k + 2]
            block = SynthesisBlock(
                features,
                clamp=cfg.conv_clamp,
                dtype=self.dtype,
                name=f"b{size}",
            )
            x, rgb = block(
                x, rgb, codes, noise_mode, refine.get(2 * k), refine.get(2 * k + 1)
            )
        return rgb


class Generator(nn.Module):
    """Mapping and synthesis networks.

    The stored noise is in the collection "const" as ``noise_const``; noise_mode
    "random" draws from the RNG stream "noise". ``dtype`` is the dtype of the synthesis
    network; codes keep their own precision.
    """

    config: GeneratorConfig
    dtype: Any = None

    def setup(self) -> None:
        """Makes the two networks."""
        self.mapping = MappingNetwork(self.config)
        self.synthesis = SynthesisNetwork(self.config, self.dtype)

    def __call__(self, z: jax.Array, *, noise_mode: str = "const") -> jax.Array:
        """Renders z (b, z_dim) to images (b, size, size, 3).

        All layers read the same code.
        """
        w = self.mapping(z)
        n = self.config.num_codes
        return self.synthesis(
            jnp.broadcast_to(w[:, None], (w.shape[0], n, w.shape[1])),
            noise_mode=noise_mode,
        )
