"""Options for encoding and rendering images, shared by the commands."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.core.seeds import key_of
from styleprompter_jax.core.values import whole
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion.devices import of_this_host
from styleprompter_jax.inversion.passes import check_iterations
from styleprompter_jax.inversion.pipeline import StylePrompter, load


@dataclasses.dataclass(frozen=True)
class Decoding:
    """The options of all commands that encode images or render them from codes.

    Attributes:
        refine: False skips the refiner; None uses it if the model has one.
        refiner: options of the refiner, as `StylePrompter.decode` takes them. A missing
            option has the direction's value if there is one, or the refiner's default.
        noise_mode: the generator's noise: "const", "random" or "none".
        seed: the seed of the noise in mode "random".
        batch_size: images in a batch of one device, 1 or more.
        dtype: number format in which a loaded model computes: "float32" or "bfloat16".
        iterations: passes of a ReStyle encoder; None for the model's own number.

    Raises:
        StylePrompterError: if a number is out of its range, or the refiner has options
            but is skipped.
    """

    refine: bool | None = None
    refiner: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    noise_mode: str = "const"
    seed: int = 0
    batch_size: int = 16
    dtype: str = "float32"
    iterations: int | None = None

    def __post_init__(self) -> None:
        whole(self.batch_size, "batch_size", least=1)
        whole(self.seed, "seed")
        if self.refine is False and self.refiner:
            raise StylePrompterError(
                "The refiner has options (--beta, --refiner), but refine=False "
                "(--no-refine) skips it: leave out one of them."
            )

    def loaded(self, model: AnyPath | StylePrompter) -> StylePrompter:
        """Returns the model itself, or loads the model of that name on all devices.

        Raises:
            StylePrompterError: if the model cannot be loaded, or its encoder does not
                support this number of passes.
        """
        if not isinstance(model, StylePrompter):
            # Random noise depends on the index of an image in its batch.
            alone = self.noise_mode == "random"
            devices = None if alone else of_this_host()
            model = load(model, dtype=self.dtype, devices=devices)
        if self.iterations is not None:
            check_iterations(model.config, self.iterations)
        return model

    def batch(self, model: StylePrompter, count: int) -> int:
        """Returns the rows to which batches of `count` images are padded.

        Each device gets the same number of rows as a single device. Another number
        would change the last bits of the results.
        """
        return min(self.batch_size, count) * model.devices.count

    def options(self, batch: int = 0) -> dict[str, Any]:
        """Returns the options of `StylePrompter.decode` for the batch with an index."""
        rng = None
        if self.noise_mode == "random":
            rng = jax.random.fold_in(key_of(self.seed), batch)
        return dict(
            refine=self.refine, noise_mode=self.noise_mode, rng=rng, **self.refiner
        )

    def fit(
        self, model: StylePrompter, images: np.ndarray, latents: Latents, steps: int
    ) -> Latents:
        """Returns latents after optimisation towards their images, padded or not.

        Args:
            model: the model of the latents.
            images: (m, s, s, 3) in [-1, 1].
            latents: the latents of the m images.
            steps: steps of gradient descent; 0 returns the latents unchanged.
        """
        if not steps:
            return latents
        return model.optimize(images, latents, steps, **self.fitting())

    def fitting(self) -> dict[str, Any]:
        """Returns the options for fitting codes or a generator to images."""
        options = self.options()
        if options.pop("rng") is not None:
            # A fit to random noise is impossible, so the fit uses the stored noise.
            options["noise_mode"] = "const"
        return options
