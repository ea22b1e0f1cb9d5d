"""SHA-256 of files and of JSON values, as hexadecimal digits."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any


def sha256(file: str | os.PathLike | io.BufferedIOBase) -> str:
    """Of a file by its name, or of what is left to read of an open one.

    Raises:
        OSError: if it cannot be read.
    """
    if not isinstance(file, str | os.PathLike):
        return hashlib.file_digest(file, "sha256").hexdigest()
    with Path(file).open("rb") as opened:
        return sha256(opened)


def json_sha256(value: Any) -> str:
    """Of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
