"""The cache of compiled programs mends itself."""

import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from styleprompter_jax.core.compilation_cache import use_compilation_cache


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("size", [0, 100])
def test_a_damaged_program_compiles_again_once(size, recwarn):
    """As after a full disk; the same process writes the program again."""
    use_compilation_cache()
    assert (hook := warnings.showwarning) and not use_compilation_cache()
    assert warnings.showwarning is hook

    def call():
        def to_be_damaged(x):
            return x * 3 + size

        # A new function, which this process has not compiled.
        np.testing.assert_array_equal(jax.jit(to_be_damaged)(np.ones(2)), 3 + size)
        folder = Path(jax.config.jax_compilation_cache_dir)
        return max(
            folder.glob("jit_to_be_damaged-*-cache"), key=lambda f: f.stat().st_mtime
        )

    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        file = call()
        whole = file.stat().st_size
        file.write_bytes(file.read_bytes()[:size])
        assert call() == file and file.stat().st_size > whole / 2
        written = file.stat().st_mtime_ns
        assert call() == file and file.stat().st_mtime_ns == written
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    assert not [w for w in recwarn if "cache entry" in str(w.message)]
    warnings.warn("another", stacklevel=1)
    assert str(recwarn.pop().message) == "another"
