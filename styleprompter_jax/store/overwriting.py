"""Decides whether a model may be written over what is already in its place."""

import os
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.results import check_folder
from styleprompter_jax.core.safetensors_files import read_metadata
from styleprompter_jax.store.places import CONFIG, CONFIG_BYTES, MODEL

CONFIG_SUM = "config"  # a key in the metadata of model.safetensors


def check_place(folder: Path, replace: bool) -> None:
    """Refuses to write over an existing file or a folder that is not empty.

    If ``replace`` is true, it accepts an existing folder of a model or a network, also
    a damaged one and one of a later version. It also refuses a place where no folder
    can be written.
    """
    if os.path.lexists(folder) and _is_occupied(folder):
        if not _is_ours(folder):
            raise StylePrompterError(
                f"{folder} exists and is not a model folder: choose another name."
            )
        if not replace:
            raise StylePrompterError(
                f"{folder} exists: choose another name, or replace the model there "
                "with --overwrite."
            )
    parent = Path(os.path.realpath(folder)).parent  # where a new folder gets its name
    check_folder(parent, "choose another place for the model")


def _is_ours(folder: Path) -> bool:
    """Returns whether a folder has the files of a model or a network.

    Other programs call their files config.json and model.safetensors too.
    """
    if not (folder / CONFIG).is_file():
        return False
    try:
        fields = read_json(folder / CONFIG, limit=CONFIG_BYTES)
        return "version" in fields and not {"generator", "network"}.isdisjoint(fields)
    except StylePrompterError:  # a damaged file, which the user may want to replace
        return CONFIG_SUM in _metadata(folder / MODEL)


def _metadata(path: Path) -> dict[str, str]:
    try:
        return read_metadata(path)
    except (OSError, StylePrompterError):
        return {}


def _is_occupied(folder: Path) -> bool:
    return not folder.is_dir() or any(folder.iterdir())
