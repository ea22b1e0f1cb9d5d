"""Names that look the same and are written in other characters.

Unicode writes some letters in two ways: "é" is one character, or an "e" and an accent.
Disks and data sets come with both, and no message may show one name twice as if it were
two.
"""

import glob
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from styleprompter_jax.core.walk import matching


def told_apart(text: str | os.PathLike) -> str:
    """A name as people see it, and in ASCII where that says more."""
    text = os.fspath(text)
    return text if text.isascii() else f"{text} ({text!a})"


def another_spelling(name: str, known: Iterable[str]) -> str:
    """A sentence about the one of the known names that looks like this one; or ""."""
    if name.isascii():
        return ""
    wanted = _form(name)
    for other in known:
        if isinstance(other, str) and other != name and _form(other) == wanted:
            return _difference(other, name)
    return ""


def another_path(path: str | os.PathLike) -> str:
    """A sentence about a file that looks like one that is not there; or "".

    For a glob, about the files that it would match in another spelling.
    """
    text = os.fspath(path)
    if text.isascii():
        return ""
    found = Path(text[:1] if os.path.isabs(text) else ".")
    for part in Path(text).parts:
        if part == os.sep:
            continue
        if glob.has_magic(part) or not found.is_dir():
            break
        if not os.path.lexists(found / part):
            try:
                names = os.listdir(found)
            except OSError:
                return ""
            return another_spelling(part, names)
        found /= part
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text)
        if other != text and next(matching(Path(other)), None):
            return _difference(other, text)
    return ""


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _difference(there: str, wanted: str) -> str:
    return (
        f" There is {there!a}, which looks the same and is written in other characters "
        f"than {wanted!a}: give the name as it is there, or rename it."
    )
