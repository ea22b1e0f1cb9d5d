"""Table for a checkpoint of the published StylePrompter code.

The target has the parameters and constants of ``models.inverter.StylePrompter`` in one
tree. The decoder of a full checkpoint holds the generator and SMART. The decoder of a
baseline checkpoint is the generator.
"""

from typing import Any

from styleprompter_jax.convert.found import Found, unused, with_mean
from styleprompter_jax.convert.states import agree, find_state, options, prefix
from styleprompter_jax.convert.table import Row, prefixed
from styleprompter_jax.convert.tables import smart, stylegan2, swin
from styleprompter_jax.convert.tables.smart import SMART_BLOCK
from styleprompter_jax.convert.tables.stylegan2 import (
    described,
    generator_table,
    noises,
)
from styleprompter_jax.convert.tables.swin import assumed, encoder_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig


def checkpoint_table(
    config: StylePrompterConfig,
    encoder: str = "encoder.module.",
    decoder: str = "decoder.module.",
    noises: bool = True,
) -> tuple[Row, ...]:
    """Returns the rows for the parts of ``config``, without the mean code.

    Args:
        config: the architecture; a checkpoint holds SMART for at most one layer.
        encoder: prefix of the encoder's keys.
        decoder: prefix of the decoder's keys.
        noises: whether the checkpoint has the generator's noise.

    Raises:
        StylePrompterError: if the published layout has no place for a part.
    """
    images, reader = config.generator, config.encoder
    if not isinstance(images, GeneratorConfig) or not isinstance(
        reader, SwinConfig | None
    ):
        raise StylePrompterError(
            "The published layout has only SwinV2, SMART and StyleGAN2, and this model "
            "has other parts."
        )
    generator = f"{decoder}generator." if config.refiner else decoder
    table = generator_table(images, noises)
    rows = [*prefixed(table, "generator/", generator)]
    if reader is not None:
        rows += prefixed(encoder_table(reader), "encoder/", encoder)
    if config.refiner is not None:
        if len(config.refiner.refined_layers) != 1:
            raise StylePrompterError(
                "The published layout holds SMART for one layer, but this model "
                f"refines the layers {config.refiner.refined_layers}."
            )
        (layer,) = config.refiner.refined_layers
        rows += prefixed(SMART_BLOCK, f"smart/layer_{layer}/", f"{decoder}smart_block.")
    return tuple(rows)


def recognise(tree: Any) -> Found | None:
    """Recognises a checkpoint of the published code, baseline or full."""
    found = find_state(tree, "latent_tok", "input.input")
    if found is None:
        return None
    state, opts = found.arrays, options(tree)
    encoder, generator = found.start("latent_tok"), found.start("input.input")
    reader = swin.encoder_config(state, encoder)
    images = stylegan2.generator_config(state, generator)
    block = prefix(state, "smart_block.query_proj.weight")
    if block is None:
        kind, decoder, last = "baseline", generator, ""
        refiner = None
    else:
        layer = opts.get("refined_layer", 4)
        if not isinstance(layer, int) or layer not in range(images.num_codes):
            raise StylePrompterError(
                f"its options say refined_layer = {quoted(str(layer))}, but its "
                f"generator has only the layers 0 to {images.num_codes - 1}: the file "
                "is inconsistent, so use another file."
            )
        kind, decoder, last = "full", block, f", refined layer {layer}"
        refiner = smart.smart_config(state, f"{block}smart_block.", layer)
    config = StylePrompterConfig(
        encoder=reader,
        refiner=refiner,
        generator=images,
    )
    what = f"official StylePrompter, {kind}, {described(images)}{last}"
    agree(
        opts,
        type=kind,
        output_size=images.image_size,
        tokens_num=images.num_codes,
        start_from_latent_avg=True,
    )
    has_noise, note = noises(state, generator)
    state, table = with_mean(
        found,
        state,
        checkpoint_table(config, encoder, decoder, has_noise),
        config.generator,
    )
    return Found(
        what,
        state,
        table,
        encoder=config.encoder,
        refiner=config.refiner,
        generator=config.generator,
        notes=(
            *assumed(reader, state, encoder),
            *note,
            *unused(found.left_out()),
        ),
    )
