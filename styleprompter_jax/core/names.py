"""What a direction may be called: its name is a key of files and a part of theirs."""

from collections.abc import Iterable
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError

LONGEST = 100  # bytes of UTF-8; a file's name has 255, for picture and strength too
# A path's, and what parts a name from its weight on the command line.
_SEPARATORS = ("/", "\\", ":")
_RESERVED = "__metadata__"  # a key of safetensors


def check_name(name: Any, source: str = "") -> str:
    r"""A direction's name that files, results and the command line can carry.

    Args:
        name: what is to be one.
        source: what it comes from, for the message: a file, or a file and its column.

    Raises:
        StylePrompterError: if it is empty, begins or ends with a blank, begins with
            "-", holds "/", "\\", ":" or what cannot be printed, is longer than 100
            bytes or is "__metadata__".
    """
    problem = _problem(name)
    if problem:
        place = f"{source}: " if source else ""
        shown = repr(name)
        shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
        raise StylePrompterError(
            f"{place}{shown} cannot be the name of a direction, {problem}: rename it."
        )
    return name


def check_names(names: Iterable, source: str = "") -> None:
    """`check_name` of each."""
    for name in names:
        check_name(name, source)


def _problem(name: Any) -> str:
    if not isinstance(name, str):
        return f"for it is no text but {type(name).__name__}"
    if not name:
        return "for it is empty"
    if name != name.strip():
        return "for it begins or ends with a blank"
    if not name.isprintable():
        return "for it holds what cannot be printed"
    if len(name.encode()) > LONGEST:
        return f"for it is longer than {LONGEST} bytes"
    if found := [mark for mark in _SEPARATORS if mark in name]:
        return f'for it holds "{found[0]}"'
    if name.startswith("-"):
        return 'for it begins with "-", as an option does'
    return "for safetensors uses it itself" if name == _RESERVED else ""
