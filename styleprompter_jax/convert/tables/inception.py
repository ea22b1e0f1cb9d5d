"""Table for Inception-v3 of FID, from pytorch-fid's file."""

from styleprompter_jax.convert.table import Ignored
from styleprompter_jax.convert.tables.layers import (
    CLASSIFIER,
    Layout,
    batch_norm,
    conv,
)

_INCEPTION = (
    *(
        row
        for target, source in (("{m}", "{m}"), ("{m}/{branch}", "{m}.{branch}"))
        for row in (
            *conv(f"{target}/conv", f"{source}.conv"),
            *batch_norm(f"{target}/bn", f"{source}.bn"),
        )
    ),
    *(Ignored(f"fc.{leaf}", CLASSIFIER) for leaf in ("weight", "bias")),
)

LAYOUTS = {"inception": Layout(_INCEPTION, ("Conv2d_1a_3x3.conv.weight",))}
