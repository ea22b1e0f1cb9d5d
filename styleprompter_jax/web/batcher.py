"""Batches for a model that many clients use.

A compiled program has one batch size.  The batcher begins with batches of 1.  When more
items wait, another thread compiles a program for twice the batch size, and the batcher
uses it when it is ready.  So no request waits for a compilation, and a single user
never causes one.

Several large batches can run at the same time.  On a CPU, this uses the time in which
the cores wait for each other.

Axes: b batch; each submitted item is a batch of 1.
"""

import collections
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import numpy as np

from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.web.limits import Refused

_FULL = 0.75  # the share of a program's rows that makes a batch worth its time
# The share of the largest program's rows that makes a batch worth running beside
# another. A smaller batch waits, and requests that come meanwhile join it.
_BESIDE = 0.5

log = logging.getLogger(__name__)


class Work(NamedTuple):
    """A computation on a batch.

    Attributes:
        program: a key; computations with equal keys share compiled programs.
        owner: a key; computations with both keys equal can share a batch.
        run: maps a pytree of arrays (b, ...) to another pytree of arrays (b, ...).
    """

    program: Hashable
    owner: Hashable
    run: Callable[[Any], Any]

    @property
    def kind(self) -> tuple[Hashable, Hashable]:
        """The key of items that can share a batch."""
        return self.program, self.owner


class _Item(NamedTuple):
    work: Work
    rows: Any
    future: Future


class Batcher:
    """Computes submitted items in batches, in threads.

    Attributes:
        batches: the number of batches by the number of their items.

    Args:
        waiting: how many items may wait.
        largest: rows of the largest batch.
        threads: batches at the same time.
    """

    def __init__(self, waiting: int, largest: int, threads: int = 1):
        self._waiting, self._largest = waiting, largest
        self._items: collections.deque[_Item] = collections.deque()
        self._changed = threading.Condition()
        self._ready: dict[Hashable, list[int]] = {}
        self._growing: set[Hashable] = set()
        self._running = 0  # batches
        self._stopped = False
        self.batches: collections.Counter[int] = collections.Counter()
        self._threads = [
            threading.Thread(target=self._serve, daemon=True, name=f"model_{k}")
            for k in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._items)

    def submit(self, work: Work, rows: Any, *, patient: bool = False) -> Future:
        """Submits an item; its result is a pytree of NumPy arrays (1, ...).

        Args:
            work: the computation.
            rows: a pytree of arrays (1, ...).
            patient: wait for room in the queue instead of raising an error.

        Raises:
            Refused: if the queue is full, or the server stops.
        """
        future: Future = Future()
        with self._changed:
            if patient:
                self._changed.wait_for(self._has_room)
            if self._stopped:
                raise Refused(503, "The server is stopping.")
            self._drop_cancelled()
            if not self._has_room():
                raise Refused(
                    503,
                    f"{self._waiting} requests wait already: try again in a moment.",
                )
            self._items.append(_Item(work, rows, future))
            self._changed.notify_all()
        return future

    def stop(self) -> None:
        """Ends the threads after their batches, and refuses the waiting items."""
        with self._changed:
            self._stopped = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        for item in left:
            if item.future.set_running_or_notify_cancel():
                item.future.set_exception(Refused(503, "The server is stopping."))
        for thread in self._threads:
            thread.join()

    def _has_room(self) -> bool:
        return self._stopped or len(self._items) < self._waiting

    def _serve(self) -> None:
        while batch := self._next():
            try:
                self._answer(batch)
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()
            del batch  # frees its memory while the queue is empty

    def _answer(self, batch: Sequence[_Item]) -> None:
        """Sets the result of each item, or its error."""
        try:
            made = self._compute(batch)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            # One bad item makes its batch fail, but not the items of other clients.
            for item in batch:
                self._answer([item])
        else:
            with self._changed:
                self.batches[len(batch)] += 1
            for item, one in zip(batch, made, strict=True):
                item.future.set_result(one)

    def _compute(self, batch: Sequence[_Item]) -> list[Any]:
        work = batch[0].work
        size = min(s for s in self._sizes(work) if s >= len(batch))
        rows = jax.tree.map(_stack, *(item.rows for item in batch))
        made = take(work.run(pad(rows, size)), len(batch))
        # Copies, because a view would keep the whole batch in memory.
        return [
            jax.tree.map(lambda a, k=k: a[k : k + 1].copy(), made)
            for k in range(len(batch))
        ]

    def _next(self) -> list[_Item]:
        """Returns the items of the next batch; [] when the thread must end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._stopped or self._is_due())
                if self._stopped:
                    return []
                self._drop_cancelled()
                if not self._is_due():
                    continue
                alike = self._alike()
                most = max(self._sizes(alike[0].work))
                if len(alike) > most < self._largest:
                    self._grow(alike[0], 2 * most)
                chosen = alike[: _fill(len(alike), self._sizes(alike[0].work))]
                taken = set(map(id, chosen))
                left = [item for item in self._items if id(item) not in taken]
                self._items = collections.deque(left)
                self._changed.notify_all()
                # Leaves out the items that no client waits for any more.
                batch = [i for i in chosen if i.future.set_running_or_notify_cancel()]
                if batch:
                    self._running += 1
                    return batch

    def _drop_cancelled(self) -> None:
        """Drops the items that nobody waits for; not even a first run uses them."""
        kept = [item for item in self._items if not item.future.cancelled()]
        if len(kept) < len(self._items):
            self._items = collections.deque(kept)
            self._changed.notify_all()

    def _is_due(self) -> bool:
        """Returns whether a batch can begin."""
        if not self._items or not self._running:
            return bool(self._items)
        alike = self._alike()
        sizes = self._sizes(alike[0].work)
        return _fill(len(alike), sizes) >= max(2, _BESIDE * max(sizes))

    def _alike(self) -> list[_Item]:
        """Returns the items that can share a batch with the first one."""
        kind = self._items[0].work.kind
        return [item for item in self._items if item.work.kind == kind]

    def _sizes(self, work: Work) -> list[int]:
        return self._ready.setdefault(work.program, [1])

    def _grow(self, item: _Item, size: int) -> None:
        """Compiles a program for more rows, in another thread."""
        program = item.work.program
        if program in self._growing:
            return
        self._growing.add(program)

        def prepare() -> None:
            try:
                jax.block_until_ready(item.work.run(pad(item.rows, size)))
                with self._changed:
                    self._ready[program].append(size)
                    self._growing.discard(program)
                    self._changed.notify_all()
            except StylePrompterError:  # these rows are at fault, not the size
                with self._changed:
                    self._growing.discard(program)
            except Exception as error:  # smaller batches still work
                log.warning("Warning: no batches of %d: %s", size, error)

        # No daemon: the end of Python aborts the process if a daemon is compiling.
        threading.Thread(target=prepare, name="compile").start()


def _fill(waiting: int, sizes: Sequence[int]) -> int:
    """Returns how many of the waiting items the next batch takes.

    A batch of a few items more than a program has rows would compute many rows for
    nothing. These items wait for the next batch, with the items that come meanwhile.
    """
    larger = [size for size in sizes if size >= waiting]
    if larger and waiting >= _FULL * min(larger):
        return waiting
    return max(size for size in sizes if size <= waiting)


def _stack(*arrays: np.ndarray) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
