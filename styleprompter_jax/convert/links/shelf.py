"""The folder of a link in the user's cache.

NAME            the file, with the name that its server gives it.
record.json     its length and SHA-256, and the server's marks of its version.
file.partial    the beginning of an interrupted download, which the next one resumes.
partial.json    the record of the interrupted download.
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
from styleprompter_jax.core.atomic import not_written
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json, write_json


class Shelf:
    """The folder of one link.

    Args:
        folder: path of the folder; the first write makes it.

    Attributes:
        partial: path of the partial file.
        kept: record of the file, if the file has not changed since the download.
    """

    def __init__(self, folder: Path):
        self.folder, self.partial = folder, folder / PARTIAL
        self.kept = self._kept()

    @property
    def file(self) -> Path:
        """The path of the complete file."""
        return self.folder / (self.kept.name if self.kept else "")

    def begun(self) -> Record | None:
        """Returns the record of a partial file that can be resumed, or None."""
        record = self._read(PARTIAL_RECORD)
        return record if record and record.validator and self.size() else None

    def size(self) -> int:
        """Returns the size of the partial file in bytes."""
        try:
            return self.partial.stat().st_size
        except OSError:
            return 0

    def begin(self, found: Record) -> None:
        """Removes the partial file, and records a new download."""
        self.drop_partial()
        self._write(PARTIAL_RECORD, found)

    def keep(self, found: Record) -> Path:
        """Gives the partial file, now complete, its name; returns its path."""
        if self.kept and self.kept.name != found.name:
            self.file.unlink(missing_ok=True)
        self.partial.replace(self.folder / found.name)
        self._write(RECORD, found)
        self.drop_partial()
        return self.folder / found.name

    def drop_partial(self) -> None:
        """Removes the partial file and its record."""
        for name in (PARTIAL_RECORD, PARTIAL):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()

    def tidy(self) -> None:
        """Removes a partial file that cannot be resumed, and an empty folder."""
        if not self.begun():
            self.drop_partial()
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # works only for an empty folder

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
        """Reads a record of this folder; returns None if it is missing or damaged."""
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
    """Turns system errors about the cache into one sentence."""
    try:
        yield
    except OSError as error:
        undo()
        hint = "set XDG_CACHE_HOME to another folder"
        raise not_written(folder, error, hint) from error


def _is_text(value: Any) -> bool:
    return type(value) is str and value.isprintable()
