"""Writes and reads folders of fixed perceptual networks, and lists these networks.

    config.json         version, "network": its name, SHA-256 of model.safetensors
    model.safetensors   the parameters

`styleprompter convert` makes such a folder from a published file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from styleprompter_jax.core.atomic import repair_folder
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.losses.perceptual import PERCEPTUAL, Network
from styleprompter_jax.models.perceptual.inception import Inception
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.places import local_folder, reading

# By name: the networks of the losses, and the network of the Fréchet distance.
NETWORKS = {
    name: network
    for loss in PERCEPTUAL.values()
    for name, network in loss.networks.items()
} | {"inception": Network("inception", "Inception-v3 of FID", Inception())}


@to_bucket("folder")
def save_network(
    folder: str | os.PathLike, name: str, params: Mapping, *, replace: bool = True
) -> Path:
    """Writes the folder of a network, completely or not at all.

    Args:
        folder: the path to write; an existing folder of a network is replaced.
        name: one of `NETWORKS`.
        params: the parameters of the network.
        replace: if false, refuse a folder that is not empty.

    Raises:
        StylePrompterError: if the parameters do not fit or are not finite, or the
            folder exists and is not the folder of a network. In this case, nothing is
            written.
    """
    folder = Path(os.path.abspath(local_path(folder)))
    arrays = model_folder.flat_arrays({"params": params})
    headline = f"{folder} was not written: the arrays do not fit {name}"
    model_folder.fit_variables(arrays, NETWORKS[name].shapes(), headline)
    if (folder / model_folder.CONFIG).exists() and _name(folder)[0] is None:
        raise StylePrompterError(
            f"{folder} contains a model, not a perceptual network: choose another name."
        )
    return model_folder.write_folder(folder, {"network": name}, arrays, replace=replace)


def load_network(folder: str | os.PathLike, kind: str) -> tuple[nn.Module, dict]:
    """Reads the folder of a network.

    Args:
        folder: a folder of `save_network` or `styleprompter convert`; or its name on
            the Hugging Face Hub, hf://USER/MODEL[@REVISION][/FOLDER].
        kind: the kind of the network, such as "lpips" or "inception".

    Returns:
        The module and its variables, float32 NumPy arrays.

    Raises:
        StylePrompterError: if the folder is missing, damaged or of another kind.
    """
    place, folder = folder, local_folder(folder)
    repair_folder(folder)
    titles = " or ".join(n.title for n in NETWORKS.values() if n.kind == kind)
    if not (folder / model_folder.CONFIG).is_file():
        raise StylePrompterError(
            f"There is no folder {folder} with {titles}: make it from the published "
            f"file with `styleprompter convert FILE {folder}`."
        )
    with reading(place, folder):
        name, sums = _name(folder)
        if name not in NETWORKS or NETWORKS[name].kind != kind:
            found = NETWORKS[name].title if name in NETWORKS else "another model"
            raise StylePrompterError(
                f"{folder} contains {found}, but must contain {titles}: name another "
                "folder."
            )
        network = NETWORKS[name]
        return network.module, model_folder.read_variables(folder, network.shapes, sums)


def network_name(folder: str | os.PathLike) -> str:
    """Returns the name in `NETWORKS` of a folder's network.

    Raises:
        StylePrompterError: if the folder does not contain such a network.
    """
    local = local_folder(folder)
    repair_folder(local)
    name = _name(local)[0] if (local / model_folder.CONFIG).is_file() else None
    if name not in NETWORKS:
        raise StylePrompterError(
            f"{folder} is not the folder of a perceptual network: make one from a "
            "published file with `styleprompter convert FILE FOLDER`."
        )
    return name


def _name(folder: Path) -> tuple[str | None, Any]:
    """Reads "network" in a folder's config.json (None for a model), and its hashes."""
    fields, sums = model_folder.read_config(folder)
    name = fields.get("network")
    return name if isinstance(name, str) else None, sums
