"""Locks that allow one writer of a folder at a time."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from styleprompter_jax.core.errors import StylePrompterError

# Errors of file systems without locks, such as some network drives.
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
    """Locks ``file``, so that no other process or thread can lock it in the block.

    The operating system holds the lock, so the lock ends with the process, even if the
    process is killed. The lock file is empty, and is removed at the end. If the file
    system has no locks, the function warns, and the block runs without a lock.

    Args:
        file: the lock file; created with its folder if missing.
        busy: the error message if another process or thread holds the lock; None waits
            for the lock.
        guarded: the path that the lock protects, for messages; None names ``file``.

    Raises:
        StylePrompterError: with the message ``busy``, or if the lock file cannot be
            created.
    """
    from filelock import FileLock, Timeout  # only writers need this package

    file = Path(file)
    # Not filelock's soft lock: a killed process would leave its file behind.
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
                f"{guarded or file} cannot be written: {error.strerror or error}."
            ) from error
        logging.warning(
            "%s cannot be locked (%s): make sure that only one program writes there.",
            file.parent,
            error,
        )
    try:
        yield
    finally:
        if held.is_locked:
            # Remove it before the release: processes that wait for a removed file look
            # for a new one.
            with contextlib.suppress(OSError):  # Windows keeps an open file
                file.unlink()
            held.release()


def folder_lock(folder: str | os.PathLike) -> contextlib.AbstractContextManager:
    """Returns a lock that waits until no other process writes ``folder``.

    The folder may not exist yet. The lock file is beside the folder, so that the folder
    can be replaced as a whole. If the parent folder is not writable, the lock file is
    inside the folder.
    """
    folder = Path(os.path.realpath(folder))
    if folder.is_dir() and not os.access(folder.parent, os.W_OK):
        return lock(folder / ".lock", guarded=folder)
    # Shorten the name, because a folder's name may have the longest allowed length.
    return lock(folder.with_name(f".{folder.name[:50]}.lock"), guarded=folder)
