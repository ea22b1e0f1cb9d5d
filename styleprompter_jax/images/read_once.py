"""Reads images once, both to check them and to use them."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

KEPT = 256 * 2**20  # bytes of images to keep from their check until their use


class ReadOnce:
    """A function of an image's path that keeps results from the check until the use.

    Callers check all images first, to find a bad image before they write anything. A
    `ReadOnce` keeps up to `most` bytes of results, and reads other images again at
    their use. Threads may share it.
    """

    def __init__(self, read: Callable[[Path], Any], most: int = KEPT):
        """Starts without results.

        Args:
            read: the function; it returns a pytree of arrays.
            most: bytes of results to keep.
        """
        self._read, self._room = read, most
        self._kept: dict[Path, Any] = {}
        self._lock = threading.Lock()

    def check(self, path: Path) -> None:
        """Reads an image, and raises the errors of `read`."""
        result = self._read(path)
        size = _size(result)
        with self._lock:
            if size <= self._room and path not in self._kept:
                self._room -= size
                self._kept[path] = result

    def __call__(self, path: Path) -> Any:
        """Returns the result of `read`; the first call after `check` does not read."""
        with self._lock:
            result = self._kept.pop(path, None)
            if result is not None:
                self._room += _size(result)
        return self._read(path) if result is None else result


def _size(result: Any) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(result))
