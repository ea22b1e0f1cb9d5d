"""Limits the memory that threads use together for images."""

import contextlib
import threading
from collections.abc import Iterator


class Room:
    """Room for a total number of pixels; threads wait until their share is available.

    A thread that already has room gets no further room, so it never waits for itself.
    """

    def __init__(self, total: int):
        self._total, self._used = total, 0
        self._changed = threading.Condition()
        self._mine = threading.local()

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Waits for room; a request above the total gets the whole room."""
        if getattr(self._mine, "some", False):
            yield
            return
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._used + amount <= self._total)
            self._used += amount
        self._mine.some = True
        try:
            yield
        finally:
            self._mine.some = False
            with self._changed:
                self._used -= amount
                self._changed.notify_all()
