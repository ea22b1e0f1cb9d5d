"""A loaded model: images to latents and back, compiled once a batch shape.

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
from styleprompter_jax.store.places import pin

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

    Or a model of the Hugging Face Hub, "hf://USER/MODEL[@REVISION][/FOLDER]" (extra
    `hub`; later loads need no network), or of a bucket, "gs://BUCKET/FOLDER" or
    "s3://..." (`gcs`, `s3`). A folder wins over a bundled model of the same name.

    Args:
        name_or_path: which model.
        dtype: of its maps, "float32" or "bfloat16"; codes, features and images are
            float32. "bfloat16" is faster on GPUs and TPUs, and slower on CPUs.
        devices: of this host, which share each batch, such as jax.local_devices();
            None for JAX's default device.

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
    stage "encoder" only); a call that needs a missing part raises StylePrompterError.

    Attributes:
        config: the architecture, a frozen dataclass; `config.encoder` and
            `config.refiner` are None where the model lacks them.
        params: parameters by part: "encoder", "generator", and the refiner's under its
            type, "smart".
        const: the other arrays: "latent_avg" (w_dim,), the generator's mean code,
            or (n, w_dim), one for each code; and the generator's stored noise.
        directions: the named directions that came with the model.
        source: the name that `load` finds the same model by: the one it was given,
            with the commit if it is on the Hub; "" for a model that was not loaded.
        devices: where its arrays are; they share each batch.
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
        self.config = config
        self.directions = dict(directions or {})
        self.source = source
        self.devices = Devices(devices)
        self._variables = self.devices.replicate(dict(variables))
        self._module = inverter.StylePrompter(config, inverter.DTYPES[dtype])

    @property
    def params(self) -> dict:
        """Parameters by part; see above."""
        return self._variables["params"]

    @property
    def const(self) -> dict:
        """The arrays that are not parameters; see above."""
        return self._variables["const"]

    @property
    def variables(self) -> dict:
        """`params` and `const`, as the module's apply takes them."""
        return self._variables

    @functools.cached_property
    def sha256(self) -> str:
        """Of the weights, for any file; tunings refer to it."""
        return arrays_sha256(flat_arrays(self._variables))

    @functools.cached_property
    def generator_sha256(self) -> str:
        """Of the generator's weights; files of latents name it."""
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
        """The refiner, by the name of the one that models of the paper have."""
        return self.refiner

    @property
    def generator(self) -> nn.Module:
        """The Flax module; its parameters are `params["generator"]`.

        Its stored noise is `const["generator"]`.
        """
        return make(self.config.generator)

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Side of the images that `encode` reads; without an encoder, of the output.

        For oblong images (cars), it is (height, width). `read_images` takes both.
        """
        height, width, _ = self.config.input_shape
        return width if height == width else (height, width)

    @functools.cached_property
    def average_image(self) -> jax.Array:
        """The image of the mean code, (h, w, 3), in the size that `encode` reads."""
        generator = self.config.generator
        codes = jnp.broadcast_to(
            self.const["latent_avg"], (1, generator.num_codes, generator.w_dim)
        )
        return show(1, self._module, self._variables, codes)[0]

    def shown(self, images: Any) -> Any:
        """Crops outputs to the proportions of the images that `encode` reads.

        Args:
            images: outputs of `decode`, (b, s, s, 3).

        Returns:
            The same images of a model that reads squares. A model of cars reads oblong
            images: then the middle rows, 64 to 447 of 512.
        """
        return calls.check_outputs(self.config, images)

    def encode(self, images: Any, iterations: int | None = None) -> Latents:
        """Encodes images to latents.

        Args:
            images: float32 (b, h, w, c) in the encoder's `config.input_shape`; b is 1
                or more.
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
        """Latents to images (b, s, s, 3), s the generator's size; about [-1, 1].

        Args:
            latents: from `encode`, edited or not; those that `tune` gave are decoded
                with the generator that was tuned for them.
            refine: False leaves the refiner out: W+ alone. True is an error where the
                model has none; None refines where it has one.
            noise_mode: "const" (stored, repeatable), "random" (from `rng`) or "none".
            rng: a JAX key or a seed, for noise_mode "random".
            options: of the refiner, without effect where it is left out. SMART has
                beta=(1.0, 1.0), weights of its retrieval and of its feed-forward part,
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
        """Returns a direction's options of the refiner, as `decode` takes them here.

        It is {} if this model has none of these options.
        """
        refiner = self.config.refiner
        known = refiner.options if refiner is not None else {}
        return {k: value for k, value in direction.options.items() if k in known}

    def invert(
        self, images: Any, iterations: int | None = None, **options: Any
    ) -> tuple[jax.Array, Latents]:
        """Calls `encode`, then `decode` with these options: (images, latents)."""
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
        """Codes fitted to their images by a few steps of gradient descent (Adam).

        The loss is the mean square of the difference, and structure times 1 - SSIM.
        Each image's codes are fitted for themselves, whatever the batch, and nothing
        is random.

        Args:
            images: (b, s, s, 3), s = image_size; the targets.
            latents: where to start, from `encode`.
            steps: how many.
            refine: as `decode` will be called.
            noise_mode: as `decode` will be called; not "random".
            structure: weight of 1 - SSIM over several scales; 0 leaves it out.
            learning_rate: of the first step; it falls to zero along a cosine.
            told: called after each step with the number of finished steps; an exception
                from it ends the fit. Latents of several tuned generators are fitted one
                generator after another: then a step is the mean of theirs.
            options: of the refiner, as `decode` will be called with.

        Returns:
            Other codes, the same features.
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
            images: targets (b, t, t, 3) in [-1, 1], t the generator's size, or
                image_size; of cars the part that `shown` gives.
            latents: the pivots, from `encode` or `optimize`.
            steps: most steps of Adam.
            refine: as in the later calls of `decode`.
            noise_mode: as in the later calls of `decode`; not "random".
            network: for LPIPS, the result of `load_network(folder, "lpips")`.
            perceptual: weight of the perceptual distance; None for 1.0 with LPIPS, and
                0.02 with 1 - SSIM.
            locality: weight of the locality term: the same distances between the
                generators at random codes near the pivots; published: 0.1.
            layers: indices of the codes whose layers are tuned; None for all. Others
                keep the change that tuned latents have.
            stop: perceptual distance at which tuning ends early; None for 0.06 with
                LPIPS (published), and 0 with 1 - SSIM.
            learning_rate: reached after ten steps; it falls to zero in the last third.
            batch_size: images in a step; more images take turns.
            seed: of the random codes.
            told: called after each step with the number of finished steps, and the
                loss before it; an exception ends the tuning.
            options: of the refiner, as in the later calls of `decode`.

        Returns:
            A model with the tuned generator. Its `latents` carry the change, so that
            this model decodes them in the same way.

        Raises:
            StylePrompterError: also if the steps diverge.
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
            truncation_psi: 1 leaves w as it is, 0 is the mean code.
            truncation_cutoff: number of the first codes to truncate; None for all.

        Returns:
            w; w_plus (b, n, w_dim) with a cutoff, or of a model that has a mean code
            for each code.
        """
        return mapping(self, z, truncation_psi, truncation_cutoff)

    def synthesize(
        self, w_plus: Any, noise_mode: str = "const", rng: Any = None
    ) -> jax.Array:
        """Codes (b, n, w_dim), or (b, w_dim) for all layers alike, to images.

        Without SMART. See `decode` for noise_mode and rng.
        """
        w_plus = calls.check_codes(self.config, w_plus)
        rngs = noise_rngs(noise_mode, rng)
        how = rendering.How(self._module, False, noise_mode)
        everything = [(slice(None), deltas_of(self, None))]
        latents = Latents(w_plus)
        return rendering.render(self, how, everything, latents, {}, rngs)

    def save(self, folder: str | os.PathLike, dtype: str | None = None) -> None:
        """Writes a model folder; see `model_folder.save_model`."""
        given = folder, self.config, self._variables
        save_model(*given, dtype=dtype, directions=self.directions)
