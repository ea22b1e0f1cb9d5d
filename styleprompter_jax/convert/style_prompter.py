"""Table for a checkpoint of the published StylePrompter code.

The target is what ``models.style_prompter.StylePrompter`` holds, parameters and
constants in one tree.
"""

from styleprompter_jax.convert.smart import SMART_BLOCK
from styleprompter_jax.convert.stylegan2 import generator_table
from styleprompter_jax.convert.swin import SWIN
from styleprompter_jax.convert.table import Row, Rule, prefixed
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.models.style_prompter import StylePrompterConfig


def checkpoint_table(
    config: StylePrompterConfig,
    encoder: str = "encoder.module.",
    decoder: str = "decoder.module.",
) -> tuple[Row, ...]:
    """The rows for the parts that ``config`` has.

    Args:
      config: the architecture; a checkpoint holds SMART for one layer at most.
      encoder, decoder: what the keys of these parts begin with.
    """
    rows = [
        Rule("latent_avg", "latent_avg"),
        *prefixed(
            generator_table(config.generator), "generator/", f"{decoder}generator."
        ),
    ]
    if config.encoder is not None:
        rows += prefixed(SWIN, "encoder/", encoder)
    if config.smart is not None:
        if len(config.smart.refined_layers) != 1:
            raise StylePrompterError(
                "The published layout holds SMART for one layer, not for layers "
                f"{config.smart.refined_layers}."
            )
        (layer,) = config.smart.refined_layers
        rows += prefixed(SMART_BLOCK, f"smart/layer_{layer}/", f"{decoder}smart_block.")
    return tuple(rows)
