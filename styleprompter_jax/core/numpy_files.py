"""Reads untrusted .npy and .npz files: checks sizes before it unpacks or allocates."""

import io
import math
import tokenize
import warnings

import numpy as np

from styleprompter_jax.core.archive import Archive
from styleprompter_jax.core.refusal import DAMAGED, Refusal, quoted

TEXT = 4096  # largest number of characters of a text; longer paths do not exist
NPY, ZIP = b"\x93NUMPY", b"PK"  # the first bytes of .npy and .npz files
_DIMENSIONS = 32
_LARGEST = 2**48
# Characters; 32 dimensions need fewer. NumPy would accept 10,000 and parse them slowly.
_HEADER = 512
# Errors of NumPy, then errors of Python's parser that NumPy does not catch.
_HEADER_ERRORS = (
    *(ValueError, KeyError, TypeError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)


def is_shape(sizes: tuple) -> bool:
    """Returns whether an array can have these sizes or strides, without overflow."""
    return (
        len(sizes) <= _DIMENSIONS
        and all(type(n) is int and 0 <= n < _LARGEST for n in sizes)
        # NumPy has this limit even if another dimension is zero.
        and math.prod(max(n, 1) for n in sizes) < _LARGEST
    )


def parse_npz(archive: Archive) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz by name: numbers or strings; see `parse_npy`.

    Raises:
        Refusal: if an entry cannot be read; the message names it.
    """
    arrays = {}
    for name in sorted(archive.names):
        try:
            arrays[name.removesuffix(".npy")] = parse_npy(archive.read(name), True)
        except Refusal as error:
            raise Refusal(f"in {quoted(name)}, {error}") from error
    return arrays


def parse_npy(data: memoryview, texts: bool = False) -> np.ndarray:
    """Reads the array from the bytes of an .npy file.

    The array is a view of the bytes if they are aligned and in the machine's order.

    Args:
        data: the bytes.
        texts: accept arrays of strings, in addition to numbers and booleans.

    Raises:
        Refusal: if the bytes are not such a file, or only pickle could read them.
    """
    file = io.BytesIO(data[: 16 + _HEADER])
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        with warnings.catch_warnings():
            # NumPy warns about headers from Python 2, and about odd literals.
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = read_header[version](file, _HEADER)
    except _HEADER_ERRORS as error:
        raise Refusal(f"the header of the array is damaged; {DAMAGED}") from error
    if texts and dtype.kind in "US":
        length = dtype.itemsize // dtype.alignment
        if not 0 < length <= TEXT:
            raise Refusal(
                f"its texts have {length:,} characters: save texts of 1 to {TEXT:,}."
            )
    elif dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise Refusal(
            f"the array has dtype {quoted(str(dtype))} instead of numbers, and reading "
            "it could run code from the file: save it as float32."
        )
    content = data[file.tell() :]
    if not is_shape(shape) or math.prod(shape) * dtype.itemsize != len(content):
        raise Refusal(
            f"at byte {file.tell()}, an array of shape {quoted(str(shape))} and dtype "
            f"{dtype} does not fit the {len(content):,} bytes that follow; {DAMAGED}"
        )
    flat = native(content, dtype)
    if dtype.kind == "U" and (flat.view(np.uint32) > 0x10FFFF).any():
        raise Refusal(f"its text contains invalid characters; {DAMAGED}")
    return flat.reshape(shape, order="F" if fortran else "C")


def native(data: memoryview | bytes, dtype: np.dtype) -> np.ndarray:
    """Returns a flat, aligned array in the machine's byte order.

    It is a view of ``data`` if these bytes are aligned and in that order.

    Raises:
        Refusal: if ``dtype`` is bool and a byte is neither 0 nor 1.
    """
    array = np.frombuffer(data, dtype)
    if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise Refusal(f"its array of booleans contains other values; {DAMAGED}")
    if not (array.flags.aligned and dtype.isnative):
        array = array.astype(dtype.newbyteorder("="))
    return array
