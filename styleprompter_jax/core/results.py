"""The one place for what a command writes: told before the work, and kept account of.

Inputs are never overwritten, and what this program did not write, only if it is told
to. The file `.styleprompter` in the folder of the results says what it wrote: a line of
JSON for each file, {"file": NAME, "sha256": ...}, written when the file is whole and
before it gets its name. What has another sum under that name is another's, and after a
kill the same call goes on as before.
"""

import contextlib
import json
import os
import stat
import tempfile
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from styleprompter_jax.core.atomic import (
    before_naming,
    make_folder,
    write_text,
    writing,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.spelling import told_apart
from styleprompter_jax.core.sums import sha256

ACCOUNT = ".styleprompter"
_LINES = 10_000  # that the account may have beside those it needs


class Results:
    """The files that a command is going to write into a folder.

    Args:
        folder: of the results.
        files: all of them, in ``folder`` or in folders there.
        inputs: files that the command reads.
        overwrite: replace files that this program did not write, too.

    Raises:
        StylePrompterError: if a file is one of the inputs or of another's, two are
            one, or one cannot be written; nothing has been written then.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        files: Sequence[Path],
        *,
        inputs: Iterable[str | os.PathLike] = (),
        overwrite: bool = False,
    ):
        self._folder, self._lock = Path(folder), threading.Lock()
        self._names = {file: file.relative_to(folder).as_posix() for file in files}
        for place in dict.fromkeys([self._folder, *(file.parent for file in files)]):
            _check_folder(place)
        _check_names(self._folder, files)
        check_files(files, inputs, overwrite=True)
        self._account = _Account(self._folder / ACCOUNT)
        if not overwrite:
            self._check_owner(files)

    def writing(self, file: Path) -> contextlib.AbstractContextManager:
        """To be held while one of the files is written by `atomic_path`."""
        return before_naming(file, lambda partial: self.record(file, partial))

    def record(self, file: Path, partial: Path) -> None:
        """Takes down what one of the files is going to be.

        Raises:
            StylePrompterError: if the account cannot be written.
        """
        with writing(file):
            digest = sha256(partial)
        with self._lock:
            self._account.add(self._names[file], digest)

    def _check_owner(self, files: Sequence[Path]) -> None:
        there = [file for file in files if os.path.lexists(file)]
        wrote = self._account.wrote
        if others := [f for f in there if not wrote(self._names[f], f)]:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            raise StylePrompterError(
                f"{others[0]}{more} is there already, and this program did not write "
                "it or it was changed since: choose another --output, or replace it "
                "with --overwrite."
            )


def check_files(
    files: Sequence[str | os.PathLike],
    inputs: Iterable[str | os.PathLike],
    *,
    overwrite: bool,
) -> None:
    """Refuses to write files over inputs or folders, or over anything unless told to.

    Two names of one file are found as such: links, letters of another case and other
    spellings in Unicode where the file system takes them for one.

    Raises:
        StylePrompterError: naming the file.
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
                raise StylePrompterError(
                    f"{file} is there and is no file: choose another place for the "
                    "results."
                )
        elif not overwrite:
            raise StylePrompterError(
                f"{file} exists: choose another name, or replace it with --overwrite."
            )


def _check_folder(folder: Path) -> None:
    """Refuses a folder that is a file, or that nothing can be written into."""
    with writing(folder):
        place = _existing(folder)
        if not place.is_dir():
            raise StylePrompterError(f"{place} is a file: choose another --output.")
        if not os.access(place, os.W_OK | os.X_OK):
            raise StylePrompterError(
                f"{folder} cannot be written: nothing may be made in {place}; choose "
                "another --output."
            )


def _existing(path: Path) -> Path:
    """The path, or the nearest of its parents that is there."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _check_names(folder: Path, files: Sequence[Path]) -> None:
    """Refuses names that the disk cannot have, and two results with one name."""
    place = _existing(folder)
    longest, deepest = _limits(place)
    if twice := [file for file, count in Counter(files).items() if count > 1]:
        raise StylePrompterError(
            f"Two results would both become {twice[0]}: rename a picture."
        )
    known = set(files)
    alike: dict[str, Path] = {}
    for file in files:
        with writing(file):  # for what is no name at all
            size = len(os.fsencode(os.path.abspath(file)))
        below = file.relative_to(folder)
        name = max(below.parts, key=lambda part: len(os.fsencode(part)))
        if size >= deepest or len(os.fsencode(name)) > longest:
            raise StylePrompterError(
                f"The name {name!r} or the path of {size} bytes to it is longer than "
                f"the disk of {place} permits: rename the picture, or choose a shorter "
                "--output."
            )
        if inside := known.intersection(file.parents):
            raise StylePrompterError(
                f"{inside.pop()} would be a result, and the folder of {file}: rename a "
                "picture."
            )
        text = unicodedata.normalize("NFC", str(below)).casefold()
        other = alike.setdefault(text, below)
        if other != below and _are_one(place, other, below):
            raise StylePrompterError(
                f"The results {told_apart(other)} and {told_apart(below)} would both "
                f"become one file on the disk of {place}: rename a picture."
            )


def _limits(place: Path) -> tuple[int, int]:
    """Bytes that a name and a path may have."""
    try:
        return os.pathconf(place, "PC_NAME_MAX"), os.pathconf(place, "PC_PATH_MAX")
    except (AttributeError, OSError, ValueError):
        return 255, 4096


def _are_one(place: Path, first: Path, second: Path) -> bool:
    """Whether two names stand for one file on a disk; asked by making the first."""
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=place) as probe:
            path = Path(probe) / first
            make_folder(path.parent)
            path.touch()
            return os.path.lexists(Path(probe) / second)
    except OSError:
        return False


def _node(path: str | os.PathLike) -> tuple[int, int] | None:
    """What tells a file from all others, however it is named."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else None


class _Account:
    """The SHA-256 of what was written into a folder, in a file there."""

    def __init__(self, path: Path):
        self._path = path
        # Several of a name, the latest last: after a kill the file of before is there,
        # and the last line is of one that never got the name.
        self._sums: dict[str, list[str]] = {}
        rows = list(_rows(path))
        for row in rows:
            # Version 0.1 wrote {"begin": NAME} too, which tells nothing of a content.
            if {"file", "sha256"} <= row.keys():
                self._sums.setdefault(row["file"], []).append(row["sha256"])
        if len(rows) > 2 * len(self._sums) + _LINES:
            self._rewrite()

    def wrote(self, name: str, file: Path) -> bool:
        """Whether a file that is there is as this program wrote it."""
        if not stat.S_ISREG(os.lstat(file).st_mode):
            return False
        try:
            return name in self._sums and sha256(file) in self._sums[name]
        except OSError:
            return False

    def add(self, name: str, digest: str) -> None:
        with writing(self._path):
            self._append({"file": name, "sha256": digest})

    def _append(self, row: dict) -> None:
        make_folder(self._path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        # No link is followed, and no pipe waited for.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.open(self._path, flags, 0o666)
        try:
            # After half a line of a full disk, the next one is whole.
            os.write(file, b"\n" + json.dumps(row).encode())
        finally:
            os.close(file)

    def _rewrite(self) -> None:
        rows = [
            {"file": name, "sha256": digest}
            for name, sums in self._sums.items()
            for digest in sums[-2:]
        ]
        write_text(self._path, "".join(f"\n{json.dumps(row)}" for row in rows))


def _rows(path: Path) -> Iterator[dict]:
    """The whole lines of an account; none where there is no such file."""
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
