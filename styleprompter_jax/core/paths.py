"""Paths that users name, made ready once, where they come in."""

import os
import re
from pathlib import Path

from styleprompter_jax.errors import StylePrompterError

# Two letters at least: "C:/" is a drive.  pathlib makes one slash of two.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def local_path(path: str | os.PathLike) -> Path:
    """The path on this machine that a user means, "~" and "~name" in full.

    Raises:
        StylePrompterError: if it is an address such as gs://..., or "~name" names
            nobody.
    """
    text = os.fspath(path)
    if found := scheme(path):
        raise StylePrompterError(
            f"{text} is an address, and {found}:// cannot be used here: name a "
            "folder or file of this machine."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise StylePrompterError(
            f"{text} begins with a home folder that is not known: write the path in "
            "full."
        ) from error


def scheme(path: str | os.PathLike) -> str:
    """ "hf" of an address such as hf://..., in small letters; "" of a path."""
    found = _SCHEME.match(os.fspath(path))
    return found[1].lower() if found else ""


def cache_folder(name: str) -> Path:
    """A folder in the user's cache, XDG_CACHE_HOME or ~/.cache; it may not be there."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "styleprompter_jax" / name


def is_link(text: str | os.PathLike) -> bool:
    """Whether it is an address of the web, or of any other place with two slashes."""
    return bool(scheme(text)) and "://" in os.fspath(text)
