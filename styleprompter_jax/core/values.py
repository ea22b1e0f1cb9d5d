"""Checks of the numbers and choices that a caller passes."""

import math
import operator
import reprlib
from collections.abc import Iterable
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError

LARGEST = 2**63 - 1  # largest seed
# Largest strength or weight. Networks square it, and float32 overflows above 3e38.
LARGEST_NUMBER = 1e9


def whole(value: Any, name: str, least: int = 0, most: int = LARGEST) -> int:
    """Returns an integer from `least` to `most`; accepts Python's and NumPy's.

    Raises:
        StylePrompterError: for any other value; the message gives name and value.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError as error:
        raise StylePrompterError(
            f"{name} is {shown(value)}: it must be a whole number."
        ) from error
    if not least <= number <= most:
        limit = f"{least} or more" if number < least else f"at most {most}"
        raise StylePrompterError(f"{name} is {shown(number)}: it must be {limit}.")
    return number


def parsed_whole(text: str) -> int | None:
    """Returns the integer that a text is, or None for another text.

    Of a number with thousands of digits, it returns a part: it is too large as well.
    """
    most = 1000 if text.removeprefix("-").isdecimal() else None
    try:
        return int(text[:most])  # Python would refuse more than 4300 digits
    except ValueError:
        return None


def real(value: Any, name: str, least: float = -math.inf) -> float:
    """Returns a finite float of `least` or more.

    Raises:
        StylePrompterError: for any other value; the message gives name and value.
    """
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise StylePrompterError(
            f"{name} is {shown(value)}: it must be a number."
        ) from error
    if not math.isfinite(number) or number < least:
        wanted = "a finite number" if least == -math.inf else f"{least:g} or more"
        raise StylePrompterError(f"{name} is {number}: it must be {wanted}.")
    return number


def reals(values: Any, name: str) -> list[float]:
    """Returns several numbers as finite floats without repetitions; -0.0 becomes 0.0.

    Raises:
        StylePrompterError: for anything but a list of such numbers; the message gives
            name and value.
    """
    try:
        if isinstance(values, str | bytes):
            raise TypeError
        given = list(values)
    except TypeError as error:
        raise StylePrompterError(
            f"{name} is {shown(values)}: give a list of numbers, even for one."
        ) from error
    return list(dict.fromkeys(real(one, f"A number of {name}") + 0.0 for one in given))


def shown(value: Any) -> str:
    """Returns a value in a form for messages: one short line."""
    try:
        return " ".join(reprlib.repr(value).split())
    except Exception:  # `__repr__` may fail
        return type(value).__name__


def plural(count: int, noun: str, end: str = "s") -> str:
    """Returns a count with its noun: "1 image", "2 images"; `end` makes the plural."""
    return f"{count} {noun}" + (end if count != 1 else "")


def check_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    """Refuses a value that is not one of the choices."""
    if value not in (choices := tuple(choices)):
        raise StylePrompterError(
            f"{name} is {shown(value)}: it must be one of {', '.join(choices)}."
        )
