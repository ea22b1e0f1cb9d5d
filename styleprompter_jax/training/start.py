"""The start of stages "encoder" and "refiner": a model and fixed networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax.traverse_util import flatten_dict, unflatten_dict

from styleprompter_jax import losses
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.problems import Problems
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.models.registry import EncoderBase, GeneratorBase
from styleprompter_jax.store.model_folder import (
    flat_arrays,
    load_model,
    model_shapes,
)
from styleprompter_jax.store.network_folder import NETWORKS, load_network, network_name
from styleprompter_jax.training.parts import part_config, part_fields

# The first convolution of a trunk.
STEMS = ("input_layer_0/kernel", "conv1/kernel")


@dataclasses.dataclass(frozen=True)
class Start:
    """The model and the networks before the first step.

    Attributes:
        config: the model to train: the given parts, and the trained one.
        variables: {"params": ..., "const": ...} of the given parts.
        networks: the modules of the perceptual losses in use, by loss.
        network_variables: their variables, by loss.
        trunk: the first values of the trunk of a new encoder, by path; {} for random
            ones.
    """

    config: StylePrompterConfig
    variables: Mapping
    networks: Mapping[str, nn.Module]
    network_variables: Mapping
    trunk: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def read_start(config: Any) -> Start:
    """Reads ``config.init_from`` and the networks of ``config.loss``.

    Raises:
        StylePrompterError: names all things that are missing or do not fit.
    """
    networks, variables = {}, {}
    with Problems() as problems:
        for name, kind in _perceptual(config):
            with problems.gathered():
                networks[name], variables[name] = _read_network(config, name, kind)
        with problems.gathered():
            given, given_variables = _read_model(config)
            trained = _with_trained_part(given, config)
            trunk = _read_trunk(config, trained)
    return Start(trained, given_variables, networks, variables, trunk)


def describe_start(config: Any) -> Start:
    """Returns the same without files: arrays of zeros for `training.compile_only`.

    ``config.model.generator`` describes the generator, and ``config.model.encoder`` the
    encoder of stage "refiner".  Each network is the first of its kind.

    Raises:
        StylePrompterError: if ``config.model`` lacks one of them.
    """
    given = ("generator",) if config.stage == "encoder" else ("generator", "encoder")
    for part in given:
        if part not in config.model:
            raise StylePrompterError(
                f"config.model has no {part}, and --compile_only does not read the one "
                f"of config.init_from: describe it as config.model.{part} in a config "
                "of your own."
            )
    generator = part_config(config, "generator")
    has_encoder = config.stage != "encoder" or config.get("init_encoder")
    encoder = _encoder(config, generator) if has_encoder else None
    trained = _with_trained_part(StylePrompterConfig(encoder, None, generator), config)
    images = jax.ShapeDtypeStruct((1, *trained.input_shape), np.float32)
    shapes = jax.eval_shape(StylePrompter(trained).init, jax.random.key(0), images)
    networks, network_shapes = {}, {}
    for name, kind in _perceptual(config):
        network = next(n for n in NETWORKS.values() if n.kind == kind)
        networks[name], network_shapes[name] = network.module, network.shapes()
    return Start(trained, _zeros(shapes), networks, _zeros(network_shapes))


def _zeros(shapes: Any) -> Any:
    """Returns zeros of these shapes that take no memory."""
    return jax.tree.map(
        lambda s: np.broadcast_to(np.zeros((), s.dtype), s.shape), shapes
    )


def _perceptual(config: Any) -> Any:
    """Returns (loss, kind of its network) of the perceptual losses in use."""
    return [
        (name, loss.kind)
        for name, loss in losses.PERCEPTUAL.items()
        if config.loss.get(name) or config.loss.get(f"{name}_crop")
    ]


def _read_network(config: Any, name: str, kind: str) -> Any:
    key = f"{name}_weights"
    if not config.loss.get(key):
        loss = name if config.loss.get(name) else f"{name}_crop"
        raise StylePrompterError(
            f"config.loss.{key} is empty, but config.loss.{loss} is "
            f"{config.loss[loss]}: name the folder that `styleprompter convert "
            f"FILE FOLDER` made from the published weights, or set the loss to 0."
        )
    return load_network(config.loss[key], kind)


def _read_model(config: Any) -> Any:
    if not config.init_from:
        raise StylePrompterError(
            f"config.init_from is empty: stage {config.stage!r} needs a model folder "
            'with a generator, or the name of a bundled model such as "avatars64".'
        )
    model_config, variables, _ = load_model(config.init_from)
    if config.stage != "encoder" and model_config.encoder is None:
        raise StylePrompterError(
            f"{config.init_from} has no encoder: train one first with stage "
            '"encoder", and set config.init_from to its WORKDIR/model.'
        )
    return model_config, variables


def _with_trained_part(start: StylePrompterConfig, config: Any) -> StylePrompterConfig:
    if config.stage != "encoder":
        refiner = part_config(config, "refiner")
        if start.encoder is not None and not start.encoder.feature_shapes:
            raise StylePrompterError(
                f"The encoder of {config.init_from} has no feature maps, which "
                f"{refiner.title} reads: start from a model with another encoder, such "
                "as SwinV2's."
            )
        return StylePrompterConfig(start.encoder, refiner, start.generator)
    encoder = _encoder(config, start.generator)
    if config.get("init_encoder"):
        _check_start(start.encoder, encoder, config.init_from)
    return StylePrompterConfig(encoder, None, start.generator)


def _encoder(config: Any, generator: GeneratorBase) -> EncoderBase:
    kind, fields = part_fields(config, "encoder")
    size = config.data.image_size
    return kind.for_generator(generator, image_size=size, **fields)


def _read_trunk(config: Any, model: StylePrompterConfig) -> dict[str, np.ndarray]:
    """Returns the arrays of ``config.init_trunk``, by path in the encoder to train."""
    folder, encoder = config.get("init_trunk"), model.encoder
    if not folder or encoder is None:
        return {}
    if not encoder.trunk:
        raise StylePrompterError(
            f"config.init_trunk is set, but an encoder of the type {encoder.type} has "
            "no separate trunk: empty it."
        )
    given = _arrays(folder)
    trunk = {}
    for tree in model_shapes(model).values():
        for path, leaf in flatten_dict(tree.get("encoder", {}), sep="/").items():
            if not path.startswith(encoder.trunk):
                continue
            value, wanted = given.get(path), leaf.shape
            if path in STEMS and value is not None and value.shape[2] != wanted[2]:
                value = _stem(value, wanted[2] - 3 * bool(encoder.passes))
                if value is None:
                    continue
                wanted = (*wanted[:2], 3, *wanted[3:])
            if value is None or value.shape != wanted:
                raise StylePrompterError(
                    f"config.init_trunk is {folder}, which does not hold the trunk of "
                    f"the encoder to train ({path} of shape {leaf.shape}): name "
                    "another folder, set config.model.encoder to match its network, "
                    "or empty config.init_trunk."
                )
            trunk[path] = value
    return trunk


def _stem(given: np.ndarray, channels: int) -> np.ndarray | None:
    """Returns the RGB part of a first convolution (k, k, c, d), for an encoder of RGB.

    Args:
        given: of another network, whose first three channels are RGB.
        channels: of the images that the encoder reads.

    Returns:
        An array (k, k, 3, d); None if one of the two networks reads no RGB, so the
        convolution keeps its initial values.
    """
    if channels == 3 and given.shape[2] in (3, 6):
        return given[:, :, :3]
    logging.info("config.init_trunk: the first convolution starts from random weights.")
    return None


def _arrays(folder: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a folder's network, or of its model's encoder."""
    try:
        network = network_name(folder)
    except StylePrompterError:  # not a network: `load_model` reads a model, or refuses
        _, variables, _ = load_model(folder)
        return flat_arrays({k: v.get("encoder", {}) for k, v in variables.items()})
    return flat_arrays(load_network(folder, NETWORKS[network].kind)[1])


