"""Zip archives of weights: a few whole files, checked before use.

Zip readers disagree about archives that contradict themselves, and such archives have
deceived security scanners. This reader refuses every ambiguous archive: a name that
occurs twice, entries that overlap, headers that differ, encryption flags, a wrong CRC.
"""

import itertools
import re
import struct
import zipfile
import zlib
from typing import BinaryIO

from styleprompter_jax.core.refusal import DAMAGED, Refusal, is_name, quoted

_ENTRIES = 10_000
_HEADER = struct.Struct("<4s5H3I2H")  # the local header in front of each entry
# Allowed flags: two of the compressor, sizes after the data, and names in UTF-8.
_FLAGS = 0x0002 | 0x0004 | 0x0008 | 0x0800
# Weights compress badly. Masks and zeros in a small file compress well.
_RATIO, _SPARE_BYTES = 20, 2**26


class Archive:
    """The entries of a zip file, by name.

    Args:
        file: the zip file, opened for reading.
        data: the bytes of the same file.

    Raises:
        Refusal: if anything in the file is ambiguous or unusual.
    """

    def __init__(self, file: BinaryIO, data: memoryview):
        found = re.finditer(b"PK\x01\x02", data)
        if len(list(itertools.islice(found, _ENTRIES + 1))) > _ENTRIES:
            raise Refusal(f"the archive has more than {_ENTRIES:,} entries; {DAMAGED}")
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                end = archive.start_dir
        # zipfile raises these errors for a damaged directory.
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            OSError,
            ValueError,
            struct.error,
        ) as error:
            raise Refusal(f"the zip archive is broken; {DAMAGED}") from error
        self._data = data
        root = _root([entry.orig_filename for entry in entries])
        self.size = len(data)
        self._entries: dict[str, tuple[zipfile.ZipInfo, memoryview]] = {}
        seen = set()
        # `orig_filename` is the name in the directory. Newer versions of zipfile may
        # change `filename`.
        for entry in sorted(entries, key=lambda e: e.header_offset, reverse=True):
            name = entry.orig_filename
            if name.casefold() in seen:
                raise Refusal(f"it contains {quoted(name)} twice; {DAMAGED}")
            seen.add(name.casefold())
            self._entries[name] = entry, self._locate(entry, end, root)
            end = entry.header_offset
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > _RATIO * len(data) + _SPARE_BYTES:
            raise Refusal(
                f"it would unpack to {unpacked:,} bytes, more than {_RATIO} times its "
                "size: do not use this file."
            )

    @property
    def names(self) -> list[str]:
        """The names of the entries."""
        return list(self._entries)

    def read(self, name: str) -> memoryview:
        """Returns the content of an entry: a view of the file if not compressed."""
        if name not in self._entries:
            raise Refusal(f"it has no entry {quoted(name)}; {DAMAGED}")
        entry, content = self._entries[name]
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                content = memoryview(inflate.decompress(content, entry.file_size + 1))
            except zlib.error as error:
                raise Refusal(
                    f"{quoted(name)} cannot be unpacked; {DAMAGED}"
                ) from error
        if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
            raise Refusal(
                f"the size or CRC of {quoted(name)} differs from the one that the "
                f"archive declares; {DAMAGED}"
            )
        return content

    def _locate(self, entry: zipfile.ZipInfo, end: int, root: str) -> memoryview:
        name = entry.orig_filename
        if (
            not is_name(name)
            or name.startswith("/")
            or ".." in re.split(r"[\\/]", name)
            or re.search(r"[\\:]", name.removeprefix(root))
        ):
            raise Refusal(
                f"{quoted(name)} is not a valid name in an archive: rename it and save "
                "the file again, or download or copy it again."
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refusal(
                f"{quoted(name)} has an unknown compression method: unpack the archive "
                "and pack it again without compression."
            )
        contradiction = Refusal(
            f"the headers of {quoted(name)} contradict each other; {DAMAGED}"
        )
        start = entry.header_offset
        if start < 0 or start + _HEADER.size > end:
            raise contradiction
        mark, _, flags, method, _, _, crc, packed, size, name_size, extra_size = (
            _HEADER.unpack_from(self._data, start)
        )
        first = start + _HEADER.size + name_size
        local_name = bytes(self._data[start + _HEADER.size : first])
        utf8 = flags & 0x0800
        later = flags & 0x0008  # CRC and sizes follow the data
        if (
            mark != b"PK\x03\x04"
            or flags != entry.flag_bits
            or flags & ~_FLAGS
            or method != entry.compress_type
            or local_name != name.encode("utf-8" if utf8 else "cp437")
            or (not later and crc != entry.CRC)
            or (not later and packed not in (entry.compress_size, 2**32 - 1))
            or (not later and size not in (entry.file_size, 2**32 - 1))
        ):
            raise contradiction
        first += extra_size
        if first + entry.compress_size > end:
            raise contradiction
        return self._data[first : first + entry.compress_size]


def _root(names: list[str]) -> str:
    r"""Returns the folder that contains all entries, or "".

    This folder may have any name that a file may have: torch.save gives it the name of
    its file, "run_12:30" or "C:\run".
    """
    folders = {name.partition("/")[0] for name in names if "/" in name}
    whole = len(folders) == 1 and all("/" in name for name in names)
    return f"{folders.pop()}/" if whole else ""
