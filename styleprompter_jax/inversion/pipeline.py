"""A loaded model. It compiles each computation once for each batch size.

    model = load("avatars64")
    y, latents = model.invert(read_images(paths, model.image_size))

Axes: b batch, h w space, s side of an image, c channels, n codes.  Images are float32
(b, s, s, 3) in [-1, 1].
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from styleprompter_jax.core.sums import arrays_sha256
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.export.folder import is_export
from styleprompter_jax.inversion import calls, rendering
from styleprompter_jax.inversion.changes import deltas_of
from styleprompter_jax.inversion.devices import Devices
from styleprompter_jax.inversion.mapping import mapping
from styleprompter_jax.inversion.noise import noise_rngs
from styleprompter_jax.inversion.optimize import optimize
from styleprompter_jax.inversion.passes import encode_in_passes, show
from styleprompter_jax.inversion.tune import tune
from styleprompter_jax.models import inverter
from styleprompter_jax.models.registry import make
from styleprompter_jax.store.model_folder import flat_arrays, load_model, save_model
from styleprompter_jax.store.places import pin, same_place

if TYPE_CHECKING:
    from styleprompter_jax.inversion.tuned import Tuned

_RENDERING = ("refine", "noise_mode", "rng")  # options of `decode`, not of a refiner


def load(
    name_or_path: str | os.PathLike,
    *,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
) -> "StylePrompter":
    """Loads a model folder, an export, or a bundled model by its name ("avatars64").

    It also loads a model of the Hugging Face Hub, "hf://USER/MODEL[@REVISION][/FOLDER]"
    (extra `hub`; later loads need no network), or of a bucket, "gs://BUCKET/FOLDER" or
    "s3://..." (extras `gcs`, `s3`). A folder wins over a bundled model of its name.

    Args:
        name_or_path: the model's name, path or address.
        dtype: the dtype of the model's maps: "float32", or "bfloat16", which is faster
            on GPUs and TPUs. Codes, features and images are float32.
        devices: devices of this host that share each batch, such as
            jax.local_devices(); None for JAX's default device.

    Raises:
        StylePrompterError: if there is no such model, or it is damaged.
    """
    source = pin(name_or_path)
    if is_export(source):
        from styleprompter_jax.inversion.exported import ExportedModel

        return ExportedModel.opened(source, dtype)
    return StylePrompter(
        *load_model(source), source=source, dtype=dtype, devices=devices
    )


class StylePrompter:
    """An encoder, a refiner (SMART) and a generator with their weights.

    A model may lack the encoder (a converted generator) or the refiner (trained in
    stage "encoder" only). All methods raise StylePrompterError if an argument does not
    fit the model, or if they need a part that it lacks.

    Attributes:
        config: the architecture, a frozen dataclass; `config.encoder` and
            `config.refiner` are None where the model lacks them.
        params: parameters by part: "encoder", "generator", and the refiner's under its
            type, "smart".
        const: the other arrays: "latent_avg" (w_dim,), the generator's mean code,
            or (n, w_dim), one for each code; and the generator's stored noise.
        directions: the named directions that came with the model.
        source: the name by which `load` finds the same model, with the commit if it is
            on the Hub; "" for a model that was not loaded.
        devices: the devices that hold the model's arrays and share each batch.
    """

    def __init__(
        self,
        config: inverter.StylePrompterConfig,
        variables: Mapping,
        directions: Mapping[str, Direction] | None = None,
        source: str = "",
        dtype: str = "float32",
        devices: Sequence[jax.Device] | None = None,
    ):
        calls.check_variables(config, variables)
        calls.check_dtype(dtype)
        self.config, self.source = config, source
        self.directions = dict(directions or {})
        self.devices = Devices(devices)
        self._variables = self.devices.replicate(dict(variables))
        self._module = inverter.StylePrompter(config, inverter.DTYPES[dtype])

    @property
    def params(self) -> dict:
        """The parameters by part, as above."""
        return self._variables["params"]

    @property
    def const(self) -> dict:
        """The arrays that are not parameters, as above."""
        return self._variables["const"]

    @property
    def variables(self) -> dict:
        """`params` and `const`, as the module's `apply` takes them."""
        return self._variables

    @functools.cached_property
    def sha256(self) -> str:
        """The SHA-256 of the weights. Tuned generators name it."""
        return arrays_sha256(flat_arrays(self._variables))

    @functools.cached_property
    def generator_sha256(self) -> str:
        """The SHA-256 of the generator's weights. Files of latents name it."""
        return arrays_sha256(flat_arrays({"params": self.params["generator"]}))

    @property
    def module(self) -> nn.Module:
        """The Flax module of all parts."""
        return self._module

    @property
    def encoder(self) -> nn.Module:
        """The Flax module; its parameters are `params["encoder"]`.

        The running means of a BatchNorm are `const["encoder"]`.
        """
        return make(calls.require(self.config, "encoder"))

    @property
    def refiner(self) -> nn.Module:
        """The Flax module; its parameters are `params[config.refiner.key]`."""
        return make(calls.require(self.config, "refiner"))

    @property
    def smart(self) -> nn.Module:
        """The refiner; models of the paper have SMART."""
        return self.refiner

    @property
    def generator(self) -> nn.Module:
        """The Flax module; its parameters are `params["generator"]`.

        Its stored noise is `const["generator"]`.
        """
        return make(self.config.generator)

    @property
    def image_size(self) -> int | tuple[int, int]:
        """The side in pixels of the images that `encode` reads.

        For oblong images (cars), it is (height, width); `read_images` takes both.
        Without an encoder, it is the side of the output.
        """
        height, width, _ = self.config.input_shape
        return width if height == width else (height, width)

    @functools.cached_property
    def average_image(self) -> jax.Array:
        """The image of the mean code, (h, w, 3), of the size that `encode` reads."""
        cfg, mean = self.config.generator, self.const["latent_avg"]
        codes = jnp.broadcast_to(mean, (1, cfg.num_codes, cfg.w_dim))
        return show(1, self._module, self._variables, codes)[0]

    def shown(self, images: Any) -> Any:
        """Crops outputs to the proportions of the images that `encode` reads.

        Args:
            images: outputs of `decode`, (b, s, s, 3).

        Returns:
            The same images if the model reads squares. If it reads oblong images, their
            middle rows: for cars, rows 64 to 447 of 512.
        """
        return calls.check_outputs(self.config, images)

    def encode(self, images: Any, iterations: int | None = None) -> Latents:
        """Encodes images to latents.

        Args:
            images: float32 (b, h, w, c) in [-1, 1], with (h, w, c) of
                `config.input_shape`; b is 1 or more. Sketches and labels are in [0, 1].
            iterations: passes of a ReStyle encoder; None for the model's own number.
        """
        return self.passes(images, iterations)[-1]

    def passes(self, images: Any, iterations: int | None = None) -> list[Latents]:
        """Returns the latents after each pass; `encode` returns the last ones."""
        return encode_in_passes(self, images, iterations)

    def decode(
        self,
        latents: Latents,
        *,
        refine: bool | None = None,
        noise_mode: str = "const",
        rng: Any = None,
        **options: Any,
    ) -> jax.Array:
        """Decodes latents to images (b, s, s, 3) of the generator's size s.

        Args:
            latents: the result of `encode`, edited or not. Latents of `tune` are
                decoded with the generator that was tuned for them.
            refine: False skips the refiner, None uses it if there is one.
            noise_mode: the generator's noise: "const" (stored noise, the same in each
                call), "random" (drawn from `rng`) or "none".
            rng: a JAX key or a seed, for noise_mode "random".
            options: of the refiner; a skipped refiner ignores them. SMART has
                beta=(1.0, 1.0), the weights of its retrieval and its feed-forward part,
                each a number or (b,).
        """
        refine = calls.refines(self.config, refine, options)
        inputs = calls.check_latents(self.config, latents, refine)
        options = calls.check_options(self.config, options, len(inputs))
        rngs = noise_rngs(noise_mode, rng)
        groups = [(rows, deltas_of(self, c)) for rows, c in latents.by_change()]
        how = rendering.How(self._module, refine, noise_mode)
        used = options if refine else {}
        return rendering.render(self, how, groups, inputs, used, rngs)

    def options_of(self, direction: Direction) -> dict:
        """Returns the options of `decode` that a direction asks for.

        It omits options that this model's refiner does not have.
        """
        refiner = self.config.refiner
        known = refiner.options if refiner is not None else {}
        return {k: value for k, value in direction.options.items() if k in known}

    def invert(
        self, images: Any, iterations: int | None = None, **options: Any
    ) -> tuple[jax.Array, Latents]:
        """Calls `encode`, and `decode` with the options: (images, latents)."""
        chosen = {k: v for k, v in options.items() if k not in _RENDERING}
        calls.refines(self.config, options.get("refine"), chosen)
        latents = self.encode(images, iterations)
        return self.decode(latents, **options), latents

    def optimize(
        self,
        images: Any,
        latents: Latents,
        steps: int,
        *,
        refine: bool | None = None,
        noise_mode: str = "const",
        structure: float = 0.3,
        learning_rate: float = 0.05,
        told: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Latents:
        """Fits codes to their images with a few steps of gradient descent (Adam).

        The loss is the mean square error plus ``structure * (1 - SSIM)``. The codes of
        an image do not depend on the other images in the batch. The same call gives the
        same numbers.

        Args:
            images: the targets, (b, s, s, 3) in [-1, 1], with s = image_size.
            latents: the start, from `encode`.
            steps: the number of steps.
            refine: as in the later calls of `decode`.
            noise_mode: as in the later calls of `decode`; not "random".
            structure: weight of 1 - SSIM over several scales; 0 for none.
            learning_rate: rate of the first step; it falls to zero along a cosine.
            told: called after each step with the number of finished steps (the mean, if
                there are several tuned generators); an exception from it ends the fit.
            options: options of the refiner, as in the later calls of `decode`.

        Returns:
            The fitted codes with the same features.
        """
        how: dict[str, Any] = dict(
            refine=refine, noise_mode=noise_mode, structure=structure,
            learning_rate=learning_rate, told=told,
        )  # fmt: skip
        return optimize(self, images, latents, steps, **how, **options)

    def tune(
        self,
        images: Any,
        latents: Latents,
        steps: int = 350,
        *,
        refine: bool | None = None,
        noise_mode: str = "const",
        network: tuple[nn.Module, Mapping] | None = None,
        perceptual: float | None = None,
        locality: float = 0.0,
        layers: Sequence[int] | None = None,
        stop: float | None = None,
        learning_rate: float = 2e-3,
        batch_size: int = 16,
        seed: int = 0,
        told: Callable[[int, float], None] | None = None,
        **options: Any,
    ) -> "Tuned":
        """Fits the generator to images with fixed codes (pivotal tuning).

        The loss is the mean square error and a perceptual distance: LPIPS if you give
        its network, else 1 - SSIM over several scales. All images share one generator.
        The same call gives the same numbers. Tuned latents continue from their change.

        Args:
            images: the targets, (b, t, t, 3) in [-1, 1], t the generator's size or
                image_size; for cars, the part that `shown` returns.
            latents: the pivots, from `encode` or `optimize`.
            steps: the largest number of steps of Adam.
            refine: as in the later calls of `decode`.
            noise_mode: as in the later calls of `decode`; not "random".
            network: for LPIPS, the result of `load_network(folder, "lpips")`.
            perceptual: weight of the perceptual distance; None for 1.0 with LPIPS, and
                0.02 with 1 - SSIM.
            locality: weight of the locality term: the same distances between the
                generators at random codes near the pivots; published: 0.1.
            layers: indices of the codes whose layers are tuned; None for all. Other
                layers keep the change that tuned latents have.
            stop: perceptual distance at which tuning ends early; None for 0.06 with
                LPIPS (published), and 0 with 1 - SSIM.
            learning_rate: reached in ten steps; it falls to 0 in the last 30 %.
            batch_size: images in a step; more images take turns.
            seed: seed of the random codes.
            told: called after each step with the number of finished steps, and the
                loss before this step; an exception from it ends the tuning.
            options: options of the refiner, as in the later calls of `decode`.

        Returns:
            A model with the tuned generator. Its `latents` contain the change of the
            generator, so this model decodes them in the same way.

        Raises:
            StylePrompterError: if the steps diverge, or as all methods.
        """
        from styleprompter_jax.inversion.tuned import Tuned  # which is a model too

        how: dict[str, Any] = dict(
            refine=refine, noise_mode=noise_mode, network=network, layers=layers,
            perceptual=perceptual, locality=locality, stop=stop, seed=seed,
            learning_rate=learning_rate, batch_size=batch_size, told=told,
        )  # fmt: skip
        return Tuned(self, tune(self, images, latents, steps, **how, **options))

    def mapping(
        self, z: Any, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> jax.Array:
        """Maps normal z (b, z_dim) to w (b, w_dim), truncated towards the mean code.

        Args:
            z: float32 (b, z_dim).
            truncation_psi: 1 does not change w; 0 gives the mean code.
            truncation_cutoff: how many codes to truncate, from the first; None for all.

        Returns:
            w (b, w_dim). With a cutoff, or if the model has a mean code for each code,
            w_plus (b, n, w_dim).
        """
        return mapping(self, z, truncation_psi, truncation_cutoff)

    def synthesize(
        self, w_plus: Any, noise_mode: str = "const", rng: Any = None
    ) -> jax.Array:
        """Renders codes to images (b, s, s, 3), without the refiner.

        The codes are (b, n, w_dim), or (b, w_dim) with the same code for all layers.
        See `decode` for noise_mode and rng.
        """
        w_plus = calls.check_codes(self.config, w_plus)
        rngs = noise_rngs(noise_mode, rng)
        how = rendering.How(self._module, False, noise_mode)
        everything = [(slice(None), deltas_of(self, None))]
        return rendering.render(self, how, everything, Latents(w_plus), {}, rngs)

    def save(self, folder: str | os.PathLike, dtype: str | None = None) -> None:
        """Writes a model folder; see `store.model_folder.save_model`.

        Only the model's own folder keeps the discriminator and the origin.
        """
        own = self.source != "" and same_place(folder, self.source)
        given = folder, self.config, self._variables
        save_model(*given, dtype=dtype, directions=self.directions, keep_rest=own)
