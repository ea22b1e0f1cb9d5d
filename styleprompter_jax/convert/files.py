"""Reads weight files of any supported kind; which kind it is, the content says."""

import io
import math
import mmap
import os
import stat
import tokenize
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - makes NumPy know bfloat16
import numpy as np
import safetensors

from styleprompter_jax.convert.archive import Archive
from styleprompter_jax.convert.torch_file import (
    is_torch_archive,
    read_pickle,
    read_torch_archive,
)
from styleprompter_jax.convert.torch_objects import is_shape, native
from styleprompter_jax.convert.unpickle import (
    DAMAGED,
    Budget,
    Object,
    Refusal,
    is_name,
    quoted,
)
from styleprompter_jax.errors import StylePrompterError

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
    path = Path(path).expanduser()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StylePrompterError(
                f"{path} is a folder or device: name the weight file itself."
            )
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise StylePrompterError(f"{path} is empty: download or copy it again.")
            # Arrays keep the map alive, which is closed with the last of them.
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return _read(path, file, data)
    except FileNotFoundError as error:
        raise StylePrompterError(f"There is no file {path}.") from error
    except OSError as error:
        raise StylePrompterError(f"{path} cannot be read: {error}.") from error
    except Refusal as error:
        raise StylePrompterError(f"{path} cannot be read: {error}") from error


def _read(path: Path, file: Any, data: memoryview) -> Any:
    head = bytes(data[:512])
    if head.startswith(b"PK"):
        archive = Archive(file, data)
        if is_torch_archive(archive):
            return read_torch_archive(archive)
        return _read_npz(archive)
    if head.startswith(b"\x80"):
        return read_pickle(data)
    if head.startswith(b"\x93NUMPY"):
        return _read_npy(data)
    if head[5:9] == b"\0\0\0{":  # behind the size of the header, which is below 2**40
        return _read_safetensors(path)
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


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    try:
        with safetensors.safe_open(path, "numpy") as file:
            for key in file.keys():  # noqa: SIM118 - it is no dict
                if not is_name(key):
                    raise Refusal(f"{quoted(key)} is no name of an array; {DAMAGED}")
                kind = file.get_slice(key).get_dtype()
                if kind not in _SAFETENSORS:
                    raise Refusal(
                        f"at {quoted(key)}, it holds numbers of type {quoted(kind)}: "
                        "save them as F32."
                    )
                array = file.get_tensor(key)
                arrays[key] = array.astype(np.float32) if kind == "BF16" else array
    except safetensors.SafetensorError as error:
        raise Refusal(
            f"it is no safetensors ({quoted(str(error))}); {DAMAGED}"
        ) from error
    return arrays


_SAFETENSORS = (
    *("F64", "F32", "F16", "BF16"),
    *("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"),
)
