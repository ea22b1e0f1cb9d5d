"""Compilation for tests, which run each program once or twice; and float64."""

import contextlib
import functools

import jax

# A third of the time to compile; matrix products are as fast, all else is slower.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@contextlib.contextmanager
def float64():
    """Computes in float64 meanwhile; JAX's own context changed its name with 0.8."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)
