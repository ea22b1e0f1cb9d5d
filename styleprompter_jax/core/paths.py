"""Converts and checks the paths that users give, once, when they enter the program."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import shown

AnyPath = str | os.PathLike[str]
# At least two letters, because "C:/" is a drive. pathlib makes one slash of two.
LONGEST = 255  # bytes in the name of a file or folder
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def local_path(path: str | os.PathLike) -> Path:
    """Returns the local path that a user means, with "~" and "~name" expanded.

    A file that has the name "~name" is found too, and "./~" is not the home folder.

    Raises:
        StylePrompterError: if the value is not a path or is empty, is an address such
            as gs://..., has a part of more bytes than file systems allow, or no user
            has the name in "~name".
    """
    text = path_text(path)
    if not text:
        raise StylePrompterError(
            "The name of a file or folder is empty: write . for the current folder."
        )
    if found := scheme(path):
        raise StylePrompterError(
            f"{text} is an address, and {found}:// does not work here: give the path "
            "of a local file or folder."
        )
    for name in Path(text).parts:
        if len(os.fsencode(name)) > LONGEST:
            raise StylePrompterError(
                f"The name {shown(name)} has {len(os.fsencode(name))} bytes: choose "
                f"one of at most {LONGEST}, which file systems allow."
            )
    if not text.startswith("~"):
        # pathlib makes "~" of "./~". The next caller would take it for a home folder.
        plain = Path(text)
        return plain.absolute() if str(plain).startswith("~") else plain
    # A search in the folder "." also gives a Path that begins with "~".
    if isinstance(path, os.PathLike) and os.path.lexists(text):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        if os.path.lexists(text):
            return Path(text)
        raise StylePrompterError(
            f"{text} begins with an unknown home folder: write the full path."
        ) from error


def scheme(path: str | os.PathLike) -> str:
    """Returns the "hf" of an address such as hf://..., in lower case; "" for a path."""
    found = _SCHEME.match(path_text(path))
    return found[1].lower() if found else ""


def broken_link(path: str | os.PathLike) -> str:
    """Returns a sentence about a link to something that does not exist, or ""."""
    if not os.path.islink(path) or os.path.exists(path):
        return ""
    return f"{path} is a link to {Path(path).readlink()}, which does not exist"


def cache_folder(name: str) -> Path:
    """Returns a folder in the user's cache; the folder may not exist.

    The cache is XDG_CACHE_HOME or ~/.cache.
    """
    root = os.environ.get("XDG_CACHE_HOME") or local_path("~/.cache")
    return Path(root) / "styleprompter_jax" / name


def is_link(text: str) -> bool:
    """Returns whether a text is a web address, or another address with "://"."""
    return _SCHEME.match(text) is not None and "://" in text


def path_text(path: str | os.PathLike) -> str:
    """Returns a path as text.

    Raises:
        StylePrompterError: if the value is not a path, or contains characters that no
            path can have.
    """
    try:
        text = os.fspath(path)
        if isinstance(text, bytes):
            raise TypeError
        os.fsencode(text)
    except TypeError as error:
        raise StylePrompterError(
            f"{shown(path)} is not a path: give a string or a pathlib.Path."
        ) from error
    except UnicodeEncodeError as error:
        raise StylePrompterError(
            f"{path!a} is not a valid path, because the file system cannot encode its "
            "characters: rename the file."
        ) from error
    if "\0" in text:
        raise StylePrompterError(
            f"{text!r} is not a valid path, because it contains NUL: remove the NUL."
        )
    return text


def as_paths(
    paths: Iterable[str | os.PathLike], find: Callable[..., Path] | None = None
) -> list[Path]:
    """Applies ``find`` to several paths, and returns a list; None means `local_path`.

    A single path is refused, because iteration would split a string into letters.

    Raises:
        StylePrompterError: if the value is not a list, or an entry is not a path.
    """
    if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
        raise StylePrompterError(
            f"The paths are {shown(paths)}: give a list of paths, even for one path."
        )
    return [(find or local_path)(path) for path in paths]
