"""Converts published weights to a model folder, and back."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from styleprompter_jax.convert.directions import (
    Arrays,
    direction_arrays,
    make_directions,
)
from styleprompter_jax.convert.export import export_model
from styleprompter_jax.convert.found import Found
from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.origin import read_origin
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.recognise import recognise, recognise_network
from styleprompter_jax.convert.tables.perceptual import read_network
from styleprompter_jax.core.buckets import in_bucket
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, is_link, local_path
from styleprompter_jax.core.results import check_files
from styleprompter_jax.store import model_folder, network_folder
from styleprompter_jax.store.discriminator_files import load_discriminator
from styleprompter_jax.store.overwriting import check_place

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
        folder: the folder that was written or changed.
        kind: "model" or "network" for a new folder, "directions" for a model that got
            directions.
        directions: names of all directions of the model now; () for the other kinds.
    """

    folder: Path
    kind: str
    directions: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file in the format of the published code.

    Attributes:
        file: path of the file.
        what: a description of the layout.
        left_out: what the layout cannot hold: "discriminator", if the model has one,
            and names of the model's directions.
    """

    file: Path
    what: str
    left_out: Sequence[str]


@to_bucket("folder")
def convert(
    files: Sequence[str],
    folder: AnyPath,
    *,
    sha256: Sequence[str] = (),
    overwrite: bool = False,
) -> Converted:
    """Converts published files to a model or network folder, or adds directions to one.

    It logs the content of each file.

    Args:
        files: paths or https links of the files.
        folder: folder to write; for files of directions, the model to add them to.
        sha256: the SHA-256 that each linked file must have, in order.
        overwrite: replace an existing model, or directions of the same names.

    Raises:
        StylePrompterError: if a file cannot be fetched or read, its format is unknown,
            or the folder cannot be written.
    """
    folder = local_path(folder)
    if len(set(files)) < len(files):
        raise StylePrompterError("The same file is named twice: name it once.")
    if any(map(is_link, files)) and not (folder / model_folder.CONFIG).is_file():
        check_place(folder, overwrite)  # downloads may take minutes
    places = _fetched(files, sha256)
    trees = {name: _read(name, place) for name, place in places.items()}
    found = {
        name: direction_arrays(tree, places[name].stem) for name, tree in trees.items()
    }
    if all(file.arrays for file in found.values()):
        return _add_directions(found, folder, overwrite)
    parts = [folder / name for name in model_folder.PARTS]
    check_files(parts, places.values(), overwrite=True)
    if network := recognise_network(trees):
        return _convert_network(*network, trees, folder, overwrite)
    return _convert_model(trees, folder, overwrite)


@to_bucket("file", file=True)
def export(model: AnyPath, file: AnyPath, *, overwrite: bool = False) -> Exported:
    """Writes a model in the format of the published PyTorch code.

    Args:
        model: name or path of the model, as `load` takes it.
        file: file to write.
        overwrite: replace an existing file.

    Raises:
        StylePrompterError: if the model is damaged, no published layout fits it, or
            the file cannot be written.
    """
    path = local_path(file)
    folder = model_folder.find_model(model)
    parts = [folder / name for name in model_folder.PARTS]
    check_files([path], parts, overwrite=overwrite)
    config, variables, directions = model_folder.load_model(model)
    text = model_folder.read_origin(folder)
    origin = read_origin(text, str(folder)) if text else None
    has_reader = (folder / model_folder.DISCRIMINATOR).exists()
    # Only the layout of a generator alone holds it, so others need no valid file.
    needed = has_reader and config.encoder is None
    discriminator = load_discriminator(folder) if needed else None
    try:
        what, tree = export_model(config, variables, discriminator, origin)
    except StylePrompterError as error:
        raise StylePrompterError(f"{model}: {error}") from error
    write_torch(path, tree)
    left_out = ["discriminator"] if has_reader and "d" not in tree else []
    return Exported(path, what, [*left_out, *directions])


def _fetched(files: Sequence[str], sums: Sequence[str]) -> dict[str, Path]:
    """Downloads linked files; returns the path of each file by its name in messages."""
    places: dict[str, Path] = {}
    given = iter(sums)
    for k, file in enumerate(files):
        if in_bucket(file):
            places[file] = local_copy(file)
        elif is_link(file):
            from styleprompter_jax.convert.links.download import fetch, shown

            name = shown(file)
            name = f"{name} (file {k + 1})" if name in places else name
            places[name] = fetch(file, next(given, None))
        else:
            places[file] = Path(file)
    return places


def _read(name: str, place: Path) -> Any:
    try:
        return read_file(place)
    except StylePrompterError as error:
        if not is_link(name):
            raise
        raise StylePrompterError(
            f"{error} The file is a copy of {name}: if the copy is damaged, delete "
            f"{place.parent} to download it again."
        ) from error


def _convert_model(trees: dict[str, Any], folder: Path, overwrite: bool) -> Converted:
    # Check the files before the folder, because a wrong file is the first error to fix.
    found = {name: recognise(tree, name) for name, tree in trees.items()}
    check_place(folder, overwrite)  # before the work; saving checks again
    _tell(found)
    built = build_model(found)
    trees.clear()  # makes room: safetensors before 0.8 copies the model when it saves
    for note in built.notes:
        log.info("%s", note)
    written = model_folder.save_model(
        folder,
        built.config,
        built.variables,
        discriminator=built.discriminator,
        origin=built.origin.text() if built.origin else "",
        replace=overwrite,
    )
    return Converted(written, "model")


def _tell(found: dict[str, Found]) -> None:
    """Logs the content of each file."""
    for name, file in found.items():
        log.info("%s: %s.", name, file.what)
        for note in file.notes:
            log.info("  %s", note)


def _convert_network(
    network: str, state: dict, trees: dict[str, Any], folder: Path, overwrite: bool
) -> Converted:
    files = " and ".join(trees)
    check_place(folder, overwrite)
    log.info("%s: %s.", files, network_folder.NETWORKS[network].title)
    params = read_network(network, state, files)
    written = network_folder.save_network(folder, network, params, replace=overwrite)
    return Converted(written, "network")


def _add_directions(
    files: dict[str, Arrays], folder: Path, overwrite: bool
) -> Converted:
    """Adds directions to a model, with the names of their files or keys."""
    if not (folder / model_folder.CONFIG).is_file():
        raise StylePrompterError(
            f"{folder} is not a model folder: name the model folder that gets the "
            f"directions of {', '.join(files)}."
        )
    with folder_lock(folder):
        return Converted(folder, "directions", _add_to(folder, files, overwrite))


def _add_to(folder: Path, files: dict[str, Arrays], overwrite: bool) -> list[str]:
    config, _, known = model_folder.load_model(folder)
    codes, old = config.generator, set(known) if overwrite else set()
    check_names(known, str(folder))
    for file, found in files.items():
        for note in found.notes:
            log.info("%s: %s", file, note)
        made = make_directions(found, codes.num_codes, codes.w_dim, file)
        check_names(made, file)
        for name, direction in made.items():
            shape = list(direction.vector.shape)
            log.info("%s: direction %s, %s.", file, name, shape)
            if name in known and name not in old:
                raise StylePrompterError(
                    f"{folder} already has a direction {name!r}: rename the direction "
                    f"of {file}, or replace the one there with --overwrite."
                )
            old.discard(name)  # two files of one call must not replace each other
            known[name] = direction
    model_folder.save_directions(folder, known)
    return list(known)
