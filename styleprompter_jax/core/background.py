"""Work in a thread of its own."""

import threading
from collections.abc import Callable


class Background:
    """A thread that calls ``work(ended)`` within the block, until the event is set."""

    def __init__(self, work: Callable[[threading.Event], None]):
        self._ended = threading.Event()
        self._thread = threading.Thread(target=work, args=(self._ended,), daemon=True)

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the work; waits for it."""
        self._ended.set()
        self._thread.join()
