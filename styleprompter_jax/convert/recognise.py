"""What a file of published weights is, told by its keys and shapes.

`recognise` turns the tree of a file (dicts, lists and arrays, as `files.read_file`
gives it) into a `Found`: a sentence, the architecture, the arrays, and the table that
brings them in.  Nothing is guessed from a file's name.
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

# The most specific first: a checkpoint holds a generator, too.
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
    """What the tree of a file holds of a model.

    Args:
        tree: see `files.read_file`.
        name: what to call the file in a message.

    Raises:
        StylePrompterError: if it is of no kind that this program knows, or of one that
            it knows to have no use for.
    """
    reader, rest, notes = None, tree, []
    try:
        reader, rest = discriminators.take(tree)
    except StylePrompterError as error:  # the generator beside it may be of use
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
        f"{name} holds no weights that are known here, but {_summary(tree)}; "
        "docs/weights.md lists what can be converted."
    )


def recognise_network(trees: Mapping[str, Any]) -> tuple[str, dict] | None:
    """The perceptual network that files hold together: its name and state dict.

    Args:
        trees: by file name; LPIPS for one takes two files, its trunk and its heads.

    Returns:
        A key of `NETWORKS` and arrays by key; None if it is no such network.

    Raises:
        StylePrompterError: if the other one of two files is missing.
    """
    state: dict[str, Any] = {}
    for tree in trees.values():
        state |= _network_state(tree)
    network = perceptual.recognise_whole(state, " and ".join(trees))
    return None if network is None else (network, state)


def _network_state(tree: Any) -> Mapping:
    """The state dict of a file of a perceptual network."""
    if not isinstance(tree, Mapping):
        return {}
    inner = tree.get("state_dict")
    tree = inner if isinstance(inner, Mapping) else tree
    return tree if all(isinstance(key, str) for key in tree) else {}


def _summary(tree: Any) -> str:
    """A few words about a tree that is not known."""
    if isinstance(tree, Mapping):
        keys = [str(key) for key in tree]
        more = ", ..." if len(keys) > 5 else ""
        return f"a dict of {', '.join(keys[:5]) or 'nothing'}{more}"
    if isinstance(tree, np.ndarray):
        return f"an array {list(tree.shape)}"
    return f"a {getattr(tree, 'type', type(tree).__name__)}"
