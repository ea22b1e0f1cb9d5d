"""Compilation for tests, which run each program once or twice."""

import functools

import jax

# A third of the time to compile; matrix products are as fast, all else is slower.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
