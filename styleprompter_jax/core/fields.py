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
from json import dumps
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import cut, quoted


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
            value = _checked(kind, name, getattr(self, name), hint)
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict:
        """Returns the fields as plain JSON types; a missing part is None."""
        values = {name: getattr(self, name) for name in _hints(type(self))}
        return {
            name: value.to_dict() if isinstance(value, Fields) else value
            for name, value in values.items()
        }

    @classmethod
    def check(cls, name: str, value: Any) -> None:
        """Refuses a value that does not fit the annotation of a field."""
        _checked(cls, name, value, _hints(cls)[name])

    @classmethod
    def chosen(cls, values: Mapping) -> tuple[type["Fields"], Mapping]:
        """Returns the class that `from_dict` builds from these values, and its fields.

        A base class of several configs overrides this method to choose one of them.
        """
        return cls, values

    @classmethod
    def from_dict(cls, values: Mapping) -> Self:
        """Builds a config from JSON, as `to_dict` gives it; an absent part is None.

        Raises:
            StylePrompterError: if a key is unknown, a needed key is missing, or a value
                is invalid. The message uses the words of JSON, such as null.
        """
        return _from_dict(cls, values, "")


def _from_dict(kind: Any, values: Any, part: str) -> Any:
    place = f"The {kind.noun} of the {part}" if part else f"The {kind.noun}"
    if not isinstance(values, Mapping):
        raise StylePrompterError(
            f"{place} is {_in_json(values)}, but must be an object."
        )
    kind, values = kind.chosen(values)
    hints, needed = _hints(kind), _needed(kind)
    if unknown := values.keys() - hints.keys():
        raise StylePrompterError(
            f"{place} has the unknown key {quoted(min(unknown))}: remove it, or use "
            f"one of {', '.join(hints)}."
        )
    if missing := [name for name in needed if name not in values]:
        raise StylePrompterError(
            f"{place} lacks {', '.join(missing)}: add each missing key."
        )
    fields = {
        name: _from_dict(inner, values.get(name), name)
        if (inner := _part(hint)) and values.get(name) is not None
        else values.get(name)
        for name, hint in hints.items()
        if name in values or _is_optional_part(hint)
    }
    for name, value in fields.items():
        _checked(kind, name, value, hints[name], json=True)
    return kind(**fields)


class _Misfit(Exception):
    """Has the annotation that a value does not fit."""

    def __init__(self, hint: Any):
        self.hint = hint


def _checked(
    kind: type, name: str, value: Any, hint: Any, *, json: bool = False
) -> Any:
    """Returns the value of a field, converted to the type of its annotation.

    Args:
        kind: the class of the field.
        name: the name of the field.
        value: its value.
        hint: its annotation.
        json: the message uses the words of JSON instead of Python's.
    """
    try:
        return _fit(value, hint)
    except _Misfit as error:
        shown = _in_json(value) if json else quoted(value)
        raise StylePrompterError(
            f"{kind.__name__}: {name} is {shown}, but must be "
            f"{_wanted(error.hint, json)}."
        ) from None


def _in_json(value: Any) -> str:
    """Returns a value as `quoted` does, but in JSON."""
    try:
        return cut(dumps(value))
    except (TypeError, ValueError):  # JSON has no such values
        return quoted(value)


def _read_hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


_hints: Callable[[type], dict[str, Any]] = functools.cache(_read_hints)


@functools.cache
def _needed(kind: type) -> list[str]:
    """Returns the fields without a default; an optional part needs none."""
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
        and not _is_optional_part(_hints(kind)[field.name])
    ]


@functools.cache
def _form(hint: Any) -> tuple[Any, tuple]:
    """Returns the origin and the arguments of an annotation."""
    return typing.get_origin(hint), typing.get_args(hint)


@functools.cache
def _part(hint: Any) -> type | None:
    """Returns the dataclass of a field, or None if the field has another type."""
    for choice in (hint, *typing.get_args(hint)):
        if isinstance(choice, type) and issubclass(choice, Fields):
            return choice
    return None


@functools.cache
def _is_optional_part(hint: Any) -> bool:
    return _part(hint) is not None and types.NoneType in typing.get_args(hint)


def _fit(value: Any, hint: Any) -> Any:
    """Converts a value to the type of its annotation, or raises `_Misfit`."""
    origin, arguments = _form(hint)
    if origin is typing.Annotated:
        kind, mark = arguments
        value = _fit_or(value, kind, hint)
        size = len(value) if isinstance(mark, Length) else value
        if not mark.low <= size <= mark.high:
            raise _Misfit(hint)
        return value
    if origin in (types.UnionType, typing.Union):
        (kind,) = (choice for choice in arguments if choice is not types.NoneType)
        return None if value is None else _fit_or(value, kind, hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _Misfit(hint)
        return tuple(_fit_or(entry, arguments[0], hint) for entry in value)
    if origin is dict:
        if not isinstance(value, Mapping) or not all(type(k) is str for k in value):
            raise _Misfit(hint)
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
        raise _Misfit(hint)
    return hint(value) if hint in (bool, int, float) else value


def _fit_or(value: Any, kind: Any, hint: Any) -> Any:
    """Calls `_fit` for a part of an annotation; the `_Misfit` describes the whole."""
    try:
        return _fit(value, kind)
    except _Misfit:
        raise _Misfit(hint) from None


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def _wanted(hint: Any, json: bool, many: bool = False) -> str:
    """Describes an annotation in words of Python or JSON."""
    origin, arguments = _form(hint)
    if origin is typing.Annotated:
        kind, mark = arguments
        what = _wanted(kind, json, many)
        if isinstance(mark, Length) and kind is str:
            return f"{what} of {mark.low} to {mark.high} characters"
        if isinstance(mark, Length):
            fewest = "" if mark.low == mark.high else f"{mark.low} to "
            return f"{what}, {fewest}{mark.high} of them"
        return f"{what} from {_exactly(mark.low)} to {_exactly(mark.high)}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_wanted(choice, json) for choice in arguments)
    if origin is tuple:
        return f"a list of {_wanted(arguments[0], json, many=True)}"
    if origin is dict:
        return f"{_wanted(arguments[1], json, many=True)} by name"
    if origin is typing.Literal:
        return " or ".join(map(dumps if json else repr, arguments))
    either = "true or false" if json else "True or False"
    one, several = {
        types.NoneType: ("null" if json else "None",) * 2,
        bool: (either, either),
        int: ("a whole number", "whole numbers"),
        float: ("a number", "numbers"),
        str: ("a string", "strings"),
    }.get(hint, ("an object" if json else f"a {hint.__name__}",) * 2)
    return several if many else one


def _exactly(number: float) -> str:
    """Returns a bound with all its digits, and without a fraction of 0."""
    return str(int(number) if number == int(number) else number)
