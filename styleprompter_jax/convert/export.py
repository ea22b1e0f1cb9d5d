"""Converts a model back to a file of the published PyTorch code.

A model with an encoder becomes a checkpoint for the code that builds the encoder:
StylePrompter, pSp, e4e or ReStyle.  A model without an encoder becomes a checkpoint for
rosinality's code, with its discriminator.  The tables that read these layouts also
write them.  They write every array that a strict ``load_state_dict`` needs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from styleprompter_jax.convert.origin import NOTHING, Origin
from styleprompter_jax.convert.table import merge_collections, write_table
from styleprompter_jax.convert.tables.discriminators import rosinality_table
from styleprompter_jax.convert.tables.psp_files import checkpoint
from styleprompter_jax.convert.tables.style_prompter import checkpoint_table
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import (
    GeneratorConfig,
    default_channels,
)
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.models.registry import KINDS, GeneratorBase, PartConfig
from styleprompter_jax.store.discriminator_files import KeptDiscriminator

_FREE = {"drop_path", "remat", "dropout"}  # only for training; no checkpoint has them


def export_model(
    config: StylePrompterConfig,
    variables: Mapping[str, Any],
    discriminator: KeptDiscriminator | None = None,
    origin: Origin | None = None,
) -> tuple[str, dict]:
    """Returns the content of a file for ``torch_file.write_torch``.

    Args:
        config: the model's architecture.
        variables: {"params": ..., "const": ...}.
        discriminator: the generator's discriminator, if a model without an encoder
            has one; the layouts of encoders do not hold it.
        origin: facts of the checkpoint that the model comes from, if any.

    Returns:
        A short description of the file, and its content.

    Raises:
        StylePrompterError: if the published code cannot build such a model.
    """
    tree = merge_collections(variables)
    latent_avg = tree.pop("latent_avg")
    if config.encoder is None:
        if config.refiner is not None:
            raise StylePrompterError(
                "This model has SMART but no encoder, and the published code has no "
                "such model: it cannot be exported."
            )
        generator = _rosinality(config.generator)
        content = {
            "g_ema": write_table(generator_table(generator), tree["generator"]),
            "latent_avg": latent_avg,
        }
        if discriminator is None or not _is_published(discriminator.config):
            return "generator in rosinality's layout", content
        table = rosinality_table(discriminator.config)
        content["d"] = write_table(table, discriminator.params)
        return "generator and discriminator in rosinality's layout", content
    if isinstance(config.encoder, PspConfig):
        images = GeneratorConfig(config.generator.image_size)
        _refuse_other("generator", config.generator, images)
        tree["latent_avg"] = latent_avg
        content = checkpoint(config.encoder, images, tree, origin or NOTHING)
        return f"published checkpoint, {config.encoder.encoder_type}", content
    options = _options(config)
    return f"official StylePrompter checkpoint, {options['type']}", {
        "state_dict": write_table(checkpoint_table(config), tree),
        "opts": options,
        "latent_avg": latent_avg,
    }


def _options(config: StylePrompterConfig) -> dict:
    """Returns the options that the published scripts read from a checkpoint."""
    size = config.generator.image_size
    layer = 4
    published = StylePrompterConfig(
        encoder=SwinConfig(num_tokens=config.generator.num_codes),
        refiner=None,
        generator=GeneratorConfig(size),
    )
    if config.refiner is not None:
        layers = config.refiner.refined_layers
        if len(layers) != 1:
            raise StylePrompterError(
                f"This model refines layers {', '.join(map(str, layers))}, but the "
                "published code refines one layer: it cannot be exported."
            )
        (layer,) = layers
        published = dataclasses.replace(published, refiner=SmartConfig((layer,)))
    for part in KINDS:
        _refuse_other(part, getattr(config, part), getattr(published, part))
    return dict(
        type="baseline" if config.refiner is None else "full",
        output_size=size,
        tokens_num=config.generator.num_codes,
        refined_layer=layer,
        start_from_latent_avg=True,
        learn_in_w=False,
        dataset_type="ffhq_encode",
        device="cuda",
    )


def _refuse_other(
    part: str, config: PartConfig | None, published: PartConfig | None
) -> None:
    """Refuses a part whose architecture differs from the one of the published code."""
    for field, value in (published.to_dict() if published else {}).items():
        own = getattr(config, field, None)
        if field not in _FREE and own != value:
            raise StylePrompterError(
                f"This model's {part} has {field} = {own}, but the published code "
                f"only builds {value}: it cannot be exported."
            )


def _is_published(config: DiscriminatorConfig) -> bool:
    """Returns whether rosinality's ``Discriminator(size)`` builds the config."""
    widths = [default_channels(config.image_size, m) for m in (1, 2)]
    plain = config.mbstd_group == 4 and config.conv_clamp is None
    return plain and config.channels in widths


def _rosinality(config: GeneratorBase) -> GeneratorConfig:
    """Returns the config if rosinality's ``Generator(size, style_dim, n_mlp)`` fits."""
    if not isinstance(config, GeneratorConfig):
        raise StylePrompterError(
            f"This generator has the type {config.type!r}, which rosinality's code "
            "does not build: it cannot be exported."
        )
    widths = [default_channels(config.image_size, m) for m in (1, 2)]
    for field, known in (
        ("channels", widths),
        ("z_dim", [config.w_dim]),
        ("mapping_lr_multiplier", [0.01]),
        ("conv_clamp", [None]),
    ):
        if (own := getattr(config, field)) not in known:
            built = " or ".join(map(str, dict.fromkeys(known)))
            raise StylePrompterError(
                f"This generator has {field} = {own}, but rosinality's code only "
                f"builds {built}: it cannot be exported."
            )
    return config
