"""TFDS, also where protobuf is of an older version than what wrote TFDS's messages.

Google Colab's runtime is such a place: protobuf 5.29 refuses tensorflow-metadata 1.21
by its version, and `import tensorflow_datasets` logs that and gives an empty module.
Import `tfds` from here: the versions are not compared meanwhile.  Slow to import.
"""

import contextlib
import importlib
import os
from collections.abc import Iterator

from styleprompter_jax.core.errors import StylePrompterError

_UNCHECKED = "TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK"


@contextlib.contextmanager
def _any_version() -> Iterator[None]:
    before = os.environ.get(_UNCHECKED)
    os.environ[_UNCHECKED] = "true"
    try:
        yield
    finally:
        del os.environ[_UNCHECKED]
        if before is not None:
            os.environ[_UNCHECKED] = before


with _any_version():
    import tensorflow_datasets as tfds

    if not hasattr(tfds, "core"):  # imported before, without this
        tfds = importlib.reload(tfds)

_NAME_ONE = (
    "name a folder with --data-dir, with config.data.path, or in the variable "
    "TFDS_DATA_DIR"
)


def data_folder(data_dir: str | None) -> str:
    """Where data sets are kept: the folder given, or TFDS's own place."""
    place = data_dir or tfds.core.constants.DATA_DIR
    if place == data_dir or not place.startswith("~"):
        return place
    # TFDS would make a folder called "~".
    raise StylePrompterError(f"There is no home folder to keep data in: {_NAME_ONE}.")


def not_writable(place: str | os.PathLike, error: OSError) -> StylePrompterError:
    """What to say if a data set cannot be made."""
    return StylePrompterError(
        f"The data set {place} cannot be written ({error}): free space there, or "
        f"{_NAME_ONE}."
    )
