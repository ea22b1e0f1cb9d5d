"""A model folder: what training and conversion write, and inference reads.

    config.json                version, architecture, SHA-256 of model.safetensors
    model.safetensors          encoder/..., generator/..., latent_avg, and the refiner's
                               under its type: smart/...
    directions.safetensors     optional: named directions, metadata in its header
    discriminator.safetensors  optional: what fine-tuning a generator goes on from

Parameters and constants ("params" and "const" of the module) share one namespace on
disk. A folder appears under its name when it is whole.
"""

import functools
import json
import os
from collections.abc import Mapping
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
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.safetensors_files import read_safetensors
from styleprompter_jax.core.sums import json_sha256, sha256
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.store.array_files import (
    fit_variables,
    load_arrays,  # noqa: F401 - for those who use a folder, as all that is marked so
    save_arrays,
)
from styleprompter_jax.store.direction_files import load_directions, save_directions
from styleprompter_jax.store.discriminator_files import (
    KeptDiscriminator,
    save_discriminator,
)
from styleprompter_jax.store.places import (
    CONFIG,
    CONFIG_BYTES,
    DIRECTIONS,
    DISCRIMINATOR,  # noqa: F401
    MODEL,
    PARTS,
    local_folder,
    reading,
)

VERSION = 2  # 1 names no types of parts, and has "smart" for the refiner
BUNDLED = Path(__file__).parents[1] / "bundled"
_CONFIG_SUM = "config"  # a key of model.safetensors' metadata
_AGAIN = "copy or convert the model again."


class Sums(NamedTuple):
    """What a folder's config.json tells: how to know damage.

    Attributes:
        model: SHA-256 of model.safetensors, which holds that of the config; None in
            folders that were changed by hand.
        config: that of the config as it is.
    """

    model: str | None
    config: str


def save_model(
    folder: str | os.PathLike,
    config: StylePrompterConfig,
    variables: Mapping,
    *,
    dtype: str | None = None,
    directions: Mapping[str, Direction] | None = None,
    discriminator: KeptDiscriminator | None = None,
    keep_directions: bool = False,
    replace: bool = True,
) -> Path:
    """Writes a model folder, whole or not at all.

    A model folder of that name is replaced; files in it that are no part of a model
    (notes, pictures) stay. A link to a folder stays a link, and the model lies where it
    points to. While another program writes it, this one waits.

    Args:
        folder: where to.
        config: the architecture.
        variables: {"params": ..., "const": ...} as the module's init gives them.
        dtype: "float16" halves the file; None keeps float32.
        directions: named directions to keep with the model.
        discriminator: what a training of the generator goes on with.
        keep_directions: keeps those of the model that is replaced, in their place.
        replace: False refuses a folder that holds anything.

    Returns:
        The folder's path.

    Raises:
        StylePrompterError: if the variables do not fit the config or are not finite,
            or the folder exists and is no model, or a direction's name is none that
            files can carry (`core.names`); nothing is written then.
    """
    folder = Path(os.path.abspath(local_path(folder)))
    if dtype not in (None, "float32", "float16"):
        raise StylePrompterError(
            f'A model is saved as "float32" or "float16", not {dtype!r}.'
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
            f"{too_large[0]} holds values beyond the range of float16: save the model "
            "as float32."
        )
    return write_folder(
        folder,
        config.to_dict(),
        arrays,
        directions,
        dtype,
        discriminator=discriminator,
        keep_directions=keep_directions,
        replace=replace,
    )


def load_model(
    folder_or_name: str | os.PathLike,
) -> tuple[StylePrompterConfig, dict, dict[str, Direction]]:
    """Reads a model folder.

    Args:
        folder_or_name: a folder, the name of a bundled model ("avatars64"), or
            hf://USER/MODEL[@REVISION][/FOLDER] on the Hugging Face Hub. A folder that
            exists wins over a bundled model of the same name.

    Returns:
        The config; {"params": ..., "const": ...} as float32 NumPy arrays; and the
        named directions.

    Raises:
        StylePrompterError: if there is no such model, or it is damaged; every missing,
            unexpected, misshapen and not finite entry is named at once.
    """
    folder = find_model(folder_or_name)
    with reading(folder_or_name, folder):
        config, shapes, sums = _read_architecture(folder)
        variables = read_variables(folder, shapes, sums, mean_shapes(config))
        return config, variables, load_directions(folder)


def _read_architecture(folder: Path) -> tuple[StylePrompterConfig, dict, Sums]:
    """The config in a folder, its shapes, and sums to check the folder with."""
    fields, sums = read_config(folder)
    try:
        config = StylePrompterConfig.from_dict(fields)
        return config, model_shapes(config), sums
    except StylePrompterError as error:
        raise StylePrompterError(
            f"{folder / CONFIG} does not describe a model: {error}"
        ) from error


