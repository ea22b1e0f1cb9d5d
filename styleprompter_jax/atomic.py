"""Files that appear under their name when they are whole."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from styleprompter_jax.errors import StylePrompterError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write a file under, which gets its own at the end of the block.

    Makes the folder if needed.  Whatever goes wrong, nothing is left behind and a file
    of that name from before stays as it is.

    Args:
        path: the file's own name; the other one has the same ending.

    Raises:
        StylePrompterError: if the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StylePrompterError(f"{path} cannot be written: {error}.") from error
    finally:
        # Where the folder could not be made, there is no place to look for it.
        with contextlib.suppress(OSError):
            partial.unlink()
