"""What the name of a model or network stands for: a folder here, or a place elsewhere.

    models/ffhq                        a folder
    avatars64                          a bundled model (`model_folder.find_model`)
    hf://USER/MODEL[@REVISION][/FOLDER]  the Hugging Face Hub

A name that may come to stand for another model is pinned first: `pin` gives the name
of what is there now, which goes into results and can be used again.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path, scheme

if TYPE_CHECKING:
    from styleprompter_jax.store.hub import HubName

# The files that a model is made of. Of a place elsewhere nothing else is read.
CONFIG, MODEL = "config.json", "model.safetensors"
DIRECTIONS, DISCRIMINATOR = "directions.safetensors", "discriminator.safetensors"
CONFIG_BYTES = 2**20  # the largest config.json that is read
PARTS = CONFIG, MODEL, DIRECTIONS, DISCRIMINATOR


def pin(name: str | os.PathLike) -> str:
    """The name under which the same model is found again: with its commit.

    Names of folders and of bundled models come back as they are.

    Raises:
        StylePrompterError: if the place cannot be asked, or there is no such model.
    """
    if scheme(name):
        return str(_hub().pin(_hub_name(name)))
    return os.fspath(name)


def local_folder(name: str | os.PathLike) -> Path:
    """The folder that a name stands for, fetched where it is elsewhere.

    Whether a local folder is there is not looked at.

    Raises:
        StylePrompterError: if it cannot be fetched.
    """
    if scheme(name):
        return _hub().fetch(_hub_name(name))
    return local_path(name)


@contextlib.contextmanager
def reading(name: str | os.PathLike, folder: Path) -> Iterator[None]:
    """Adds to what is wrong with a copy from elsewhere how to fetch it anew."""
    try:
        yield
    except StylePrompterError as error:
        if not scheme(name):
            raise
        kept = _hub().kept_in(folder)
        raise StylePrompterError(
            f"{error} It is the copy of {os.fspath(name)}: if the copy is to blame, "
            f"delete {kept}, and it is fetched anew."
        ) from error


def _hub_name(name: str | os.PathLike) -> "HubName":
    kind, text = scheme(name), os.fspath(name)
    if kind in ("gs", "s3"):
        raise StylePrompterError(
            f"{text!r} is in a bucket, which models are not read from: copy the folder "
            "here, and name the copy."
        )
    if kind != "hf":
        raise StylePrompterError(
            f"{text!r} is no place that models are read from: name a folder, a bundled "
            "model, or hf://USER/MODEL on the Hugging Face Hub."
        )
    return _hub().parse(text)


def _hub() -> ModuleType:
    from styleprompter_jax.store import hub  # the Hub's client takes half a second

    return hub
