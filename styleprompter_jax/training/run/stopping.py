"""Turns SIGTERM and SIGINT into requests to stop, which the loop checks."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

_SOON = 0.01  # seconds


class Stop:
    """Tells whether the run must stop; use as a context manager.

    Within it, SIGTERM and SIGINT set ``requested``, and a running step finishes.
    Signals only reach the main thread: in another thread, nothing stops the run.

    Several processes must stop at the same step.  In this case JAX catches SIGTERM in
    any of the processes, and they agree on the step.  SIGINT becomes SIGTERM for this.
    """

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            if jax.process_count() > 1:
                handlers: dict = {signal.SIGINT: _terminate}
            else:
                handlers = dict.fromkeys(
                    (signal.SIGTERM, signal.SIGINT), self._on_signal
                )
            for number, handler in handlers.items():
                self._old[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def agree(self, step: int) -> None:
        """Sets ``requested`` if the processes must stop after this step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(
            step
        ):
            self.requested = True

    def at_once(self, work: Callable[[], Any]) -> None:
        """Calls ``work()``, which a signal interrupts; the work must be repeatable."""
        with self._again():
            try:
                try:
                    self._at_once = True
                    if not self.requested:
                        work()
                finally:
                    self._at_once = False
            except _Interrupted:
                pass

    @contextlib.contextmanager
    def _again(self) -> Iterator[None]:
        """Interrupts again if Python drops `_Interrupted`, as in a callback of JAX."""
        report, ended = sys.unraisablehook, threading.Event()
        main = threading.get_ident()

        def send() -> None:
            # More than once: a signal just before a system call waits for its end.
            pause = _SOON
            while not ended.wait(pause):
                signal.pthread_kill(main, signal.SIGINT)
                pause *= 2

        # From another thread, because this one is still in the callback.
        sender = threading.Thread(target=send, daemon=True)

        def dropped(fault: "sys.UnraisableHookArgs") -> None:
            if not isinstance(fault.exc_value, _Interrupted):
                report(fault)
                return
            if sender.ident is None:
                sender.start()
            self._at_once = True

        sys.unraisablehook = dropped
        try:
            yield
        finally:
            sys.unraisablehook = report
            ended.set()
            if sender.ident is not None:  # no signal may come after our handlers
                sender.join()

    def _on_signal(self, *_: object) -> None:
        self.requested = True
        if self._at_once:
            self._at_once = False
            raise _Interrupted


def _terminate(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class _Interrupted(BaseException):
    """Interrupts `Stop.at_once`.  No handler of Exception catches it."""
