"""Table for a generator of NVIDIA's stylegan2-ada-pytorch and stylegan3 pickles.

The target is the same as in `stylegan2`: what the two codes call and store differently
comes to the same numbers.  Both keep kernels N(0, 1) and upsample by a transposed
convolution with the kernel as it is stored.  NVIDIA scales the styles of an RGB layer
by its learning rate where we scale the kernel, which is one product in another order.
Activations are clamped where a pickle says so (``conv_clamp``), and the mean code is
the mapping network's ``w_avg``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from styleprompter_jax.convert.reading.unpickle import Object
from styleprompter_jax.convert.table import Buffer, Row, Rule, count, size
from styleprompter_jax.convert.tables.stylegan2 import FILTER, image_size
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig


def module_arrays(module: Object) -> tuple[dict, dict]:
    """Arrays of a stored tree of modules by dotted key, and its plain attributes."""
    arrays: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    _collect(module, "", arrays, attributes)
    return arrays, attributes


def _collect(module: Object, place: str, arrays: dict, attributes: dict) -> None:
    groups: dict[str, Mapping] = {
        key: {} for key in ("_parameters", "_buffers", "_modules")
    }
    state = module.state if isinstance(module.state, Mapping) else {}
    for key, value in state.items():
        if key in groups and isinstance(value, Mapping):
            groups[key] = value
        elif value is None or isinstance(value, int | float | str):
            attributes[f"{place}{key}"] = value
    for key, value in {**groups["_parameters"], **groups["_buffers"]}.items():
        if value is not None:
            arrays[f"{place}{key}"] = value
    for key, child in groups["_modules"].items():
        if isinstance(child, Object):
            _collect(child, f"{place}{key}.", arrays, attributes)


def generator_config(
    arrays: Mapping[str, np.ndarray],
    mapping_lr_multiplier: float,
    conv_clamp: float | None,
) -> GeneratorConfig:
    """The architecture, from the sizes of the arrays and what no array tells."""
    blocks = 1
    while any(key.startswith(f"synthesis.b{4 << blocks}.") for key in arrays):
        blocks += 1
    return GeneratorConfig(
        image_size=image_size(blocks),
        channels=tuple(
            size(
                arrays,
                (f"synthesis.b{4 << k}.conv1.weight", 0),
                (f"synthesis.b{4 << k}.conv1.bias", 0),
            )
            for k in range(blocks)
        ),
        z_dim=size(arrays, ("mapping.fc0.weight", 1)),
        w_dim=size(
            arrays, ("synthesis.b4.conv1.affine.weight", 1), ("mapping.fc0.weight", 0)
        ),
        mapping_layers=count(r"mapping\.fc(\d+)\.", arrays),
        mapping_lr_multiplier=mapping_lr_multiplier,
        conv_clamp=conv_clamp,
    )


def generator_table(config: GeneratorConfig) -> tuple[Row, ...]:
    """The rows for a generator of that size; ``mapping.w_avg`` is not among them."""
    layer, key = "synthesis/b{r}/{layer}", "synthesis.b{r}.{layer}"
    rows: list[Row] = [
        Rule("mapping/fc{k}/kernel", "mapping.fc{k}.weight", "o i -> i o"),
        Rule("mapping/fc{k}/bias", "mapping.fc{k}.bias"),
        Rule("synthesis/b4/const", "synthesis.b4.const", "c h w -> h w c"),
        Rule(f"{layer}/kernel", f"{key}.weight", "o i h w -> h w i o"),
        Rule(f"{layer}/bias", f"{key}.bias"),
        Rule(f"{layer}/noise_strength", f"{key}.noise_strength"),
        Rule(f"{layer}/noise_const", f"{key}.noise_const"),
        Rule(f"{layer}/affine/kernel", f"{key}.affine.weight", "o i -> i o"),
        Rule(f"{layer}/affine/bias", f"{key}.affine.bias"),
    ]
    for side in config.resolutions:
        for place in ("", "conv0.", "conv1."):
            if (side, place) != (4, "conv0."):
                key = f"synthesis.b{side}.{place}resample_filter"
                rows.append(Buffer(key, FILTER))
    return tuple(rows)
