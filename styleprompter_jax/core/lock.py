"""One writer of a folder at a time."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from styleprompter_jax.core.errors import StylePrompterError

# What file systems without locks answer, as some network drives are.
_NO_LOCKS = {
    errno.ENOSYS,
    errno.ENOLCK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EINVAL,
}


@contextlib.contextmanager
def lock(
    file: str | os.PathLike,
    busy: str | None = None,
    guarded: str | os.PathLike | None = None,
) -> Iterator[None]:
    """Holds ``file`` against every other process and thread that locks it.

    The lock is the operating system's: it ends with the process, however that ends.
    The file is empty, and removed at the end.  Where the file system has no locks, a
    warning says so, and the block runs without one.

    Args:
        file: made where missing, together with its folder.
        busy: what to tell where another one holds the lock; None waits for it.
        guarded: what the lock is for, and a message names; None names ``file``.

    Raises:
        StylePrompterError: ``busy``; or the file cannot be made.
    """
    from filelock import FileLock, Timeout  # only who writes needs it

    file = Path(file)
    # Not the library's lock by existence, which a killed process would leave behind.
    held = FileLock(file, fallback_to_soft=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            if busy is not None:
                raise StylePrompterError(busy) from None
            logging.warning("Waiting for another program that holds %s.", file)
            held.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise StylePrompterError(
                f"{guarded or file} cannot be written: {error}."
            ) from error
        logging.warning(
            "%s cannot be locked (%s): see that only one program writes there.",
            file.parent,
            error,
        )
    try:
        yield
    finally:
        if held.is_locked:
            # Before it is let go: who waits for a removed file looks for a new one.
            with contextlib.suppress(OSError):  # Windows keeps an open file
                file.unlink()
            held.release()


def folder_lock(folder: str | os.PathLike) -> contextlib.AbstractContextManager:
    """Waits until nobody else writes ``folder``, which may not be there yet.

    The lock lies beside the folder, which may then be exchanged as a whole; where
    nothing can be written there, in the folder.
    """
    folder = Path(os.path.realpath(folder))
    if folder.is_dir() and not os.access(folder.parent, os.W_OK):
        return lock(folder / ".lock", guarded=folder)
    # Short, since a folder's name may be as long as the file system permits.
    return lock(folder.with_name(f".{folder.name[:50]}.lock"), guarded=folder)
