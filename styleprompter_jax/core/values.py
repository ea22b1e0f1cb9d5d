"""Numbers that a caller gives, checked where they come in."""

import math
import operator
import reprlib
from collections.abc import Iterable
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError

LARGEST = 2**63 - 1  # that a seed may be
# That a strength or weight may be: networks square it, and float32 ends at 3e38.
LARGEST_NUMBER = 1e9


def whole(value: Any, name: str, least: int = 0, most: int = LARGEST) -> int:
    """A whole number, Python's or NumPy's, from `least` to `most`.

    Raises:
        StylePrompterError: for anything else, naming it.
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


def real(value: Any, name: str, least: float = -math.inf) -> float:
    """A finite number of `least` or more.

    Raises:
        StylePrompterError: for anything else, naming it.
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


def shown(value: Any) -> str:
    """A value as a message may show it: one line, not too long."""
    try:
        return " ".join(reprlib.repr(value).split())
    except Exception:  # a representation that fails
        return type(value).__name__


def plural(count: int, noun: str) -> str:
    """A number of things: "1 picture", "2 pictures"."""
    return f"{count} {noun}" + ("s" if count != 1 else "")


def check_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    """Refuses what is none of the choices."""
    if value not in (choices := tuple(choices)):
        raise StylePrompterError(
            f"{name} is {shown(value)}: it is one of {', '.join(choices)}."
        )
