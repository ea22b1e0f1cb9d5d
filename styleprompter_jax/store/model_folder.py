"""Writes and reads model folders, which training, conversion and inference share.

    config.json                version, architecture, SHA-256 of model.safetensors
    model.safetensors          encoder/..., generator/..., latent_avg, and the refiner's
                               under its type: smart/...
    directions.safetensors     optional: named directions, metadata in its header
    discriminator.safetensors  optional: the discriminator with which fine-tuning of
                               the generator starts

Parameters and constants ("params" and "const" of the module) share one namespace on
disk. A folder gets its name only when it is complete.
"""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from styleprompter_jax.core.atomic import atomic_folder, repair_folder
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import local_path, scheme
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.safetensors_files import read_metadata, read_safetensors
from styleprompter_jax.core.sums import json_sha256, sha256
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.store.array_files import (
    fit_variables,
    load_arrays,  # noqa: F401 - this name and others with F401 are for users of folders
    save_arrays,
)
from styleprompter_jax.store.direction_files import load_directions, save_directions
from styleprompter_jax.store.discriminator_files import (
    KeptDiscriminator,
    save_discriminator,
)
from styleprompter_jax.store.overwriting import CONFIG_SUM, check_place
from styleprompter_jax.store.places import (
    CONFIG,
    CONFIG_BYTES,
    DIRECTIONS,
    DISCRIMINATOR,
    MANIFEST,
    MODEL,
    PARTS,
    local_folder,
    reading,
)

VERSION = 2  # version 1 has no types of parts, and calls the refiner "smart"
BUNDLED = Path(__file__).parents[1] / "bundled"
BUNDLED_FOR = {"avatars": "avatars64", "cells": "cells64"}  # dataset to model
_ORIGIN = "origin"  # a key in the metadata of model.safetensors
_AGAIN = "copy or convert the model again."


class Sums(NamedTuple):
    """The hashes that show damage to a model folder.

    Attributes:
        model: the SHA-256 of model.safetensors, from config.json; None if a user
            removed it to change the folder. model.safetensors has the config's hash.
        config: the SHA-256 of the config in its current state.
    """

    model: str | None
    config: str


@to_bucket("folder")
def save_model(
    folder: str | os.PathLike,
    config: StylePrompterConfig,
    variables: Mapping,
    *,
    dtype: str | None = None,
    directions: Mapping[str, Direction] | None = None,
    discriminator: KeptDiscriminator | None = None,
    origin: str = "",
    keep_directions: bool = False,
    keep_rest: bool = False,
    replace: bool = True,
) -> Path:
    """Writes a model folder, completely or not at all.

    It replaces an existing model folder; other files in the folder (notes, images)
    stay. If the path is a link, it stays a link, and the model is written to its
    target. If another program writes the same folder, this one waits.

    Args:
        folder: the path to write.
        config: the architecture.
        variables: {"params": ..., "const": ...}, as from the module's init.
        dtype: "float16" halves the file; None keeps float32.
        directions: named directions to store with the model.
        discriminator: the discriminator for further training of the generator.
        origin: a text to store with the weights; see `read_origin`.
        keep_directions: if ``directions`` is empty, keep the directions of the replaced
            model.
        keep_rest: keep the discriminator and the origin of the replaced model, if the
            call names no others.
        replace: if false, refuse a folder that is not empty.

    Returns:
        The folder's path.

    Raises:
        StylePrompterError: if the variables do not fit the config or are not finite,
            the folder exists and is not a model, or the name of a direction is not
            valid (`core.names`). In this case, nothing is written.
    """
    folder = Path(os.path.abspath(local_path(folder)))
    if dtype not in (None, "float32", "float16"):
        raise StylePrompterError(
            f'The dtype of a model must be "float32" or "float16", not {dtype!r}.'
        )
    check_names(directions or (), f"{folder} was not written")
    arrays = flat_arrays(variables)
    headline = f"{folder} was not written: the arrays do not fit the config"
    fit_variables(arrays, model_shapes(config), headline, mean_shapes(config))
    with np.errstate(over="ignore"):
        arrays = {
            k: a.astype(dtype or np.float32, copy=False) for k, a in arrays.items()
        }
    if too_large := [k for k, a in arrays.items() if not np.isfinite(a).all()]:
        raise StylePrompterError(
            f"{too_large[0]} contains values beyond the range of float16: save the "
            "model as float32."
        )
    return write_folder(
        folder,
        config.to_dict(),
        arrays,
        directions,
        dtype,
        discriminator=discriminator,
        origin=origin,
        keep_directions=keep_directions,
        keep_rest=keep_rest,
        replace=replace,
    )


