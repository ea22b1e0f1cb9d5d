"""How commands turn codes into pictures."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.core.values import whole
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion.pipeline import StylePrompter, load


@dataclasses.dataclass(frozen=True)
class Decoding:
    """The options of all commands that turn codes into pictures.

    Attributes:
        refine: False leaves the refiner out; None refines where the model can.
        refiner: options of the refiner, as `StylePrompter.decode` takes them; for those
            that are not named, what a direction asks for, or the refiner's own.
        noise_mode: the generator's noise: "const", "random" or "none".
        seed: what the noise in mode "random" begins with.
        batch_size: pictures at once, 1 or more.
        dtype: what a model that is loaded computes in, "float32" or "bfloat16".
    """

    refine: bool | None = None
    refiner: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    noise_mode: str = "const"
    seed: int = 0
    batch_size: int = 16
    dtype: str = "float32"

    def __post_init__(self) -> None:
        whole(self.batch_size, "batch_size", least=1)
        whole(self.seed, "seed")

    def loaded(self, model: AnyPath | StylePrompter) -> StylePrompter:
        """The model itself, or what `load` gives for its name."""
        if isinstance(model, StylePrompter):
            return model
        return load(model, dtype=self.dtype)

    def options(self, batch: int = 0) -> dict[str, Any]:
        """The options of `StylePrompter.decode` for a batch, by its number."""
        rng = None
        if self.noise_mode == "random":
            rng = jax.random.fold_in(jax.random.key(self.seed), batch)
        return dict(
            refine=self.refine, noise_mode=self.noise_mode, rng=rng, **self.refiner
        )

    def fit(
        self, model: StylePrompter, images: np.ndarray, latents: Latents, steps: int
    ) -> Latents:
        """Latents after so many steps towards their images, padded or not."""
        if not steps:
            return latents
        options = self.options()
        if options.pop("rng") is not None:
            # Random noise is no target: the codes are fitted to the stored one.
            options["noise_mode"] = "const"
        return model.optimize(images, latents, steps, **options)
