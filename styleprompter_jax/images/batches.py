"""Reads images in batches, and reads ahead while the caller works on a batch."""

import collections
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from styleprompter_jax.core.batches import pad
from styleprompter_jax.images.inputs import InputReader

# All threads together use at most the memory of the largest image. See
# `images/decode.py`.
THREADS = min(os.cpu_count() or 1, 8)
AHEAD = 2  # batches that are read in advance


def batches(count: int, batch_size: int) -> Iterator[slice]:
    """Yields slices of at most batch_size that cover 0 ... count - 1."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def read_batches(
    paths: Sequence[Path], read: InputReader, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields slices of the paths with their inputs, padded to the one compiled shape.

    Meanwhile, threads read the next batches.
    """
    for part, images in read_ahead(
        lambda index: read(paths[index]), len(paths), batch_size
    ):
        yield part, pad(read.to_array(np.stack(images)), batch_size)


def read_ahead(
    read: Callable, count: int, batch_size: int
) -> Iterator[tuple[slice, list]]:
    """Yields slices that cover 0 ... count - 1, with the results of `read` by index.

    Meanwhile, threads read the next batches.
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
    """Yields a thread pool that starts no more work after an error in the block."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
