"""Table for ArcFace's IR-SE50, from model_ir_se50.pth."""

from styleprompter_jax.convert.table import Rule
from styleprompter_jax.convert.tables.ir_se50 import TRUNK
from styleprompter_jax.convert.tables.layers import Layout, batch_norm

_ARCFACE = (
    *TRUNK,
    *batch_norm("output_layer_0", "output_layer.0"),
    Rule("output_layer_3/kernel", "output_layer.3.weight", "o i -> i o"),
    Rule("output_layer_3/bias", "output_layer.3.bias"),
    *batch_norm("output_layer_4", "output_layer.4"),
)

LAYOUTS = {
    "arcface": Layout(_ARCFACE, ("input_layer.0.weight", "output_layer.3.weight")),
}
