"""What differs between the stages of training: their objectives."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Protocol

import jax

from styleprompter_jax.data.inputs import Inputs
from styleprompter_jax.training.settings import (
    check_deltas,
    check_groups,
    check_sizes,
)
from styleprompter_jax.training.start import Start, read_start


class Objective(Protocol):
    """What `training.loop` calls: `adversarial.Adversarial`, `inversion.Inversion`.

    Attributes:
        inputs: makes the encoder's inputs of images; None if it reads the images.
    """

    inputs: Inputs | None

    def init(self, rng: jax.Array) -> Any:
        """Returns the state, a pytree: everything that a step changes."""

    def variant(self, step: int) -> Hashable:
        """Returns which compiled form of `step` to use."""

    def step(self, state: Any, batch: Any, rng: jax.Array, *, variant: Any) -> tuple:
        """Does one step on one device; returns the state and metrics."""

    def evaluate(self, state: Any, report: Any, step: int) -> Any:
        """Reports metrics and images on held-out data."""

    def export(self, state: Any, folder: Path) -> None:
        """Writes the finished model."""


def make_objective(
    config: Any,
    local_batch_size: int,
    read: Callable[[Any], Start] = read_start,
    platform: str | None = None,
) -> Objective:
    """Returns the objective of ``config.stage``, after the checks of its parts.

    Args:
        config: the config of the run, which `settings.check_settings` accepts.
        local_batch_size: number of images of a device.
        read: returns the start of an encoder or a refiner.
        platform: of the devices, as for `Inversion`.

    Raises:
        StylePrompterError: if the config does not fit its parts.
    """
    if config.stage == "generator":
        from styleprompter_jax.training.objectives.adversarial import Adversarial

        adversarial = Adversarial(config)
        check_groups(adversarial.networks.discriminator, local_batch_size)
        return adversarial
    from styleprompter_jax.training.objectives.inversion import Inversion

    inversion = Inversion(config, read(config), platform)
    check_deltas(config, inversion.model_config)
    check_sizes(config, inversion.model_config)
    return inversion
