"""Checkpoints of pSp and e4e: their encoder, their generator and the mean code."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from styleprompter_jax.convert.found import Found, unused, with_mean
from styleprompter_jax.convert.states import agree, find_state, options
from styleprompter_jax.convert.table import Row, Rule, Stacked, count, prefixed, size
from styleprompter_jax.convert.tables.ir_se50 import TRUNK
from styleprompter_jax.convert.tables.layers import batch_norm, conv
from styleprompter_jax.convert.tables.stylegan2 import (
    described,
    generator_config,
    generator_table,
    noises,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.encoders.psp import PYRAMID, EncoderType, PspConfig

_NAMES = {
    "GradualStyleEncoder": "pSp",
    "Encoder4Editing": "e4e",
    "BackboneEncoderUsingLastLayerIntoW": "pSp into W",
    "BackboneEncoderUsingLastLayerIntoWPlus": "pSp into W+ by one layer",
}
# By what options call the data; the first that the name starts with.
_SUBJECTS = {
    "ffhq_sketch": "sketches to faces",
    "celebs_sketch": "sketches to faces",
    "celebs_seg": "label maps to faces",
    "celebs_super": "small pictures to faces",
    "ffhq_frontalize": "frontal views of faces",
    "toonify": "drawn faces",
    "ffhq": "faces",
    "celeb": "faces",
    "horse": "horses",
    "church": "churches",
    "cat": "cats",
    "afhq_wild": "wild animals",
}
_DATA = "dataset_type"
_PASSES = 6  # channels of ReStyle's input: an image and its inversion
_ANCHOR = "input_layer.0.weight"


def encoder_table(config: PspConfig) -> tuple[Row, ...]:
    """The rows for an encoder of that architecture."""
    return (*TRUNK, *_head(config))


def _head(config: PspConfig) -> tuple[Row, ...]:
    if config.encoder_type in PYRAMID:
        rows: list[Row] = []
        for name in ("latlayer1", "latlayer2"):
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
    if config.encoder_type == "BackboneEncoderUsingLastLayerIntoWPlus":
        rows += batch_norm("output_layer_2_0", "output_layer_2.0")
        rows += [
            Rule("output_layer_2_3/kernel", "output_layer_2.3.weight", "o i -> i o"),
            Rule("output_layer_2_3/bias", "output_layer_2.3.bias"),
        ]
    return tuple(rows)


def _map_to_styles(name: str, steps: int, numbers: range) -> list[Row]:
    """The rows of the codes, by number, that are made of one map."""

    def stacked(target: str, source: str, layout: str) -> Stacked:
        source = f"styles.{{k}}.{source}"
        return Stacked(f"{name}/{target}", source, layout, numbers)

    rows: list[Row] = []
    for step in range(steps):
        key = f"convs.{2 * step}"  # an activation stands between two
        layout = "k o i h w -> k h w i o"
        rows.append(stacked(f"conv_{step}/kernel", f"{key}.weight", layout))
        rows.append(stacked(f"conv_{step}/bias", f"{key}.bias", "k o -> k o"))
    rows.append(stacked("linear/kernel", "linear.weight", "k o i -> k i o"))
    rows.append(stacked("linear/bias", "linear.bias", "k o -> k o"))
    return rows


def encoder_config(
    arrays: Mapping[str, np.ndarray], prefix: str, encoder_type: str, codes: int
) -> PspConfig:
    """The architecture, from the sizes of the arrays whose keys start with prefix.

    Args:
        arrays: by key.
        prefix: of the encoder's keys.
        encoder_type: as options name it.
        codes: how many the generator reads.

    Raises:
        StylePrompterError: if the arrays are not of an encoder of that type.
    """
    keys = [key.removeprefix(prefix) for key in arrays if key.startswith(prefix)]
    found = _kind(keys)
    if found != (encoder_type in PYRAMID, encoder_type.endswith("IntoWPlus")):
        raise StylePrompterError(
            f"its options say encoder_type = {encoder_type!r}, but its weights are "
            "those of another encoder: the file is mixed up, take another."
        )
    blocks = count(r"body\.(\d+)\.", keys)
    stages = [
        (width, len([*group]))
        for width, group in itertools.groupby(
            size(arrays, (f"{prefix}body.{k}.res_layer.3.weight", 0))
            for k in range(blocks)
        )
    ]
    if len(stages) != 4:
        raise StylePrompterError(
            f"its encoder has {len(stages)} stages, where IR-SE50 has 4."
        )
    fields: dict[str, Any] = {}
    last = f"{prefix}linear.weight"
    if encoder_type in PYRAMID:
        last = f"{prefix}styles.0.linear.weight"
        codes = count(r"styles\.(\d+)\.", keys)
        # Each convolution halves the coarse map, of 1/16 of the image's side.
        matches = (re.match(r"styles\.0\.convs\.(\d{1,3})\.", key) for key in keys)
        halvings = 1 + max((int(m[1]) for m in matches if m), default=0) // 2
        fields["image_size"] = 16 << min(halvings, 10)
    elif encoder_type.endswith("IntoWPlus"):
        last = f"{prefix}output_layer_2.3.weight"
    return PspConfig(
        encoder_type=cast(EncoderType, encoder_type),
        input_channels=size(arrays, (f"{prefix}{_ANCHOR}", 1)),
        num_styles=codes,
        w_dim=size(arrays, (last, 0)),
        widths=tuple(width for width, _ in stages),
        blocks=tuple(number for _, number in stages),
        **fields,
    )


def _kind(keys: list[str]) -> tuple[bool, bool]:
    """Whether keys have a pyramid's codes, and the linear head into W+."""
    starts = ("styles.", "output_layer_2.")
    styles, plus = (any(key.startswith(start) for key in keys) for start in starts)
    return styles, plus


def recognise(tree: Any) -> Found | None:
    """A checkpoint of pSp or e4e that reads square images."""
    found = find_state(tree, _ANCHOR, "input.input")
    if found is None:
        return None
    state, opts = found.arrays, options(tree)
    kind, data = opts.get("encoder_type"), str(opts.get(_DATA, ""))
    encoder, decoder = found.start(_ANCHOR), found.start("input.input")
    # Pictures of cars are not square; ReStyle goes in passes: the generator alone.
    if not isinstance(kind, str) or kind not in _NAMES or data.startswith("cars"):
        return None
    if size(state, (f"{encoder}{_ANCHOR}", 1)) == _PASSES:
        return None
    images = generator_config(state, decoder)
    reader = encoder_config(state, encoder, kind, images.num_codes)
    from_mean = opts.get("start_from_latent_avg", True)
    agree(
        opts,
        output_size=images.image_size,
        stylegan_size=images.image_size,
        input_nc=reader.input_channels,
        start_from_latent_avg=bool(from_mean is not False),
    )
    if from_mean is False:
        reader = PspConfig(**reader.to_dict() | {"start_from_latent_avg": False})
    has_noise, notes = noises(state, decoder)
    rows = (
        *prefixed(encoder_table(reader), "encoder/", encoder),
        *prefixed(generator_table(images, has_noise), "generator/", decoder),
    )
    arrays, table = with_mean(found, state, rows, images)
    starts = (text for start, text in _SUBJECTS.items() if data.startswith(start))
    subject = "".join(f"{text}, " for text in itertools.islice(starts, 1))
    return Found(
        f"{_NAMES[kind]}, {subject}{described(images)}",
        arrays,
        table,
        encoder=reader,
        generator=images,
        notes=(*notes, *unused(found.left_out())),
    )
