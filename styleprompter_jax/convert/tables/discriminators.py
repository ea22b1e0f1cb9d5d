"""Tables for the discriminators that published files have beside their generators.

The key is ``d`` in rosinality's training checkpoints and ``D`` in NVIDIA's snapshots.
Both are the residual network of ``models.discriminators.stylegan2``. Stage "generator"
starts from it. Commands that render images do not read it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from styleprompter_jax.convert.found import Found
from styleprompter_jax.convert.reading.unpickle import Object
from styleprompter_jax.convert.states import find_state
from styleprompter_jax.convert.table import (
    Buffer,
    Flat,
    Row,
    Rule,
    count,
    prefixed,
    size,
)
from styleprompter_jax.convert.tables.layers import conv
from styleprompter_jax.convert.tables.nvidia import module_arrays, number
from styleprompter_jax.convert.tables.stylegan2 import FILTER, image_size
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig

_ROSINALITY = "convs.0.0.weight", "final_linear.1.weight"
_NVIDIA = "b4.fc.weight", "b4.out.weight", "b4.conv.weight"
_WHOLE = 2**16  # images in a group, if a file uses the whole batch as one group
_CONDITIONAL = "it is conditional, but training in this package has no classes."


def rosinality_config(arrays: Mapping[str, np.ndarray]) -> DiscriminatorConfig:
    """Returns the architecture, from the sizes of the arrays."""
    blocks = count(r"convs\.(\d+)\.", arrays, first=1)
    channels = [size(arrays, ("final_conv.0.weight", 0))]
    for k in range(blocks, 0, -1):
        channels.append(size(arrays, (f"convs.{k}.conv1.0.weight", 0)))
    return DiscriminatorConfig(image_size(1 + blocks), tuple(channels))


def rosinality_table(config: DiscriminatorConfig) -> tuple[Row, ...]:
    """Returns the rows for a discriminator of that size."""
    rows: list[Row] = [
        *_conv("from_rgb", "convs.0.0", "convs.0.1"),
        *_conv("b4_conv", "final_conv.0", "final_conv.1"),
        *_ends("final_linear.0", "final_linear.1"),
    ]
    for k in range(1, len(config.channels)):
        name, key = f"b{2 * config.image_size >> k}", f"convs.{k}"
        rows += _conv(f"{name}_conv0", f"{key}.conv1.0", f"{key}.conv1.1")
        rows += _conv(f"{name}_conv1", f"{key}.conv2.1", f"{key}.conv2.2")
        rows += conv(f"{name}_skip", f"{key}.skip.1")
        rows += [Buffer(f"{key}.{part}.0.kernel", FILTER) for part in ("conv2", "skip")]
    return tuple(rows)


def nvidia_config(
    arrays: Mapping[str, np.ndarray],
    mbstd_group: int = 4,
    conv_clamp: float | None = None,
) -> DiscriminatorConfig:
    """Returns the architecture, from the sizes of the arrays and two given fields."""
    channels = [size(arrays, ("b4.conv.weight", 0))]
    while f"b{4 << len(channels)}.conv0.weight" in arrays:
        key = f"b{4 << len(channels)}.conv0.weight"
        channels.append(size(arrays, (key, 0)))
    return DiscriminatorConfig(
        image_size(len(channels)), tuple(channels), mbstd_group, conv_clamp
    )


def nvidia_table(config: DiscriminatorConfig) -> tuple[Row, ...]:
    """Returns the rows for a discriminator of that size."""
    largest = f"b{config.image_size}"
    rows: list[Row] = [
        *conv("from_rgb", f"{largest}.fromrgb", bias=True),
        *conv("b{r}_conv0", "b{r}.conv0", bias=True),
        *conv("b{r}_conv1", "b{r}.conv1", bias=True),
        *conv("b{r}_skip", "b{r}.skip"),
        *conv("b4_conv", "b4.conv", bias=True),
        *_ends("b4.fc", "b4.out"),
    ]
    places = [f"{largest}.fromrgb", "b4.conv"]
    for k in range(1, len(config.channels)):
        block = f"b{4 << k}"
        places += [block, *(f"{block}.{layer}" for layer in ("conv0", "conv1", "skip"))]
    rows += [Buffer(f"{place}.resample_filter", FILTER) for place in places]
    return tuple(rows)


def _conv(target: str, kernel: str, activation: str) -> tuple[Row, ...]:
    """Returns the rows of a convolution, whose activation has the bias."""
    return (*conv(target, kernel), Rule(f"{target}/bias", f"{activation}.bias"))


def _ends(fc: str, out: str) -> tuple[Row, ...]:
    """Returns the rows of the linear layers; the first reads the 4x4 map, c h w."""
    flat = "o (c h w) -> (h w c) o"
    return (
        Flat("b4_fc/kernel", f"{fc}.weight", flat, side=4),
        Rule("b4_fc/bias", f"{fc}.bias"),
        Rule("b4_out/kernel", f"{out}.weight", "o i -> i o"),
        Rule("b4_out/bias", f"{out}.bias"),
    )


def take(tree: Any) -> tuple[Found | None, Any]:
    """Returns the discriminator in the tree of a file, and the tree without it.

    Raises:
        StylePrompterError: if training does not support this discriminator.
    """
    module = tree.get("D") if isinstance(tree, Mapping) else tree
    if isinstance(module, Object):
        if module.type.rpartition(".")[2] != "Discriminator":
            return None, tree
        config, arrays = _of_module(module)
        if module is tree:
            return _found(config, nvidia_table(config), arrays, ""), {}
        rest = {key: value for key, value in tree.items() if key != "D"}
        return _found(config, nvidia_table(config), arrays, "D."), rest
    for anchors, of_arrays, table in (
        (_ROSINALITY, rosinality_config, rosinality_table),
        (_NVIDIA, _unconditional, nvidia_table),
    ):
        if found := find_state(tree, *anchors):
            start = found.start(anchors[0])
            arrays = found.own(start)
            if not any(".skip." in key for key in arrays):
                raise StylePrompterError("it has no residual blocks.")
            config = of_arrays(arrays)
            name = ".".join((*found.path, start))
            return _found(config, table(config), arrays, name), found.rest(start)
    return None, tree


def _unconditional(arrays: Mapping[str, np.ndarray]) -> DiscriminatorConfig:
    if "mapping.embed.weight" in arrays:
        raise StylePrompterError(_CONDITIONAL)
    return nvidia_config(arrays)


def _of_module(module: Object) -> tuple[DiscriminatorConfig, dict[str, np.ndarray]]:
    arrays, attributes = module_arrays(module)
    if attributes.get("c_dim"):
        raise StylePrompterError(_CONDITIONAL)
    clamp = number(attributes, "b4.conv.conv_clamp", None)
    for key, value in attributes.items():
        layer, _, attribute = key.rpartition(".")
        plain = layer.endswith(("skip", "out"))
        expected = {
            "architecture": "resnet",
            "activation": "linear" if plain else "lrelu",
            "conv_clamp": None if plain else clamp,
            "num_channels": 1,
        }.get(attribute, value)
        if value != expected:
            raise StylePrompterError(
                f"its {key} is {quoted(str(value))}, but only {expected!r} is "
                "supported."
            )
    group = number(attributes, "b4.mbstd.group_size", _WHOLE)
    return nvidia_config(arrays, int(group or _WHOLE), clamp), arrays


def _found(
    config: DiscriminatorConfig,
    table: tuple[Row, ...],
    arrays: Mapping[str, np.ndarray],
    name: str,
) -> Found:
    return Found(
        f"StyleGAN2 discriminator, {config.image_size} px",
        {name + key: value for key, value in arrays.items()},
        prefixed(table, "discriminator/", name),
        discriminator=config,
    )
