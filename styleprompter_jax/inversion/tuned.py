"""A model with a tuned generator, beside the one that it was tuned from."""

from typing import Any

import jax

from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion.changes import changed, deltas_of
from styleprompter_jax.inversion.pipeline import StylePrompter


class Tuned(StylePrompter):
    """A model with a tuned generator; see `StylePrompter.tune`.

    Attributes:
        model: the model with the original generator.
        latents: the latents of the images, with the change of the generator. `model`
            decodes them to the same images as this model.
    """

    def __init__(self, model: StylePrompter, latents: Latents):
        ((_, change),) = latents.by_change()
        assert change is not None  # for it was tuned
        super().__init__(
            model.config,
            changed(model.variables, deltas_of(model, change)),
            model.directions,
            model.source,
        )
        self.devices = model.devices
        self._module = model._module
        self.model, self.latents, self._change = model, latents, change

    @property
    def change(self) -> GeneratorChange:
        """The change of the generator of `model`."""
        return self._change

    def decode(self, latents: Latents, **options: Any) -> jax.Array:
        """Decodes any latents with this generator; see `StylePrompter.decode`."""
        return self.model.decode(self._own(latents), **options)

    def optimize(
        self, images: Any, latents: Latents, *args: Any, **options: Any
    ) -> Latents:
        """Fits any codes for this generator; see `StylePrompter.optimize`.

        Returns:
            Latents with the change of this generator.
        """
        return self.model.optimize(images, self._own(latents), *args, **options)

    def tune(
        self, images: Any, latents: Latents, *args: Any, **options: Any
    ) -> "Tuned":
        """Continues the tuning of this generator; see `StylePrompter.tune`."""
        return self.model.tune(images, self._own(latents), *args, **options)

    def _own(self, latents: Any) -> Any:
        """Returns latents for this generator; `model` refuses other things."""
        if not isinstance(latents, Latents):
            return latents
        return latents.changed(self._change)
