"""StylePrompter: encoder, generator and SMART as one module (arXiv 2307.16151).

Axes: ``b`` batch, ``h w`` space, ``c`` channels, ``n`` W+ codes, NHWC.
"""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Fields
from styleprompter_jax.models.encoders.swin import SwinConfig, SwinEncoder
from styleprompter_jax.models.generators.stylegan2 import Generator, GeneratorConfig
from styleprompter_jax.models.refiners.smart import Smart, SmartConfig


@dataclasses.dataclass(frozen=True)
class StylePrompterConfig(Fields):
    """Architecture of the parts; a model may lack the encoder, or SMART, or both."""

    encoder: SwinConfig | None
    smart: SmartConfig | None
    generator: GeneratorConfig

    def __post_init__(self):
        super().__post_init__()
        layers = self.smart.refined_layers if self.smart is not None else ()
        if wrong := [n for n in layers if not 1 <= n < self.generator.num_codes]:
            raise StylePrompterError(
                f"SMART is to refine layer {wrong[0]}, and the generator has layers 1 "
                f"to {self.generator.num_codes - 1}: change refined_layers."
            )
        if self.encoder is None:
            return
        codes = (self.encoder.num_tokens, self.encoder.w_dim)
        if codes != (self.generator.num_codes, self.generator.w_dim):
            raise StylePrompterError(
                f"The encoder makes codes (num_tokens, w_dim) = {codes}, the generator "
                f"reads {(self.generator.num_codes, self.generator.w_dim)}."
            )


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

    def setup(self):
        cfg = self.config
        self.generator = Generator(cfg.generator, self.dtype)
        if cfg.encoder is not None:
            self.encoder = SwinEncoder(cfg.encoder, self.dtype)
        if cfg.smart is not None:
            self.smart = Smart(cfg.smart, self.dtype)
        self.latent_avg = self.variable(
            "const", "latent_avg", jnp.zeros, (cfg.generator.w_dim,)
        )

    def encode(self, images, *, deterministic: bool = True):
        """images (b, s, s, 3) -> w_plus (b, n, w_dim) with latent_avg, features.

        ``features`` are the encoder's maps (b, h, w, c), coarse to fine.
        """
        codes, features = self.encoder(images, deterministic=deterministic)
        kind = jnp.promote_types(codes.dtype, jnp.float32)
        return codes.astype(kind) + self.latent_avg.value.astype(kind), features

    def decode(
        self,
        w_plus,
        features=None,
        *,
        beta=(1.0, 1.0),
        refine: bool = True,
        noise_mode: str = "const",
        deterministic: bool = True,
    ):
        """w_plus (b, n, w_dim) -> images (b, size, size, 3), about [-1, 1].

        Args:
          features: the encoder's maps of the *input* image, which SMART reads also
            where the codes were edited.
          beta: weights of SMART's retrieval and feed-forward parts.
          refine: False renders the codes alone; features are not read.
          noise_mode: "const", "random" (RNG stream "noise") or "none".
          deterministic: no dropout in SMART; else the RNG stream "dropout".
        """
        hooks = {}
        if refine and self.config.smart is not None:
            hooks = {
                layer: partial(
                    self.smart,
                    layer,
                    features=features,
                    beta=beta,
                    deterministic=deterministic,
                )
                for layer in self.config.smart.refined_layers
            }
        return self.generator.synthesis(w_plus, noise_mode=noise_mode, refine=hooks)

    def mapping(self, z):
        """z (b, z_dim) -> w (b, w_dim)."""
        return self.generator.mapping(z)

    def synthesize(self, w_plus, *, noise_mode: str = "const"):
        """w_plus (b, n, w_dim) -> images, by the generator alone."""
        return self.generator.synthesis(w_plus, noise_mode=noise_mode)

    def __call__(self, images):
        """Runs every part once: what `init` calls.  Returns images."""
        cfg = self.config.generator
        w = self.mapping(jnp.zeros((images.shape[0], cfg.z_dim)))
        if self.config.encoder is None:
            return self.synthesize(jnp.repeat(w[:, None], cfg.num_codes, 1))
        return self.decode(*self.encode(images))
