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

import styleprompter_jax.models.parts  # noqa: F401 - registers the parts
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Fields
from styleprompter_jax.models.registry import (
    EncoderBase,
    GeneratorBase,
    PartConfig,
    RefinerBase,
    make,
)
from styleprompter_jax.ops.framing import framed
from styleprompter_jax.ops.pooling import adaptive_average_pool


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
                f"{refiner.title} refines layer {wrong[0]}, but the generator has only "
                f"the layers 1 to {n - 1}: change refined_layers."
            )
        if self.encoder is None:
            return
        if refiner is not None and not self.encoder.feature_shapes:
            raise StylePrompterError(
                f"{refiner.title} reads feature maps, but an encoder of type "
                f"{self.encoder.type!r} makes none: leave out the refiner, or use "
                "another encoder."
            )
        codes = (self.encoder.num_codes, self.encoder.w_dim)
        if codes != (n, self.generator.w_dim):
            raise StylePrompterError(
                f"The encoder makes codes (num_tokens, w_dim) = {codes}, but the "
                f"generator reads {(n, self.generator.w_dim)}: change the encoder's."
            )

    @classmethod
    def chosen(cls, values: Mapping) -> tuple[type[Self], Mapping]:
        """Returns the class and its fields; reads version 1 of model folders too.

        In version 1, SMART was the only refiner.
        """
        if "smart" in values and "refiner" not in values:
            values = {"refiner" if k == "smart" else k: v for k, v in values.items()}
        return cls, values

    @property
    def smart(self) -> RefinerBase | None:
        """The refiner, under its name in version 0.1."""
        return self.refiner

    @property
    def parts(self) -> dict[str, PartConfig]:
        """The parts of the model, by the key of their parameters."""
        parts = self.encoder, self.generator, self.refiner
        return {part.key: part for part in parts if part is not None}

    @property
    def image_size(self) -> int:
        """Side of the encoder's images, or of the output without an encoder."""
        return (self.encoder or self.generator).image_size

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the encoder's images, or of the output without an encoder."""
        if self.encoder is not None:
            return self.encoder.input_shape
        return (self.generator.image_size, self.generator.image_size, 3)

    @property
    def shown_shape(self) -> tuple[int, int]:
        """(h, w) of the part of the output that corresponds to the encoder's image."""
        height, width, _ = self.input_shape
        size = self.generator.image_size
        return min(size, size * height // width), min(size, size * width // height)


# The number format of a model's computation, by its name in configs and calls.
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


class StylePrompter(nn.Module):
    """Inverts images into W+ codes, and renders codes with the refiner.

    ``dtype`` is the dtype of the maps; codes and images have at least float32.

    ``latent_avg`` is the generator's mean w (w_dim,), or (n, w_dim) with a mean for
    each code. It is in the collection "const", like the stored noise.
    """

    config: StylePrompterConfig
    dtype: Any = None

    def setup(self) -> None:
        """Makes the parts of the config."""
        cfg = self.config
        for name, part in cfg.parts.items():
            setattr(self, name, make(part, self.dtype))
        self.latent_avg = self.variable(
            "const", "latent_avg", jnp.zeros, (cfg.generator.w_dim,)
        )

    def encode(
        self,
        images: jax.Array,
        before: jax.Array | None = None,
        shown: jax.Array | None = None,
        *,
        deterministic: bool = True,
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Encodes images; with an encoder in passes, it makes one pass.

        Args:
            images: (b, h, w, c), with the config's `input_shape`.
            before: for an encoder in passes, the codes (b, n, w_dim) of the previous
                pass; None for the mean code, in the first pass.
            shown: the images (b, h, w, 3) of these codes; see `show`.
            deterministic: no dropout, no drop path; see `EncoderBase`.

        Returns:
            ``w_plus`` (b, n, w_dim), with the mean or the codes before added, and the
            encoder's maps (b, h, w, c), coarse to fine.
        """
        reader, mean = self.config.encoder, self.latent_avg.value
        if reader is not None and reader.passes:
            if before is None:
                before = jnp.broadcast_to(mean, (1, reader.num_codes, reader.w_dim))
            shown = self.show(before) if shown is None else shown
            shown = jnp.broadcast_to(shown, (images.shape[0], *shown.shape[1:]))
            images = jnp.concatenate([images, shown.astype(images.dtype)], -1)
        elif reader is not None and reader.start_from_latent_avg:
            before = mean
        made = self.encoder(images, deterministic=deterministic)
        codes, features = (
            made if reader is None else _checked(reader, made, images.shape[0])
        )
        kind = jnp.promote_types(codes.dtype, jnp.float32)
        codes = codes.astype(kind)
        return codes if before is None else codes + before.astype(kind), features

    def show(self, w_plus: jax.Array) -> jax.Array:
        """Renders codes (b, n, w_dim) to the images (b, h, w, 3) for the next pass.

        The generator renders them with its stored noise, at the size of the input.
        """
        height, width, _ = self.config.input_shape
        images = framed(self.synthesize(w_plus), height, width)
        return adaptive_average_pool(images, (height, width))

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
        """Renders W+ codes to images (b, size, size, 3), about [-1, 1].

        Args:
            w_plus: (b, n, w_dim).
            features: the encoder's maps of the *input* image; the refiner reads them
                for edited codes too.
            refine: False renders the codes alone, and reads no features.
            noise_mode: "const", "random" (RNG stream "noise") or "none".
            deterministic: True uses no dropout in the refiner; False needs the RNG
                stream "dropout".
            options: options of the refiner, such as SMART's beta; see
                `RefinerBase.options`.
        """
        hooks = {}
        if refine and self.config.refiner is not None:
            refiner = getattr(self, self.config.refiner.key)
            call = partial(
                refiner, features=features, deterministic=deterministic, **options
            )
            hooks = {
                layer: partial(_refined, self.config.refiner, call, layer)
                for layer in self.config.refiner.refined_layers
            }
        return self.generator.synthesis(w_plus, noise_mode=noise_mode, refine=hooks)

    def mapping(self, z: jax.Array) -> jax.Array:
        """Maps z (b, z_dim) to w (b, w_dim)."""
        return self.generator.mapping(z)

    def synthesize(self, w_plus: jax.Array, *, noise_mode: str = "const") -> jax.Array:
        """Renders w_plus (b, n, w_dim) to images with the generator alone."""
        return self.generator.synthesis(w_plus, noise_mode=noise_mode)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Runs every part once, for `init`; returns images."""
        cfg = self.config.generator
        w = self.mapping(jnp.zeros((images.shape[0], cfg.z_dim)))
        if self.config.encoder is None:
            return self.synthesize(jnp.repeat(w[:, None], cfg.num_codes, 1))
        return self.decode(*self.encode(images))


def _checked(config: EncoderBase, made: Any, batch: int) -> Any:
    """Returns codes and maps; refuses those that are not as the config says."""
    wanted: list[tuple[int, ...]] = [(batch, config.num_codes, config.w_dim)]
    wanted += [(batch, *shape) for shape in config.feature_shapes]
    found: Any = "no codes with a tuple of maps"
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], tuple | list):
        found = [jnp.shape(array) for array in (made[0], *made[1])]
    if found != wanted:
        raise StylePrompterError(
            f"The encoder {config.type!r} returns {found}, but its config promises "
            f"codes and maps of the shapes {wanted}: correct its module, or num_codes, "
            "w_dim and feature_shapes of its config."
        )
    return made


def _refined(config: RefinerBase, call: Any, layer: int, x: jax.Array) -> jax.Array:
    """Returns the refined map of a layer, which must have the shape of the map."""
    y = call(layer, x)
    if jnp.shape(y) != x.shape:
        raise StylePrompterError(
            f"The refiner {config.type!r} returns {jnp.shape(y)} for the map {x.shape} "
            f"of layer {layer}: correct its module, which must keep the shape."
        )
    return y
