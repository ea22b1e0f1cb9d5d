"""The one way in for files of strangers: regular files, within a size.

A path may be a link to anything. A named pipe or a device would block whoever opens
it, or never end; so what is no regular file is refused before it is opened, and once
more when it is open.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.refusal import Refusal
from styleprompter_jax.core.spelling import another_path

TEXT = 64 * 2**20  # bytes of a table or list of names that people write
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
    """Opens a regular file to read its bytes; links are followed.

    Args:
        path: of the file; "~" stands for the home folder.
        limit: bytes that it may have; None takes any number.

    Raises:
        StylePrompterError: if there is no such file, it is a folder, pipe or device, is
            larger than ``limit`` or cannot be read; and in place of an OSError or a
            `Refusal` within the block. The message names the file.
    """
    try:
        file = _open(local_path(path), limit)
    except FileNotFoundError as error:
        hint = another_path(local_path(path))
        raise StylePrompterError(f"There is no file {path}.{hint}") from error
    # ValueError: NUL, or what the system's encoding has not.
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
    """The content of a regular file of at most ``limit`` bytes; see `open_file`."""
    with open_file(path, limit) as file:
        content = file.read(limit + 1)  # it may have grown, or not tell its size
        if len(content) > limit:
            raise Refusal(f"it has more than {limit:,} bytes: name another file.")
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
            f"{path} is a folder or device, and no file: name another, or put a file "
            "there."
        )
    if limit is not None and status.st_size > limit:
        raise StylePrompterError(
            f"{path} has {status.st_size:,} bytes, and more than {limit:,} are not "
            "read: name another file."
        )
