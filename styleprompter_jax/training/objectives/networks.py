"""The two networks of stage "generator": their architecture and their start.

The fields that ``config.model`` leaves out come from ``config.init_from``, if that is
set: a model folder with a discriminator.  Stage "generator" writes one, and
`styleprompter convert` writes one for a file that holds both networks.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from jax import lax

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.registry import GeneratorBase, make
from styleprompter_jax.store.discriminator_files import (
    discriminator_shapes,
    load_discriminator,
)
from styleprompter_jax.store.model_folder import find_model, load_model
from styleprompter_jax.training.objectives import growing
from styleprompter_jax.training.parts import part_fields


class Given(NamedTuple):
    """Nested arrays to start from, of all blocks or of some."""

    generator: dict
    const: dict
    discriminator: Mapping


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks that a run of stage "generator" trains.

    Attributes:
        generator, discriminator: the architecture of each network.
        given: the arrays that they start from; None for random weights.
        grows: whether ``given`` holds only the lower blocks, from smaller networks.
    """

    generator: GeneratorBase
    discriminator: DiscriminatorConfig
    given: Given | None = None
    grows: bool = False

    def frozen(self, count: int) -> frozenset[str]:
        """Returns the layers of the discriminator's ``count`` largest blocks.

        Raises:
            StylePrompterError: if these layers cannot stay constant.
        """
        if not count:
            return frozenset()
        blocks, key = len(self.discriminator.channels) - 1, "optimizer.frozen_blocks"
        if self.given is None or self.grows:
            what = "grows" if self.grows else "starts from nothing"
            raise StylePrompterError(
                f"config.{key} is {count}, but the discriminator {what}, so that these "
                "blocks are not trained yet: set it to 0."
            )
        if count > blocks:
            raise StylePrompterError(
                f"config.{key} is {count}, but the discriminator has {blocks} blocks: "
                "set it to that number or less."
            )
        sizes = [self.discriminator.image_size >> k for k in range(count)]
        layers = ("conv0", "conv1", "skip")
        names = (f"b{size}_{layer}" for size in sizes for layer in layers)
        return frozenset(("from_rgb", *names))


def read_networks(config: Any) -> Networks:
    """Reads ``config.model`` and ``config.init_from``.

    Raises:
        StylePrompterError: if the start is missing, has no discriminator, or
            differs from the config.
    """
    kind, fields = part_fields(config, "generator")
    reader = dict(config.model.get("discriminator") or {})
    size = config.data.image_size
    if not config.init_from:
        if "image_size" in {field.name for field in dataclasses.fields(kind)}:
            fields = {"image_size": size} | fields
        generator = kind(**fields)
        own = DiscriminatorConfig(generator.image_size, **reader)
        return Networks(generator, own)
    model_config, variables, _ = load_model(config.init_from)
    kept = load_discriminator(find_model(config.init_from))
    given: Any = model_config.generator
    if kept.config.image_size != given.image_size:
        raise StylePrompterError(
            f"{config.init_from} holds a discriminator of {kept.config.image_size} px "
            f"beside a generator of {given.image_size} px: name a model whose two "
            "networks were trained together."
        )
    generator = _as_described(config.init_from, kind, fields, given)
    if generator.image_size != size:
        raise StylePrompterError(
            f"config.data.image_size is {size}, but the generator of "
            f"{config.init_from} makes {given.image_size} px: use {given.image_size}, "
            "or describe a larger one in config.model, which grows from it."
        )
    grows = given.image_size < size
    wanted = dataclasses.replace(kept.config, **reader, image_size=size)
    if not grows and wanted.channels != kept.config.channels:
        raise StylePrompterError(
            f"The discriminator of {config.init_from} has the channels "
            f"{kept.config.channels}, but config.model.discriminator.channels is "
            f"{wanted.channels}: remove that key or change it."
        )
    arrays = Given(
        variables["params"]["generator"], variables["const"]["generator"], kept.params
    )
    if grows:
        arrays = _kept_blocks(config.init_from, arrays, generator, wanted)
    return Networks(generator, wanted, arrays, grows)


def constant_blocks(params: dict, names: Collection[str]) -> dict:
    """Returns the same parameters, without gradients in some layers."""
    return {
        name: lax.stop_gradient(tree) if name in names else tree
        for name, tree in params.items()
    }


def without_noise(params: dict) -> dict:
    """Returns the same parameters of a generator, with noise of strength 0."""

    def quiet(path: tuple, leaf: jax.Array) -> jax.Array:
        return jnp.zeros_like(leaf) if path[-1].key == "noise_strength" else leaf

    return jax.tree_util.tree_map_with_path(quiet, params)


def _as_described(name: str, kind: Any, fields: dict, given: Any) -> GeneratorBase:
    """Returns the generator to train: that of ``name``, or one that it grows into."""
    if not isinstance(given, kind):
        raise StylePrompterError(
            f"The generator of {name} has the type {given.type!r}, but "
            f"config.model.generator.type is {kind.type!r}: set it to the same type."
        )
    wanted = dataclasses.replace(given, **fields)
    same = wanted
    if grows := given.image_size < wanted.image_size:
        # It grows to another size, with other channels in its last blocks.
        same = dataclasses.replace(
            wanted, image_size=given.image_size, channels=given.channels
        )
    if given != same:
        apart = ", apart from image_size and channels" if grows else ""
        raise StylePrompterError(
            f"The generator of {name} differs from config.model.generator: set the "
            f"latter to {given}{apart}."
        )
    return wanted


def _kept_blocks(
    name: str, given: Given, generator: Any, reader: DiscriminatorConfig
) -> Given:
    """Returns the arrays that the larger networks take over."""
    z = jnp.zeros((1, generator.z_dim))
    shapes = jax.eval_shape(make(generator).init, jax.random.key(0), z)
    kept, g_last = growing.kept_blocks(
        dict(params=given.generator, const=given.const), shapes
    )
    shapes = discriminator_shapes(reader)["params"]
    discriminator, d_last = growing.kept_blocks(given.discriminator, shapes)
    for part, last in (("generator", g_last), ("discriminator", d_last)):
        if not last:
            raise StylePrompterError(
                f"The {part} of {name} has other channels at 4 px than "
                f"config.model.{part}, so that no block can be kept: "
                f"set the first of config.model.{part}.channels to the same number."
            )
    logging.info(
        "Of %s the blocks are kept up to %d px in the generator, up to %d px "
        "in the discriminator.",
        *(name, g_last, d_last),
    )
    return Given(kept["params"], kept["const"], discriminator)
