"""Finds the images of a folder, a glob or one path.

Commands and training find images by the same rules:

- A file is an image if its extension says so. With an unknown extension or none, the
  first bytes decide (`photo.jfif`, `photo.jpg_large`, `photo`).
- Images in unsupported formats (raw photographs, PPM, TGA) are skipped and named.
- Hidden files and folders are skipped, and folders in which systems keep copies.
- Links to folders are followed, each folder once.
- Sheets that a command wrote beside its results are skipped, unless a path names one.
"""

import functools
import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy, with_addresses
from styleprompter_jax.core.results import sheets_in
from styleprompter_jax.core.spelling import another_path
from styleprompter_jax.core.walk import folders, is_folder, matching

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
# `find_images` also returns these, so that `read_image` names and refuses them.
REFUSED = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".eps", ".psd", ".dng"}
# Unsupported formats, whose files are skipped and named. Raw photographs come first:
# most begin like a TIFF, but only a small preview in them is readable.
UNREAD = {
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".erf", ".iiq", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl",
    ".sr2", ".srf", ".srw", ".x3f",
    ".dds", ".exr", ".hdr", ".ico", ".icns", ".j2c", ".j2k", ".jpf", ".jpx", ".jxr",
    ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".qoi", ".tga", ".xcf",
}  # fmt: skip
# Endings of unfinished files, and of copies of other files.
UNFINISHED = (".bak", ".crdownload", ".download", ".part", ".partial", ".tmp", "~")
# Folders for thumbnails, deleted files and files from a broken disk, in lower case.
# Their names do not mark them as hidden.
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
NAMED = 5  # file names in a message


class Found(NamedTuple):
    """The images that a path names.

    Attributes:
        images: paths of the images, sorted.
        unread: paths of images in unsupported formats, sorted.
    """

    images: list[Path]
    unread: list[Path]

    @property
    def warning(self) -> str | None:
        """Returns a line that names the skipped images; None without skipped images."""
        if not self.unread:
            return None
        names = ", ".join(map(shown, self.unread[:NAMED]))
        more = len(self.unread) - NAMED
        return (
            f"Skipped {names}{f' and {more} more' if more > 0 else ''}, because these "
            "formats are not supported: convert them to PNG or JPEG."
        )


def shown(path: str | os.PathLike) -> str:
    """Returns a name for messages: always one line, and the address of a copy."""
    name = with_addresses(os.fspath(path))
    return name if name.isprintable() else repr(name)


def find_images(path: str | os.PathLike) -> Found:
    """Finds the images of a file name, a folder (recursively) or a glob.

    For an address in a bucket, it searches a local copy.

    The result includes unreadable paths, which `read_image` refuses later: broken
    links, folders without permission, formats such as HEIC.

    Raises:
        StylePrompterError: if the path does not exist, or has no images.
    """
    path = local_copy(path)
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
    sheets = functools.cache(sheets_in)
    for candidate in candidates:
        kind = _kind(candidate)
        if kind is not None and candidate.name not in sheets(candidate.parent):
            (images if kind else unread).append(candidate)
    found = Found(sorted(images), sorted(unread))
    if not images:
        raise StylePrompterError(
            f"{shown(path)} contains no images, apart from hidden files and "
            "folders, and sheets of results: add files named "
            f"*{', *'.join(sorted(EXTENSIONS))}."
            + (f" {found.warning}" if unread else "")
        )
    return found


def _unmatched(pattern: Path) -> str:
    """Explains why a glob may match no file."""
    text = os.fspath(pattern)
    hint = another_path(text)
    if not hint and (brackets := re.search(r"\[[^]/]*\]?", text)):
        hint = (
            f" In a pattern, {shown(brackets[0])} matches one of the characters in the "
            f"brackets. To match the brackets, write {shown(_literal(pattern))}."
        )
    return f"{shown(text)} matches no file.{hint}"


def _literal(pattern: Path) -> str:
    """Escapes the brackets of a glob, and all characters of its existing parts."""
    found, parts = Path(), []
    for part in pattern.parts:
        found /= part
        there = os.path.lexists(found)
        parts.append(glob.escape(part) if there else part.replace("[", "[[]"))
    return os.path.join(*parts)


def _walk(top: Path, problems: list[Path]) -> Iterator[Path]:
    """Yields the files below a folder; adds unreadable folders to `problems`."""
    for folder, entries in folders(top, SYSTEM_FOLDERS, problems):
        for entry in entries:
            if not is_folder(entry):
                yield folder / entry.name


def _matching(pattern: Path) -> Iterator[Path]:
    """Yields files that match a glob, each once; skips system folders if not named."""
    left_out = SYSTEM_FOLDERS.difference(map(str.casefold, pattern.parts))
    places, found = set(), set(matching(pattern, left_out))
    # Links may give a file several names: the shortest name counts.
    for path in sorted(found, key=lambda path: (len(path.parts), path)):
        place = (path.parent.resolve(), path.name)
        around = map(str.casefold, path.parts[:-1])
        if place in places or path.is_dir() or left_out.intersection(around):
            continue
        places.add(place)
        yield path


def _kind(path: Path) -> bool | None:
    """Returns True for an image, False for an unsupported format, None for no image.

    The name decides if it can, so that most files are not opened.
    """
    suffix = path.suffix.lower()
    if suffix in EXTENSIONS | REFUSED:
        return True
    if suffix in UNREAD:
        return False
    if path.name.endswith(UNFINISHED):
        return None
    try:
        if not os.path.isfile(path):  # a pipe would block
            return None
        with open(path, "rb") as file:
            return kind_by_content(file.read(32))
    except OSError:
        return None


def kind_by_content(head: bytes) -> bool | None:
    """Returns True, False or None like `_kind`, from the first 32 bytes of a file."""
    if head.startswith(UNREAD_BEGINNINGS) or (
        head[4:8] == b"ftyp" and head[8:12] in UNREAD_BRANDS
    ):
        return False
    if head.startswith((b"II*\0", b"MM\0*")):  # TIFF, and Canon's raw photographs
        return head[8:10] != b"CR"
    if head.startswith(b"BM"):  # the size of the second header must be known
        return True if head[15:18] == bytes(3) and head[14] in BMP_HEADERS else None
    if head.startswith(b"RIFF"):
        return True if head[8:12] == b"WEBP" else None
    return True if head.startswith(BEGINNINGS) else None
