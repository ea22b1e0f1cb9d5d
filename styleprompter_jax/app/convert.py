"""`styleprompter convert`: published weights to a model folder, and back."""

from pathlib import Path

from styleprompter_jax.convert.directions import direction_arrays, make_directions
from styleprompter_jax.convert.export import export_model
from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.recognise import recognise, recognise_network
from styleprompter_jax.convert.tables.perceptual import read_network
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.paths import is_link, local_path
from styleprompter_jax.core.results import check_files
from styleprompter_jax.store import model_folder, network_folder


def run(args):
    if args.export:
        _export(args.paths[0], Path(args.export), args.overwrite)
        return
    *files, folder = args.paths
    folder = local_path(folder)
    if len(set(files)) < len(files):
        raise StylePrompterError("The same file is named twice: name it once.")
    if any(map(is_link, files)) and not (folder / model_folder.CONFIG).is_file():
        model_folder.check_place(folder, args.overwrite)  # before minutes of fetching
    places = _fetched(files, args.sha256)
    trees = {name: _read(name, place) for name, place in places.items()}
    found = {
        name: direction_arrays(tree, places[name].stem) for name, tree in trees.items()
    }
    if all(file.arrays for file in found.values()):
        _add_directions(found, folder)
        return
    parts = [folder / name for name in model_folder.PARTS]
    check_files(parts, places.values(), overwrite=True)
    if network := recognise_network(trees):
        _convert_network(*network, trees, folder, args.overwrite)
    else:
        _convert_model(trees, folder, args.overwrite)


def _fetched(files, sums) -> dict[str, Path]:
    """Where the files are, by what to call them; links are fetched."""
    places, sums = {}, iter(sums or ())
    for k, file in enumerate(files):
        if is_link(file):
            from styleprompter_jax.convert.links.download import fetch, shown

            name = shown(file)
            name = f"{name} (file {k + 1})" if name in places else name
            places[name] = fetch(file, next(sums, None))
        else:
            places[file] = Path(file)
    return places


def _read(name, place):
    try:
        return read_file(place)
    except StylePrompterError as error:
        if not is_link(name):
            raise
        raise StylePrompterError(
            f"{error} It is the copy of {name}: if the copy is to blame, delete "
            f"{place.parent}, and it is fetched anew."
        ) from error


def _convert_model(trees, folder, overwrite):
    # What is wrong with a file comes first: for it, nobody has to remove a folder.
    found = {name: recognise(tree, name) for name, tree in trees.items()}
    model_folder.check_place(folder, overwrite)  # before the work; and once more after
    _tell(found)
    config, variables, notes = build_model(found)
    trees.clear()  # safetensors before 0.8 copies a model in their place
    for note in notes:
        print(note)
    written = model_folder.save_model(folder, config, variables, replace=overwrite)
    print(f"Model written to {written}.")


def _tell(found):
    """Says what each file holds."""
    for name, file in found.items():
        print(f"{name}: {file.what}.")
        for note in file.notes:
            print(f"  {note}")


def _convert_network(network, state, trees, folder, overwrite):
    files = " and ".join(trees)
    model_folder.check_place(folder, overwrite)
    print(f"{files}: {network_folder.NETWORKS[network].title}.")
    params = read_network(network, state, files)
    written = network_folder.save_network(folder, network, params, replace=overwrite)
    print(f"Network written to {written}.")


def _add_directions(files, folder):
    """Keeps directions with a model, under the names of their files or keys."""
    if not (folder / model_folder.CONFIG).is_file():
        raise StylePrompterError(
            f"{', '.join(files)}: a direction belongs to a model, and {folder} is no "
            "model folder: name the one to keep it with."
        )
    with folder_lock(folder):
        _add_to(folder, files)


def _add_to(folder, files):
    config, _, known = model_folder.load_model(folder)
    codes = config.generator
    check_names(known, folder)
    for file, found in files.items():
        for note in found.notes:
            print(f"{file}: {note}")
        made = make_directions(found, codes.num_codes, codes.w_dim, file)
        check_names(made, file)
        for name, direction in made.items():
            print(f"{file}: direction {name}, {list(direction.vector.shape)}.")
            if name in known:
                raise StylePrompterError(
                    f"{folder} has a direction {name!r} already: rename that of {file}."
                )
            known[name] = direction
    model_folder.save_directions(folder, known)
    print(f"{folder} knows {', '.join(known)}.")


def _export(model, path, overwrite):
    parts = [model_folder.find_model(model) / name for name in model_folder.PARTS]
    check_files([path], parts, overwrite=overwrite)
    config, variables, directions = model_folder.load_model(model)
    try:
        what, tree = export_model(config, variables)
    except StylePrompterError as error:
        raise StylePrompterError(f"{model}: {error}") from error
    write_torch(path, tree)
    print(f"{path}: {what}.")
    if directions:
        print("The directions are left out: the layout has no place for them.")
