"""Tables for the fixed perceptual networks, and which of them a file holds."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from styleprompter_jax.convert.table import (
    Ignored,
    Row,
    Rule,
    prefixed,
    read_table,
)
from styleprompter_jax.store.network_folder import NETWORKS

_CONV = "o i h w -> h w i o"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How published files hold a network.

    Attributes:
        table: keys of the file (of a state dict, without any level around it) and
            parameters of the module.
        signature: keys that such files have and those of other networks have not.
    """

    table: tuple[Row, ...]
    signature: tuple[str, ...]


def recognise(keys: Iterable[str]) -> str | None:
    """Which of `NETWORKS` a state dict holds, by name; None if it is none."""
    keys = set(keys)
    for name, layout in LAYOUTS.items():
        if keys.issuperset(layout.signature):
            return name
    return None


def read_network(
    name: str, state: Mapping[str, np.ndarray], file: str = "the file"
) -> dict:
    """Parameters of the network ``name`` from a state dict, float32.

    Raises:
        StylePrompterError: as `table.read_table`.
    """
    shapes = NETWORKS[name].shapes()
    return read_table(LAYOUTS[name].table, state, shapes["params"], file)


def _conv(target, source, bias=False):
    rows = [Rule(f"{target}/kernel", f"{source}.weight", _CONV)]
    if bias:
        rows.append(Rule(f"{target}/bias", f"{source}.bias"))
    return rows


def _batch_norm(target, source):
    return (
        Rule(f"{target}/scale", f"{source}.weight"),
        Rule(f"{target}/bias", f"{source}.bias"),
        Rule(f"{target}/mean", f"{source}.running_mean"),
        Rule(f"{target}/var", f"{source}.running_var"),
        Ignored(f"{source}.num_batches_tracked", "counts steps of training"),
    )


_CLASSIFIER = "the classifier's end, which features do without"
_LPIPS = (
    *_conv("features_{i}", "features.{i}", bias=True),
    Rule("lin{i}", "lin{i}.model.1.weight", "1 c 1 1 -> c"),
    *(Ignored(f"classifier.{{i}}.{leaf}", _CLASSIFIER) for leaf in ("weight", "bias")),
)
_LPIPS_SQUEEZE = (
    *(
        row
        for part in ("squeeze", "expand1x1", "expand3x3")
        for row in _conv(f"features_{{i}}_{part}", f"features.{{i}}.{part}", bias=True)
    ),
    *_conv("features_0", "features.0", bias=True),
    *_LPIPS[2:],
)

_ARCFACE = (
    *_conv("input_layer_0", "input_layer.0"),
    *_batch_norm("input_layer_1", "input_layer.1"),
    Rule("input_layer_2/slope", "input_layer.2.weight"),
    *_batch_norm("output_layer_0", "output_layer.0"),
    Rule("output_layer_3/kernel", "output_layer.3.weight", "o i -> i o"),
    Rule("output_layer_3/bias", "output_layer.3.bias"),
    *_batch_norm("output_layer_4", "output_layer.4"),
    *prefixed(
        (
            *_conv("shortcut_layer_0", "shortcut_layer.0"),
            *_batch_norm("shortcut_layer_1", "shortcut_layer.1"),
            *_batch_norm("res_layer_0", "res_layer.0"),
            *_conv("res_layer_1", "res_layer.1"),
            Rule("res_layer_2/slope", "res_layer.2.weight"),
            *_conv("res_layer_3", "res_layer.3"),
            *_batch_norm("res_layer_4", "res_layer.4"),
            Rule(
                "res_layer_5_{fc}/kernel", "res_layer.5.{fc}.weight", "o i 1 1 -> i o"
            ),
        ),
        "body_{i}/",
        "body.{i}.",
    ),
)

_RESNET = (
    *_conv("conv1", "conv1"),
    *_batch_norm("bn1", "bn1"),
    *(
        row
        for k in (1, 2, 3)
        for row in (
            *_conv(f"layer{{s}}_{{i}}/conv{k}", f"layer{{s}}.{{i}}.conv{k}"),
            *_batch_norm(f"layer{{s}}_{{i}}/bn{k}", f"layer{{s}}.{{i}}.bn{k}"),
        )
    ),
    *_conv("layer{s}_{i}/downsample_0", "layer{s}.{i}.downsample.0"),
    *_batch_norm("layer{s}_{i}/downsample_1", "layer{s}.{i}.downsample.1"),
)
_HEAD = tuple(  # of MoCo v1, and of v2
    Ignored(f"{fc}.{leaf}", "the head for the contrastive loss")
    for fc in ("fc", "fc.{i}")
    for leaf in ("weight", "bias")
)
_MOCO = (
    *prefixed((*_RESNET, *_HEAD), source="module.encoder_q."),
    *(
        Ignored(f"module.encoder_k.{row.source}", "the encoder that lags behind")
        for row in (*_RESNET, *_HEAD)
    ),
    Ignored("module.queue", "the keys of the last batches"),
    Ignored("module.queue_ptr", "a position in the queue"),
)

_INCEPTION = (
    *(
        row
        for target, source in (("{m}", "{m}"), ("{m}/{branch}", "{m}.{branch}"))
        for row in (
            *_conv(f"{target}/conv", f"{source}.conv"),
            *_batch_norm(f"{target}/bn", f"{source}.bn"),
        )
    ),
    *(Ignored(f"fc.{leaf}", _CLASSIFIER) for leaf in ("weight", "bias")),
)

LAYOUTS = {
    # The trunk is a file of torchvision, the heads are one of LPIPS: both together.
    "lpips_alex": Layout(_LPIPS, ("features.0.weight", "features.3.weight")),
    "lpips_vgg": Layout(_LPIPS, ("features.0.weight", "features.2.weight")),
    "lpips_squeeze": Layout(
        _LPIPS_SQUEEZE, ("features.0.weight", "features.3.squeeze.weight")
    ),
    "arcface": Layout(_ARCFACE, ("input_layer.0.weight", "output_layer.3.weight")),
    "moco": Layout(_MOCO, ("module.encoder_q.conv1.weight",)),
    "inception": Layout(_INCEPTION, ("Conv2d_1a_3x3.conv.weight",)),
}
