"""A larger generator and its discriminator, which go on from smaller ones.

The blocks of both networks are named by their resolution.  A larger network takes over
those that are the same in both, from 4 px up, as far as all arrays have one shape; what
lies above is new.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict


def kept_blocks(given: Mapping, wanted: Mapping) -> tuple[dict, float]:
    """What a larger network takes over from a smaller one.

    Args:
        given: nested arrays of the smaller network.
        wanted: those of the larger one; shapes are enough.

    Returns:
        Nested arrays of ``given``, and the resolution of the last block among them; 0
        where not even the block of 4 px is the same.
    """
    given, wanted = (flatten_dict(tree, sep="/") for tree in (given, wanted))
    blocks: dict[float, dict] = {}
    for key, leaf in wanted.items():
        blocks.setdefault(_resolution(key), {})[key] = leaf.shape
    kept: dict[str, Any] = {}
    last: float = 0
    for resolution, shapes in sorted(blocks.items()):
        block = {key: given[key] for key in shapes if key in given}
        if {key: array.shape for key, array in block.items()} != shapes:
            break
        kept, last = kept | block, resolution
    return unflatten_dict(kept, sep="/"), last


def _resolution(key: str) -> float:
    """That of the block an array belongs to; the mapping network is with the first."""
    if "from_rgb" in key:
        return math.inf  # reads the image, whatever its size is
    block = re.search(r"\bb(\d+)[/_]", key)
    return int(block[1]) if block else 4


def grow(fresh: Mapping, kept: Mapping) -> dict:
    """The larger network: kept arrays in place of fresh ones.

    The RGB kernels of new blocks are zero, so the first picture is that of the last
    block that was kept, upsampled.

    Args:
        fresh: nested arrays of the larger network, as drawn.
        kept: nested arrays of `kept_blocks`.
    """
    grown = {
        key: jnp.zeros_like(leaf) if key.endswith("torgb/kernel") else leaf
        for key, leaf in flatten_dict(fresh, sep="/").items()
    }
    return unflatten_dict({**grown, **flatten_dict(kept, sep="/")}, sep="/")
