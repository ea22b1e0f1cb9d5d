"""Reads weight files of any supported kind; which kind it is, the content says."""

import io
import math
import mmap
import os
import tokenize
import warnings
from typing import Any

import numpy as np

from styleprompter_jax.convert.archive import Archive
from styleprompter_jax.convert.torch_file import (
    is_torch_archive,
    read_pickle,
    read_torch_archive,
)
from styleprompter_jax.convert.torch_objects import is_shape, native
from styleprompter_jax.convert.unpickle import Budget, Object
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.refusal import DAMAGED, Refusal, quoted
from styleprompter_jax.core.safetensors_files import is_safetensors, parse_safetensors

__all__ = ["Object", "read_file"]

# Characters; 32 dimensions need fewer.  NumPy would take 10,000, and a while for each.
_NPY_HEADER = 512
# NumPy's own, then those of Python's parser, which it lets through.
_HEADER_ERRORS = (
    *(ValueError, KeyError, TypeError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)


def read_file(path: str | os.PathLike) -> Any:
    """The content of a weight file, without running anything in it.

    Reads PyTorch's files (zip and legacy), NVIDIA's network pickles, .npy, .npz and
    safetensors.  Arrays are read-only views of the file where that is possible; do
    not change the file while they are in use.  bfloat16 becomes float32.

    Returns:
        A tree of dict, list, tuple, str, bytes, int, float, bool, None, `np.ndarray`
        and `Object`; sets come as lists.

    Raises:
        StylePrompterError: if the file is missing, damaged, of another kind, or holds
            more than data; the message names the file, and the key or byte.
    """
    with open_file(path) as file:
        if not os.fstat(file.fileno()).st_size:
            raise Refusal("it is empty: download or copy it again.")
        # Arrays keep the map alive, which is closed with the last of them.
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return _read(file, data)


def _read(file: Any, data: memoryview) -> Any:
    """The most specific kind first: sizes may begin with the mark of another."""
    head = bytes(data[:512])
    if is_safetensors(head):
        return parse_safetensors(data).arrays
    if head.startswith(b"PK"):
        archive = Archive(file, data)
        if is_torch_archive(archive):
            return read_torch_archive(archive)
        return _read_npz(archive)
    if head.startswith(b"\x80"):
        return read_pickle(data)
    if head.startswith(b"\x93NUMPY"):
        return _read_npy(data)
    raise Refusal(_what_it_is(head))


def _what_it_is(head: bytes) -> str:
    """What a file is that holds no weights, and what to do."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "it is a web page, perhaps the one that asks for consent or says that a "
            "quota is used up, saved in place of the file: download it again."
        )
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer to the file: fetch it with `git lfs pull`."
    if head[257:262] == b"ustar":
        return (
            "it is a tar archive: unpack it and name the file inside; a model that "
            "PyTorch before 0.1.10 saved must be saved again by a later one."
        )
    for mark, kind in _PACKED.items():
        if head.startswith(mark):
            return f"it is packed with {kind}: unpack it and name the file inside."
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file: use the network in the version for PyTorch."
    if head.startswith((b"{", b"[")):
        return "it is JSON text and no weights: download the file again."
    return (
        "it is none of the kinds that are read (.pt and .pth of PyTorch, .pkl of "
        "NVIDIA, .npy, .npz, .safetensors): name one of these, or download it again."
    )


_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}


def _read_npz(archive: Archive) -> dict[str, np.ndarray]:
    if not archive.names or any(not name.endswith(".npy") for name in archive.names):
        raise Refusal(
            "it is a zip archive that is neither a file of PyTorch (no data.pkl) nor "
            "an .npz: unpack it and name the file inside."
        )
    arrays = {}
    for name in sorted(archive.names):
        try:
            arrays[name.removesuffix(".npy")] = _read_npy(archive.read(name))
        except Refusal as error:
            raise Refusal(f"in {quoted(name)}, {error}") from error
    return arrays


def _read_npy(data: memoryview) -> np.ndarray:
    file = io.BytesIO(data[: 16 + _NPY_HEADER])
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        with warnings.catch_warnings():
            # About headers that Python 2 wrote, and about odd literals.
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = read_header[version](file, _NPY_HEADER)
    except _HEADER_ERRORS as error:
        raise Refusal(f"the header of the array is damaged; {DAMAGED}") from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
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
    flat = native(content, dtype, Budget(len(data)))
    return flat.reshape(shape, order="F" if fortran else "C")
