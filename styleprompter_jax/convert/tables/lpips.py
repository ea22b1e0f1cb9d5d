"""Table for LPIPS: torchvision's file has the trunk, lpips's file has the heads."""

from styleprompter_jax.convert.table import Ignored, Row, Rule
from styleprompter_jax.convert.tables.layers import CLASSIFIER, Beside, Layout, conv

_LPIPS: tuple[Row, ...] = (
    *conv("features_{i}", "features.{i}", bias=True),
    Rule("lin{i}", "lin{i}.model.1.weight", "1 c 1 1 -> c"),
    *(Ignored(f"classifier.{{i}}.{leaf}", CLASSIFIER) for leaf in ("weight", "bias")),
)
_LPIPS_SQUEEZE: tuple[Row, ...] = (
    *(
        row
        for part in ("squeeze", "expand1x1", "expand3x3")
        for row in conv(f"features_{{i}}_{part}", f"features.{{i}}.{part}", bias=True)
    ),
    *conv("features_0", "features.0", bias=True),
    *_LPIPS[2:],
)

_HEADS = Beside(
    "lin0.model.1.weight",
    "heads",
    "LPIPS",
    "the file of the lpips package (lpips/weights/v0.1/)",
    "torchvision's file of AlexNet, VGG-16 or SqueezeNet",
)

LAYOUTS = {
    "lpips_alex": Layout(_LPIPS, ("features.0.weight", "features.3.weight"), _HEADS),
    "lpips_vgg": Layout(_LPIPS, ("features.0.weight", "features.2.weight"), _HEADS),
    "lpips_squeeze": Layout(
        _LPIPS_SQUEEZE, ("features.0.weight", "features.3.squeeze.weight"), _HEADS
    ),
}
