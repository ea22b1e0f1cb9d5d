"""ArcFace's IR-SE50, of model_ir_se50.pth."""

from styleprompter_jax.convert.table import Rule, prefixed
from styleprompter_jax.convert.tables.layers import Layout, batch_norm, conv

_ARCFACE = (
    *conv("input_layer_0", "input_layer.0"),
    *batch_norm("input_layer_1", "input_layer.1"),
    Rule("input_layer_2/slope", "input_layer.2.weight"),
    *batch_norm("output_layer_0", "output_layer.0"),
    Rule("output_layer_3/kernel", "output_layer.3.weight", "o i -> i o"),
    Rule("output_layer_3/bias", "output_layer.3.bias"),
    *batch_norm("output_layer_4", "output_layer.4"),
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

LAYOUTS = {
    "arcface": Layout(_ARCFACE, ("input_layer.0.weight", "output_layer.3.weight")),
}
