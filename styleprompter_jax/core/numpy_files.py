""".npy and .npz of strangers: sizes are checked before anything is unpacked or made."""

import io
import math
import tokenize
import warnings

import numpy as np

from styleprompter_jax.core.archive import Archive
from styleprompter_jax.core.refusal import DAMAGED, KEY, Refusal, quoted

NPY, ZIP = b"\x93NUMPY", b"PK"  # how files of the two kinds begin
_DIMENSIONS = 32
_LARGEST = 2**48
# Characters; 32 dimensions need fewer.  NumPy would take 10,000, and a while for each.
_HEADER = 512
# NumPy's own, then those of Python's parser, which it lets through.
_HEADER_ERRORS = (
    *(ValueError, KeyError, TypeError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)


def is_shape(sizes: tuple) -> bool:
    """Whether an array can have these sizes or strides, before any arithmetic."""
    return (
        len(sizes) <= _DIMENSIONS
        and all(type(n) is int and 0 <= n < _LARGEST for n in sizes)
        # Also where another dimension is zero, as NumPy has it.
        and math.prod(max(n, 1) for n in sizes) < _LARGEST
    )


def parse_npz(archive: Archive) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, of numbers or texts; see `parse_npy`.

    Raises:
        Refusal: naming the entry.
    """
    arrays = {}
    for name in sorted(archive.names):
        try:
            arrays[name.removesuffix(".npy")] = parse_npy(archive.read(name), True)
        except Refusal as error:
            raise Refusal(f"in {quoted(name)}, {error}") from error
    return arrays


def parse_npy(data: memoryview, texts: bool = False) -> np.ndarray:
    """The array in the bytes of an .npy: numbers and truth values, or texts too.

    A view of the bytes where they are aligned and in the machine's order.

    Raises:
        Refusal: if they are no such file, or it would take a pickle to read it.
    """
    file = io.BytesIO(data[: 16 + _HEADER])
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        with warnings.catch_warnings():
            # About headers that Python 2 wrote, and about odd literals.
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = read_header[version](file, _HEADER)
    except _HEADER_ERRORS as error:
        raise Refusal(f"the header of the array is damaged; {DAMAGED}") from error
    is_text = texts and dtype.kind in "US" and 0 < dtype.itemsize <= 4 * KEY
    if not is_text and (dtype.kind not in "biuf" or dtype.itemsize > 8):
        raise Refusal(
            f"the array is not of numbers (dtype {quoted(str(dtype))}), and objects "
            "in it would be run to be read: save it as float32."
        )
    content = data[file.tell() :]
    if not is_shape(shape) or math.prod(shape) * dtype.itemsize != len(content):
        raise Refusal(
            f"at byte {file.tell()}, an array of shape {quoted(str(shape))} and dtype "
            f"{dtype} cannot lie in the {len(content):,} bytes that follow; {DAMAGED}"
        )
    flat = native(content, dtype)
    if dtype.kind == "U" and (flat.view(np.uint32) > 0x10FFFF).any():
        raise Refusal(f"it holds numbers that are no characters; {DAMAGED}")
    return flat.reshape(shape, order="F" if fortran else "C")


def native(data: memoryview | bytes, dtype: np.dtype) -> np.ndarray:
    """Flat, in the machine's byte order, aligned; a view of ``data`` if it is so.

    Raises:
        Refusal: if the bytes are no truth values, and should be.
    """
    array = np.frombuffer(data, dtype)
    if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise Refusal(f"it holds bytes that are no truth values; {DAMAGED}")
    if not (array.flags.aligned and dtype.isnative):
        array = array.astype(dtype.newbyteorder("="))
    return array
