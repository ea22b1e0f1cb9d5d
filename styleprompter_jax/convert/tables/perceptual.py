"""Recognises fixed perceptual networks in files, and reads their parameters.

LAYOUTS in `tables/KIND.py` has the layouts of the networks of a kind.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module

import numpy as np

from styleprompter_jax.convert.table import read_table
from styleprompter_jax.convert.tables.layers import Layout
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.store.network_folder import NETWORKS

_KINDS = dict.fromkeys(network.kind for network in NETWORKS.values())
LAYOUTS: dict[str, Layout] = {
    name: layout
    for kind in _KINDS
    for name, layout in import_module(f"{__package__}.{kind}").LAYOUTS.items()
}


def recognise(keys: Iterable[str]) -> str | None:
    """Returns the name of the network of `NETWORKS` in a state dict, or None.

    Two networks may share keys. The function then chooses the network with more
    matching keys.
    """
    keys = set(keys)
    found: dict[str, int] = {}
    for name, layout in LAYOUTS.items():
        if keys.issuperset(layout.signature):
            whole = layout.beside is not None and layout.beside.key in keys
            found[name] = len(layout.signature) + whole
    return max(found, key=found.__getitem__, default=None)


def recognise_whole(keys: Iterable[str], files: str) -> str | None:
    """Recognises a network like `recognise`, in files that must hold all of it.

    Args:
        keys: the keys of all files together.
        files: name of the files in messages.

    Raises:
        StylePrompterError: if the network needs two files, and one is missing.
    """
    keys = set(keys)
    network = recognise(keys)
    if network is not None:
        beside = LAYOUTS[network].beside
        if beside and beside.key not in keys:
            raise StylePrompterError(
                f"{files}: {NETWORKS[network].title} without its {beside.what}: also "
                f"give {beside.file}."
            )
        return network
    for beside in (layout.beside for layout in LAYOUTS.values()):
        if beside and beside.key in keys:
            raise StylePrompterError(
                f"{files}: the {beside.what} of {beside.network} without their "
                f"network: also give {beside.trunk}."
            )
    return None


def read_network(
    name: str, state: Mapping[str, np.ndarray], file: str = "the file"
) -> dict:
    """Reads the parameters of the network ``name`` from a state dict, as float32.

    Raises:
        StylePrompterError: as in `table.read_table`.
    """
    shapes = NETWORKS[name].shapes()
    return read_table(LAYOUTS[name].table, state, shapes["params"], file)
