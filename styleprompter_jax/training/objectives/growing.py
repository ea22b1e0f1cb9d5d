"""A larger generator and its discriminator, which continue from smaller ones.

The blocks of both networks are named by their resolution.  A larger network takes over
the blocks from 4 px up while all their arrays have equal shapes.  The blocks above are
new.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict


def kept_blocks(given: Mapping, wanted: Mapping) -> tuple[dict, float]:
    """Returns the blocks that a larger network takes over from a smaller one.

    Args:
        given: nested arrays of the smaller network.
        wanted: nested arrays of the larger one; shapes are enough.

    Returns:
        Nested arrays of ``given``, and the resolution of the last block among them; 0
        if even the block of 4 px differs.
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
    """Returns the resolution of an array's block; the first for the mapping network."""
    if "from_rgb" in key:
        return math.inf  # reads the image of any size
    block = re.search(r"\bb(\d+)[/_]", key)
    return int(block[1]) if block else 4


def grow(fresh: Mapping, kept: Mapping) -> dict:
    """Returns the larger network: kept arrays in place of fresh ones.

    The RGB kernels of new blocks are zero, so the network first makes the upsampled
    image of the last kept block.

    Args:
        fresh: nested arrays of the larger network at random.
        kept: nested arrays from `kept_blocks`.
    """
    grown = {
        key: jnp.zeros_like(leaf) if key.endswith("torgb/kernel") else leaf
        for key, leaf in flatten_dict(fresh, sep="/").items()
    }
    return unflatten_dict({**grown, **flatten_dict(kept, sep="/")}, sep="/")
