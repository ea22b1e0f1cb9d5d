"""The cache that keeps XLA's compiled programs for the next run."""

import os

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder


def use_compilation_cache() -> None:
    """Enables JAX's persistent compilation cache, in the user's cache folder.

    Programs call this function; importing the library changes nothing. A folder that
    is already set (JAX_COMPILATION_CACHE_DIR) stays.
    """
    import jax

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
