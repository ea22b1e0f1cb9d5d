"""SIGTERM and SIGINT as a wish that the loop sees, at once where it can."""

import signal
import threading


class Stop:
    """Whether the run is to stop; use as a context manager.

    Within it, SIGTERM and SIGINT set ``requested``; a step that runs is finished.
    Signals reach the main thread only: in another one, nothing stops the run.
    """

    def __init__(self):
        self.requested = False
        self._at_once = False
        self._old = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def at_once(self, work) -> None:
        """Calls ``work()``, which a signal breaks off: what can be done again later."""
        try:
            self._at_once = True
            if not self.requested:
                work()
            self._at_once = False
        except _Interrupted:
            pass
        finally:
            self._at_once = False

    def _on_signal(self, *_):
        self.requested = True
        if self._at_once:
            self._at_once = False
            raise _Interrupted


class _Interrupted(BaseException):
    """Not an Exception, so that nothing on the way takes it for an error."""
