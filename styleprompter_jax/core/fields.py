"""Config fields, checked against the types and ranges of their annotations.

    @dataclasses.dataclass(frozen=True)
    class Config(Fields):
        depths: Annotated[tuple[Annotated[int, Between(1, 64)], ...], Length(1, 8)]
        clamp: Annotated[float, Between(0, 1e6)] | None = None

A config made in Python or read from a file has plain values within these ranges.
Otherwise a StylePrompterError names the field.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted


class Between(NamedTuple):
    """The smallest and the largest allowed value of a number."""

    low: float
    high: float


class Length(NamedTuple):
    """The smallest and the largest allowed number of entries in a list."""

    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Fields:
    """Base class of dataclasses whose fields are checked.

    The type of a field is int, float, bool, str, Literal, a tuple of one of these, a
    dict from strings to one of these, or another such dataclass. Each of them may be
    combined with None. Lists become tuples. NumPy numbers become Python numbers. A
    float field accepts whole numbers.

    Attributes:
        noun: the name of such an object in messages.
    """

    noun: ClassVar[str] = "config"

    def __post_init__(self) -> None:
        kind = type(self)
        for name, hint in _hints(kind).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, _fit(value, hint))
            except _Misfit as error:
                raise StylePrompterError(
                    f"{kind.__name__}: {name} is {quoted(value)}, but must be {error}."
                ) from None

    def to_dict(self) -> dict:
        """Returns the fields as plain JSON types; a missing part is None."""
        values = {name: getattr(self, name) for name in _hints(type(self))}
        return {
            name: value.to_dict() if isinstance(value, Fields) else value
            for name, value in values.items()
        }

    @classmethod
    def chosen(cls, values: Mapping) -> tuple[type["Fields"], Mapping]:
        """Returns the class that `from_dict` builds from these values, and its fields.

        A base class of several configs overrides this method to choose one of them.
        """
        return cls, values

    @classmethod
    def from_dict(cls, values: Mapping) -> Self:
        """Builds a config from the result of `to_dict`; an absent part is None.

        Raises:
            StylePrompterError: if a key is unknown or a value is invalid.
        """
        return _from_dict(cls, values, "")


def _from_dict(kind: Any, values: Any, part: str) -> Any:
    place = f"The {kind.noun} of the {part}" if part else f"The {kind.noun}"
    if not isinstance(values, Mapping):
        raise StylePrompterError(f"{place} is {quoted(values)}, but must be an object.")
    kind, values = kind.chosen(values)
    hints = _hints(kind)
    if unknown := values.keys() - hints.keys():
        raise StylePrompterError(
            f"{place} has the unknown key {quoted(min(unknown))}: remove it, or use "
            f"one of {', '.join(hints)}."
        )
    needed = [field.name for field in dataclasses.fields(kind) if _is_needed(field)]
    needed = [name for name in needed if not _part(hints[name])]
    if missing := [name for name in needed if name not in values]:
        raise StylePrompterError(
            f"{place} lacks {', '.join(missing)}: add each missing key."
        )
    fields = {
        name: _from_dict(inner, values.get(name), name)
        if (inner := _part(hint)) and values.get(name) is not None
        else values.get(name)
        for name, hint in hints.items()
        if name in values or _part(hint)
    }
    return kind(**fields)


class _Misfit(Exception):
    """Describes the value that a field must have."""


def _read_hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


_hints: Callable[[type], dict[str, Any]] = functools.cache(_read_hints)


def _is_needed(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _part(hint: Any) -> type | None:
    """Returns the dataclass of a field, or None if the field has another type."""
    for choice in (hint, *typing.get_args(hint)):
        if isinstance(choice, type) and issubclass(choice, Fields):
            return choice
    return None


def _fit(value: Any, hint: Any) -> Any:
    """Converts a value to the type of its annotation, or raises `_Misfit`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        kind, mark = arguments
        value = _fit_or(value, kind, hint)
        size = len(value) if isinstance(mark, Length) else value
        if not mark.low <= size <= mark.high:
            raise _Misfit(_wanted(hint))
        return value
    if origin in (types.UnionType, typing.Union):
        (kind,) = (choice for choice in arguments if choice is not types.NoneType)
        return None if value is None else _fit_or(value, kind, hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _Misfit(_wanted(hint))
        return tuple(_fit_or(entry, arguments[0], hint) for entry in value)
    if origin is dict:
        if not isinstance(value, Mapping) or not all(type(k) is str for k in value):
            raise _Misfit(_wanted(hint))
        return {k: _fit_or(entry, arguments[1], hint) for k, entry in value.items()}
    if origin is typing.Literal:
        fits = isinstance(value, str) and value in arguments
    elif hint is bool:
        fits = isinstance(value, bool | np.bool_)
    elif hint is int:
        fits = isinstance(value, int | np.integer) and not isinstance(value, bool)
    elif hint is float:
        number = isinstance(value, int | float | np.integer | np.floating)
        fits = number and not isinstance(value, bool) and _is_finite(value)
    else:
        fits = isinstance(value, hint)
    if not fits:
        raise _Misfit(_wanted(hint))
    return hint(value) if hint in (bool, int, float) else value


def _fit_or(value: Any, kind: Any, hint: Any) -> Any:
    """Calls `_fit` for a part of an annotation; the `_Misfit` describes the whole."""
    try:
        return _fit(value, kind)
    except _Misfit:
        raise _Misfit(_wanted(hint)) from None


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def _wanted(hint: Any, many: bool = False) -> str:
    """Describes an annotation in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        kind, mark = arguments
        what = _wanted(kind, many)
        if isinstance(mark, Length) and kind is str:
            return f"{what} of {mark.low} to {mark.high} characters"
        if isinstance(mark, Length):
            return f"{what}, {mark.low} to {mark.high} of them"
        return f"{what} from {mark.low:g} to {mark.high:g}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(
            "None" if a is types.NoneType else _wanted(a) for a in arguments
        )
    if origin is tuple:
        return f"a list of {_wanted(arguments[0], many=True)}"
    if origin is dict:
        return f"{_wanted(arguments[1], many=True)} by name"
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    one, several = {
        bool: ("True or False", "True or False"),
        int: ("a whole number", "whole numbers"),
        float: ("a number", "numbers"),
        str: ("a string", "strings"),
    }.get(hint, (f"a {hint.__name__}",) * 2)
    return several if many else one
