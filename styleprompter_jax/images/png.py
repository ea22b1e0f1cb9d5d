"""Reads the chunks of a PNG that describe its colours, and drops damaged chunks.

A PNG with intact pixels can be read, even if its other chunks are damaged.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
# The chunks that affect the pixels, in addition to the critical ones. The name of a
# critical chunk starts in upper case.
USED = (*COLOURS, b"iCCP", b"tRNS", b"eXIf")
MOST = 64  # size limit in bytes of a chunk about colours; valid ones have up to 32
LARGEST = 2**30  # bytes of a PNG that is copied without its damaged chunks


def is_png(file: BinaryIO) -> bool:
    """Returns whether a file is a PNG; sets the file to its beginning."""
    file.seek(0)
    found = file.read(len(SIGNATURE)) == SIGNATURE
    file.seek(0)
    return found


def colour_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """Reads the intact chunks of a PNG that describe its colours without a profile.

    It sets the file to its beginning.

    Returns:
        The content of the chunks in `COLOURS` that the file has.
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
    """Copies the critical chunks of a PNG, and other chunks that are intact.

    Args:
        file: the PNG.
        keep: names of the other chunks to copy.

    Raises:
        ValueError: if the file is too large to be copied.
    """
    copy = io.BytesIO()
    copy.write(SIGNATURE)
    for kind, length, start in _chunks(file):
        if kind[:1].islower() and (
            kind not in keep or _content(file, length, start) is None
        ):
            continue
        if copy.tell() + length > LARGEST:
            raise ValueError("it is damaged, and too large to be repaired")
        file.seek(start - 8)
        copy.write(file.read(length + 12))
    copy.seek(0)
    return copy


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields the name of each chunk, and the length and start of its content."""
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
    """Reads the content of a chunk; None if the checksum differs."""
    file.seek(start - 4)
    content = file.read(length + 4)
    return (
        content[4:] if file.read(4) == struct.pack(">I", zlib.crc32(content)) else None
    )
