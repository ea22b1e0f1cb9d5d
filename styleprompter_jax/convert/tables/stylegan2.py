"""Table for a generator in the layout of rosinality's StyleGAN2 (``g_ema``).

The target has the parameters and the stored noise of ``models.stylegan2.Generator`` in
one tree. Both sides store kernels N(0, 1), and scale them at run time. Both store
upsampling kernels in the orientation of PyTorch's transposed convolution. Only the
order of the axes changes, and the numbers stay the same.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from styleprompter_jax.convert.found import Found, others_beside, unused, with_mean
from styleprompter_jax.convert.states import find_state
from styleprompter_jax.convert.table import (
    Buffer,
    Kept,
    Row,
    Rule,
    count,
    prefixed,
    size,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.generators.stylegan2 import (
    GeneratorConfig,
    default_channels,
)
from styleprompter_jax.ops.fir import TAPS

FILTER = np.outer(TAPS, TAPS).astype(np.float32) / np.float32(64)
_UPSAMPLING = 4 * FILTER  # the factor 4 compensates for the zeros between samples


def generator_config(arrays: Mapping[str, np.ndarray], prefix: str) -> GeneratorConfig:
    """Returns the architecture, from the arrays whose keys start with the prefix."""
    keys = [key.removeprefix(prefix) for key in arrays if key.startswith(prefix)]
    blocks = 1 + count(r"to_rgbs\.(\d+)\.", keys)
    channels = [
        size(
            arrays,
            (f"{prefix}{rgb}.conv.weight", 2),
            (f"{prefix}{conv}.activate.bias", 0),
            (f"{prefix}{conv}.conv.weight", 1),
        )
        for rgb, conv in (
            ("to_rgb1", "conv1"),
            *((f"to_rgbs.{k}", f"convs.{2 * k + 1}") for k in range(blocks - 1)),
        )
    ]
    return GeneratorConfig(
        image_size=image_size(blocks),
        channels=tuple(channels),
        z_dim=size(arrays, (f"{prefix}style.1.weight", 1)),
        w_dim=size(
            arrays,
            (f"{prefix}style.1.weight", 0),
            (f"{prefix}conv1.conv.modulation.weight", 1),
        ),
        mapping_layers=count(r"style\.(\d+)\.", keys, first=1),
    )


def image_size(blocks: int) -> int:
    """Returns the side of the images, in pixels, for a number of blocks from 4x4.

    Raises:
        StylePrompterError: if the images are larger than those of every published
            generator.
    """
    if blocks > 11:
        raise StylePrompterError(
            f"it has {blocks} resolutions, but 4096 px need only 11: the file is "
            "damaged, download it again."
        )
    return 2 << blocks


NOISE = "synthesis/b{side}/{layer}/noise_const"


def generator_table(config: GeneratorConfig, noises: bool = True) -> tuple[Row, ...]:
    """Returns the rows for a generator of that size; older files lack ``noises``.

    The keys count convolutions over all resolutions, but the parameters are sorted by
    resolution. For this reason, each row is listed.
    """
    rows: list[Rule | Buffer] = [
        Rule("synthesis/b4/const", "input.input", "1 c h w -> h w c"),
        *_conv("synthesis/b4/conv1", "conv1", "noises.noise_0"),
        *_rgb("synthesis/b4/torgb", "to_rgb1"),
    ]
    for k in range(config.mapping_layers):
        # style.0 is the pixel norm.
        rows += _linear(f"mapping/fc{k}", f"style.{k + 1}")
    for k, side in enumerate(config.resolutions[1:]):
        block, up, conv = f"synthesis/b{side}", 2 * k, 2 * k + 1
        rows += _conv(f"{block}/conv0", f"convs.{up}", f"noises.noise_{up + 1}")
        rows += _conv(f"{block}/conv1", f"convs.{conv}", f"noises.noise_{conv + 1}")
        rows += _rgb(f"{block}/torgb", f"to_rgbs.{k}")
        rows.append(Buffer(f"convs.{up}.conv.blur.kernel", _UPSAMPLING))
        rows.append(Buffer(f"to_rgbs.{k}.upsample.kernel", _UPSAMPLING))
    if noises:
        return tuple(rows)
    kept = Kept(NOISE, "the file has no noise: it is drawn")
    return (*(row for row in rows if "noises." not in row.source), kept)


def _linear(target: str, source: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{target}/kernel", f"{source}.weight", "o i -> i o"),
        Rule(f"{target}/bias", f"{source}.bias"),
    )


def _conv(target: str, source: str, noise: str) -> tuple[Rule, ...]:
    """Returns the rows of a modulated convolution, its noise and activation."""
    return (
        Rule(f"{target}/kernel", f"{source}.conv.weight", "1 o i h w -> h w i o"),
        *_linear(f"{target}/affine", f"{source}.conv.modulation"),
        Rule(f"{target}/noise_strength", f"{source}.noise.weight", "1 ->"),
        Rule(f"{target}/noise_const", noise, "1 1 h w -> h w"),
        Rule(f"{target}/bias", f"{source}.activate.bias"),
    )


def _rgb(target: str, source: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{target}/kernel", f"{source}.conv.weight", "1 o i h w -> h w i o"),
        *_linear(f"{target}/affine", f"{source}.conv.modulation"),
        Rule(f"{target}/bias", f"{source}.bias", "1 c 1 1 -> c"),
    )


UNKNOWN_ENCODER = "The encoder is left out, because its architecture is unknown."


def recognise(tree: Any) -> Found | None:
    """Recognises a generator in rosinality's layout: its own file, or pSp's decoder.

    The decoder of e4e has the same layout.
    """
    found = find_state(tree, "input.input")
    if found is None:
        return None
    state, start = found.arrays, found.start("input.input")
    config = generator_config(state, start)
    own = {key: value for key, value in state.items() if key.startswith(start)}
    has_noise, notes = noises(own, start)
    table = generator_table(config, has_noise)
    arrays, table = with_mean(found, own, prefixed(table, "generator/", start), config)
    what = f"StyleGAN2 generator in rosinality's layout, {described(config)}"
    others = others_beside(state, start)
    if "encoder" in others:
        what = f"pSp or e4e, its {what}"
        notes += (UNKNOWN_ENCODER,)
        others -= {"encoder"}
    notes += unused(others | found.left_out())
    return Found(what, arrays, table, generator=config, notes=notes)


def noises(state: Mapping[str, np.ndarray], start: str) -> tuple[bool, tuple[str, ...]]:
    """Returns whether a generator in rosinality's layout has noise, and a note."""
    if any(key.startswith(f"{start}noises.") for key in state):
        return True, ()
    return False, ("The file has no noise: it is drawn from a fixed seed.",)


def described(config: GeneratorConfig) -> str:
    """Describes a generator in a few words."""
    size = config.image_size
    half = default_channels(size, 1)
    width = ", half width" if config.channels == half != default_channels(size) else ""
    return f"{size} px, {config.num_codes} codes{width}"
