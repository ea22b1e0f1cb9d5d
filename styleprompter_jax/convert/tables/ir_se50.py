"""Table for IR-SE50, the trunk of ArcFace and of the encoders of pSp and e4e."""

from styleprompter_jax.convert.table import Rule, prefixed
from styleprompter_jax.convert.tables.layers import batch_norm, conv

TRUNK = (
    *conv("input_layer_0", "input_layer.0"),
    *batch_norm("input_layer_1", "input_layer.1"),
    Rule("input_layer_2/slope", "input_layer.2.weight"),
    *prefixed(
        (
            *conv("shortcut_layer_0", "shortcut_layer.0"),
            *batch_norm("shortcut_layer_1", "shortcut_layer.1"),
            *batch_norm("res_layer_0", "res_layer.0"),
            *conv("res_layer_1", "res_layer.1"),
            Rule("res_layer_2/slope", "res_layer.2.weight"),
            *conv("res_layer_3", "res_layer.3"),
            *batch_norm("res_layer_4", "res_layer.4"),
            Rule(
                "res_layer_5_{fc}/kernel", "res_layer.5.{fc}.weight", "o i 1 1 -> i o"
            ),
        ),
        "body_{i}/",
        "body.{i}.",
    ),
)
