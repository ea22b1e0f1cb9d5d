"""Exceptions of signal handlers that Python drops, as it does in a callback of JAX."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

_SOON, _LATER = 0.01, 0.1  # seconds


@contextlib.contextmanager
def when_dropped(
    kind: type[BaseException], call: Callable[[], object]
) -> Iterator[None]:
    """Calls ``call()`` for each exception of a kind that Python drops in the block."""
    report = sys.unraisablehook

    def dropped(fault: "sys.UnraisableHookArgs") -> None:
        if isinstance(fault.exc_value, kind):
            call()
        else:
            report(fault)

    sys.unraisablehook = dropped
    try:
        yield
    finally:
        if sys.unraisablehook is dropped:
            sys.unraisablehook = report


def interrupt_until(arrived: Callable[[], bool]) -> threading.Thread:
    """Sends SIGINT to this thread, the main one, until ``arrived()``.

    Returns:
        the thread that sends; it runs already.
    """
    main = threading.get_ident()

    def send() -> None:
        # More than once: Python sees a signal that comes just before a system call
        # only after the call, unless another signal ends the call.
        pause = _SOON
        time.sleep(pause)
        while not arrived():
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(pause)
            pause = min(2 * pause, _LATER)

    # From another thread, because this one is still in the callback. The end of the
    # process does not wait for it.
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    return sender
