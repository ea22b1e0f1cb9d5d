"""Pictures read in batches, the next ones while one is worked on."""

import collections
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from styleprompter_jax.core.batches import pad
from styleprompter_jax.images.files import read_image, to_float
from styleprompter_jax.images.read_once import ReadOnce

# Together they hold no more than the largest picture takes: see `images/decode.py`.
THREADS = min(os.cpu_count() or 1, 8)
AHEAD = 2  # batches that are read before their turn


def at_size(size: int) -> ReadOnce:
    """Reads pictures as uint8 (size, size, 3)."""
    return ReadOnce(lambda path: read_image(path, size))


def batches(count: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most batch_size that cover 0 ... count - 1."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def read_batches(
    paths: Sequence[Path], read: ReadOnce, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of the paths, and their pictures, padded to the one shape compiled.

    The next batches are read meanwhile.
    """
    for part, images in read_ahead(
        lambda index: read(paths[index]), len(paths), batch_size
    ):
        yield part, pad(to_float(np.stack(images)), batch_size)


def read_ahead(
    read: Callable, count: int, batch_size: int
) -> Iterator[tuple[slice, list]]:
    """Slices that cover 0 ... count - 1, and what `read` gives for these indices.

    The next batches are read meanwhile.
    """
    parts = list(batches(count, batch_size))
    with threads() as pool:

        def start(part: slice) -> list[Future]:
            return [pool.submit(read, k) for k in range(part.start, part.stop)]

        ahead = collections.deque(map(start, parts[:AHEAD]))
        for k, part in enumerate(parts):
            results = [future.result() for future in ahead.popleft()]
            ahead.extend(map(start, parts[k + AHEAD : k + AHEAD + 1]))
            yield part, results


@contextlib.contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """A pool that, when the block is left by an error, begins nothing more."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
