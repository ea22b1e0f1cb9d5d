"""The parts that ``config.model`` describes, by the registry.

    config.model.encoder = ConfigDict(dict(type="swin", variant="tiny"))
    config.model.refiner = ConfigDict(dict(type="smart", refined_layers=(4,)))

A type that is not named is the default of its kind.  What is named after a type of
refiner (``config.model.smart``) is that refiner, too; so is the stage "smart".
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from styleprompter_jax.models.registry import KINDS, part, types


def kind_of(name: str) -> str:
    """The kind of part that a key of ``config.model`` is of, or that a stage trains.

    Args:
        name: "encoder", "refiner", "generator", or a type of refiner.
    """
    return "refiner" if name in types("refiner") else name


def part_fields(config: ConfigDict, kind: str) -> tuple[Any, dict[str, Any]]:
    """What ``config.model`` says of a part: the class of its config, and its fields.

    Raises:
        StylePrompterError: if no part of that kind has the type that is named.
    """
    for name, fields in config.model.items():
        if kind_of(name) == kind:
            return named_part(name, fields)
    return part(kind, KINDS[kind].default).config, {}


def named_part(
    name: str, fields: ConfigDict | Mapping | None
) -> tuple[Any, dict[str, Any]]:
    """The same of one key of ``config.model`` and its value."""
    values = dict(fields or {})
    kind = kind_of(name)
    default = KINDS[kind].default if kind == name else name
    return part(kind, values.pop("type", default)).config, values


def part_config(config: ConfigDict, kind: str) -> Any:
    """The config of a part that follows from no other: a generator, a refiner."""
    found, fields = part_fields(config, kind)
    return found(**fields)
