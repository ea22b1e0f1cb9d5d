"""Imports TFDS, even if protobuf is older than the generated code that TFDS uses.

This happens on Google Colab: protobuf 5.29 refuses tensorflow-metadata 1.21 because of
its version. `import tensorflow_datasets` then logs an error and gives an empty module.
Import `tfds` from here: this module switches the version check off during the import.
The import is slow.
"""

import contextlib
import importlib
import json
import os
from collections.abc import Iterator
from typing import Any

from styleprompter_jax.core.atomic import not_written
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
    from google.protobuf import json_format

    if not hasattr(tfds, "core"):  # it was imported before, with the check
        tfds = importlib.reload(tfds)

_NAME_ONE = (
    "give a folder with --data-dir, config.data.path or the environment variable "
    "TFDS_DATA_DIR"
)


def data_folder(data_dir: str | None) -> str:
    """Returns the folder of datasets: the given one, or TFDS's own folder.

    Raises:
        StylePrompterError: if TFDS's folder is in an unknown home folder.
    """
    place = data_dir or tfds.core.constants.DATA_DIR
    if place == data_dir or not place.startswith("~"):
        return place
    # TFDS would make a folder with the name "~".
    raise StylePrompterError(f"There is no home folder for datasets: {_NAME_ONE}.")


@contextlib.contextmanager
def whole_metadata(place: str | os.PathLike) -> Iterator[None]:
    """Makes errors of damaged metadata name the folder, as a builder reads them.

    Args:
        place: the folder of the dataset.

    Raises:
        StylePrompterError: if the metadata are damaged.
    """
    try:
        yield
    except (json_format.ParseError, json.JSONDecodeError) as error:
        raise StylePrompterError(
            f"{place} has damaged metadata: delete this folder, and run again."
        ) from error


def not_writable(place: str | os.PathLike, error: OSError) -> StylePrompterError:
    """Returns the error for the folder of a dataset that cannot be written."""
    return not_written(place, error, _NAME_ONE)


def write_dataset(builder: Any) -> None:
    """Writes the dataset of a TFDS builder as array_record files, if it is not there.

    Another process may do the same at the same time: the first to finish wins.

    Raises:
        StylePrompterError: if the dataset cannot be written.
    """
    try:
        builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        if not builder.is_prepared():
            raise not_writable(builder.data_path, error) from error
        # The builder still names its own temporary files, which are gone.
        builder.info.read_from_directory(builder.data_dir)
