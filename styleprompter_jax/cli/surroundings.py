"""The surroundings of a program: its streams, signals and devices.

No fault in them ends the work with a traceback, or goes unreported at the end.
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

from styleprompter_jax.core import progress, signals
from styleprompter_jax.core.atomic import remove_partials
from styleprompter_jax.core.errors import StylePrompterError

INTERRUPTED = 130  # the exit code of shells after Ctrl-C


def open_closed_streams() -> None:
    """Opens standard input, output and error if they are closed.

    Otherwise, the next file that the program opens gets the free number. A library that
    writes to standard error would then write into this file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The new file gets the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class Stream:
    """A text stream that never fails: it keeps its first error, then drops all text.

    It writes characters that its encoding does not have as escapes.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Writes a text, or keeps the error."""
        if self._stream is not None:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            sayable = text.encode(encoding, "backslashreplace").decode(encoding)
            self._try(self._stream.write, sayable)
        return len(text)

    def flush(self) -> None:
        """Flushes, or keeps the error."""
        if self._stream is not None:
            self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Returns whether the stream is a terminal."""
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
            # Otherwise Python tries again at exit, and reports the error.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                if self._stream is not None:
                    os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def orderly(work: Callable[[], None], *, show_traceback: bool = False) -> int:
    """Runs a program's work, and handles its errors and signals.

    Errors of the user and of the system become one message on standard error. SIGTERM
    and SIGHUP leave no half-written file. If standard output cannot be written, the
    work continues, and the error is reported at the end.

    Args:
        work: the function to run; it may raise SystemExit.
        show_traceback: print the traceback of an error instead of its message.

    Returns:
        0; 1 after an error; `INTERRUPTED` after Ctrl-C.
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
            check_devices()  # a missing device may be the cause, and raises here
            raise
    except StylePrompterError as error:
        why: Exception = error
        message = str(error)
    except OSError as error:  # an error of the system that no other code handles
        why, message = error, f"the system refuses ({error})."
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    else:
        return 0
    if show_traceback:
        traceback.print_exception(why)
    else:
        print(f"Error: {message}", file=sys.stderr)
    return 1


def leave_threads(code: int) -> None:
    """Ends the process at once if Python would wait for other threads."""
    others = {*threading.enumerate()} - {threading.current_thread()}
    if any(not thread.daemon for thread in others):
        remove_partials()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)


class _Sayer(logging.Handler):
    """Prints log records; warnings and progress on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        aside = record.levelno >= logging.WARNING or record.name == progress.log.name
        stream = sys.stderr if aside else sys.stdout
        print(record.getMessage(), file=stream, flush=True)


@contextlib.contextmanager
def _saying() -> Iterator[None]:
    """Prints the log records of this package in the block, without other handlers."""
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
    """Makes SIGTERM and SIGHUP leave no half-written file when they end the process.

    An existing handler, or one that a command installs, takes precedence. The handlers
    raise no exception, because Python drops an exception inside a callback of JAX. If
    it drops that of Ctrl-C, the block gets it again.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        remove_partials()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Linux ignores this signal in the first process of a container.
        os._exit(128 + number)

    installed = []
    with contextlib.ExitStack() as hooks:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number and signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, leave)
                    installed.append(number)
            hooks.enter_context(
                signals.when_dropped(KeyboardInterrupt, _interrupt_again)
            )
        try:
            yield
        finally:
            for number in installed:
                signal.signal(number, signal.SIG_DFL)


def _interrupt_again() -> None:
    """Raises KeyboardInterrupt in the main thread soon, after the current callback."""
    before = signal.getsignal(signal.SIGINT)

    def arrive(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, arrive)
    signals.interrupt_until(lambda: signal.getsignal(signal.SIGINT) is not arrive)


def check_devices() -> None:
    """Asks JAX for its devices.

    Raises:
        StylePrompterError: if JAX has no devices, for example because JAX_PLATFORMS
            names a missing platform.
    """
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        why = (str(error).splitlines() or [""])[0].rstrip(".")
        asked = os.environ.get("JAX_PLATFORMS")
        hint = "install JAX for your device, or choose another device"
        if asked:
            hint = f"JAX_PLATFORMS is {asked!r}: unset it, or name another platform"
        raise StylePrompterError(f"JAX finds no device ({why}): {hint}.") from error
