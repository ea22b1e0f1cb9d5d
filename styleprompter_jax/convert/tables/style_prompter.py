"""Table for a checkpoint of the published StylePrompter code.

The target is what ``models.inverter.StylePrompter`` holds, parameters and
constants in one tree.  The decoder of a full checkpoint holds the generator and SMART;
that of a baseline checkpoint is the generator.
"""

from styleprompter_jax.convert.table import Row, prefixed
from styleprompter_jax.convert.tables.smart import SMART_BLOCK
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.convert.tables.swin import encoder_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.inverter import StylePrompterConfig


def checkpoint_table(
    config: StylePrompterConfig,
    encoder: str = "encoder.module.",
    decoder: str = "decoder.module.",
    noises: bool = True,
) -> tuple[Row, ...]:
    """The rows for the parts that ``config`` has; the mean code lies beside them.

    Args:
      config: the architecture; a checkpoint holds SMART for one layer at most.
      encoder, decoder: what the keys of these parts begin with.
      noises: whether the checkpoint has the generator's noise.
    """
    generator = f"{decoder}generator." if config.refiner else decoder
    table = generator_table(config.generator, noises)
    rows = [*prefixed(table, "generator/", generator)]
    if config.encoder is not None:
        rows += prefixed(encoder_table(config.encoder), "encoder/", encoder)
    if config.refiner is not None:
        if len(config.refiner.refined_layers) != 1:
            raise StylePrompterError(
                "The published layout holds SMART for one layer, not for layers "
                f"{config.refiner.refined_layers}."
            )
        (layer,) = config.refiner.refined_layers
        rows += prefixed(SMART_BLOCK, f"smart/layer_{layer}/", f"{decoder}smart_block.")
    return tuple(rows)
