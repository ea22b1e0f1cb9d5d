"""Pictures that are read once: to check them, and to use them."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

KEPT = 256 * 2**20  # bytes that wait, from the check of a picture to its use


class ReadOnce:
    """A function of a picture's path whose results wait from the check to the use.

    A bad picture is to be known before anything is written, so all are checked first.
    What is beyond `most` bytes is read again when it is used.  Threads may share it.
    """

    def __init__(self, read: Callable[[Path], Any], most: int = KEPT):
        """Remembers nothing yet.

        Args:
            read: the function; gives a pytree of arrays.
            most: bytes that wait.
        """
        self._read, self._room = read, most
        self._kept: dict[Path, Any] = {}
        self._lock = threading.Lock()

    def check(self, path: Path) -> None:
        """Reads a picture, and raises what `read` does."""
        result = self._read(path)
        size = _size(result)
        with self._lock:
            if size <= self._room and path not in self._kept:
                self._room -= size
                self._kept[path] = result

    def __call__(self, path: Path) -> Any:
        """What `read` gives; the second call for a picture that was checked reads."""
        with self._lock:
            result = self._kept.pop(path, None)
            if result is not None:
                self._room += _size(result)
        return self._read(path) if result is None else result


def _size(result: Any) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(result))
