"""Files and folders that get their name only when they are complete.

Before that, they have the temporary name `.NAME.MACHINE-PROCESS-COUNT.partial` in the
same folder. It is short even if NAME is long. A killed process leaves its temporary
files behind. The next process that writes into the folder removes the temporary files
whose process on this machine has ended.
"""

import contextlib
import errno
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
from styleprompter_jax.core.paths import broken_link, path_text

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # errors of a full disk
_LONGEST = 60  # bytes of a name; a temporary name shortens a longer one
_PARTIAL = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-\d+\.partial(\.\w+)?")
# Version 0.1 wrote `.NAME.PROCESS.old`.
_OLD = re.compile(r"\.(.+)\.(?:([0-9a-f]{8})-)?(\d+)(?:-\d+)?\.old")
_count = itertools.count()
_swept: set[Path] = set()
_live: set[Path] = set()  # temporary names in use
_told: dict[str, Callable[[Path], None]] = {}  # the functions of `before_naming`


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, *, parents: bool = True) -> Iterator[Path]:
    """Yields a temporary path, and renames the file to ``path`` after the block.

    If anything fails, the temporary file is removed and an existing file at ``path``
    does not change. If ``path`` is a link, the new file replaces the link; the target
    of the link does not change.

    Args:
        path: the final path; the temporary path has the same suffix.
        parents: create the folder if it is missing.

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
        # If the folder could not be made, there is nothing to remove.
        with contextlib.suppress(OSError, ValueError):
            partial.unlink()
        _live.discard(partial)


@contextlib.contextmanager
def before_naming(
    path: str | os.PathLike, tell: Callable[[Path], None]
) -> Iterator[None]:
    """Makes `atomic_path` call ``tell(partial)`` before it renames the complete file.

    Use it to learn about a file that a called function writes. If ``tell`` raises an
    error, an existing file at ``path`` does not change.
    """
    key = os.path.abspath(path)
    _told[key] = tell
    try:
        yield
    finally:
        del _told[key]


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text in UTF-8, completely or not at all; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike, parts: Collection[str]) -> Iterator[Path]:
    """Yields a temporary folder to fill, and moves it to ``path`` after the block.

    If a folder exists at ``path``, its other files (notes, images) move to the new
    folder; only ``parts`` do not. If ``path`` is a link, the link stays and its target
    is replaced. A killed process loses nothing: see `repair_folder`.

    Args:
        path: the final path.
        parts: names in the existing folder that do not move to the new folder.

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
    """Removes this process's unfinished files and folders before the process ends."""
    for partial in list(_live):
        _remove(partial)


def is_partial(name: str) -> bool:
    """Returns whether a name is one that `atomic_path` and `atomic_folder` yield."""
    return _PARTIAL.fullmatch(name) is not None


def repair_folder(path: str | os.PathLike) -> None:
    """Restores a folder that is renamed because a kill interrupted `atomic_folder`."""
    place = Path(os.path.realpath(path))
    if not os.path.lexists(place) and (left := _left_behind(place)):
        # Another process may be faster, or the user may have no permission.
        with contextlib.suppress(OSError):
            left[-1].rename(place)


@contextlib.contextmanager
def writing(path: str | os.PathLike, hint: str = "") -> Iterator[None]:
    """Converts system errors about ``path`` to the error of `not_written`."""
    try:
        path_text(path)
        yield
    except OSError as error:
        raise not_written(path, error, hint) from error


def not_written(
    path: str | os.PathLike, error: Exception, hint: str = ""
) -> StylePrompterError:
    """Returns the error for a file or folder that cannot be written.

    Args:
        path: the file or folder.
        error: what the system, or a library, says.
        hint: the way out, for example to use another folder. If the disk is full, the
            user may also free space.
    """
    text = str(error) or repr(error)
    number = getattr(error, "errno", None)
    why = getattr(error, "strerror", None) or text.splitlines()[0][:200]
    # Libraries keep the system's text, but not always its number.
    if number in _FULL or any(os.strerror(code) in text for code in _FULL):
        place = hint or "choose another place"
        hint = f"free space there and make the same call again, or {place}"
    elif number in (errno.EEXIST, errno.ENOENT):
        places = (path, *Path(path).parents)
        why = next(filter(None, map(broken_link, places)), why)
    said = f"({why}): {hint}" if hint else f": {why}"
    return StylePrompterError(f"{path} cannot be written{' ' * bool(hint)}{said}.")


def make_folder(path: Path) -> None:
    """Creates a folder and its parents, at any depth.

    Another process may create the same folders at the same time.

    Raises:
        OSError: if a folder cannot be created.
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
    """Returns a path beside ``path`` whose name identifies this process."""
    whose = f"{machine()}-{os.getpid()}-{next(_count)}"
    return path.with_name(f".{_shortened(path.name)}.{whose}.{kind}")


def _shortened(name: str) -> str:
    """Returns a short name unchanged, and a long one as its beginning and a hash."""
    content = name.encode(errors="surrogatepass")
    if len(content) <= _LONGEST:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{name[: _LONGEST // 5]}~{digest}"  # a character has at most four bytes


@functools.cache
def machine() -> str:
    """Returns eight digits that identify the machine, or container, of process IDs."""
    known = [platform.node()]
    with contextlib.suppress(OSError):
        known.append(Path("/etc/machine-id").read_text())
    with contextlib.suppress(OSError):  # differs between containers on one machine
        known.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def is_gone(where: str | None, process: str) -> bool:
    """Returns whether a process of ``where`` has surely ended; None is this machine."""
    if where not in (None, machine()) or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def _sweep(folder: Path) -> None:
    """Removes the temporary files of ended processes, once for each folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PARTIAL.fullmatch(entry.name)
            if found and is_gone(found[1], found[2]):
                _remove(Path(entry.path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _left_behind(place: Path) -> list[Path]:
    """Returns the old versions of a folder that ended processes left, newest last."""
    names = {place.name, _shortened(place.name)}
    with contextlib.suppress(OSError), os.scandir(place.parent) as entries:
        found = [
            Path(entry.path)
            for entry in entries
            if (m := _OLD.fullmatch(entry.name))
            and m[1] in names
            and is_gone(m[2], m[3])
        ]
        return sorted(found, key=lambda old: old.stat().st_mtime)
    return []


def _replace(place: Path, new: Path, parts: Collection[str]) -> None:
    """Moves ``new`` to ``place``, with the old folder's files except ``parts``."""
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