def find_model(folder_or_name: str | os.PathLike) -> Path:
    """The model folder that a name stands for: see `load_model`."""
    folder = local_folder(folder_or_name)
    repair_folder(folder)
    if (folder / CONFIG).is_file():
        return folder
    if folder.exists():
        raise StylePrompterError(
            f"{folder} is no model folder, which holds {CONFIG} and {MODEL}: name one, "
            "or convert a file with `styleprompter convert`."
        )
    name = os.fspath(folder_or_name)
    if Path(name).name == name and (BUNDLED / name / CONFIG).is_file():
        return BUNDLED / name
    bundled = sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG}"))
    raise StylePrompterError(
        f"There is no model folder {folder}; bundled models: "
        f"{', '.join(bundled) or 'none'}."
    )


@functools.lru_cache(maxsize=1)
def model_shapes(config: StylePrompterConfig) -> dict:
    """Shapes of a model's variables by collection, as its init would make them."""
    images = jax.ShapeDtypeStruct((1, *config.input_shape), np.float32)
    init, key = StylePrompter(config).init, jax.random.key(0)
    # jax.numpy's own small jitted functions make up a quarter of the time to trace.
    with jax.disable_jit():
        return jax.eval_shape(init, key, images)


# What `networks` writes and reads its folders with too.


def flat_arrays(variables: Mapping) -> dict[str, np.ndarray]:
    """Arrays of all collections in one namespace, keys joined by "/"."""
    arrays: dict[str, Any] = {}
    for tree in variables.values():
        arrays |= flatten_dict(tree, sep="/")
    return {key: np.asarray(value) for key, value in arrays.items()}


def mean_shapes(config: StylePrompterConfig) -> dict[str, tuple[int, int]]:
    """The other shape of the mean code: one for each of n codes, (n, w_dim)."""
    return {"latent_avg": (config.generator.num_codes, config.generator.w_dim)}


def write_folder(
    folder: Path,
    fields: Mapping,
    arrays: Mapping[str, np.ndarray],
    directions: Mapping[str, Direction] | None = None,
    dtype: str | None = None,
    *,
    discriminator: KeptDiscriminator | None = None,
    keep_directions: bool = False,
    replace: bool = True,
) -> Path:
    """Writes config.json with ``fields`` and model.safetensors, whole or not at all.

    ``dtype`` is that of the directions' responses; ``arrays`` are written as they are.
    """
    with folder_lock(folder):
        check_place(folder, replace)
        kept = {DIRECTIONS} if keep_directions else ()
        with atomic_folder(folder, [p for p in PARTS if p not in kept]) as partial:
            tree = unflatten_dict(arrays, sep="/")
            save_arrays(partial / MODEL, tree, {_CONFIG_SUM: _config_sum(fields)})
            if directions:
                save_directions(partial, directions, dtype)
            if discriminator:
                save_discriminator(partial, discriminator)
            text = {"version": VERSION, **fields, "sha256": sha256(partial / MODEL)}
            (partial / CONFIG).write_text(json.dumps(text, indent=2) + "\n")
    return folder


def check_place(folder: Path, replace: bool) -> None:
    """Refuses to write a folder where there is anything.

    A model may be replaced if ``replace`` says so.
    """
    if os.path.lexists(folder) and _is_occupied(folder):
        if not replace:
            raise StylePrompterError(
                f"{folder} exists: choose another name, or replace the model there "
                "with --overwrite."
            )
        if not (folder / CONFIG).is_file():
            raise StylePrompterError(
                f"{folder} exists and is no model folder: choose another name."
            )


def read_config(folder: Path) -> tuple[dict, Sums]:
    """The fields of a folder's config.json, and sums to check the folder with.

    Raises:
        StylePrompterError: if it is damaged or of another version.
    """
    path = folder / CONFIG
    fields = read_json(path, limit=CONFIG_BYTES, hint=_AGAIN)
    if "version" not in fields:
        raise StylePrompterError(
            f"{path} is no model configuration, which has a version: name the folder "
            "of a model."
        )
    version, digest = fields.pop("version"), fields.pop("sha256", None)
    if type(version) is not int or not 1 <= version <= VERSION:
        raise StylePrompterError(
            f"{path} has version {quoted(version)}, and this program reads 1 to "
            f"{VERSION}: update styleprompter_jax, or convert the model again."
        )
    if digest is not None and type(digest) is not str:
        raise StylePrompterError(
            f"{path} has no SHA-256 under sha256 but {quoted(digest)}: {_AGAIN}"
        )
    return fields, Sums(digest, _config_sum(fields))


def read_variables(
    folder: Path, shapes: Mapping, sums: Sums, others: Mapping | None = None
) -> dict:
    """The variables in a folder's model.safetensors; see `fit_variables`."""
    path = folder / MODEL
    arrays, metadata = read_safetensors(path, digest=sums.model)
    if sums.model and metadata.get(_CONFIG_SUM, sums.config) != sums.config:
        raise StylePrompterError(
            f"{folder / CONFIG} is not what was written: it is damaged, and the model "
            "must be copied again; or it was changed on purpose, and its sha256 must "
            "be removed."
        )
    headline = f"{path} does not fit {CONFIG} beside it"
    return fit_variables(arrays, shapes, headline, others)


def _config_sum(fields: Mapping) -> str:
    return f"sha256:{json_sha256(fields)}"


def _is_occupied(folder: Path) -> bool:
    return not folder.is_dir() or any(folder.iterdir())