def with_trunk(fresh: Mapping, trunk: Mapping[str, np.ndarray]) -> dict:
    """Returns the initial values of an encoder, with the given values of its trunk.

    The given first convolution reads RGB.  If an encoder sees an image and its
    inversion, the image's channels take its values.  If it sees no RGB, its first
    convolution keeps its initial values.

    Args:
        fresh: by collection, {"params": {"encoder": ...}, ...}.
        trunk: `Start.trunk`.
    """

    def of(tree: Mapping) -> dict:
        flat = flatten_dict(tree, sep="/")
        for path, value in flat.items():
            given = trunk.get(path.removeprefix("encoder/"))
            if given is None:
                continue
            if given.shape == value.shape:
                flat[path] = jnp.asarray(given)
            else:
                flat[path] = value.at[:, :, : given.shape[2]].set(given)
        return unflatten_dict(flat, sep="/")

    return {collection: of(tree) for collection, tree in fresh.items()}


def _check_start(given: EncoderBase | None, wanted: EncoderBase, folder: str) -> None:
    """Refuses an encoder that differs from the one to train."""
    if given is None:
        raise StylePrompterError(
            f"config.init_encoder is true, but {folder} has no encoder: convert a "
            "SwinV2 file together with its generator, or set it to false."
        )
    if given.type != wanted.type:
        raise StylePrompterError(
            f"The encoder of {folder} has the type {given.type}, but the one to "
            f"train has {wanted.type}: set config.model.encoder.type, or "
            "config.init_encoder to false."
        )
    for field in dataclasses.fields(wanted):
        ours, theirs = (getattr(c, field.name) for c in (wanted, given))
        if field.name not in wanted.ignored and ours != theirs:
            raise StylePrompterError(
                f"The encoder of {folder} has {field.name} = {theirs}, but the one to "
                f"train has {ours}: set config.model.encoder.{field.name}, or "
                "config.init_encoder to false."
            )
