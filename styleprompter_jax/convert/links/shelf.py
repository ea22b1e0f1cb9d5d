"""What the user's cache holds of a link, in a folder of its own.

NAME            the file, under the name that its server gives it
record.json     its length and SHA-256, and by what to ask whether it has changed
file.partial    what an interrupted download left, and the next one goes on with
partial.json    what that is the beginning of
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from styleprompter_jax.convert.links.answers import (
    PARTIAL,
    PARTIAL_RECORD,
    RECORD,
    Record,
    file_name,
)
from styleprompter_jax.core import sums
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json, write_json


class Shelf:
    """The folder of one link.

    Args:
        folder: its path; it is made when something is written.

    Attributes:
        partial: the path of a beginning.
        kept: the record of the file, if it is as it was when it came.
    """

    def __init__(self, folder: Path):
        self.folder, self.partial = folder, folder / PARTIAL
        self.kept = self._kept()

    @property
    def file(self) -> Path:
        """The path of the file that is kept."""
        return self.folder / (self.kept.name if self.kept else "")

    def begun(self) -> Record | None:
        """What there is a beginning of that can be gone on with."""
        record = self._read(PARTIAL_RECORD)
        return record if record and record.validator and self.size() else None

    def size(self) -> int:
        """Bytes of the beginning."""
        try:
            return self.partial.stat().st_size
        except OSError:
            return 0

    def begin(self, found: Record) -> None:
        """Makes room for the beginning of another file."""
        self.drop_partial()
        self._write(PARTIAL_RECORD, found)

    def keep(self, found: Record) -> Path:
        """Gives the beginning, which is whole, the name of the file; its path."""
        if self.kept and self.kept.name != found.name:
            self.file.unlink(missing_ok=True)
        self.partial.replace(self.folder / found.name)
        self._write(RECORD, found)
        self.drop_partial()
        return self.folder / found.name

    def drop_partial(self) -> None:
        """Removes the beginning."""
        for name in (PARTIAL_RECORD, PARTIAL):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()

    def tidy(self) -> None:
        """Leaves nothing but a file, or a beginning that can be gone on with."""
        if not self.begun():
            self.drop_partial()
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # where it is empty

    def _kept(self) -> Record | None:
        record = self._read(RECORD)
        if record is None:
            return None
        try:
            digest = sums.sha256(self.folder / record.name)
        except OSError:
            return None
        return record if digest == record.sha256 else None

    def _read(self, name: str) -> Record | None:
        """A record of this folder; None where there is none, or it is damaged."""
        try:
            record = Record(**read_json(self.folder / name))
            own = file_name("", f"//x/{record.name}") == record.name
            texts = record.etag, record.modified, record.sha256
            known = type(record.length) in (int, type(None))
            return record if own and known and all(map(_is_text, texts)) else None
        except (StylePrompterError, TypeError, AttributeError, ValueError):
            return None

    def _write(self, name: str, record: Record) -> None:
        write_json(self.folder / name, dataclasses.asdict(record))


@contextlib.contextmanager
def written(folder: Path, undo: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Turns what the system says against the cache into one sentence."""
    try:
        yield
    except OSError as error:
        undo()
        raise StylePrompterError(
            f"{folder} cannot be written ({error.strerror or error}): free space "
            "there, or set XDG_CACHE_HOME to another folder."
        ) from error


def _is_text(value: Any) -> bool:
    return type(value) is str and value.isprintable()