def load_model(
    folder_or_name: str | os.PathLike,
) -> tuple[StylePrompterConfig, dict, dict[str, Direction]]:
    """Reads a model folder.

    Args:
        folder_or_name: a folder, the name of a bundled model ("avatars64"), or
            hf://USER/MODEL[@REVISION][/FOLDER] on the Hugging Face Hub. An existing
            folder has priority over a bundled model of the same name.

    Returns:
        The config; {"params": ..., "const": ...} as float32 NumPy arrays; and the
        named directions.

    Raises:
        StylePrompterError: if the model does not exist, or is damaged. The message
            names all arrays that are missing, are unexpected, have the wrong shape, or
            are not finite.
    """
    folder = find_model(folder_or_name)
    with reading(folder_or_name, folder):
        fields, sums = read_config(folder)
        with _describing(folder):
            config = StylePrompterConfig.from_dict(fields)

        def shapes() -> dict:
            with _describing(folder):
                return model_shapes(config)

        variables = read_variables(folder, shapes, sums, mean_shapes(config))
        return config, variables, load_directions(folder)


@contextlib.contextmanager
def _describing(folder: Path) -> Iterator[None]:
    """Names the config of a folder in the errors of the block."""
    try:
        yield
    except StylePrompterError as error:
        raise StylePrompterError(
            f"{folder / CONFIG} does not describe a model: {error}"
        ) from error


def find_model(folder_or_name: str | os.PathLike) -> Path:
    """Returns the model folder of a name; see `load_model`."""
    folder = local_folder(folder_or_name)
    repair_folder(folder)
    has = {CONFIG: (folder / CONFIG).is_file(), MODEL: os.path.lexists(folder / MODEL)}
    missing = [name for name in has if not has[name]]
    if not missing:
        return folder
    if CONFIG in missing and (folder / MANIFEST).is_file():
        what, way = "whose programs cannot run here", ""
        if scheme(folder_or_name):
            what = "and no command runs programs from an address"
            way = "copy it to a local folder, or "
        raise StylePrompterError(
            f"{folder} is an exported model, {what}: {way}name the model that it was "
            "exported from."
        )
    if folder.exists():
        raise StylePrompterError(
            f"{folder} is not a model folder, because it does not contain "
            f"{' and '.join(missing)}: name a model folder, or convert a file with "
            "`styleprompter convert`."
        )
    name = os.fspath(folder_or_name)
    if Path(name).name == name and (BUNDLED / name / CONFIG).is_file():
        return BUNDLED / name
    bundled = sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG}"))
    raise StylePrompterError(
        f"There is no model folder {folder}: check the name, make it with "
        "`styleprompter convert`, or use a bundled model "
        f"({', '.join(bundled) or 'none'})."
    )


def bundled_for(dataset: str) -> Path | None:
    """Returns the bundled model's folder for a dataset ("avatars/64"), if any."""
    name = BUNDLED_FOR.get(dataset.partition("/")[0])
    return BUNDLED / name if name else None


@functools.lru_cache(maxsize=1)
def model_shapes(config: StylePrompterConfig) -> dict:
    """Returns the shapes of a model's variables by collection, without init."""
    images = jax.ShapeDtypeStruct((1, *config.input_shape), np.float32)
    init = StylePrompter(config).init
    # The key's type alone: Ray's driver must not start the device of its actors.
    key = jax.eval_shape(lambda: jax.random.key(0))
    # jax.numpy's small jitted functions take a quarter of the tracing time.
    with jax.disable_jit():
        return jax.eval_shape(init, key, images)


def flat_arrays(variables: Mapping) -> dict[str, np.ndarray]:
    """Returns the arrays of all collections in one dict, with keys joined by "/"."""
    arrays: dict[str, Any] = {}
    for tree in variables.values():
        arrays |= flatten_dict(tree, sep="/")
    return {key: np.asarray(value) for key, value in arrays.items()}


