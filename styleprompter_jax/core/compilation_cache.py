"""The cache that keeps XLA's compiled programs for the next run."""

import glob
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder

# JAX's warning; the group is the name of the program, with which its files begin.
_DAMAGED = "Error reading persistent compilation cache entry for '(.+?)'"


def use_compilation_cache() -> None:
    """Enables JAX's persistent compilation cache, in the user's cache folder.

    Programs call this function; importing the library changes nothing. A folder that
    is already set (JAX_COMPILATION_CACHE_DIR) stays. A damaged program there compiles
    again, once and without a warning.
    """
    import jax

    if warnings.showwarning.__module__ != __name__:
        warnings.showwarning = _mending(warnings.showwarning)
    # JAX makes these attributes when it is imported.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        try:
            folder = cache_folder("xla")
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, StylePrompterError):
            return  # without the cache, each run compiles again
        if not os.access(folder, os.W_OK | os.X_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Cache small programs too: many of them run before the first image.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _mending(show: Callable) -> Callable:
    """Returns a `warnings.showwarning` that deletes the damaged programs of a warning.

    A full disk or a killed process leaves half a file. JAX only warns of it, compiles,
    and keeps the file. After the deletion, JAX writes the new program.

    Args:
        show: shows all other warnings.
    """

    def showwarning(message: Any, *args: Any, **options: Any) -> None:
        found = re.match(_DAMAGED, str(message))
        if not (found and _delete(found[1])):
            show(message, *args, **options)

    return showwarning


def _delete(name: str) -> bool:
    """Deletes all programs of this name; returns whether there were some."""
    import jax

    folder = Path(jax.config.jax_compilation_cache_dir or "")  # type: ignore[attr-defined]
    files = list(folder.glob(f"{glob.escape(name)}-*"))
    try:
        for file in files:
            file.unlink(missing_ok=True)
    except OSError:
        return False
    return bool(files)
