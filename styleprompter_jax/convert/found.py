"""The parts of a model that the tables of networks recognise in a file."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from styleprompter_jax.convert.origin import Origin
from styleprompter_jax.convert.states import State
from styleprompter_jax.convert.table import Kept, Row, Rule
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.registry import (
    KINDS,
    EncoderBase,
    GeneratorBase,
    PartConfig,
    RefinerBase,
)

Arrays = Mapping[str, np.ndarray]
NO_MEAN = Kept("latent_avg", "the file has no mean: it is computed")


@dataclasses.dataclass(frozen=True)
class Found:
    """The parts of a model in a file.

    Attributes:
        what: a short description for users.
        arrays: the arrays by key.
        table: rows that fill encoder/..., generator/..., a refiner's type/... and
            latent_avg.
        encoder, refiner, generator: architectures of the parts in the file.
        discriminator: architecture of the generator's discriminator, if the file has
            one; its rows fill discriminator/...
        origin: facts of a checkpoint that an export writes again.
        is_start: True for a classifier: it has no latent tokens and no head, and the
            encoder takes the number and width of its codes from the generator.
        notes: further sentences for users.
    """

    what: str
    arrays: Mapping[str, np.ndarray]
    table: tuple[Row, ...]
    encoder: EncoderBase | None = None
    refiner: RefinerBase | None = None
    generator: GeneratorBase | None = None
    discriminator: DiscriminatorConfig | None = None
    origin: Origin | None = None
    is_start: bool = False
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, PartConfig]:
        """Returns the parts in the file by kind."""
        parts = {kind: getattr(self, kind) for kind in KINDS}
        return {kind: config for kind, config in parts.items() if config is not None}

    def with_discriminator(self, reader: "Found | None", *notes: str) -> "Found":
        """Returns a copy with the discriminator of its file, if the file has one."""
        if reader is None:
            return dataclasses.replace(self, notes=(*notes, *self.notes))
        return dataclasses.replace(
            self,
            what=f"{self.what}, with its discriminator",
            arrays={**self.arrays, **reader.arrays},
            table=(*self.table, *reader.table),
            discriminator=reader.discriminator,
        )


def with_mean(
    found: State, state: Arrays, table: Sequence[Row], config: GeneratorBase
) -> tuple[Arrays, tuple[Row, ...]]:
    """Adds the mean code to arrays and table, or one mean per code if they differ.

    Raises:
        StylePrompterError: if the number of means does not fit the generator.
    """
    mean = found.beside("latent_avg")
    if mean is None:
        return state, (*table, NO_MEAN)
    shape = getattr(mean, "shape", ())
    if shape[-1:] == (config.w_dim,) and 0 not in shape:
        rows = mean.reshape(-1, config.w_dim)
        alike = np.array_equal(rows, rows[:1].repeat(len(rows), 0), equal_nan=True)
        if not alike and len(rows) != config.num_codes:
            raise StylePrompterError(
                f"its latent_avg has {len(rows)} different rows, but its generator "
                f"reads {config.num_codes} codes: the file is damaged or mixes two "
                "models, so use another file."
            )
        mean = rows[0] if alike else rows
    return {**state, "latent_avg": mean}, (*table, Rule("latent_avg", "latent_avg"))


def others_beside(state: Arrays, start: str) -> set[str]:
    """Returns the other entries of a state dict, beside keys with this prefix."""
    others = {key.partition(".")[0] for key in state if not key.startswith(start)}
    return others - {"latent_avg"}


def unused(names: Iterable[str]) -> tuple[str, ...]:
    """Returns a sentence that lists unused entries of a file; () without entries."""
    listed = ", ".join(sorted(names))
    return (f"Left out: {listed} (not needed for images).",) if listed else ()
