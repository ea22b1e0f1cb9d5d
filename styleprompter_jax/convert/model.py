"""Builds the variables of one model from recognised files."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from styleprompter_jax.convert.origin import Origin
from styleprompter_jax.convert.recognise import Found
from styleprompter_jax.convert.table import (
    Row,
    kept_leaves,
    merge_collections,
    read_table,
    split_collections,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.registry import (
    KINDS,
    EncoderBase,
    GeneratorBase,
    make,
)
from styleprompter_jax.store.discriminator_files import (
    KeptDiscriminator,
    discriminator_shapes,
)
from styleprompter_jax.store.model_folder import mean_shapes, model_shapes

SAMPLES, BATCH = 100_000, 10_000  # numbers of z, to compute a missing mean code


class Built(NamedTuple):
    """A model that was built from files.

    Attributes:
        config: the architecture.
        variables: {"params": ..., "const": ...}.
        notes: a sentence for each value that does not come from the files.
        discriminator: the generator's discriminator, if the files have it.
        origin: facts of the checkpoint, if one checkpoint holds the whole model.
    """

    config: StylePrompterConfig
    variables: dict
    notes: list[str]
    discriminator: KeptDiscriminator | None = None
    origin: Origin | None = None


def build_model(found: Mapping[str, Found]) -> Built:
    """Builds one model from the parts in the files.

    Args:
        found: the parts of each file, by file name.

    Raises:
        StylePrompterError: if the parts do not form a model, or a file does not fit.
            One message lists all problems of a file.
    """
    config, reader = _config(found), _discriminator(found)
    shapes = model_shapes(config)
    target, notes = merge_collections(shapes), []
    tree: dict[str, Any] = {}
    for name, file in found.items():
        wanted = {part.key: target[part.key] for part in file.parts.values()}
        if file.discriminator is not None:
            wanted["discriminator"] = discriminator_shapes(file.discriminator)["params"]
        if file.generator is not None:
            wanted["latent_avg"] = target["latent_avg"]
            if getattr(file.arrays.get("latent_avg"), "ndim", 1) == 2:  # one a code
                shape = mean_shapes(config)["latent_avg"]
                wanted["latent_avg"] = jax.ShapeDtypeStruct(shape, np.float32)
        tree |= read_table(file.table, file.arrays, wanted, name)
    params = tree.pop("discriminator", {})
    kept = None if reader is None else KeptDiscriminator(reader, params)
    # All files fit, so make the arrays that they lack.
    for file in found.values():
        if file.is_start and config.encoder is not None:
            tree = _with_initial_values(tree, config.encoder, file.table)
            notes.append(
                "The encoder is a start for training: the layers that the classifier "
                "lacks have their initial values."
            )
            reads, makes = config.encoder.image_size, config.generator.image_size
            if makes % reads:
                notes.append(
                    f"The encoder reads {reads} px, which does not divide the {makes} "
                    "px of the generator: it can start a training only as "
                    "config.init_trunk, for an encoder of a size that does."
                )
    _draw_noise(tree["generator"])
    if isinstance(tree["latent_avg"], jax.ShapeDtypeStruct):
        tree["latent_avg"] = mean_code(config.generator, tree["generator"])
        notes.append(f"The file lacks latent_avg: it is the mean of {SAMPLES:,} codes.")
    origin = next(iter(found.values())).origin if len(found) == 1 else None
    return Built(config, split_collections(tree, shapes), notes, kept, origin)


def _draw_noise(generator: dict) -> None:
    """Draws normal noise for the generator's layers that lack noise, in place."""
    rng = np.random.default_rng(0)
    for block in generator["synthesis"].values():
        for layer in block.values() if isinstance(block, Mapping) else ():
            noise = layer.get("noise_const") if isinstance(layer, Mapping) else None
            if isinstance(noise, jax.ShapeDtypeStruct):
                layer["noise_const"] = rng.standard_normal(noise.shape, np.float32)


def mean_code(config: GeneratorBase, params: Mapping) -> np.ndarray:
    """Computes a generator's mean w over seeded normal z, float32 (w_dim,)."""
    module = make(config)

    @jax.jit
    def run(z: jax.Array) -> Any:
        return module.apply({"params": params}, z, method=lambda g, z: g.mapping(z))

    rng, total = np.random.default_rng(0), np.zeros(config.w_dim)
    for _ in range(SAMPLES // BATCH):
        z = rng.standard_normal((BATCH, config.z_dim), np.float32)
        total += np.asarray(run(z)).sum(0, dtype=np.float64)
    return (total / SAMPLES).astype(np.float32)


def _config(found: Mapping[str, Found]) -> StylePrompterConfig:
    """Returns the architecture of the model that the parts form together."""
    owners: dict[str, str] = {}
    parts: dict[str, Any] = dict.fromkeys(KINDS)
    for name, file in found.items():
        for part, config in file.parts.items():
            if part in owners:
                raise StylePrompterError(
                    f"{owners[part]} and {name} both hold the {part}: give one of them."
                )
            owners[part], parts[part] = name, config
    if "generator" not in owners:
        raise StylePrompterError(
            f"{', '.join(found)}: the files hold no generator, which a model needs; "
            "add a generator's file."
        )
    generator = parts["generator"]
    for file in found.values():
        if file.is_start:
            # Its arrays do not show the number or the width of the codes.
            codes = generator.num_codes, generator.w_dim
            parts["encoder"] = parts["encoder"].with_codes(*codes)
    return StylePrompterConfig(**parts)


def _discriminator(found: Mapping[str, Found]) -> DiscriminatorConfig | None:
    """Returns the files' discriminator; refuses a size unlike the generator's."""
    readers = {name: f.discriminator for name, f in found.items() if f.discriminator}
    if len(readers) > 1:
        raise StylePrompterError(
            f"{' and '.join(readers)} both hold a discriminator: give one of them."
        )
    images = next(f.generator for f in found.values() if f.generator is not None)
    for name, reader in readers.items():
        if reader.image_size != images.image_size:
            raise StylePrompterError(
                f"{name} holds a discriminator of {reader.image_size} px, but the "
                f"generator makes {images.image_size} px: give two that were trained "
                "together."
            )
        return reader
    return None


def _with_initial_values(tree: dict, config: EncoderBase, rows: Sequence[Row]) -> dict:
    """Returns the tree with initial values in the leaves that the rows keep."""
    leaves = flatten_dict(tree, sep="/")
    kept = kept_leaves(rows, leaves)
    images = jnp.zeros((1, *config.module_shape))

    @jax.jit  # XLA removes the forward pass and all other values
    def draw(key: jax.Array) -> dict[str, jax.Array]:
        made = merge_collections(make(config).init(key, images))
        values = flatten_dict({"encoder": made}, sep="/")
        return {path: values[path] for path in kept}

    leaves |= {path: np.asarray(x) for path, x in draw(jax.random.key(0)).items()}
    return unflatten_dict(leaves, sep="/")
