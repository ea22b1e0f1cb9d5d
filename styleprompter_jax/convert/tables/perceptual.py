"""Which fixed perceptual network a file holds, and its parameters.

How published files hold a network of a kind is in `tables/KIND.py`, as its LAYOUTS.
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
    """Which of `NETWORKS` a state dict holds, by name; None if it is none.

    Files of two networks may have keys in common: the one of which most are there.
    """
    keys = set(keys)
    found: dict[str, int] = {}
    for name, layout in LAYOUTS.items():
        if keys.issuperset(layout.signature):
            whole = layout.beside is not None and layout.beside.key in keys
            found[name] = len(layout.signature) + whole
    return max(found, key=found.__getitem__, default=None)


def recognise_whole(keys: Iterable[str], files: str) -> str | None:
    """The same, for files that must hold all of a network.

    Args:
        keys: of all files together.
        files: what to call them in a message.

    Raises:
        StylePrompterError: if the other one of two files is missing.
    """
    keys = set(keys)
    network = recognise(keys)
    if network is not None:
        beside = LAYOUTS[network].beside
        if beside and beside.key not in keys:
            raise StylePrompterError(
                f"{files}: {NETWORKS[network].title}, without its {beside.what}: give "
                f"{beside.file} beside."
            )
        return network
    for beside in (layout.beside for layout in LAYOUTS.values()):
        if beside and beside.key in keys:
            raise StylePrompterError(
                f"{files}: the {beside.what} of {beside.network} without the network "
                f"that they belong to: give {beside.trunk} beside."
            )
    return None


def read_network(
    name: str, state: Mapping[str, np.ndarray], file: str = "the file"
) -> dict:
    """Parameters of the network ``name`` from a state dict, float32.

    Raises:
        StylePrompterError: as `table.read_table`.
    """
    shapes = NETWORKS[name].shapes()
    return read_table(LAYOUTS[name].table, state, shapes["params"], file)
