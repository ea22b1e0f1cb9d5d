"""The results of a command: all code writes them through this module.

A command declares its result files before it computes. It never overwrites its inputs.
It overwrites a file of the user only with --overwrite. The file `.styleprompter` in the
results folder is an account: a line of JSON for each written file, {"file": NAME,
"sha256": ...}. The line of an edit has the name of the edited image too, as "source",
and that of a sheet of several images has "kind": "sheet".
The program writes the line when the file is complete and still has a temporary name. A
file whose hash differs from the account belongs to the user. If a call was killed, the
same call can run again and continue.

A folder with shards (`store.shards`) gets no results, and a folder with an account gets
no shards.
"""

import contextlib
import json
import os
import re
import stat
import tempfile
import threading
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from styleprompter_jax.core.atomic import (
    before_naming,
    make_folder,
    write_text,
    writing,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import with_addresses
from styleprompter_jax.core.paths import broken_link
from styleprompter_jax.core.spelling import told_apart
from styleprompter_jax.core.sums import sha256

ACCOUNT = ".styleprompter"
SHARD = re.compile(r"part-[0-9a-f]{20}\.parquet")  # the name of a shard
_SHEET = "sheet"
_LINES = 10_000  # largest number of outdated lines in the account


class Results:
    """The files that a command will write into a folder.

    Args:
        folder: the results folder.
        files: all result files, in ``folder`` or in its subfolders.
        inputs: files that the command reads.
        sources: for edits, the path that the image's own result would have; the account
            keeps its name, see `sources_in`.
        sheets: the files that show several images; see `sheets_in`.
        overwrite: also replace files that this program did not write.
        images: what each file is made of, for messages; the last files may lack it.

    Raises:
        StylePrompterError: if a result would overwrite an input or a file of the user,
            two results would be one file, the folder has shards, or a file cannot be
            written. In this case, nothing has been written.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        files: Sequence[Path],
        *,
        inputs: Iterable[str | os.PathLike] = (),
        sources: Mapping[Path, Path] | None = None,
        sheets: Collection[Path] = (),
        overwrite: bool = False,
        images: Sequence[object] = (),
    ):
        self._folder, self._lock = Path(folder), threading.Lock()
        self._sources, self._sheets = sources or {}, sheets
        self._names = {file: file.relative_to(folder).as_posix() for file in files}
        for place in dict.fromkeys([self._folder, *(file.parent for file in files)]):
            check_folder(place)
        _check_room(self._folder)
        if self._folder.is_dir():
            check_no_shards(folder, os.listdir(folder))
        _check_apart(files, images)
        _check_names(self._folder, files)
        check_files(files, inputs, overwrite=True)
        self._account = _Account(self._folder / ACCOUNT)
        if not overwrite:
            self._check_owner(files)

    def writing(self, file: Path) -> contextlib.AbstractContextManager:
        """Returns a context in which `atomic_path` writes one of the files."""
        return before_naming(file, lambda partial: self.record(file, partial))

    def record(self, file: Path, partial: Path) -> None:
        """Records the hash of one of the files in the account.

        Raises:
            StylePrompterError: if the account cannot be written.
        """
        with writing(file):
            digest = sha256(partial)
        row = {"file": self._names[file], "sha256": digest}
        if (source := self._sources.get(file)) is not None:
            name = source.relative_to(self._folder).with_suffix("")
            row["source"] = name.as_posix()
        if file in self._sheets:
            row["kind"] = _SHEET
        with self._lock:
            self._account.add(row)

    def remove(self, file: Path) -> None:
        """Removes a file in the folder if an earlier call wrote it.

        Raises:
            StylePrompterError: if the file cannot be removed.
        """
        name = file.relative_to(self._folder).as_posix()
        if os.path.lexists(file) and self._account.wrote(name, file):
            with writing(file):
                file.unlink()

    def _check_owner(self, files: Sequence[Path]) -> None:
        there = [file for file in files if os.path.lexists(file)]
        wrote = self._account.wrote
        if others := [f for f in there if not wrote(self._names[f], f)]:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            raise StylePrompterError(
                f"{others[0]}{more} exists, and this program did not write it or it "
                "has changed since: choose another --output, or replace it with "
                "--overwrite."
            )


def check_no_shards(folder: object, names: Iterable[str]) -> None:
    """Refuses a folder that has shards among the names of its files."""
    if shard := next(filter(SHARD.fullmatch, names), None):
        raise StylePrompterError(
            f"{folder} holds shards of `invert --engine ray` ({shard}): choose another "
            "folder for the results."
        )


def sources_in(folder: Path) -> dict[str, str]:
    """Returns the names of the edited images by the files of a results folder.

    Both are relative to the folder; the names have no suffix. {} without an account.
    """
    rows = _rows(folder / ACCOUNT)
    return {
        row["file"]: row["source"] for row in rows if {"file", "source"} <= row.keys()
    }


def sheets_in(folder: Path) -> set[str]:
    """Returns the names of the sheets that this program wrote directly in a folder.

    A sheet that has changed since is a file of the user. Empty without an account.
    """
    sums = sheet_sums(folder / ACCOUNT)
    return {name for name, known in sums.items() if _has_sum(folder / name, known)}


def sheet_sums(account: Path) -> dict[str, list[str]]:
    """Returns the SHA-256 of the sheets that an account lists, by their names."""
    sums: dict[str, list[str]] = {}
    for row in _rows(account):
        name = row.get("file", "")
        # Other names are in subfolders, or of another program.
        if row.get("kind") == _SHEET and name == os.path.basename(name):
            sums.setdefault(name, []).append(row.get("sha256", ""))
    return sums


def check_files(
    files: Sequence[str | os.PathLike],
    inputs: Iterable[str | os.PathLike],
    *,
    overwrite: bool,
) -> None:
    """Refuses to write over inputs and folders, and over files without ``overwrite``.

    It recognises different names of one file: links, and names in another case or
    Unicode form if the file system treats them as equal.

    Raises:
        StylePrompterError: if a file must not be written; the message names it.
    """
    places, nodes = set(), set()
    for path in inputs:
        places.add(os.path.realpath(path))
        nodes.add(_node(path))
    nodes.discard(None)
    for file in files:
        if os.path.realpath(file) in places or _node(file) in nodes:
            raise StylePrompterError(
                f"{file} is one of the inputs and would be overwritten: choose another "
                "place for the results."
            )
        if not os.path.lexists(file):
            continue
        if not stat.S_ISREG((kind := os.lstat(file)).st_mode):
            if not overwrite or not stat.S_ISLNK(kind.st_mode):
                fault = broken_link(file) or f"{file} exists and is not a file"
                raise StylePrompterError(
                    f"{fault}: choose another place for the results."
                )
        elif not overwrite:
            raise StylePrompterError(
                f"{file} exists: choose another name, or replace it with --overwrite."
            )


def check_folder(folder: Path, way_out: str = "choose another --output") -> None:
    """Refuses a folder that is a file, is below a file, or is not writable.

    The folder may not exist yet. ``way_out`` ends the message.
    """
    with writing(folder):
        place = _existing(folder)
        if not place.is_dir():
            fault = broken_link(place) or f"{place} is a file"
            raise StylePrompterError(f"{fault}: {way_out}.")
        if not os.access(place, os.W_OK | os.X_OK):
            raise StylePrompterError(
                f"{folder} cannot be written, because {place} is not writable: "
                f"{way_out}."
            )


def _check_room(folder: Path) -> None:
    """Refuses a folder in which nothing can be created, such as below /proc."""
    place = _existing(folder)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".", dir=place))
    except OSError as error:
        raise StylePrompterError(
            f"{folder} cannot be written, because nothing can be created in {place} "
            f"({error.strerror}): choose another --output."
        ) from error


def _existing(path: Path) -> Path:
    """Returns the path, or the nearest of its parents that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _check_apart(files: Sequence[Path], images: Sequence[object]) -> None:
    """Refuses two results with one name; the message names their images."""
    known: dict[Path, int] = {}
    for k, file in enumerate(files):
        if (other := known.setdefault(file, k)) == k:
            continue
        if k >= len(images):
            raise StylePrompterError(
                f"Two results would both become {file}: rename an image."
            )
        one, two = (with_addresses(str(images[at])) for at in (other, k))
        if one == two:
            raise StylePrompterError(
                f"{one} would become {file} twice: leave out one of the two."
            )
        raise StylePrompterError(
            f"{one} and {two} would both become {file}: rename an image."
        )


def _check_names(folder: Path, files: Sequence[Path]) -> None:
    """Refuses names that the disk does not allow, or takes for one name."""
    place = _existing(folder)
    longest, deepest = _limits(place)
    known = set(files)
    alike: dict[str, Path] = {}
    for file in files:
        with writing(file):  # a name may be invalid
            size = len(os.fsencode(os.path.abspath(file)))
        below = file.relative_to(folder)
        name = max(below.parts, key=lambda part: len(os.fsencode(part)))
        if size >= deepest or len(os.fsencode(name)) > longest:
            raise StylePrompterError(
                f"The name {name!r}, or its path of {size} bytes, is longer than the "
                f"disk of {place} allows: rename the image, or choose a shorter "
                "--output."
            )
        if inside := known.intersection(file.parents):
            raise StylePrompterError(
                f"{inside.pop()} would be both a result and the folder of {file}: "
                "rename an image."
            )
        text = unicodedata.normalize("NFC", str(below)).casefold()
        other = alike.setdefault(text, below)
        if other != below and _are_one(place, other, below):
            raise StylePrompterError(
                f"The results {told_apart(other)} and {told_apart(below)} would both "
                f"become one file on the disk of {place}: rename an image."
            )


def _limits(place: Path) -> tuple[int, int]:
    """Returns the largest sizes of a name and of a path, in bytes."""
    try:
        return os.pathconf(place, "PC_NAME_MAX"), os.pathconf(place, "PC_PATH_MAX")
    except (AttributeError, OSError, ValueError):
        return 255, 4096


def _are_one(place: Path, first: Path, second: Path) -> bool:
    """Returns whether two names are one file on a disk; creates the first as a test."""
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=place) as probe:
            path = Path(probe) / first
            make_folder(path.parent)
            path.touch()
            return os.path.lexists(Path(probe) / second)
    except OSError:
        return False


