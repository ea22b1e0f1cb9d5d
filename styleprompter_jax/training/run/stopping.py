"""Turns SIGTERM and SIGINT into requests to stop, which the loop checks."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from styleprompter_jax.core import signals


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
        ended = threading.Event()
        senders: list[threading.Thread] = []

        def again() -> None:
            self._at_once = True
            if not senders:
                senders.append(signals.interrupt_until(ended.is_set))

        try:
            with signals.when_dropped(_Interrupted, again):
                yield
        finally:
            ended.set()
            for sender in senders:  # no signal may come after our handlers
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
