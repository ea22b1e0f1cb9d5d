"""Table for one block of SMART; the target is ``models.smart.SmartBlock``'s parameters.

A published checkpoint holds one block, ``decoder.module.smart_block``, for the layer
that its options name.
"""

from styleprompter_jax.convert.table import Rule

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
