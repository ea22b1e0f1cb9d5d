"""StylePrompter: encoder, generator and SMART as one module (arXiv 2307.16151).

Axes: ``b`` batch, ``h w`` space, ``c`` channels, ``n`` W+ codes, NHWC.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

import styleprompter_jax.models.parts  # noqa: F401 - registers them
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Fields
from styleprompter_jax.models.registry import (
    EncoderBase,
    GeneratorBase,
    PartConfig,
    RefinerBase,
    make,
)


@dataclasses.dataclass(frozen=True)
class StylePrompterConfig(Fields):
    """Architecture of the parts; a model may lack the encoder, the refiner, or both.

    Attributes:
        encoder, refiner, generator: configs of registered parts (`models.registry`).
    """

    encoder: EncoderBase | None
    refiner: RefinerBase | None
    generator: GeneratorBase

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.generator.num_codes
        refiner = self.refiner
        layers = refiner.refined_layers if refiner is not None else ()
        wrong = [layer for layer in layers if not 1 <= layer < n]
        if refiner is not None and wrong:
            raise StylePrompterError(
                f"{refiner.title} is to refine layer {wrong[0]}, and the "
                f"generator has layers 1 to {n - 1}: change refined_layers."
            )
        if self.encoder is None:
            return
        codes = (self.encoder.num_codes, self.encoder.w_dim)
        if codes != (n, self.generator.w_dim):
            raise StylePrompterError(
                f"The encoder makes codes (num_tokens, w_dim) = {codes}, the generator "
                f"reads {(n, self.generator.w_dim)}."
            )

    @classmethod
    def chosen(cls, values: Mapping) -> tuple[type[Self], Mapping]:
        """In version 1 of model folders SMART was the only refiner."""
        if "smart" in values and "refiner" not in values:
            values = {"refiner" if k == "smart" else k: v for k, v in values.items()}
        return cls, values

    @property
    def smart(self) -> RefinerBase | None:
        """The refiner, by the name that it had when there was no other than SMART."""
        return self.refiner

    @property
    def parts(self) -> dict[str, PartConfig]:
        """The parts that there are, by what their parameters lie under."""
        parts = self.encoder, self.generator, self.refiner
        return {part.key: part for part in parts if part is not None}

    @property
    def image_size(self) -> int:
        """Side of the images that the encoder reads; without one, of the output."""
        return (self.encoder or self.generator).image_size

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of what the encoder reads; without one, of the output."""
        if self.encoder is not None:
            return self.encoder.input_shape
        return (self.generator.image_size, self.generator.image_size, 3)


# By the name that a config or a caller gives: what a model computes in.
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


class StylePrompter(nn.Module):
    """Inverts images into W+ codes and renders codes, refined by SMART.

    ``dtype`` is that of the maps; codes and images are float32 at least.

    ``latent_avg`` (w_dim,), the generator's mean w, or (n, w_dim) with one for each
    code, lies in the collection "const" beside the stored noise.
    """

    config: StylePrompterConfig
    dtype: Any = None

    def setup(self) -> None:
        """Makes the parts that the config has."""
        cfg = self.config
        for name, part in cfg.parts.items():
            setattr(self, name, make(part, self.dtype))
        self.latent_avg = self.variable(
            "const", "latent_avg", jnp.zeros, (cfg.generator.w_dim,)
        )

    def encode(
        self, images: jax.Array, *, deterministic: bool = True
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """images (b, s, s, 3) -> w_plus (b, n, w_dim), the mean added; features.

        ``features`` are the encoder's maps (b, h, w, c), coarse to fine.
        """
        codes, features = self.encoder(images, deterministic=deterministic)
        kind = jnp.promote_types(codes.dtype, jnp.float32)
        codes = codes.astype(kind)
        reader = self.config.encoder
        if reader is not None and reader.start_from_latent_avg:
            codes += self.latent_avg.value.astype(kind)
        return codes, features

    def decode(
        self,
        w_plus: jax.Array,
        features: Sequence[jax.Array] | None = None,
        *,
        refine: bool = True,
        noise_mode: str = "const",
        deterministic: bool = True,
        **options: Any,
    ) -> jax.Array:
        """W+ codes to images (b, size, size, 3), about [-1, 1].

        Args:
            w_plus: (b, n, w_dim).
            features: the encoder's maps of the *input* image, which the refiner reads
                also where the codes were edited.
            refine: False renders the codes alone; features are not read.
            noise_mode: "const", "random" (RNG stream "noise") or "none".
            deterministic: no dropout in the refiner; else the RNG stream "dropout".
            options: of the refiner, SMART's beta; see `RefinerBase.options`.
        """
        hooks = {}
        if refine and self.config.refiner is not None:
            refiner = getattr(self, self.config.refiner.key)
            hooks = {
                layer: partial(
                    refiner,
                    layer,
                    features=features,
                    deterministic=deterministic,
                    **options,
                )
                for layer in self.config.refiner.refined_layers
            }
        return self.generator.synthesis(w_plus, noise_mode=noise_mode, refine=hooks)

    def mapping(self, z: jax.Array) -> jax.Array:
        """z (b, z_dim) -> w (b, w_dim)."""
        return self.generator.mapping(z)

    def synthesize(self, w_plus: jax.Array, *, noise_mode: str = "const") -> jax.Array:
        """w_plus (b, n, w_dim) -> images, by the generator alone."""
        return self.generator.synthesis(w_plus, noise_mode=noise_mode)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Runs every part once: what `init` calls.  Returns images."""
        cfg = self.config.generator
        w = self.mapping(jnp.zeros((images.shape[0], cfg.z_dim)))
        if self.config.encoder is None:
            return self.synthesize(jnp.repeat(w[:, None], cfg.num_codes, 1))
        return self.decode(*self.encode(images))
