"""Table for one block of SMART; the target is the parameters of ``SmartBlock``.

A published checkpoint holds one block, ``decoder.module.smart_block``, for the layer
that its options name.
"""

from collections.abc import Mapping

import numpy as np

from styleprompter_jax.convert.table import Rule, size
from styleprompter_jax.models.refiners.smart import SmartConfig

SMART_BLOCK = tuple(
    rule
    for target, source in (
        ("query_proj", "query_proj"),
        ("input_proj_{i}", "input_proj.{i}.0"),
        ("proj", "proj"),
        ("linear1", "linear1"),
        ("linear2", "linear2"),
    )
    for rule in (
        Rule(f"{target}/kernel", f"{source}.weight", "o i -> i o"),
        Rule(f"{target}/bias", f"{source}.bias"),
    )
)


def smart_config(
    arrays: Mapping[str, np.ndarray], prefix: str, refined_layer: int
) -> SmartConfig:
    """Returns the architecture from the arrays, with the published number of heads."""
    width = size(arrays, (f"{prefix}linear1.weight", 0), (f"{prefix}linear1.bias", 0))
    return SmartConfig(refined_layers=(refined_layer,), ffn_dim=width)
