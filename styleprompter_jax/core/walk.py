"""Folders below a folder, each once, whatever links make of them; and globs of them."""

import collections
import glob
import os
from collections.abc import Collection, Iterator
from pathlib import Path


def folders(
    top: Path, left_out: Collection[str], problems: list[Path]
) -> Iterator[tuple[Path, list[os.DirEntry]]]:
    """A folder and those below it, with what lies in each and is not hidden, sorted.

    Folders are walked before links to folders, and each folder once: a link may lead
    round in a circle, and adds only what is not there without it.

    Args:
        top: the folder.
        left_out: names of folders, in small letters.
        problems: gets the folders that cannot be read.
    """
    seen = set()
    waiting, links = [top], collections.deque[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.popleft()
        try:
            place = os.stat(folder)
            if (place.st_dev, place.st_ino) in seen:
                continue
            seen.add((place.st_dev, place.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            problems.append(folder)
            continue
        entries = [entry for entry in entries if not entry.name.startswith(".")]
        yield folder, entries
        for entry in entries:
            path = folder / entry.name
            if not is_folder(entry) or entry.name.casefold() in left_out:
                continue
            if not entry.is_symlink():
                waiting.append(path)
            elif not _is_above(path, folder) and not _is_above(path, top):
                links.append(path)


def matching(pattern: Path, left_out: Collection[str] = ()) -> Iterator[Path]:
    """What a glob stands for; "**" means the `folders` below.

    That of Python's library goes round in a circle of links as often as a name may be
    long.
    """
    parts = pattern.parts
    if "**" not in parts:
        yield from map(Path, glob.iglob(str(pattern)))
        return
    first = parts.index("**")
    rest = list(parts[first:])
    while rest and rest[0] == "**":
        rest.pop(0)
    for top in glob.iglob(str(Path(*parts[:first]))):
        if os.path.isdir(top):
            for folder, _ in folders(Path(top), left_out, []):
                below = Path(glob.escape(str(folder)), *(rest or ["*"]))
                yield from matching(below, left_out)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link round in a circle, which nothing can read
        return False


def _is_above(link: Path, folder: Path) -> bool:
    """Whether a link leads to what a folder is in, as one to / does."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(link))
