"""Reads untrusted safetensors files, and writes such files.

A file has a header in JSON, followed by the bytes of the arrays.

    8 bytes   length of the header, little-endian
    header    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
              "__metadata__": {text: text}}
    data      every byte belongs to exactly one array

The metadata of a file that this program writes contains the file's own SHA-256. The
program computes it with zeros in place of its digits. So the reader notices every
changed bit. It also reads files without a SHA-256.
"""

import hashlib
import json
import math
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401 - makes NumPy know bfloat16
import numpy as np
import safetensors.numpy

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.json_files import parse_json
from styleprompter_jax.core.refusal import (
    DAMAGED,
    Refusal,
    is_name,
    quoted,
    refuse_pointer,
)
from styleprompter_jax.core.sums import sha256

SUM = "sha256"
_HEADER = 16 * 2**20  # bytes; ten thousand arrays need one million
_NO_SUM = b"0" * 64
_DIMENSIONS = 32
_METADATA = "__metadata__"
_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("bfloat16"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("bool"),
}


class Content(NamedTuple):
    """The content of a safetensors file; its arrays are views of one buffer."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def is_safetensors(head: bytes) -> bool:
    """Returns whether a file begins like safetensors: a length, then "{".

    The length may begin with the magic bytes of another kind of file. It is below
    2**40, so its last bytes are zero, unlike in any other kind.
    """
    return head[5:9] == b"\0\0\0{"


def read_safetensors(path: str | os.PathLike, digest: str | None = None) -> Content:
    """Reads a whole safetensors file into new memory.

    Args:
        path: the file.
        digest: the SHA-256 that the file must have. By default, this is the SHA-256 in
            its metadata.

    Raises:
        StylePrompterError: if the file is missing, damaged or of another kind.
    """
    with open_file(path) as file:
        data = np.empty(os.fstat(file.fileno()).st_size, np.uint8).data
        if file.readinto(data) != len(data):
            raise Refusal(f"it became shorter while it was read; {DAMAGED}")
        # Parse before the hash check, so that the message can say that the file is cut.
        content = parse_safetensors(data)
        if digest is None:
            same = _has_own_sum(data, content.metadata)
        else:
            same = hashlib.sha256(data).hexdigest() == digest
        if not same:
            raise StylePrompterError(
                f"{path} is damaged or was replaced, because its SHA-256 does not "
                "match: copy it or make it again."
            )
    return content


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Reads the metadata in the header of a safetensors file, but no arrays.

    Raises:
        StylePrompterError: if the file is missing, damaged or of another kind.
    """
    with open_file(path) as file:
        if not os.fstat(file.fileno()).st_size:
            raise Refusal(f"it is empty; {DAMAGED}")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return parse_safetensors(data).metadata


