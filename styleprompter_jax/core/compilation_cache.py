"""Where programs keep what XLA compiled for their next call."""

import os

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder


def use_compilation_cache() -> None:
    """Switches JAX's persistent cache on, in the user's cache folder.

    For programs: importing the library changes nothing.  A folder that is set already
    (JAX_COMPILATION_CACHE_DIR) stays.
    """
    import jax

    # JAX makes these attributes when it is imported.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        try:
            folder = cache_folder("xla")
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, StylePrompterError):
            return  # compiling anew is all that is lost
        if not os.access(folder, os.W_OK | os.X_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Small computations too: they are many before the first picture.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
