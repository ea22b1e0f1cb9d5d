"""Reads the file of an exported program, and checks its SHA-256 in the manifest."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import read_bytes


def read_program(path: Path, limit: int, sums: Mapping[str, str] | None) -> bytes:
    """Returns the bytes of a program.

    Args:
        path: the path of the file.
        limit: the largest number of bytes.
        sums: SHA-256 of each file, by name; None skips the check.

    Raises:
        StylePrompterError: if the file cannot be read, or has another SHA-256.
    """
    content = read_bytes(path, limit)
    if sums is not None and hashlib.sha256(content).hexdigest() != sums.get(path.name):
        raise StylePrompterError(
            f"{path} is missing in the manifest, damaged or replaced: copy the folder "
            "again, or export the model again."
        )
    return content
