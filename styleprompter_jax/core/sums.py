"""SHA-256 of files and of JSON values, as hexadecimal digits."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any


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
