"""Files and folders that appear under their name when they are whole.

Until then they lie beside it as `.NAME.WHOSE-PROCESS-COUNT.partial`, a name that is
short however long NAME is. A process that is killed leaves them behind; the next one
that writes in the folder removes what no living process of this machine owns.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import platform
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import path_text

_LONGEST = 60  # bytes of a name that are kept in a temporary one
_PARTIAL = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-\d+\.partial(\.\w+)?")
# Version 0.1 wrote `.NAME.PROCESS.old`.
_OLD = re.compile(r"\.(.+)\.(?:([0-9a-f]{8})-)?(\d+)(?:-\d+)?\.old")
_count = itertools.count()
_swept: set[Path] = set()
_live: set[Path] = set()  # temporary names in use
_told: dict[str, Callable[[Path], None]] = {}  # of `before_naming`


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, *, parents: bool = True) -> Iterator[Path]:
    """A name to write a file under, which gets its own at the end of the block.

    Whatever goes wrong, nothing is left behind and a file
    of that name from before stays as it is.  A link of that name is replaced, and what
    it points to stays as it is.

    Args:
        path: the file's own name; the other one has the same ending.
        parents: make the folder if needed.

    Raises:
        StylePrompterError: if the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix if re.fullmatch(r"\.\w{1,16}", path.suffix, re.ASCII) else ""
    partial = _temporary(path, f"partial{suffix}")
    _live.add(partial)
    try:
        with writing(path):
            if parents:
                make_folder(path.parent)
            _sweep(path.parent)
            yield partial
            if tell := _told.get(os.path.abspath(path)):
                tell(partial)
            partial.replace(path)
    finally:
        # Where the folder could not be made, there is no place to look for it.
        with contextlib.suppress(OSError, ValueError):
            partial.unlink()
        _live.discard(partial)


@contextlib.contextmanager
def before_naming(
    path: str | os.PathLike, tell: Callable[[Path], None]
) -> Iterator[None]:
    """Has `atomic_path` call ``tell(partial)`` when a file is whole and has no name.

    For what wants to know of a file that is written further down. What ``tell`` raises
    leaves the file of before as it is.
    """
    key = os.path.abspath(path)
    _told[key] = tell
    try:
        yield
    finally:
        del _told[key]


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text in UTF-8, whole or not at all; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike, parts: Collection[str]) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``path`` at the end of the block.

    What the folder of before holds beside ``parts`` (notes, pictures) moves over to
    the new one.  Where ``path`` is a link, the link stays and what it points to is
    replaced.  A process that is killed amid this loses nothing: see `repair_folder`.

    Args:
        path: the folder's own name.
        parts: names in the folder that the new one replaces, or goes without.

    Raises:
        StylePrompterError: if the folder cannot be written.
    """
    place = Path(os.path.realpath(path))
    partial = _temporary(place, "partial")
    _live.add(partial)
    try:
        with writing(path):
            make_folder(place.parent)
            _sweep(place.parent)
            repair_folder(place)
            for old in _left_behind(place):
                _move_over(old, place, parts)
            partial.mkdir()
            yield partial
            _replace(place, partial, parts)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _live.discard(partial)


def remove_partials() -> None:
    """Removes what is being written, for a process that ends here."""
    for partial in list(_live):
        _remove(partial)


def repair_folder(path: str | os.PathLike) -> None:
    """Brings back a folder that a kill amid `atomic_folder` left under another name."""
    place = Path(os.path.realpath(path))
    if not os.path.lexists(place) and (left := _left_behind(place)):
        with contextlib.suppress(OSError):  # another process was quicker, or no right
            left[-1].rename(place)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns what the system says against ``path`` into a StylePrompterError."""
    try:
        path_text(path)
        yield
    except OSError as error:
        raise StylePrompterError(
            f"{path} cannot be written: {error.strerror or error}."
        ) from error


def make_folder(path: Path) -> None:
    """`Path.mkdir(parents=True)` for any depth; others may make it meanwhile.

    Raises:
        OSError: if it cannot be made.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise


def _temporary(path: Path, kind: str) -> Path:
    """A name beside ``path`` that says who made it."""
    whose = f"{_machine()}-{os.getpid()}-{next(_count)}"
    return path.with_name(f".{_shortened(path.name)}.{whose}.{kind}")


def _shortened(name: str) -> str:
    """A name, or the beginning of a long one and a sum of it."""
    content = name.encode(errors="surrogatepass")
    if len(content) <= _LONGEST:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{name[: _LONGEST // 5]}~{digest}"  # four bytes a character at most


@functools.cache
def _machine() -> str:
    """Eight digits for what gives the processes their numbers."""
    known = [platform.node()]
    with contextlib.suppress(OSError):
        known.append(Path("/etc/machine-id").read_text())
    with contextlib.suppress(OSError):  # containers on one machine
        known.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def _is_gone(machine: str | None, process: str) -> bool:
    """Whether the process that made a temporary name is known to have ended."""
    if machine not in (None, _machine()) or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def _sweep(folder: Path) -> None:
    """Removes what ended processes left in a folder, once for each folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PARTIAL.fullmatch(entry.name)
            if found and _is_gone(found[1], found[2]):
                _remove(Path(entry.path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _left_behind(place: Path) -> list[Path]:
    """What an ended process put aside of a folder, the latest last."""
    names = {place.name, _shortened(place.name)}
    with contextlib.suppress(OSError), os.scandir(place.parent) as entries:
        found = [
            Path(entry.path)
            for entry in entries
            if (m := _OLD.fullmatch(entry.name))
            and m[1] in names
            and _is_gone(m[2], m[3])
        ]
        return sorted(found, key=lambda old: old.stat().st_mtime)
    return []


def _replace(place: Path, new: Path, parts: Collection[str]) -> None:
    """Moves ``new`` to ``place``, and over to it what is beside the parts there."""
    if not os.path.lexists(place):
        new.rename(place)
        return
    old = _temporary(place, "old")
    place.rename(old)
    try:
        new.rename(place)
    except BaseException:
        old.rename(place)
        raise
    _move_over(old, place, parts)


def _move_over(old: Path, place: Path, parts: Collection[str]) -> None:
    for entry in old.iterdir():
        if entry.name not in parts and not os.path.lexists(place / entry.name):
            entry.rename(place / entry.name)
    shutil.rmtree(old, ignore_errors=True)
