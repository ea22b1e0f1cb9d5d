"""Tables for the encoders of pSp, e4e and ReStyle, and their configs from arrays."""

import itertools
import re
from collections.abc import Collection, Mapping
from typing import Any, cast

import numpy as np

from styleprompter_jax.convert.table import Row, Rule, Stacked, count, size
from styleprompter_jax.convert.tables import ir_se50, resnet34
from styleprompter_jax.convert.tables.layers import batch_norm, conv
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.encoders.psp import FORMS, EncoderType, PspConfig

_TRUNKS: dict[str, tuple[Row, ...]] = {
    "ir_se50": ir_se50.TRUNK,
    "resnet34": resnet34.TRUNK,
}
TITLES = {"ir_se50": "IR-SE50", "resnet34": "ResNet-34"}
# For each trunk: a key that only this trunk has, the first layer, and in each block a
# layer with the width of the block.
ANCHORS = {"ir_se50": "body.0.res_layer.3.weight", "resnet34": "body.0.conv2.weight"}
_FIRST = {"ir_se50": "input_layer.0.weight", "resnet34": "conv1.weight"}
_WIDTH = {"ir_se50": "res_layer.3.weight", "resnet34": "conv2.weight"}
_LATERAL = ("latlayer1", "latlayer2")
_MAPS = ("pyramid", "coarse")  # heads of map2style blocks


def encoder_table(config: PspConfig) -> tuple[Row, ...]:
    """Returns the rows for an encoder of that architecture."""
    return (*_TRUNKS[config.form.trunk], *_head(config))


def _head(config: PspConfig) -> tuple[Row, ...]:
    if config.form.head in _MAPS:
        rows: list[Row] = []
        for name in _LATERAL if config.form.head == "pyramid" else ():
            rows += conv(name, name, bias=True)
        first = 0
        for name, (codes, steps) in config.maps.items():
            numbers = range(first, first + codes)
            rows += _map_to_styles(name, steps, numbers) if codes else ()
            first += codes
        return tuple(rows)
    rows = [
        Rule("linear/kernel", "linear.weight", "o i -> i o"),
        Rule("linear/bias", "linear.bias"),
    ]
    if config.form.head == "w_plus":
        rows += batch_norm("output_layer_2_0", "output_layer_2.0")
        rows += [
            Rule("output_layer_2_3/kernel", "output_layer_2.3.weight", "o i -> i o"),
            Rule("output_layer_2_3/bias", "output_layer_2.3.bias"),
        ]
    return tuple(rows)


def _map_to_styles(name: str, steps: int, numbers: range) -> list[Row]:
    """Returns the rows of the heads that read one map, for the codes ``numbers``."""

    def stacked(target: str, source: str, layout: str) -> Stacked:
        source = f"styles.{{k}}.{source}"
        return Stacked(f"{name}/{target}", source, layout, numbers)

    rows: list[Row] = []
    for step in range(steps):
        key = f"convs.{2 * step}"  # an activation is between two convolutions
        layout = "k o i h w -> k h w i o"
        rows.append(stacked(f"conv_{step}/kernel", f"{key}.weight", layout))
        rows.append(stacked(f"conv_{step}/bias", f"{key}.bias", "k o -> k o"))
    rows.append(stacked("linear/kernel", "linear.weight", "k o i -> k i o"))
    rows.append(stacked("linear/bias", "linear.bias", "k o -> k o"))
    return rows


def form_of(keys: Collection[str]) -> tuple[str, str] | None:
    """Returns an encoder's trunk and head from its keys; None for other networks."""
    trunks = [
        trunk
        for trunk, anchor in ANCHORS.items()
        if any(key.startswith(anchor.rpartition(".")[0]) for key in keys)
    ]
    starts = {key.partition(".")[0] for key in keys}
    heads = {
        "pyramid": "styles" in starts and starts.issuperset(_LATERAL),
        "coarse": "styles" in starts and starts.isdisjoint(_LATERAL),
        "w_plus": "output_layer_2" in starts,
        "w": "linear" in starts and "output_layer_2" not in starts,
    }
    found = [head for head, there in heads.items() if there]
    return (trunks[0], found[0]) if len(trunks) == len(found) == 1 else None


def channels(arrays: Mapping[str, np.ndarray], prefix: str, trunk: str) -> int:
    """Returns the number of channels that the first layer of a trunk reads."""
    return size(arrays, (f"{prefix}{_FIRST[trunk]}", 1))


def encoder_config(
    arrays: Mapping[str, np.ndarray], prefix: str, encoder_type: str, codes: int
) -> PspConfig:
    """Returns the architecture, from the arrays whose keys start with the prefix.

    Args:
        arrays: arrays by key.
        prefix: prefix of the encoder's keys.
        encoder_type: one of `FORMS`; the keys must have this form.
        codes: number of codes that the generator reads.

    Raises:
        StylePrompterError: if the arrays do not belong to an encoder of that type.
    """
    keys = {key.removeprefix(prefix) for key in arrays if key.startswith(prefix)}
    form = FORMS[encoder_type]
    if form_of(keys) != (form.trunk, form.head):
        raise StylePrompterError(
            f"its options say encoder_type = {encoder_type!r}, but its weights belong "
            "to another encoder: the file is inconsistent, so use another file."
        )
    blocks = count(r"body\.(\d+)\.", keys)
    stages = [
        (width, len([*group]))
        for width, group in itertools.groupby(
            size(arrays, (f"{prefix}body.{k}.{_WIDTH[form.trunk]}", 0))
            for k in range(blocks)
        )
    ]
    if len(stages) != 4:
        raise StylePrompterError(
            f"its encoder has {len(stages)} stages, but {TITLES[form.trunk]} has 4: "
            "use another file."
        )
    fields: dict[str, Any] = {}
    last = f"{prefix}linear.weight"
    if form.head in _MAPS:
        last = f"{prefix}styles.0.linear.weight"
        codes = count(r"styles\.(\d+)\.", keys)
        # Each convolution halves the coarse map, which has 1/16 of the image's side.
        matches = (re.match(r"styles\.0\.convs\.(\d{1,3})\.", key) for key in keys)
        halvings = 1 + max((int(m[1]) for m in matches if m), default=0) // 2
        fields["image_size"] = 16 << min(halvings, 10)
    elif form.head == "w_plus":
        last = f"{prefix}output_layer_2.3.weight"
    return PspConfig(
        encoder_type=cast(EncoderType, encoder_type),
        input_channels=channels(arrays, prefix, form.trunk),
        num_styles=codes,
        w_dim=size(arrays, (last, 0)),
        widths=tuple(width for width, _ in stages),
        blocks=tuple(number for _, number in stages),
        **fields,
    )
