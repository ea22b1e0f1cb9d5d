"""Published weights to a model folder, and back."""

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
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.recognise import recognise, recognise_network
from styleprompter_jax.convert.tables.perceptual import read_network
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.paths import AnyPath, is_link, local_path
from styleprompter_jax.core.results import check_files
from styleprompter_jax.store import model_folder, network_folder

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a folder got of files.

    Attributes:
        folder: where it is.
        kind: "model" or "network" for a folder that was written, "directions" where
            those of a model became more.
        directions: names of all that the model knows now; () for the other kinds.
    """

    folder: Path
    kind: str
    directions: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file as the published code reads it.

    Attributes:
        file: where it is.
        what: the layout, in words.
        left_out: names of directions, for which the layout has no place.
    """

    file: Path
    what: str
    left_out: Sequence[str]


def convert(
    files: Sequence[str],
    folder: AnyPath,
    *,
    sha256: Sequence[str] = (),
    overwrite: bool = False,
) -> Converted:
    """Makes a model or network folder of published files, or adds directions to one.

    Says meanwhile what each file holds.

    Args:
        files: their paths, or https links.
        folder: to write; for files of directions, the model to keep them with.
        sha256: what the files behind links must have, in their order.
        overwrite: replace the model that is there.

    Raises:
        StylePrompterError: if a file cannot be fetched or read, it is none that is
            known, or the folder cannot be written.
    """
    folder = local_path(folder)
    if len(set(files)) < len(files):
        raise StylePrompterError("The same file is named twice: name it once.")
    if any(map(is_link, files)) and not (folder / model_folder.CONFIG).is_file():
        model_folder.check_place(folder, overwrite)  # before minutes of fetching
    places = _fetched(files, sha256)
    trees = {name: _read(name, place) for name, place in places.items()}
    found = {
        name: direction_arrays(tree, places[name].stem) for name, tree in trees.items()
    }
    if all(file.arrays for file in found.values()):
        return _add_directions(found, folder)
    parts = [folder / name for name in model_folder.PARTS]
    check_files(parts, places.values(), overwrite=True)
    if network := recognise_network(trees):
        return _convert_network(*network, trees, folder, overwrite)
    return _convert_model(trees, folder, overwrite)


def export(model: AnyPath, file: AnyPath, *, overwrite: bool = False) -> Exported:
    """Writes a model as the published PyTorch code reads it.

    Args:
        model: which model, as `load` takes it.
        file: to write.
        overwrite: replace the file that is there.

    Raises:
        StylePrompterError: if the model is damaged, no layout has a place for it, or
            the file cannot be written.
    """
    path = local_path(file)
    parts = [model_folder.find_model(model) / name for name in model_folder.PARTS]
    check_files([path], parts, overwrite=overwrite)
    config, variables, directions = model_folder.load_model(model)
    try:
        what, tree = export_model(config, variables)
    except StylePrompterError as error:
        raise StylePrompterError(f"{model}: {error}") from error
    write_torch(path, tree)
    return Exported(path, what, list(directions))


def _fetched(files: Sequence[str], sums: Sequence[str]) -> dict[str, Path]:
    """Where the files are, by what to call them; links are fetched."""
    places: dict[str, Path] = {}
    given = iter(sums)
    for k, file in enumerate(files):
        if is_link(file):
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
            f"{error} It is the copy of {name}: if the copy is to blame, delete "
            f"{place.parent}, and it is fetched anew."
        ) from error


def _convert_model(trees: dict[str, Any], folder: Path, overwrite: bool) -> Converted:
    # What is wrong with a file comes first: for it, nobody has to remove a folder.
    found = {name: recognise(tree, name) for name, tree in trees.items()}
    model_folder.check_place(folder, overwrite)  # before the work; and once more after
    _tell(found)
    config, variables, notes = build_model(found)
    trees.clear()  # safetensors before 0.8 copies a model in their place
    for note in notes:
        log.info("%s", note)
    written = model_folder.save_model(folder, config, variables, replace=overwrite)
    return Converted(written, "model")


def _tell(found: dict[str, Found]) -> None:
    """Says what each file holds."""
    for name, file in found.items():
        log.info("%s: %s.", name, file.what)
        for note in file.notes:
            log.info("  %s", note)


def _convert_network(
    network: str, state: dict, trees: dict[str, Any], folder: Path, overwrite: bool
) -> Converted:
    files = " and ".join(trees)
    model_folder.check_place(folder, overwrite)
    log.info("%s: %s.", files, network_folder.NETWORKS[network].title)
    params = read_network(network, state, files)
    written = network_folder.save_network(folder, network, params, replace=overwrite)
    return Converted(written, "network")


def _add_directions(files: dict[str, Arrays], folder: Path) -> Converted:
    """Keeps directions with a model, under the names of their files or keys."""
    if not (folder / model_folder.CONFIG).is_file():
        raise StylePrompterError(
            f"{', '.join(files)}: a direction belongs to a model, and {folder} is no "
            "model folder: name the one to keep it with."
        )
    with folder_lock(folder):
        return Converted(folder, "directions", _add_to(folder, files))


def _add_to(folder: Path, files: dict[str, Arrays]) -> list[str]:
    config, _, known = model_folder.load_model(folder)
    codes = config.generator
    check_names(known, str(folder))
    for file, found in files.items():
        for note in found.notes:
            log.info("%s: %s", file, note)
        made = make_directions(found, codes.num_codes, codes.w_dim, file)
        check_names(made, file)
        for name, direction in made.items():
            shape = list(direction.vector.shape)
            log.info("%s: direction %s, %s.", file, name, shape)
            if name in known:
                raise StylePrompterError(
                    f"{folder} has a direction {name!r} already: rename that of {file}."
                )
            known[name] = direction
    model_folder.save_directions(folder, known)
    return list(known)
