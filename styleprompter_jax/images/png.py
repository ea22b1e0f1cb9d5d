"""The chunks of a PNG: what it says of its colours, and which of them are damaged.

A PNG whose pixels are whole is a picture, whatever is wrong with its notes.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
# Beside the critical ones, whose first letter is upper case, what changes the pixels.
USED = (*COLOURS, b"iCCP", b"tRNS", b"eXIf")
MOST = 64  # bytes of a chunk about colours; they have 32 at most
LARGEST = 2**30  # bytes of a PNG that is copied without its damaged chunks


def is_png(file: BinaryIO) -> bool:
    """Whether a file, which is at its beginning then, is a PNG."""
    file.seek(0)
    found = file.read(len(SIGNATURE)) == SIGNATURE
    file.seek(0)
    return found


def colour_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """What a PNG says of its colours beside a profile, as far as it is whole.

    The file is at its beginning then.

    Returns:
        The content of `COLOURS`, those that are there.
    """
    chunks: dict[bytes, bytes] = {}
    for kind, length, start in _chunks(file):
        if kind == b"IDAT":
            break
        if kind in COLOURS and length <= MOST:
            content = _content(file, length, start)
            if content is not None:
                chunks.setdefault(kind, content)
    file.seek(0)
    return chunks


def without_notes(file: BinaryIO, keep: tuple[bytes, ...] = USED) -> io.BytesIO:
    """A PNG's copy with its critical chunks, and of the others those that are whole.

    Args:
        file: the PNG.
        keep: which others.

    Raises:
        ValueError: if it is too large to be copied.
    """
    copy = io.BytesIO()
    copy.write(SIGNATURE)
    for kind, length, start in _chunks(file):
        if kind[:1].islower() and (
            kind not in keep or _content(file, length, start) is None
        ):
            continue
        if copy.tell() + length > LARGEST:
            raise ValueError("damaged, and too large to be mended")
        file.seek(start - 8)
        copy.write(file.read(length + 12))
    copy.seek(0)
    return copy


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, length and start of the content of each chunk."""
    start = len(SIGNATURE)
    while True:
        file.seek(start)
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        yield kind, length, start + 8
        start += length + 12


def _content(file: BinaryIO, length: int, start: int) -> bytes | None:
    """What a chunk holds; None where it does not fit its checksum."""
    file.seek(start - 4)
    content = file.read(length + 4)
    return (
        content[4:] if file.read(4) == struct.pack(">I", zlib.crc32(content)) else None
    )
