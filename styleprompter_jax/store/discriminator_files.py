"""The discriminator in a model folder, for further training of its generator.

    discriminator.safetensors  the parameters, and the architecture in the header

Older files have no architecture in the header. The arrays then determine widths and
size.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import parse_json
from styleprompter_jax.core.safetensors_files import read_safetensors
from styleprompter_jax.models.discriminators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
)
from styleprompter_jax.store.array_files import fit_variables, save_arrays
from styleprompter_jax.store.places import DISCRIMINATOR

_CONFIG = "config"  # a key of the file's metadata


class KeptDiscriminator(NamedTuple):
    """The content of a discriminator file.

    Attributes:
        config: the architecture.
        params: nested arrays.
    """

    config: DiscriminatorConfig
    params: Mapping


def discriminator_shapes(config: DiscriminatorConfig) -> dict:
    """Returns {"params": ...} with the shapes of a discriminator's parameters."""
    size = config.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    return jax.eval_shape(Discriminator(config).init, jax.random.key(0), images)


def save_discriminator(folder: Path, kept: KeptDiscriminator) -> None:
    """Writes a discriminator into a folder.

    Raises:
        StylePrompterError: if the arrays do not fit the architecture, or are not
            finite.
    """
    config, params = kept
    flat = {key: np.asarray(a) for key, a in flatten_dict(params, sep="/").items()}
    headline = f"{folder / DISCRIMINATOR} was not written"
    fit_variables(flat, discriminator_shapes(config), headline)
    text = json.dumps(config.to_dict(), sort_keys=True)
    save_arrays(folder / DISCRIMINATOR, params, {_CONFIG: text})


def load_discriminator(folder: Path) -> KeptDiscriminator:
    """Reads a folder's discriminator, float32.

    Raises:
        StylePrompterError: if the folder has no discriminator, or the file is damaged.
    """
    file = folder / DISCRIMINATOR
    if not file.exists():
        raise StylePrompterError(
            f"{folder} has no discriminator ({DISCRIMINATOR}), which further training "
            "of its generator needs: name a model that such a training wrote, or "
            "convert a file that contains both (a snapshot of NVIDIA's code with D, or "
            "a checkpoint of rosinality's code with d)."
        )
    arrays, metadata = read_safetensors(file)
    try:
        if _CONFIG in metadata:
            config = DiscriminatorConfig.from_dict(parse_json(metadata[_CONFIG]))
        else:
            config = _inferred_config(arrays)
    except (StylePrompterError, ValueError) as error:
        raise StylePrompterError(
            f"{file} does not contain a supported discriminator ({error}): copy or "
            "convert the model again."
        ) from error
    shapes = discriminator_shapes(config)
    headline = f"{file} does not fit the architecture in its header"
    return KeptDiscriminator(config, fit_variables(arrays, shapes, headline)["params"])


def _inferred_config(arrays: Mapping[str, np.ndarray]) -> DiscriminatorConfig:
    """Returns the architecture of an older file."""
    widths = {
        int(found[1]): array.shape[-1]
        for key, array in arrays.items()
        if (found := re.fullmatch(r"b(\d{1,4})_conv0?/kernel", key)) and array.ndim == 4
    }
    if not widths:
        raise StylePrompterError("no array has the name of a discriminator's layer")
    return DiscriminatorConfig(max(widths), tuple(widths[s] for s in sorted(widths)))
