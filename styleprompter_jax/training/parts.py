"""The parts that ``config.model`` describes, by the registry.

    config.model.encoder = ConfigDict(dict(type="swin", variant="tiny"))
    config.model.refiner = ConfigDict(dict(type="smart", refined_layers=(4,)))

A part without a type has the default type of its kind.  A key may also be a type of
refiner (``config.model.smart``), and so may the stage ("smart").
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from styleprompter_jax.models.registry import KINDS, part, types


def kind_of(name: str) -> str:
    """Returns the kind of part of a key of ``config.model``, or of a stage.

    Args:
        name: "encoder", "refiner", "generator", or a type of refiner.
    """
    return "refiner" if name in types("refiner") else name


def part_fields(config: ConfigDict, kind: str) -> tuple[Any, dict[str, Any]]:
    """Returns the class of a part's config and its fields in ``config.model``.

    Raises:
        StylePrompterError: if no part of that kind has the given type.
    """
    for name, fields in config.model.items():
        if kind_of(name) == kind:
            return named_part(name, fields)
    return part(kind, KINDS[kind].default).config, {}


def named_part(
    name: str, fields: ConfigDict | Mapping | None
) -> tuple[Any, dict[str, Any]]:
    """Returns the same for one key of ``config.model`` and its value."""
    values = dict(fields or {})
    kind = kind_of(name)
    default = KINDS[kind].default if kind == name else name
    return part(kind, values.pop("type", default)).config, values


def part_config(config: ConfigDict, kind: str) -> Any:
    """Returns the config of a part that needs no other: a generator, a refiner."""
    found, fields = part_fields(config, kind)
    return found(**fields)