def mean_shapes(config: StylePrompterConfig) -> dict[str, tuple[int, int]]:
    """Returns the alternative shape of the mean code: (n, w_dim), one for each code."""
    return {"latent_avg": (config.generator.num_codes, config.generator.w_dim)}


def write_folder(
    folder: Path,
    fields: Mapping,
    arrays: Mapping[str, np.ndarray],
    directions: Mapping[str, Direction] | None = None,
    dtype: str | None = None,
    *,
    discriminator: KeptDiscriminator | None = None,
    origin: str = "",
    keep_directions: bool = False,
    keep_rest: bool = False,
    replace: bool = True,
) -> Path:
    """Writes config.json with ``fields`` and model.safetensors, or nothing.

    ``dtype`` is the dtype of the directions' responses; ``arrays`` keep their dtypes.
    """
    with folder_lock(folder):
        check_place(folder, replace)
        kept = {DIRECTIONS: keep_directions, DISCRIMINATOR: keep_rest}
        if keep_rest and (folder / MODEL).is_file():
            with contextlib.suppress(StylePrompterError):  # a damaged file has none
                origin = origin or read_origin(folder)
        with atomic_folder(folder, [p for p in PARTS if not kept.get(p)]) as partial:
            tree = unflatten_dict(arrays, sep="/")
            metadata = {CONFIG_SUM: _config_sum(fields)}
            metadata |= {_ORIGIN: origin} if origin else {}
            save_arrays(partial / MODEL, tree, metadata)
            if directions:
                save_directions(partial, directions, dtype)
            if discriminator:
                save_discriminator(partial, discriminator)
            text = {"version": VERSION, **fields, "sha256": sha256(partial / MODEL)}
            (partial / CONFIG).write_text(json.dumps(text, indent=2) + "\n")
    return folder


def read_origin(folder: Path) -> str:
    """Returns the text that `save_model` stored with the weights; "" without a text."""
    return read_metadata(folder / MODEL).get(_ORIGIN, "")


def read_config(folder: Path) -> tuple[dict, Sums]:
    """Reads the fields of a folder's config.json, and hashes to check the folder.

    Raises:
        StylePrompterError: if the file is damaged, or has an unknown version.
    """
    path = folder / CONFIG
    fields = read_json(path, limit=CONFIG_BYTES, hint=_AGAIN)
    if "version" not in fields:
        raise StylePrompterError(
            f"{path} is not a model configuration, because it has no version: name the "
            "folder of a model."
        )
    version, digest = fields.pop("version"), fields.pop("sha256", None)
    if type(version) is not int or not 1 <= version <= VERSION:
        raise StylePrompterError(
            f"{path} has version {quoted(version)}, but this program reads versions 1 "
            f"to {VERSION}: update styleprompter_jax, or convert the model again."
        )
    if digest is not None and type(digest) is not str:
        raise StylePrompterError(
            f"{path} has {quoted(digest)} instead of a SHA-256 in sha256: {_AGAIN}"
        )
    return fields, Sums(digest, _config_sum(fields))


def read_variables(
    folder: Path,
    shapes: Callable[[], Mapping],
    sums: Sums,
    others: Mapping | None = None,
) -> dict:
    """Reads the variables in a folder's model.safetensors.

    Args:
        folder: the folder.
        shapes: returns the shapes for `fit_variables`. It traces a model, which takes
            seconds; meanwhile another thread reads the file and checks its SHA-256.
        sums: the hashes to check the folder.
        others: alternative shapes; see `fit_variables`.

    Raises:
        StylePrompterError: if the file is damaged or does not fit.
    """
    path = folder / MODEL
    with ThreadPoolExecutor(1) as pool:
        content = pool.submit(read_safetensors, path, digest=sums.model)
        expected = shapes()
    arrays, metadata = content.result()
    if sums.model and metadata.get(CONFIG_SUM, sums.config) != sums.config:
        raise StylePrompterError(
            f"{folder / CONFIG} has changed since it was written: copy the model again "
            "if the file is damaged, or remove its key sha256 if you changed the file."
        )
    headline = f"{path} does not fit {CONFIG} beside it"
    return fit_variables(arrays, expected, headline, others)


def _config_sum(fields: Mapping) -> str:
    return f"sha256:{json_sha256(fields)}"
