"""Table for a generator of NVIDIA's stylegan2-ada-pytorch and stylegan3 pickles.

The target is the same as in `stylegan2`. The two codes use different names and layouts
for the same numbers. Both store kernels N(0, 1), and upsample with a transposed
convolution of the stored kernel. NVIDIA scales the styles of an RGB layer by its
learning rate. We scale the kernel, which is the same product in another order. A pickle
may ask for clamped activations (``conv_clamp``). The mean code is the mapping network's
``w_avg``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from styleprompter_jax.convert.found import NO_MEAN, Found, others_beside, unused
from styleprompter_jax.convert.reading.unpickle import Object
from styleprompter_jax.convert.states import find_state
from styleprompter_jax.convert.table import Buffer, Row, Rule, count, prefixed, size
from styleprompter_jax.convert.tables.stylegan2 import FILTER, described, image_size
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig


def module_arrays(module: Object) -> tuple[dict, dict]:
    """Returns the arrays and plain attributes of a stored module tree by dotted key."""
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
    """Returns the architecture, from the array sizes and two given fields.

    The arrays do not determine the fields `mapping_lr_multiplier` and `conv_clamp`.
    """
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
    """Returns the rows for a generator of that size, without ``mapping.w_avg``."""
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


def recognise(tree: Any) -> Found | None:
    """Recognises a generator in NVIDIA's pickles, which store modules as objects."""
    module = tree.get("G_ema") if isinstance(tree, Mapping) else tree
    if not isinstance(module, Object) or module.type.rpartition(".")[2] != "Generator":
        return None
    arrays, attributes = module_arrays(module)
    if attributes.get("c_dim"):
        raise StylePrompterError(
            f"the generator is conditional (c_dim = {attributes['c_dim']}), but this "
            "package has no classes: use an unconditional generator."
        )
    others = {} if module is tree else tree
    left = {str(k) for k, v in others.items() if v is not None and k != "G_ema"}
    return _found(arrays, attributes, unused(left))


def recognise_state(tree: Any) -> Found | None:
    """Recognises a generator with NVIDIA's keys in a plain state dict.

    A state dict does not have the settings of the layers.
    """
    found = find_state(tree, "synthesis.b4.const", "mapping.fc0.weight")
    if found is None:
        return None
    start = found.start("synthesis.b4.const")
    arrays = {
        key.removeprefix(start): value
        for key, value in found.arrays.items()
        if key.startswith(start)
    }
    if "mapping.embed.weight" in arrays:
        raise StylePrompterError(
            "the generator is conditional (it has mapping.embed), but this package has "
            "no classes: use an unconditional generator."
        )
    others = others_beside(found.arrays, start) if start else set()
    notes = (
        "The file does not say whether activations are clamped: the model does not "
        "clamp them.",
        *unused(others | found.left_out()),
    )
    return _found(arrays, {}, notes)


def _found(
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    notes: tuple[str, ...],
) -> Found:
    if not any(key.startswith("synthesis.b4.") for key in arrays):
        raise StylePrompterError(
            "the generator is not a StyleGAN2 (perhaps a StyleGAN3): use a pickle of "
            "NVIDIA whose name begins with stylegan2."
        )
    if attributes.get("synthesis.b4.architecture", "skip") != "skip":
        raise StylePrompterError(
            "the generator's architecture is "
            f"{quoted(str(attributes['synthesis.b4.architecture']))}, but only 'skip' "
            "can be converted."
        )
    clamp = number(attributes, "synthesis.b4.conv1.conv_clamp", None)
    _check_layers(attributes, clamp)
    rate = number(attributes, "mapping.fc0.bias_gain", 0.01)
    if rate is None:
        raise StylePrompterError(
            "its mapping.fc0.bias_gain is None: the file is damaged, download it again."
        )
    config = generator_config(
        arrays,
        mapping_lr_multiplier=rate,
        conv_clamp=clamp,
    )
    rows = prefixed(generator_table(config), "generator/")
    has_mean = "mapping.w_avg" in arrays
    mean = Rule("latent_avg", "mapping.w_avg") if has_mean else NO_MEAN
    what = (
        f"StyleGAN2 generator of NVIDIA, {described(config)}, "
        f"{config.mapping_layers} mapping layers"
    )
    if config.conv_clamp is not None:
        what += f", activations clamped at {config.conv_clamp:g}"
    return Found(what, arrays, (*rows, mean), generator=config, notes=notes)


def _check_layers(attributes: Mapping[str, Any], clamp: float | None) -> None:
    """Refuses a pickle's layers if they do not compute the same as our layers."""
    for key, value in attributes.items():
        layer, _, attribute = key.rpartition(".")
        expected = {
            "activation": "linear" if layer.endswith("affine") else "lrelu",
            "conv_clamp": clamp,
        }.get(attribute, value)
        if value != expected:
            raise StylePrompterError(
                f"its {key} is {quoted(str(value))}, but only {expected!r} is "
                "supported: such a generator cannot be converted."
            )


def number(
    attributes: Mapping[str, Any], key: str, default: float | None
) -> float | None:
    """Returns an attribute that is a number or None; the default if it is missing.

    Raises:
        StylePrompterError: if the attribute is something else.
    """
    value = attributes.get(key, default)
    if isinstance(value, str) or not np.isfinite(0 if value is None else value):
        raise StylePrompterError(
            f"its {key} is {quoted(str(value))}, but must be a number."
        )
    return None if value is None else float(value)
