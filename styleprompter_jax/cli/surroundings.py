"""What a program meets around it: its streams, signals and devices.

Nothing of this is to end the work with a traceback, or after the work with none of it
told.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

from styleprompter_jax.core.atomic import remove_partials
from styleprompter_jax.core.errors import StylePrompterError


def open_closed_streams() -> None:
    """Opens what is closed of standard input, output and error.

    Otherwise the next file that is opened has its number, and whatever a library says
    on standard error ends in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class Stream:
    """A text stream that never fails: it keeps its error, and is silent from then on.

    What its encoding has no letters for is written in escapes.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Writes a text, or keeps why it cannot be."""
        if self._stream is not None:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            sayable = text.encode(encoding, "backslashreplace").decode(encoding)
            self._try(self._stream.write, sayable)
        return len(text)

    def flush(self) -> None:
        """Flushes, or keeps why it cannot."""
        if self._stream is not None:
            self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, call: Callable, *args: Any) -> None:
        if self.error is not None:
            return
        try:
            call(*args)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.error = error
            # Or Python would try again at its end, and complain.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                if self._stream is not None:
                    os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def orderly(work: Callable[[], None], *, show_traceback: bool = False) -> int:
    """Does a program's work, and answers for what may come in between.

    Errors of the user and of the system are one message on standard error. SIGTERM and
    SIGHUP leave nothing half written. An output that cannot be written is told at the
    end, and ends no work.

    Args:
        work: what to do; it may raise SystemExit.
        show_traceback: show where an error arose, in place of its message.

    Returns:
        0; 1 after an error; 130 after Ctrl-C.
    """
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with _signals(), _saying():
                code: int | SystemExit = _answer(work, show_traceback)
        except SystemExit as leaving:
            code = leaving
        out.flush()
        if out.error is not None:
            why = getattr(out.error, "strerror", None) or out.error
            err.write(f"Error: standard output cannot be written: {why}.\n")
        err.flush()
    failed = int(out.error is not None)
    if isinstance(code, SystemExit):
        code.code = code.code or failed
        raise code
    return code or failed


def _answer(work: Callable[[], None], show_traceback: bool) -> int:
    try:
        try:
            work()
        except RuntimeError:
            check_devices()  # whose lack may be the reason, and is told then
            raise
    except StylePrompterError as error:
        why: Exception = error
        message = str(error)
    except OSError as error:  # of the system's, where nobody expected it
        why, message = error, f"the system refuses ({error})."
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    else:
        return 0
    if show_traceback:
        traceback.print_exception(why)
    else:
        print(f"Error: {message}", file=sys.stderr)
    return 1


class _Sayer(logging.Handler):
    """Says what is told during the work: answers, and on standard error warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        warns = record.levelno >= logging.WARNING
        stream = sys.stderr if warns else sys.stdout
        print(record.getMessage(), file=stream, flush=True)


@contextlib.contextmanager
def _saying() -> Iterator[None]:
    """What the modules of this package log is said, and by nobody else."""
    log, sayer = logging.getLogger("styleprompter_jax"), _Sayer()
    before = log.level, log.propagate
    log.addHandler(sayer)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(sayer)
        log.level, log.propagate = before


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the process as ever, but leave nothing half written.

    A handler that is there already, or that a command installs, counts instead.  No
    exception is raised for them: Python drops it where one of JAX's callbacks runs.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        remove_partials()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    installed = []
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, leave)
                installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            signal.signal(number, signal.SIG_DFL)


def check_devices() -> None:
    """Asks JAX for its devices.

    Raises:
        StylePrompterError: if it has none, as when JAX_PLATFORMS names what is not
            there.
    """
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        why = (str(error).splitlines() or [""])[0].rstrip(".")
        asked = os.environ.get("JAX_PLATFORMS")
        hint = "install JAX for what is there, or choose another device"
        if asked:
            hint = f"JAX_PLATFORMS is {asked!r}: unset it, or name what is there"
        raise StylePrompterError(
            f"JAX finds no device to work on ({why}): {hint}."
        ) from error
