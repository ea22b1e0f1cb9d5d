"""Reads weight files of every supported kind; the content determines the kind."""

import mmap
import os
from typing import Any

import numpy as np

from styleprompter_jax.convert.reading.torch_file import (
    is_torch_archive,
    read_pickle,
    read_torch_archive,
)
from styleprompter_jax.convert.reading.unpickle import Object
from styleprompter_jax.core.archive import Archive
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.numpy_files import NPY, ZIP, parse_npy, parse_npz
from styleprompter_jax.core.refusal import Refusal, refuse_pointer
from styleprompter_jax.core.safetensors_files import is_safetensors, parse_safetensors

__all__ = ["Object", "read_file"]


def read_file(path: str | os.PathLike) -> Any:
    """Reads the content of a weight file, without running code from it.

    It reads PyTorch's files (zip and legacy), NVIDIA's network pickles, .npy, .npz and
    safetensors. If possible, arrays are read-only views of the file; do not change the
    file while they are in use. bfloat16 becomes float32.

    Returns:
        A tree of dict, list, tuple, str, bytes, int, float, bool, None, `np.ndarray`
        and `Object`; sets become lists.

    Raises:
        StylePrompterError: if the file is missing, damaged, of another kind, or holds
            more than data; the message names the file, and the key or byte.
    """
    with open_file(path) as file:
        if not os.fstat(file.fileno()).st_size:
            raise Refusal("it is empty: download or copy it again.")
        # Arrays keep the memory map open; it closes with the last array.
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return _read(file, data)


def _read(file: Any, data: memoryview) -> Any:
    """Reads a file of any kind.

    It checks the most specific kind first, because a size field may look like the
    signature of another kind.
    """
    head = bytes(data[:512])
    if is_safetensors(head):
        return parse_safetensors(data).arrays
    if head.startswith(ZIP):
        archive = Archive(file, data)
        if is_torch_archive(archive):
            return read_torch_archive(archive)
        if not archive.names or any(not n.endswith(".npy") for n in archive.names):
            raise Refusal(
                "it is a zip archive, but neither a file of PyTorch (it has no "
                "data.pkl) nor an .npz: unpack it and name the file inside."
            )
        return {name: _texts(array) for name, array in parse_npz(archive).items()}
    if head.startswith(b"\x80"):
        return read_pickle(data)
    if head.startswith(NPY):
        return parse_npy(data)
    refuse_pointer(head)
    raise Refusal(_what_it_is(head))


def _texts(array: np.ndarray) -> np.ndarray | list:
    """Returns an array of numbers unchanged, and an array of texts as a list."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "latin-1")
    return array.tolist() if array.dtype.kind == "U" else array


def is_web_page(head: bytes) -> bool:
    """Returns whether a file with this beginning is HTML or XML."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--"))


def _what_it_is(head: bytes) -> str:
    """Describes a file without weights, with the fix."""
    if is_web_page(head):
        return (
            "it is a web page that was saved instead of the file, perhaps a request "
            "for consent or a note about a quota: download the file again."
        )
    if head[257:262] == b"ustar":
        return (
            "it is a tar archive: unpack it and name the file inside; if PyTorch "
            "before 0.1.10 saved it, save it again with a later version."
        )
    for mark, kind in _PACKED.items():
        if head.startswith(mark):
            return f"it is packed with {kind}: unpack it and name the file inside."
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")):
        return "it is an image, not weights: name the file of the weights."
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file: use the PyTorch version of the network."
    if head.startswith((b"{", b"[")):
        return "it is JSON text without weights: download the file again."
    return (
        "it is not a supported file (.pt and .pth of PyTorch, .pkl of NVIDIA, .npy, "
        ".npz, .safetensors): name a file of these kinds, or download it again."
    )


_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
