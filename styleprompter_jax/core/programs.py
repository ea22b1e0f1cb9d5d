"""Compiled programs: by batch size, with a limit on their number; and for one call."""

import collections
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

KEPT = 8  # batch sizes of one function; each needs about 20 MB


class BySize:
    """A jitted function that keeps only the programs of the latest batch sizes.

    `jax.jit` alone keeps a program for every shape that it has seen, so inversion of
    batches of many sizes runs out of memory. Threads may share a `BySize`.

    Args:
        function: the function to compile.
        static_argnums: see `jax.jit`.
        kept: the number of batch sizes whose programs stay.
    """

    def __init__(
        self, function: Callable, static_argnums: int | Sequence[int], kept: int = KEPT
    ):
        self._function, self._static, self._kept = function, static_argnums, kept
        self._jitted: collections.OrderedDict = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, batch_size: int, *args: Any) -> Any:
        """Calls the function with ``args``, whose arrays have this batch size."""
        return self._for(batch_size)(*args)

    def _for(self, batch_size: int) -> Callable:
        with self._lock:
            jitted = self._jitted.pop(batch_size, None) or self._new()
            self._jitted[batch_size] = jitted  # the last entry is the latest
            while len(self._jitted) > self._kept:
                _, oldest = self._jitted.popitem(last=False)
                oldest.clear_cache()
            return jitted

    def _new(self) -> Callable:
        # A separate function, because `jax.jit` keeps programs by function.
        def own(*args: Any) -> Any:
            return self._function(*args)

        functools.update_wrapper(own, self._function)
        return jax.jit(own, static_argnums=self._static)


def by_size(static_argnums: int | Sequence[int]) -> Callable:
    """Returns a decorator that wraps a function in `BySize`."""
    return lambda function: BySize(function, static_argnums)


# XLA's options for a CPU. The compiler of another backend does not know all of them.
_QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def call_once(function: Callable, *args: Any) -> Any:
    """Returns function(*args), as one program that a CPU compiles quickly, not well."""
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
    if traced or jax.default_backend() != "cpu":
        return jax.jit(function)(*args)
    return jax.jit(function, compiler_options=_QUICK)(*args)
