"""Combines several directions into one, for the model that decodes the edits."""

from collections.abc import Mapping, Sequence

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.directions import Direction, check_layers, combine
from styleprompter_jax.inversion.pipeline import StylePrompter


def joined(
    model: StylePrompter,
    weighted: Sequence[tuple[Direction, float]],
    layers: Sequence[int] | None = None,
) -> Direction:
    """Combines several directions into one; see `combine`.

    Args:
        model: the model that decodes the edits.
        weighted: directions, and the weight of each.
        layers: indices of the codes to change, in place of each direction's own.

    Raises:
        StylePrompterError: if all weights are 0, or the model lacks a layer.
    """
    num_codes = model.config.generator.num_codes
    refiner = model.config.refiner
    own = dict(refiner.options) if refiner else {}
    if not any(weight for _, weight in weighted):
        raise StylePrompterError(
            "All directions have the weight 0: give at least one another weight "
            "(--direction NAME:WEIGHT)."
        )
    return combine(weighted, num_codes, check_layers(layers, num_codes), own)


def check_ranges(made: Mapping[str, Direction]) -> None:
    """Refuses joined directions, by name, that have no strength within all ranges."""
    for name, direction in made.items():
        low, high = direction.range
        if low > high:
            raise StylePrompterError(
                f"The directions {name} have no common strength in their ranges: give "
                "strengths (--strength)."
            )