def _node(path: str | os.PathLike) -> tuple[int, int] | None:
    """Returns the device and inode of a file, which identify it under any name."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else None


def _has_sum(file: Path, sums: Collection[str]) -> bool:
    """Returns whether a path is a regular file with one of the SHA-256."""
    try:
        return (
            bool(sums) and stat.S_ISREG(os.lstat(file).st_mode) and sha256(file) in sums
        )
    except OSError:
        return False


class _Account:
    """A row for each file that was written into a folder, kept in a file there."""

    def __init__(self, path: Path):
        self._path = path
        # A name may have several rows, the latest last. After a kill, the older file
        # still exists, and the last line describes a file that never got its name.
        self._known: dict[str, list[dict]] = {}
        rows = list(_rows(path))
        for row in rows:
            # Version 0.1 also wrote {"begin": NAME}, which has no hash.
            if {"file", "sha256"} <= row.keys():
                self._known.setdefault(row["file"], []).append(row)
        if len(rows) > 2 * len(self._known) + _LINES:
            self._rewrite()

    def wrote(self, name: str, file: Path) -> bool:
        """Returns whether an existing file is unchanged since this program wrote it."""
        return _has_sum(file, [row["sha256"] for row in self._known.get(name, ())])

    def add(self, row: dict) -> None:
        with writing(self._path):
            self._append(row)

    def _append(self, row: dict) -> None:
        make_folder(self._path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        # Do not follow links, and do not wait for pipes.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.open(self._path, flags, 0o666)
        try:
            # A full disk may leave half a line: the newline starts a new one.
            os.write(file, b"\n" + json.dumps(row).encode())
        finally:
            os.close(file)

    def _rewrite(self) -> None:
        rows = [row for known in self._known.values() for row in known[-2:]]
        write_text(self._path, "".join(f"\n{json.dumps(row)}" for row in rows))


def _rows(path: Path) -> Iterator[dict]:
    """Yields the valid lines of an account; nothing if the file does not exist."""
    if path.is_symlink() or not path.is_file():
        return
    with contextlib.suppress(OSError), path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line)
                if isinstance(row, dict) and all(
                    isinstance(value, str) for value in row.values()
                ):
                    yield row
