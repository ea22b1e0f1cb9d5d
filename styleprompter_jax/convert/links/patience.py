"""Ends the connection to a server that sends too slowly.

httpx limits the time between two bytes only. So a server that sends one byte now and
then could hold the program forever, for example with endless headers.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Self


class Patience:
    """Ends the connection when a time is over; a context manager.

    Args:
        seconds: the time from here, and from each `renew`.

    Attributes:
        over: whether the time is over.
    """

    def __init__(self, seconds: float):
        self.over, self._seconds = False, seconds
        self._stream: Any = None
        self._done = threading.Event()
        self.renew()

    def renew(self) -> None:
        """Gives the server the full time again."""
        self._end = time.monotonic() + self._seconds

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Notes the newest connection; for the extension "trace" of a request."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = info["return_value"]

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(max(self._end - time.monotonic(), 0.1)):
            self.over = self.over or time.monotonic() >= self._end
            if self.over and self._stream:
                # A close would not wake the thread that waits for a byte.
                with contextlib.suppress(OSError):
                    connection = self._stream.get_extra_info("socket")
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
