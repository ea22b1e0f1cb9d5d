"""What is compiled for batches of one size, and forgotten again."""

import collections
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

KEPT = 8  # batch sizes of one function; each holds some 20 MB


class BySize:
    """A jitted function that keeps what it compiled for the latest batch sizes.

    `jax.jit` alone keeps a program for every shape that it ever met, and who inverts
    batches of all sizes runs out of memory.  Threads may share it.

    Args:
        function: to compile.
        static_argnums: as `jax.jit` takes it.
        kept: how many batch sizes.
    """

    def __init__(
        self, function: Callable, static_argnums: int | Sequence[int], kept: int = KEPT
    ):
        self._function, self._static, self._kept = function, static_argnums, kept
        self._jitted: collections.OrderedDict = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, batch_size: int, *args: Any) -> Any:
        """The function of ``args``, whose arrays are of one batch size."""
        return self._for(batch_size)(*args)

    def _for(self, batch_size: int) -> Callable:
        with self._lock:
            jitted = self._jitted.pop(batch_size, None) or self._new()
            self._jitted[batch_size] = jitted  # the latest is the last
            while len(self._jitted) > self._kept:
                _, oldest = self._jitted.popitem(last=False)
                oldest.clear_cache()
            return jitted

    def _new(self) -> Callable:
        # A function of its own: `jax.jit` keeps programs by function.
        def own(*args: Any) -> Any:
            return self._function(*args)

        functools.update_wrapper(own, self._function)
        return jax.jit(own, static_argnums=self._static)


def by_size(static_argnums: int | Sequence[int]) -> Callable:
    """The decorator that makes a `BySize` of a function."""
    return lambda function: BySize(function, static_argnums)
