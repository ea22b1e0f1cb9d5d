"""Memory that threads share: as many pictures are in work as there is room for."""

import contextlib
import threading
from collections.abc import Iterator


class Room:
    """Room for so many pixels, for which threads wait.

    A thread that has some already asks for no more, so that none waits for itself.
    """

    def __init__(self, total: int):
        self._total, self._used = total, 0
        self._changed = threading.Condition()
        self._mine = threading.local()

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Waits for room; who asks for more than there is gets all of it."""
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
