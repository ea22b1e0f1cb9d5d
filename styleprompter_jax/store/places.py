"""Finds a model or network by its name: a local folder, or a place on the Hub.

    models/ffhq                        a folder
    avatars64                          a bundled model (`model_folder.find_model`)
    hf://USER/MODEL[@REVISION][/FOLDER]  the Hugging Face Hub
    gs://BUCKET/FOLDER, s3://...         a bucket (`core.fetch`)

The model with a name may change later. So `pin` returns a name of its current version.
Results contain this name, and `load` accepts it.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from styleprompter_jax.core.buckets import checked_path, in_bucket
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import local_path, path_text, scheme

if TYPE_CHECKING:
    from styleprompter_jax.store.hub import HubName

# The files of a model. The package reads no other file from the Hub.
CONFIG, MODEL = "config.json", "model.safetensors"
DIRECTIONS, DISCRIMINATOR = "directions.safetensors", "discriminator.safetensors"
MANIFEST = "manifest.json"  # of an exported model, which has no config.json
CONFIG_BYTES = 2**20  # size limit of config.json
PARTS = CONFIG, MODEL, DIRECTIONS, DISCRIMINATOR


def pin(name: str | os.PathLike) -> str:
    """Returns a name that includes the commit and always finds the same model.

    It returns names of folders (also in buckets) and of bundled models unchanged.

    Raises:
        StylePrompterError: if the Hub cannot be reached, or the model does not exist.
    """
    if _is_hub(name):
        return str(_hub().pin(_hub_name(name)))
    return str(checked_path(name)) if in_bucket(name) else os.fspath(name)


def same_place(first: str | os.PathLike, second: str | os.PathLike) -> bool:
    """Returns whether two names mean one folder, on this machine or in a bucket."""
    if scheme(first) or scheme(second):
        pair = first, second
        return all(map(in_bucket, pair)) and len(set(map(checked_path, pair))) == 1
    one, other = (os.path.realpath(local_path(name)) for name in (first, second))
    return one == other


def local_folder(name: str | os.PathLike) -> Path:
    """Returns the folder of a name; downloads a model on the Hub or in a bucket.

    It does not check whether a local folder exists.

    Raises:
        StylePrompterError: if the model cannot be downloaded.
    """
    if _is_hub(name):
        return _hub().fetch(_hub_name(name))
    return local_copy(name)


@contextlib.contextmanager
def reading(name: str | os.PathLike, folder: Path) -> Iterator[None]:
    """Adds to errors about a downloaded copy the way to download it again."""
    try:
        yield
    except StylePrompterError as error:
        if not scheme(name):
            raise
        kept = _hub().kept_in(folder) if _is_hub(name) else folder.parent
        raise StylePrompterError(
            f"{error} This is about the copy of {os.fspath(name)}: if only the copy is "
            f"damaged, delete {kept} to download it again."
        ) from error


def public_name(source: str) -> str:
    """Returns a model's address on the Hub, or its name without the folders above."""
    return source if _is_hub(source) else Path(source).name


def data_name(data: str) -> str:
    """Returns a dataset's name, or a file's without the folders, which are private."""
    return Path(data).name if os.path.exists(data) else data


def _is_hub(name: str | os.PathLike) -> bool:
    """Returns whether a name is an address that is not in a bucket.

    Raises:
        StylePrompterError: if the name lacks the slashes of hf://.
    """
    text = path_text(name)
    if re.match("hf:[^/]", text, re.IGNORECASE) and not os.path.lexists(text):
        raise StylePrompterError(
            f"There is no folder {text!r}: write hf://USER/MODEL for a model on the "
            "Hugging Face Hub."
        )
    return bool(scheme(name)) and not in_bucket(name)


def _hub_name(name: str | os.PathLike) -> "HubName":
    kind, text = scheme(name), os.fspath(name)
    if kind != "hf":
        raise StylePrompterError(
            f"{text!r} is an address that models cannot be read from: name a folder, a "
            "bundled model, hf://USER/MODEL on the Hugging Face Hub, or gs:// or "
            "s3://BUCKET/FOLDER."
        )
    return _hub().parse(text)


def _hub() -> ModuleType:
    from styleprompter_jax.store import hub  # its import takes half a second

    return hub
