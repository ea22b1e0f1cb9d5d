"""Valid names of directions. A name is a key in files, and a part of file names."""

from collections.abc import Iterable
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError

# Bytes of UTF-8. The 255 of a file name also hold the image's name and the strength.
LONGEST = 100
# "/" and "\\" separate paths. ":" separates a name and its weight on the command line.
_SEPARATORS = ("/", "\\", ":")
_RESERVED = "__metadata__"  # a key that safetensors reserves


def check_name(name: Any, source: str = "") -> str:
    r"""Returns a direction's name that files, results and the command line can use.

    Args:
        name: the name to check.
        source: the origin of the name, for the message: a file, or a file and a column.

    Raises:
        StylePrompterError: if the name is empty, begins or ends with white space,
            begins with "-", contains "/", "\\", ":" or a character that cannot be
            printed, is longer than 100 bytes, or is "__metadata__".
    """
    problem = _problem(name)
    if problem:
        place = f"{source}: " if source else ""
        shown = repr(name)
        shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
        raise StylePrompterError(
            f"{place}{shown} cannot be the name of a direction, because {problem}: "
            "rename it."
        )
    return name


def check_names(names: Iterable, source: str = "") -> None:
    """Calls `check_name` for each name."""
    for name in names:
        check_name(name, source)


def _problem(name: Any) -> str:
    if not isinstance(name, str):
        return f"its type is {type(name).__name__}, not text"
    if not name:
        return "it is empty"
    if name != name.strip():
        return "it begins or ends with white space"
    if not name.isprintable():
        return "it contains a character that cannot be printed"
    if len(name.encode()) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    if found := [mark for mark in _SEPARATORS if mark in name]:
        return f'it contains "{found[0]}"'
    if name.startswith("-"):
        return 'it begins with "-", like an option'
    return "safetensors reserves it" if name == _RESERVED else ""
