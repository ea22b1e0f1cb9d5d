"""Recognises published weight files by their keys and shapes.

`recognise` converts the tree of a file (dicts, lists and arrays, from
`files.read_file`) to a `Found`: a description, the architecture, the arrays, and the
table that reads them. It never uses the name of a file.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from styleprompter_jax.convert.found import Found
from styleprompter_jax.convert.tables import (
    discriminators,
    nvidia,
    perceptual,
    psp_files,
    resnet34,
    style_prompter,
    stylegan2,
    swin,
)
from styleprompter_jax.core.errors import StylePrompterError

# The most specific ones come first, because a checkpoint also holds a generator.
RECOGNISERS = (
    nvidia.recognise,
    nvidia.recognise_state,
    style_prompter.recognise,
    psp_files.recognise,
    stylegan2.recognise,
    swin.recognise,
    resnet34.recognise,
)


def recognise(tree: Any, name: str) -> Found:
    """Recognises the parts of a model in the tree of a file.

    Args:
        tree: see `files.read_file`.
        name: name of the file in messages.

    Raises:
        StylePrompterError: if the kind of the file is unknown or unsupported.
    """
    reader, rest, notes = None, tree, []
    try:
        reader, rest = discriminators.take(tree)
    except StylePrompterError as error:  # the file's generator may still be usable
        notes.append(f"The discriminator is left out: {error}")
    for known in RECOGNISERS:
        try:
            if found := known(rest):
                return found.with_discriminator(reader, *notes)
        except StylePrompterError as error:
            raise StylePrompterError(f"{name}: {error}") from error
    if reader is not None:
        return reader
    if notes:
        raise StylePrompterError(f"{name}: {notes[0]}")
    raise StylePrompterError(
        f"{name} holds {_summary(tree)}, but no weights that this program knows: "
        "docs/weights.md lists the supported files."
    )


def recognise_network(trees: Mapping[str, Any]) -> tuple[str, dict] | None:
    """Recognises the perceptual network in several files together.

    Args:
        trees: trees by file name; LPIPS, for example, has two files: trunk and heads.

    Returns:
        A key of `NETWORKS` and arrays by key; None if the files hold no such network.

    Raises:
        StylePrompterError: if the network needs two files, and one is missing.
    """
    state: dict[str, Any] = {}
    for tree in trees.values():
        state |= _network_state(tree)
    network = perceptual.recognise_whole(state, " and ".join(trees))
    return None if network is None else (network, state)


def _network_state(tree: Any) -> Mapping:
    """Returns the state dict in a file of a perceptual network."""
    if not isinstance(tree, Mapping):
        return {}
    inner = tree.get("state_dict")
    tree = inner if isinstance(inner, Mapping) else tree
    return tree if all(isinstance(key, str) for key in tree) else {}


def _summary(tree: Any) -> str:
    """Describes an unknown tree in a few words."""
    if isinstance(tree, Mapping):
        keys = [str(key) for key in tree]
        more = ", ..." if len(keys) > 5 else ""
        return f"a dict of {', '.join(keys[:5]) or 'nothing'}{more}"
    if isinstance(tree, np.ndarray):
        return f"an array {list(tree.shape)}"
    return f"a {getattr(tree, 'type', type(tree).__name__)}"
