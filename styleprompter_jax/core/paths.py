"""Paths that users name, made ready once, where they come in."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import shown

AnyPath = str | os.PathLike[str]
# Two letters at least: "C:/" is a drive.  pathlib makes one slash of two.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def local_path(path: str | os.PathLike) -> Path:
    """The path on this machine that a user means, "~" and "~name" in full.

    A file that is really called "~name" is found as well, and "./~" is no home folder.

    Raises:
        StylePrompterError: if it is none or empty, an address such as gs://..., or
            "~name" names nobody.
    """
    text = path_text(path)
    if not text:
        raise StylePrompterError(
            "The name of a file or folder is empty: write . for the folder that you "
            "are in."
        )
    if found := scheme(path):
        raise StylePrompterError(
            f"{text} is an address, and {found}:// cannot be used here: name a "
            "folder or file of this machine."
        )
    if not text.startswith("~"):
        # pathlib makes "~" of "./~", which would be a home folder to the next reader.
        plain = Path(text)
        return plain.absolute() if str(plain).startswith("~") else plain
    # What was found in the folder "." is a Path, too.
    if isinstance(path, os.PathLike) and os.path.lexists(text):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        if os.path.lexists(text):
            return Path(text)
        raise StylePrompterError(
            f"{text} begins with a home folder that is not known: write the path in "
            "full."
        ) from error


def scheme(path: str | os.PathLike) -> str:
    """The "hf" of an address such as hf://..., in small letters; "" of a path."""
    found = _SCHEME.match(path_text(path))
    return found[1].lower() if found else ""


def cache_folder(name: str) -> Path:
    """A folder in the user's cache, XDG_CACHE_HOME or ~/.cache; it may not be there."""
    root = os.environ.get("XDG_CACHE_HOME") or local_path("~/.cache")
    return Path(root) / "styleprompter_jax" / name


def is_link(text: str) -> bool:
    """Whether it is an address of the web, or of any other place with two slashes."""
    return _SCHEME.match(text) is not None and "://" in text


def path_text(path: str | os.PathLike) -> str:
    """A path as text.

    Raises:
        StylePrompterError: if it is none, or of characters that no path has.
    """
    try:
        text = os.fspath(path)
        if isinstance(text, bytes):
            raise TypeError
        os.fsencode(text)
    except TypeError as error:
        raise StylePrompterError(
            f"{shown(path)} is no path: give text, or a pathlib.Path."
        ) from error
    except UnicodeEncodeError as error:
        raise StylePrompterError(
            f"{path!a} is no path here: it holds characters that no name has."
        ) from error
    if "\0" in text:
        raise StylePrompterError(f"{text!r} is no path: it holds a NUL.")
    return text


def as_paths(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Several paths as a list; one alone is refused, for text is a list of letters.

    Raises:
        StylePrompterError: if they are no list, or one of them is no path.
    """
    if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
        raise StylePrompterError(
            f"The paths are {shown(paths)}: give a list of them, of one too."
        )
    return [local_path(path) for path in paths]
