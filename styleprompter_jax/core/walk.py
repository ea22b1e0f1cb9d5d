"""Visits each folder below a folder once, even if links repeat it; matches globs."""

import collections
import glob
import os
from collections.abc import Collection, Iterator
from pathlib import Path


def folders(
    top: Path, left_out: Collection[str], problems: list[Path]
) -> Iterator[tuple[Path, list[os.DirEntry]]]:
    """Yields a folder and all folders below it, with the sorted entries of each.

    It skips hidden entries. It yields each folder once, because links may form a cycle.
    Folders come before links to folders, so a link adds only folders that are not
    reachable without it.

    Args:
        top: the folder.
        left_out: names of folders to skip, in lower case.
        problems: the function appends the folders that cannot be read.
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
    """Yields the paths that a glob matches; "**" matches the `folders` below.

    Python's own glob follows a cycle of links until a path is too long.
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
    """Returns whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which cannot be read
        return False


def _is_above(link: Path, folder: Path) -> bool:
    """Returns whether a link leads to a parent of a folder, like a link to /."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(link))
