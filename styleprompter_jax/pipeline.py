"""A loaded model: images to latents and back, compiled once a batch shape.

    model = load("avatars64")
    y, latents = model.invert(read_images(paths, model.image_size))

Axes: b batch, s side of an image, n codes.  Images are float32 (b, s, s, 3) in [-1, 1].
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from styleprompter_jax.bundle import load_model, save_model
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.latents import Latents
from styleprompter_jax.models import style_prompter
from styleprompter_jax.models.smart import Smart
from styleprompter_jax.models.stylegan2 import NOISE_MODES, Generator
from styleprompter_jax.models.swin import SwinEncoder
from styleprompter_jax.store.places import pin
from styleprompter_jax.training import losses


def load(name_or_path: str | os.PathLike) -> "StylePrompter":
    """Loads a model folder, or a bundled model by its name ("avatars64").

    Or a model of the Hugging Face Hub, "hf://USER/MODEL[@REVISION][/FOLDER]", with the
    extra `hub`: it is fetched once, and then loads without a network. A folder that
    exists wins over a bundled model of the same name.

    Raises:
        StylePrompterError: if there is no such model, it cannot be fetched, or it is
            damaged.
    """
    source = pin(name_or_path)
    return StylePrompter(*load_model(source), source=source)


class StylePrompter:
    """An encoder, SMART and a generator with their weights.

    A model may lack the encoder (a converted generator) or SMART (trained in stage
    "encoder" only); asking for what is missing raises StylePrompterError.

    Attributes:
        config: the architecture, a frozen dataclass; `config.encoder` and
            `config.smart` are None where the model lacks them.
        params: parameters by part: "encoder", "smart", "generator".
        const: what is no parameter: "latent_avg" (w_dim,), the generator's mean code,
            and the generator's stored noise.
        directions: the named directions that came with the model.
        source: the name that `load` finds the same model by: the one it was given,
            with the commit if it is on the Hub; "" for a model that was not loaded.
    """

    def __init__(
        self,
        config: style_prompter.StylePrompterConfig,
        variables: Mapping,
        directions: Mapping[str, Direction] | None = None,
        source: str = "",
    ):
        self.config = config
        self.directions = dict(directions or {})
        self.source = source
        self._variables = jax.device_put(dict(variables))
        self._module = style_prompter.StylePrompter(config)

    @property
    def params(self) -> dict:
        return self._variables["params"]

    @property
    def const(self) -> dict:
        return self._variables["const"]

    @property
    def encoder(self) -> SwinEncoder:
        """The Flax module; its parameters are `params["encoder"]`."""
        self._require("encoder")
        return SwinEncoder(self.config.encoder)

    @property
    def smart(self) -> Smart:
        """The Flax module; its parameters are `params["smart"]`."""
        self._require("smart")
        return Smart(self.config.smart)

    @property
    def generator(self) -> Generator:
        """The Flax module; its parameters are `params["generator"]`, and its stored
        noise is `const["generator"]`."""
        return Generator(self.config.generator)

    @property
    def image_size(self) -> int:
        """Side of the images that `encode` reads; without an encoder, of the output."""
        part = self.config.encoder or self.config.generator
        return part.image_size

    def encode(self, images) -> Latents:
        """Images (b, s, s, 3) to latents, s = image_size."""
        self._require("encoder")
        return _encode(self._module, self._variables, self._check_images(images))

    def decode(
        self,
        latents: Latents,
        *,
        beta: tuple[float, float] = (1.0, 1.0),
        refine: bool = True,
        noise_mode: str = "const",
        rng=None,
    ) -> jax.Array:
        """Latents to images (b, s, s, 3), s the generator's size; about [-1, 1].

        Args:
            latents: from `encode`, edited or not.
            beta: weights of SMART's retrieval and of its feed-forward part.
            refine: False leaves SMART out: W+ alone.
            noise_mode: "const" (stored, repeatable), "random" (from `rng`) or "none".
            rng: a JAX key or a seed, for noise_mode "random".
        """
        w_plus = self._check_codes(latents.w_plus)
        if not refine:
            return self.synthesize(w_plus, noise_mode=noise_mode, rng=rng)
        self._check_features(latents)
        beta = self._check_beta(beta)
        rngs = _rngs(noise_mode, rng)
        return _decode(
            self._module,
            noise_mode,
            self._variables,
            Latents(w_plus, tuple(latents.features)),
            beta,
            rngs,
        )

    def invert(self, images, **options) -> tuple[jax.Array, Latents]:
        """`encode`, then `decode` with these options: (images, latents)."""
        if options.get("refine", True):
            self._require("smart")
        latents = self.encode(images)
        return self.decode(latents, **options), latents

    def optimize(
        self,
        images,
        latents: Latents,
        steps: int,
        *,
        beta: tuple[float, float] = (1.0, 1.0),
        refine: bool = True,
        noise_mode: str = "const",
        structure: float = 0.3,
        learning_rate: float = 0.05,
    ) -> Latents:
        """Codes fitted to their images by a few steps of gradient descent (Adam).

        The loss is the mean square of the difference, and structure times 1 - SSIM.
        Each image's codes are fitted for themselves, whatever the batch, and nothing
        is random.

        Args:
            images: (b, s, s, 3), s = image_size; what the codes shall show.
            latents: where to start, from `encode`.
            steps: how many.
            beta, refine, noise_mode: as `decode` will be called; not "random".
            structure: weight of 1 - SSIM over several scales; 0 leaves it out.
            learning_rate: of the first step; it falls to zero along a cosine.

        Returns:
            Other codes, the same features.
        """
        images = self._check_images(images)
        w_plus = self._check_codes(latents.w_plus)
        if refine:
            self._check_features(latents)
        if noise_mode == "random":
            raise StylePrompterError(
                'Codes are not fitted to random noise: use noise_mode "const" or '
                '"none".'
            )
        _rngs(noise_mode, None)
        how = _Fit(self._module, refine, noise_mode, structure)
        beta = self._check_beta(beta)
        features = tuple(latents.features) if refine else ()
        state = _ADAM.init(w_plus)
        for k in range(steps):
            rate = learning_rate * (1 + math.cos(math.pi * k / steps)) / 2
            current = Latents(w_plus, features)
            w_plus, state = _fit_step(
                how, self._variables, current, state, images, beta, rate
            )
        return dataclasses.replace(latents, w_plus=w_plus)

    def mapping(
        self, z, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> jax.Array:
        """Normal z (b, z_dim) to codes w (b, w_dim), drawn towards the mean code.

        Args:
            z: float32 (b, z_dim).
            truncation_psi: 1 leaves w as it is, 0 is the mean code.
            truncation_cutoff: truncates the first so many codes only; the result is
                then w_plus (b, n, w_dim).
        """
        cfg = self.config.generator
        z = jnp.asarray(z, jnp.float32)
        if z.ndim != 2 or z.shape[1] != cfg.z_dim:
            raise StylePrompterError(f"z is {z.shape}, but expected (b, {cfg.z_dim}).")
        w = _mapping(self._module, self._variables, z)
        mean = self.const["latent_avg"]
        truncated = mean + truncation_psi * (w - mean)
        if truncation_cutoff is None:
            return truncated
        first = jnp.arange(cfg.num_codes)[:, None] < truncation_cutoff
        return jnp.where(first, truncated[:, None], w[:, None])

    def synthesize(self, w_plus, noise_mode: str = "const", rng=None) -> jax.Array:
        """Codes (b, n, w_dim), or (b, w_dim) for all layers alike, to images.

        Without SMART. See `decode` for noise_mode and rng.
        """
        w_plus = self._check_codes(w_plus)
        rngs = _rngs(noise_mode, rng)
        return _synthesize(self._module, noise_mode, self._variables, w_plus, rngs)

    def save(self, folder: str | os.PathLike, dtype: str | None = None) -> None:
        """Writes a model folder; see `bundle.save_model`."""
        save_model(
            folder,
            self.config,
            self._variables,
            dtype=dtype,
            directions=self.directions,
        )

    def _require(self, part: str):
        if getattr(self.config, part) is None:
            raise StylePrompterError(f"This model has {_MISSING[part]}.")

    def _check_images(self, images):
        s = self.image_size
        images = images if isinstance(images, jax.Array) else np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != (s, s, 3):
            raise StylePrompterError(
                f"The images are {images.shape}, but this model reads (b, {s}, {s}, 3):"
                " read them with read_images(paths, model.image_size)."
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise StylePrompterError(
                f"The images are {images.dtype}, but this model reads floats in "
                "[-1, 1]: read them with read_images(paths, model.image_size)."
            )
        return jnp.asarray(images, jnp.float32)

    def _check_features(self, latents):
        self._require("smart")
        if not latents.features:
            raise StylePrompterError(
                "The latents hold no feature maps for SMART to read: encode the image, "
                "or leave SMART out (refine=False, --no-refine)."
            )

    def _check_beta(self, beta):
        try:
            retrieval, feed_forward = (jnp.float32(b) for b in beta)
        except (TypeError, ValueError) as error:
            raise StylePrompterError(f"beta is two numbers, not {beta!r}.") from error
        return retrieval, feed_forward

    def _check_codes(self, w_plus):
        n, w_dim = self.config.generator.num_codes, self.config.generator.w_dim
        w_plus = jnp.asarray(w_plus, jnp.float32)
        if w_plus.ndim == 2 and w_plus.shape[1] == w_dim:
            return jnp.repeat(w_plus[:, None], n, 1)
        if w_plus.ndim != 3 or w_plus.shape[1:] != (n, w_dim):
            raise StylePrompterError(
                f"The codes are {w_plus.shape}, but this model's are (b, {n}, {w_dim})."
            )
        return w_plus


_MISSING = {
    "encoder": "no encoder: train one for its generator (train.py, stage "
    '"encoder"), or convert a StylePrompter checkpoint',
    "smart": "no SMART: decode W+ alone (refine=False, --no-refine), or train SMART "
    '(train.py, stage "smart")',
}


def _rngs(noise_mode, rng):
    if noise_mode not in NOISE_MODES:
        raise StylePrompterError(
            f"noise_mode is {noise_mode!r}: it must be one of {', '.join(NOISE_MODES)}."
        )
    if noise_mode != "random":
        return {}
    if rng is None:
        raise StylePrompterError('noise_mode "random" needs rng=, a key or a seed.')
    return {"noise": jax.random.key(rng) if isinstance(rng, int) else rng}


# Jitted once for all: models of one architecture share what is compiled.


@partial(jax.jit, static_argnums=0)
def _encode(module, variables, images):
    return Latents(*module.apply(variables, images, method="encode"))


@partial(jax.jit, static_argnums=(0, 1))
def _decode(module, noise_mode, variables, latents, beta, rngs):
    return module.apply(
        variables,
        latents.w_plus,
        latents.features,
        beta=beta,
        noise_mode=noise_mode,
        rngs=rngs,
        method="decode",
    )


_ADAM = optax.scale_by_adam()


class _Fit(NamedTuple):
    """What `_fit_step` is compiled for."""

    module: style_prompter.StylePrompter
    refine: bool
    noise_mode: str
    structure: float


@partial(jax.jit, static_argnums=0)
def _fit_step(how, variables, latents, state, images, beta, rate):
    def loss(w_plus):
        outputs = how.module.apply(
            variables,
            w_plus,
            latents.features,
            beta=beta,
            refine=how.refine,
            noise_mode=how.noise_mode,
            method="decode",
        )
        size = min(images.shape[1], outputs.shape[1])
        pair = losses.pool_to(outputs, size), losses.pool_to(images, size)
        total = losses.l2(*pair)
        if how.structure:
            total += how.structure * losses.structure(*pair)
        # Summed over images: each one's codes are fitted for themselves.
        return len(images) * total

    updates, state = _ADAM.update(jax.grad(loss)(latents.w_plus), state)
    return latents.w_plus - rate * updates, state


@partial(jax.jit, static_argnums=0)
def _mapping(module, variables, z):
    return module.apply(variables, z, method="mapping")


@partial(jax.jit, static_argnums=(0, 1))
def _synthesize(module, noise_mode, variables, w_plus, rngs):
    return module.apply(
        variables, w_plus, noise_mode=noise_mode, rngs=rngs, method="synthesize"
    )