def parse_safetensors(data: memoryview) -> Content:
    """Parses a safetensors file into views of its bytes; does not check its SHA-256.

    bfloat16 becomes float32.

    Raises:
        Refusal: if the bytes are not a safetensors file.
    """
    refuse_pointer(bytes(data[:64]))
    size = len(data)
    end = 8 + int.from_bytes(data[:8], "little")
    if size < 10 or end > size:
        raise Refusal(
            f"it is not a safetensors file: the header would end at byte {end:,} of "
            f"{size:,}; {DAMAGED}"
        )
    if end > _HEADER:
        raise Refusal(f"its header has more than {_HEADER:,} bytes; {DAMAGED}")
    try:
        header = parse_json(str(data[8:end], "utf-8"))
    except ValueError as error:
        raise Refusal(
            f"it is not a safetensors file: the header is invalid ({error}); {DAMAGED}"
        ) from error
    metadata = header.pop(_METADATA, {})
    if type(metadata) is not dict or any(
        type(value) is not str for value in metadata.values()
    ):
        raise Refusal(f"its metadata is not an object of strings; {DAMAGED}")
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    arrays, position = {}, end
    for name, (kind, shape, (first, last)) in sorted(
        entries.items(), key=lambda item: item[1][2]
    ):
        dtype = _DTYPES[kind]
        if (end + first, last - first) != (position, math.prod(shape) * dtype.itemsize):
            raise Refusal(
                f"at {quoted(name)}, an array {shape} of {kind} does not fit bytes "
                f"{first} to {last}; {DAMAGED}"
            )
        position = end + last
        if position > size:
            raise Refusal(f"the file ends within {quoted(name)}; {DAMAGED}")
        flat = np.frombuffer(data[end + first : position], dtype)
        if kind == "BOOL" and (flat.view(np.uint8) > 1).any():
            raise Refusal(
                f"at {quoted(name)}, the booleans have other values; {DAMAGED}"
            )
        if kind == "BF16":
            flat = flat.astype(np.float32)
        elif not (flat.flags.aligned and dtype.isnative):
            flat = flat.astype(dtype.newbyteorder("="))
        arrays[name] = flat.reshape(shape)
    if position != size:
        raise Refusal(f"{size - position:,} bytes belong to no array; {DAMAGED}")
    return Content({name: arrays[name] for name in sorted(arrays)}, metadata)


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes a file that contains its own SHA-256; equal content gives equal bytes.

    Raises:
        OSError: if the file cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode
    metadata = {**metadata, SUM: _NO_SUM.decode()}
    try:
        safetensors.numpy.save_file(dict(arrays), path, metadata)
    except safetensors.SafetensorError as error:
        if found := re.search(r"(?:os error|code:) (\d+)", str(error)):
            number = int(found[1])
            raise OSError(number, os.strerror(number)) from error
        raise OSError(str(error)) from error
    path.chmod(mode)  # safetensors makes the file readable only by its owner
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = _in_order(file.read(length))
        file.seek(8)
        file.write(header)
        file.seek(0)
        digest = sha256(file)
        file.seek(8 + header.index(_SUM_KEY + _NO_SUM) + len(_SUM_KEY))
        file.write(digest.encode())


def _in_order(header: bytes) -> bytes:
    """Sorts the metadata, which safetensors shuffles; the header's length stays."""
    tree = json.loads(header)
    tree[_METADATA] = dict(sorted(tree[_METADATA].items()))
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    return text.ljust(len(header)) if len(text) <= len(header) else header


_SUM_KEY = f'"{SUM}":"'.encode()


def _has_own_sum(data: memoryview, metadata: Mapping[str, str]) -> bool:
    """Returns whether a file matches its own SHA-256; true for a file without one."""
    if SUM not in metadata:
        # A flipped bit may have changed the key of the SHA-256.
        return not any(map(_DIGEST.fullmatch, metadata.values()))
    digest = metadata[SUM].encode()
    end = 8 + int.from_bytes(data[:8], "little")
    zeroed = bytes(data[:end]).replace(_SUM_KEY + digest, _SUM_KEY + _NO_SUM)
    found = hashlib.sha256(zeroed)
    found.update(data[end:])
    return found.hexdigest().encode() == digest


_DIGEST = re.compile("[0-9a-f]{64}")


def _entry(name: str, entry: Any) -> tuple[str, list[int], list[int]]:
    """Checks an array's header entry alone; returns its type, shape and place."""
    if not is_name(name):
        raise Refusal(f"{quoted(name)} is not a valid name of an array; {DAMAGED}")
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Refusal(f"the entry {quoted(name)} does not describe an array; {DAMAGED}")
    kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(kind) is not str or kind not in _DTYPES:
        raise Refusal(
            f"at {quoted(name)}, the type {quoted(kind)} is not supported: save the "
            "array as F32."
        )
    if not (
        type(shape) is type(place) is list
        and all(type(n) is int and 0 <= n < 2**48 for n in (*shape, *place))
        and len(shape) <= _DIMENSIONS
        and math.prod(max(n, 1) for n in shape) < 2**48
        and len(place) == 2
    ):
        raise Refusal(f"at {quoted(name)}, its shape or place is impossible; {DAMAGED}")
    return kind, shape, place
