"""Which files are pictures: those of a folder, a glob or one name.

Commands and training find pictures by the same rules:

- Files named like a picture count, and files whose first bytes are those of a picture
  that is read, whatever they are called (`photo.jfif`, `photo.jpg_large`, `photo`).
- Pictures of other kinds (raw photographs, PPM, TGA) are left out and named.
- Hidden files and folders are left out, and folders in which systems keep copies.
- Links to folders are followed, each folder once.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.spelling import another_path
from styleprompter_jax.core.walk import folders, is_folder, matching

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
# Found like the others, so that `read_image` refuses them by name.
REFUSED = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".eps", ".psd", ".dng"}
# Pictures too, which are left out and named.  Raw photographs first: most begin like a
# TIFF, and what can be read of them is a small preview.
UNREAD = {
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".erf", ".iiq", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl",
    ".sr2", ".srf", ".srw", ".x3f",
    ".dds", ".exr", ".hdr", ".ico", ".icns", ".j2c", ".j2k", ".jpf", ".jpx", ".jxr",
    ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".qoi", ".tga", ".xcf",
}  # fmt: skip
# Endings of what is unfinished, or the copy of another file.
UNFINISHED = (".bak", ".crdownload", ".download", ".part", ".partial", ".tmp", "~")
# Folders that are not hidden by their names, in which systems keep thumbnails and what
# was deleted or found on a broken disk, in small letters.
SYSTEM_FOLDERS = {
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@__thumb",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@tmp",
    "__macosx",
    "found.000",
    "lost+found",
    "recycler",
    "system volume information",
}
BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
UNREAD_BEGINNINGS = (
    b"8BPS",  # Photoshop
    b"\x76\x2f\x31\x01",  # OpenEXR
    b"\xff\x0a",  # JPEG XL
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
    b"qoif",
    b"DDS ",
    b"FUJIFILMCCD-RAW",
    b"IIRO",  # Olympus
    b"IIRS",
    b"IIU\0",  # Panasonic
)
UNREAD_BRANDS = {
    b"heic",
    b"heix",
    b"hevc",
    b"mif1",
    b"msf1",
    b"avif",
    b"avis",
    b"crx ",  # Canon
}
NAMED = 5  # files in a message


class Found(NamedTuple):
    """What a path stands for.

    Attributes:
        images: the pictures, sorted.
        unread: pictures of kinds that are not read, sorted.
    """

    images: list[Path]
    unread: list[Path]

    @property
    def warning(self) -> str | None:
        """One line that names the pictures left out; None where there are none."""
        if not self.unread:
            return None
        names = ", ".join(map(shown, self.unread[:NAMED]))
        more = len(self.unread) - NAMED
        return (
            f"Left out: {names}{f' and {more} more' if more > 0 else ''}, of kinds "
            "that are not read: convert them to PNG or JPEG to have them too."
        )


def shown(path: str | os.PathLike) -> str:
    """A name as a message shows it: in one line, whatever it holds."""
    name = os.fspath(path)
    return name if name.isprintable() else repr(name)


def find_images(path: str | os.PathLike) -> Found:
    """The pictures that a file name, a folder (recursively) or a glob stands for.

    What cannot be read is among them, for `read_image` to refuse: broken links, folders
    without permission, formats such as HEIC.

    Raises:
        StylePrompterError: if there is no such path, or no picture in it.
    """
    path = local_path(path)
    images: list[Path] = []
    unread: list[Path] = []
    if os.path.isdir(path):
        candidates: Iterable[Path] = _walk(path, images)
    elif os.path.lexists(path):
        return Found([path], [])
    elif glob.has_magic(str(path)):
        candidates = list(_matching(path))
        if not candidates:
            raise StylePrompterError(_unmatched(path))
    else:
        raise StylePrompterError(
            f"There is no file or folder {shown(path)}.{another_path(path)}"
        )
    for candidate in candidates:
        kind = _kind(candidate)
        if kind is not None:
            (images if kind else unread).append(candidate)
    found = Found(sorted(images), sorted(unread))
    if not images:
        raise StylePrompterError(
            f"{shown(path)} holds no pictures, hidden files and folders left aside: "
            f"expected files named *{', *'.join(sorted(EXTENSIONS))}."
            + (f" {found.warning}" if unread else "")
        )
    return found


def _unmatched(pattern: Path) -> str:
    """Why a glob may stand for no file."""
    text = os.fspath(pattern)
    hint = another_path(text)
    if not hint and (brackets := re.search(r"\[[^]/]*\]?", text)):
        hint = (
            f" In a pattern, {shown(brackets[0])} stands for one of the characters in "
            f"it; to mean the brackets themselves, write {shown(_literal(pattern))}."
        )
    return f"{shown(text)} matches no file.{hint}"


def _literal(pattern: Path) -> str:
    """A glob with its brackets, and all of parts that are there so, as they are."""
    found, parts = Path(), []
    for part in pattern.parts:
        found /= part
        there = os.path.lexists(found)
        parts.append(glob.escape(part) if there else part.replace("[", "[[]"))
    return os.path.join(*parts)


def _walk(top: Path, problems: list[Path]) -> Iterator[Path]:
    """Files below a folder; folders that cannot be read are added to `problems`."""
    for folder, entries in folders(top, SYSTEM_FOLDERS, problems):
        for entry in entries:
            if not is_folder(entry):
                yield folder / entry.name


def _matching(pattern: Path) -> Iterator[Path]:
    """Files that match a glob, each once; system folders only where it names them."""
    left_out = SYSTEM_FOLDERS.difference(map(str.casefold, pattern.parts))
    places, found = set(), set(matching(pattern, left_out))
    # A file may be found under several names, by links: the shortest counts.
    for path in sorted(found, key=lambda path: (len(path.parts), path)):
        place = (path.parent.resolve(), path.name)
        around = map(str.casefold, path.parts[:-1])
        if place in places or path.is_dir() or left_out.intersection(around):
            continue
        places.add(place)
        yield path


def _kind(path: Path) -> bool | None:
    """True for a picture to read, False for one of another kind, None for no picture.

    Names decide where they can: of most files nothing is read.
    """
    suffix = path.suffix.lower()
    if suffix in EXTENSIONS | REFUSED:
        return True
    if suffix in UNREAD:
        return False
    if path.name.endswith(UNFINISHED):
        return None
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            return None
        with open(path, "rb") as file:
            return kind_by_content(file.read(32))
    except OSError:
        return None


def kind_by_content(head: bytes) -> bool | None:
    """As for names: True, False or None, from the first 32 bytes of a file."""
    if head.startswith(UNREAD_BEGINNINGS) or (
        head[4:8] == b"ftyp" and head[8:12] in UNREAD_BRANDS
    ):
        return False
    if head.startswith((b"II*\0", b"MM\0*")):  # TIFF, and Canon's raw photographs
        return head[8:10] != b"CR"
    if head.startswith(b"BM"):  # and the size of its second header, known ones alone
        return True if head[15:18] == bytes(3) and head[14] in BMP_HEADERS else None
    if head.startswith(b"RIFF"):
        return True if head[8:12] == b"WEBP" else None
    return True if head.startswith(BEGINNINGS) else None
