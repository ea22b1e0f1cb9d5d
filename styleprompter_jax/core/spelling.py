"""Names that look the same but consist of different characters.

Unicode writes some letters in two ways: "é" is one character, or an "e" and an accent.
Disks and datasets use both. A message that names two such files must show the
difference.
"""

import glob
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from styleprompter_jax.core.paths import broken_link
from styleprompter_jax.core.walk import matching


def told_apart(text: str | os.PathLike) -> str:
    """Returns a name as people see it, with its ASCII form if this is different."""
    text = os.fspath(text)
    return text if text.isascii() else f"{text} ({text!a})"


def another_spelling(name: str, known: Iterable[str]) -> str:
    """Returns a sentence about the known name that looks like this one, or ""."""
    if name.isascii():
        return ""
    wanted = _form(name)
    for other in known:
        if isinstance(other, str) and other != name and _form(other) == wanted:
            return _difference(other, name)
    return ""


def another_path(path: str | os.PathLike) -> str:
    """Returns a sentence about an existing file that looks like a missing one, or "".

    If the missing one is a broken link, the sentence says so.
    For a glob, the sentence is about the files that another spelling would match.
    """
    text = os.fspath(path)
    if fault := broken_link(text):
        return f" {fault}: correct the link."
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
        f" There is {there!a}, which looks the same as {wanted!a} but has other "
        "characters: use the existing name, or rename the file."
    )
