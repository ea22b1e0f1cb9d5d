"""Opens untrusted files: regular files only, up to a size limit.

A path may be a link to anything. A named pipe or a device may block its reader, or
never end. So the functions accept only regular files. They check this before they open
the file, and again afterwards.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.refusal import Refusal
from styleprompter_jax.core.spelling import another_path

TEXT = 64 * 2**20  # size limit in bytes of a hand-written table or list of names
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


@contextlib.contextmanager
def open_file(
    path: str | os.PathLike, limit: int | None = None
) -> Iterator[io.BufferedReader]:
    """Opens a regular file for reading bytes; follows links.

    Args:
        path: the file; "~" means the home folder. For an address in a bucket, the
            function opens the local copy.
        limit: the largest allowed size in bytes; None allows any size.

    Raises:
        StylePrompterError: if the file is missing, is a folder, pipe or device, is
            larger than ``limit``, or cannot be read. It also replaces an OSError or a
            `Refusal` inside the block. The message names the file.
    """
    try:
        file = _open(local_copy(path), limit)
    except FileNotFoundError as error:
        hint = another_path(local_copy(path))
        raise StylePrompterError(f"There is no file {path}.{hint}") from error
    # ValueError: the path contains NUL, or characters outside the system's encoding.
    except (OSError, ValueError) as error:
        raise StylePrompterError(f"{path} cannot be read: {error}.") from error
    with file:
        try:
            yield file
        except OSError as error:
            raise StylePrompterError(f"{path} cannot be read: {error}.") from error
        except Refusal as error:
            raise StylePrompterError(f"{path} cannot be read: {error}") from error


def read_bytes(path: str | os.PathLike, limit: int) -> bytes:
    """Reads a regular file of at most ``limit`` bytes; see `open_file`."""
    with open_file(path, limit) as file:
        content = file.read(limit + 1)  # the size may have grown, or be unknown
        if len(content) > limit:
            raise Refusal(f"it has more than {limit:,} bytes: use a smaller file.")
        return content


def _open(path: Path, limit: int | None) -> io.BufferedReader:
    _check(path, path.stat(), limit)
    descriptor = os.open(path, _FLAGS)
    try:
        _check(path, os.fstat(descriptor), limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check(path: Path, status: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StylePrompterError(
            f"{path} is a folder or device, not a file: give the path of a regular "
            "file."
        )
    if limit is not None and status.st_size > limit:
        raise StylePrompterError(
            f"{path} has {status.st_size:,} bytes, and the limit is {limit:,}: use a "
            "smaller file."
        )
