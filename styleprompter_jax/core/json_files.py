"""Reads untrusted JSON into data that later code can trust.

Numbers are finite, strings can be encoded, keys occur once, and nesting is limited.
"""

import json
import math
import os
import re
from typing import Any

from styleprompter_jax.core.atomic import write_text
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import read_bytes
from styleprompter_jax.core.refusal import DAMAGED, quoted

LIMIT = 16 * 2**20  # bytes
_DEPTH = 32
_DIGITS = 18  # an integer with this number of digits fits 64 bits
_ESCAPES = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def read_json(
    path: str | os.PathLike,
    kind: type | tuple[type, ...] = dict,
    *,
    limit: int = LIMIT,
    hint: str = DAMAGED,
) -> Any:
    """Reads a JSON file; see `parse_json`.

    Args:
        path: the file.
        kind: the required type of the value: dict, list, or both.
        limit: the largest allowed size in bytes.
        hint: the end of the error message, which tells the user the fix.

    Raises:
        StylePrompterError: if the file cannot be read; the message names it.
    """
    content = read_bytes(path, limit)
    try:
        return parse_json(content, kind)
    except ValueError as error:
        raise StylePrompterError(f"{path} cannot be read ({error}): {hint}") from error


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as indented JSON, completely or not at all; see `atomic_path`.

    Raises:
        StylePrompterError: if the file cannot be written, or a number is not finite.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise StylePrompterError(
            f"{path} was not written, because a number in it is NaN or infinite: "
            "check the values."
        ) from error
    write_text(path, text + "\n")


def parse_json(text: str | bytes, kind: type | tuple[type, ...] = dict) -> Any:
    """Parses JSON text.

    Args:
        text: a string, or bytes in UTF-8, 16 or 32, with or without a byte-order mark.
        kind: the required type of the value: dict, list, or both.

    Returns:
        Dicts, lists, strings without NUL or lone surrogates, finite numbers, True,
        False and None. Integers fit 64 bits; larger numbers become floats.

    Raises:
        ValueError: if the text is not such JSON; the message has a few words.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode(json.detect_encoding(text))
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {error.start} is not valid text") from error
    try:
        value = _DECODER.decode(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise ValueError(f"it is nested more than {_DEPTH} deep") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"it is not valid JSON: {where}") from error
    if not isinstance(value, kind):
        kinds = (kind,) if isinstance(kind, type) else kind
        wanted = " or ".join(_TITLES[each] for each in kinds)
        raise ValueError(f"it contains {_title(value)} instead of {wanted}")
    _check(value, texts=_ESCAPES.search(text) is not None)
    return value


def _check(value: Any, texts: bool) -> None:
    """Refuses deep nesting, and strings that cannot be encoded or name a file."""
    level = [value]
    for _ in range(_DEPTH):
        inner = []
        for item in level:
            if type(item) is list:
                inner += item
            else:
                inner += item.values()
                if texts:
                    inner += item
        if texts:
            for item in inner:
                _check_text(item)
        level = [item for item in inner if type(item) in (dict, list)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEPTH} deep")


def _check_text(value: Any) -> None:
    if type(value) is str and ("\0" in value or _SURROGATES.search(value)):
        raise ValueError(f"{quoted(value)} contains NUL or half of a character")


_SURROGATES = re.compile("[\ud800-\udfff]")


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _DIGITS else _number(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {quoted(text)} is too large")
    return value


def _constant(text: str) -> None:
    raise ValueError(f"it contains {text}, which is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {quoted(key)} occurs twice")
            seen.add(key)
    return value


_DECODER = json.JSONDecoder(
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_constant,
    object_pairs_hook=_object,
)
_TITLES: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}


def _title(value: Any) -> str:
    return _TITLES.get(type(value), "a single value")
