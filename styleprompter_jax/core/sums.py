"""Computes SHA-256 of files, arrays and JSON values, as hexadecimal digits."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def sha256(file: str | os.PathLike | io.BufferedIOBase) -> str:
    """Computes the SHA-256 of a file by its path, or of the rest of an open file.

    Raises:
        OSError: if the file cannot be read.
    """
    if not isinstance(file, str | os.PathLike):
        return hashlib.file_digest(file, "sha256").hexdigest()
    with Path(file).open("rb") as opened:
        return sha256(opened)


def json_sha256(value: Any) -> str:
    """Computes the SHA-256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def arrays_sha256(arrays: Mapping[str, Any]) -> str:
    """Computes the SHA-256 of arrays by name, in any order.

    It covers names, types, shapes and numbers.
    """
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array, order="C")
        found.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
