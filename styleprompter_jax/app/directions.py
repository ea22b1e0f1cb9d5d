"""`styleprompter directions`: finds directions, and keeps them with a model."""

import contextlib
import dataclasses
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from styleprompter_jax.app import pictures
from styleprompter_jax.app.labelled import encode_csv, encode_tfds, stored_codes
from styleprompter_jax.app.paired import draw_pairs, read_pairs
from styleprompter_jax.core.atomic import atomic_folder, atomic_path, make_folder
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.paths import scheme
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.data.tables import is_table
from styleprompter_jax.editing.directions import Direction, directions_from_labels
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import sheet, write_image
from styleprompter_jax.inversion.pipeline import StylePrompter, load
from styleprompter_jax.search import unsupervised
from styleprompter_jax.search.pairs import fit_direction
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.places import pin

PICTURE = "directions.png"
# What it shows of each direction.
TITLES = ("from", "-strength", "0", "+strength", "to")
IMAGES, PAIRS, SAMPLES, SAMPLE_BATCH = 2000, 800, 20_000, 1000
MOST_SAMPLES = 1_000_000  # 2 GB
EXAMPLE_PSI = 0.7  # truncation of the face on the sheet where none is given


def run(args):
    source = pin(args.model)
    source_folder = model_folder.find_model(source)
    folder = Path(args.output) if args.output else source_folder
    if not args.output and (
        scheme(source) or source_folder.parent == model_folder.BUNDLED
    ):
        where = "on the Hub" if scheme(source) else "a bundled model"
        raise StylePrompterError(
            f"{args.model} is {where}: name a folder for a copy with --output."
        )
    if args.output:
        _check_copy(source_folder, folder, args.overwrite)
    else:
        Results(folder, [folder / PICTURE], overwrite=args.overwrite)
    model = load(source)
    check_names(model.directions, str(source_folder))
    n = model.config.generator.num_codes
    if args.layers and max(args.layers) >= n:
        raise StylePrompterError(
            f"layers {args.layers} are not all codes: those are 0 to {n - 1}."
        )
    if unknown := set(args.orthogonal_to) - model.directions.keys():
        raise StylePrompterError(
            f"The model knows no direction {sorted(unknown)[0]!r}; it knows "
            f"{', '.join(sorted(model.directions)) or 'none'}."
            f"{another_spelling(sorted(unknown)[0], model.directions)}"
        )
    if args.method == "labels":
        found, example = _from_labels(model, args)
    elif args.method == "pairs":
        found, example = _from_pairs(model, args)
    else:
        found, example = _from_generator(model, args)
    if args.orthogonal_to:
        others = {name: model.directions[name] for name in args.orthogonal_to}
        found = {
            name: unsupervised.orthogonalize(direction, others, n)
            for name, direction in found.items()
            if name not in others
        }
    with folder_lock(folder), _unchanged(folder):
        # Read again: another program may have added some while this one worked.
        before = model_folder.load_directions(source_folder)
        directions = before | found
        table = _sheet(model, directions, example)
        if args.output:
            model_folder.check_place(folder, args.overwrite)
            with atomic_folder(folder, (*model_folder.PARTS, PICTURE)) as partial:
                _copy(source_folder, partial, of_hub=bool(scheme(source)))
                _write(partial, table, directions, overwrite=True)
        else:
            _write(folder, table, directions, args.overwrite)
    replaced = [name for name in found if name in before]
    print(
        f"{len(found)} directions in {folder}: {', '.join(found)}."
        + (f" Replaced: {', '.join(replaced)}." if replaced else "")
    )


def _write(folder: Path, table: np.ndarray, directions, overwrite: bool) -> None:
    """Directions and their picture: both, or on a full disk none."""
    picture = folder / PICTURE
    place = Results(folder, [picture], overwrite=overwrite)
    # The picture gets its name when the directions are there.
    with atomic_path(picture) as partial:
        write_image(table, partial)
        place.record(picture, partial)
        model_folder.save_directions(folder, directions)


def _check_copy(source_folder: Path, folder: Path, overwrite: bool) -> None:
    """Refuses a place for a copy that is taken, or is the model itself."""
    here, there = Path(os.path.realpath(source_folder)), Path(os.path.realpath(folder))
    if here == there or here in there.parents or there in here.parents:
        raise StylePrompterError(
            f"{folder} is the model itself, in it or around it: choose another "
            "--output, or leave it out to add to the model."
        )
    model_folder.check_place(folder, overwrite)


@contextlib.contextmanager
def _unchanged(folder: Path) -> Iterator[None]:
    """Says with each error, of a full disk say, that nothing was changed."""
    try:
        yield
    except StylePrompterError as error:
        raise StylePrompterError(f"{error} Nothing is changed in {folder}.") from error


def _from_labels(model, args) -> tuple[dict[str, Direction], Latents]:
    """Directions of attributes, and the latents of a labelled picture."""
    if args.latents:
        found = stored_codes(args.latents, args.data, args.count, args.attributes)
    elif is_table(args.data):
        found = encode_csv(
            model, args.data, args.count, args.batch_size, args.attributes
        )
    else:
        found = encode_tfds(
            model,
            args.data,
            args.data_dir,
            args.count or IMAGES,
            args.batch_size,
            args.attributes,
        )
    codes, attributes, example = found
    if args.attributes:
        attributes = {name: attributes[name] for name in args.attributes}
    origin = f"labels of {len(codes)} images of {args.data}"
    found = directions_from_labels(codes, attributes, origin)
    if args.layers:
        found = {
            name: dataclasses.replace(direction, layers=args.layers)
            for name, direction in found.items()
        }
    return found, example


def _from_pairs(model, args) -> tuple[dict[str, Direction], Latents]:
    """Directions of edits that are given as pairs, and the latents of a first image."""
    if is_table(args.data):
        pairs = read_pairs(args.data, args.attributes, args.count, model.image_size)
    elif args.data == "avatars":
        pairs = draw_pairs(args.attributes, args.count or PAIRS, model.image_size)
    else:
        raise StylePrompterError(
            f'--data is {args.data!r}: for pairs it is "avatars", or a .csv with the '
            "columns direction,before,after."
        )
    found, example = {}, None
    for name, before, after, both_ways in pairs:
        found[name] = fit_direction(
            model,
            before,
            after,
            both_ways=both_ways,
            rank=args.rank,
            steps=args.steps,
            layers=args.layers,
            seed=args.seed,
            origin=f"{len(before)} pairs of {args.data}, seed {args.seed}",
            **pictures.refiner_options(args),
        )
        example = example or model.encode(before[:1])
        print(f"{name}: fitted to {len(before)} pairs.", flush=True)
    return found, example


def _from_generator(model, args) -> tuple[dict[str, Direction], Latents]:
    """Directions of SeFa or PCA, in standard deviations of w, and a sampled image's."""
    count = args.count or SAMPLES
    if count > MOST_SAMPLES:
        raise StylePrompterError(
            f"--count is {count}: {MOST_SAMPLES} samples of codes are the most."
        )
    w = sample_w(model, count, args.seed)
    layers = args.layers or range(model.config.generator.num_codes)
    if args.method == "sefa":
        generator = model.config.generator
        kernels = generator.affine_kernels(model.params["generator"])
        kernels = [np.asarray(kernel) for kernel in kernels]
        vectors = unsupervised.sefa([kernels[k] for k in layers], args.components)
        origin = f"SeFa of the affine layers of codes {_spans(layers)}"
    else:
        vectors = unsupervised.pca(w, args.components)
        origin = f"PCA of {count} sampled codes, seed {args.seed}"
    # The codes are part of the name: the same method finds others for other codes.
    name = f"{args.method}_{_spans(layers)}" if args.layers else args.method
    found = {
        f"{name}_{k}": Direction(
            vector, args.layers, strength=2.0, origin=f"{origin}, number {k}"
        )
        for k, vector in enumerate(unsupervised.in_deviations(w, vectors))
    }
    mean = np.asarray(model.const["latent_avg"])
    example = mean + EXAMPLE_PSI * (w[:1, None] - mean)
    n = model.config.generator.num_codes
    return found, Latents(np.broadcast_to(example, (1, n, example.shape[-1])))


def sample_w(model: StylePrompter, count: int, seed: int) -> np.ndarray:
    """float32 (count, w_dim), codes of the mapping network for z drawn from a seed."""
    z_dim = model.config.generator.z_dim
    z = np.random.default_rng(seed).standard_normal((count, z_dim), np.float32)
    batch_size = min(SAMPLE_BATCH, count)
    parts = [
        pictures.take(
            model.mapping(pictures.pad(z[part], batch_size)), part.stop - part.start
        )
        for part in pictures.batches(count, batch_size)
    ]
    return np.concatenate(parts)


def _spans(layers: Sequence[int]) -> str:
    """ "0-3,7" for 0, 1, 2, 3, 7."""
    spans = []
    for layer in sorted(layers):
        if spans and spans[-1][1] == layer - 1:
            spans[-1][1] = layer
        else:
            spans.append([layer, layer])
    return ",".join(f"{a}-{b}" if a < b else str(a) for a, b in spans)


def _sheet(
    model: StylePrompter, directions: dict[str, Direction], example: Latents
) -> np.ndarray:
    """A row for each: the example at both ends of its range, and at its strength."""
    refine = model.config.refiner is not None and bool(example.features)
    same = jax.tree.map(lambda array: np.repeat(array, len(TITLES), axis=0), example)
    rows, row_titles = [], []
    for name, direction in directions.items():
        (low, high), there = direction.range, direction.strength
        strengths = np.array([low, -there, 0, there, high], np.float32)
        edited = same.edit(direction, strengths)
        rows.append(
            np.asarray(
                model.decode(edited, refine=refine, **model.options_of(direction))
            )
        )
        row_titles.append(f"{name}: {low:g}, ±{there:g}, {high:g}")
    return sheet(rows, TITLES, row_titles)


def _copy(source_folder: Path, folder: Path, of_hub: bool) -> None:
    """Copies the regular files of a model folder, and of folders in it.

    A link may lead to anything on this machine, and a stranger may have put it there:
    those are followed alone that were read as the model, and those that the Hub's own
    cache consists of.
    """
    followed = (
        model_folder.PARTS if of_hub else (model_folder.CONFIG, model_folder.MODEL)
    )
    left_out = []
    for root, folders, files in os.walk(source_folder):
        below = Path(root).relative_to(source_folder)
        left_out += [below / name for name in folders if Path(root, name).is_symlink()]
        for name in files:
            file, top = Path(root, name), root == str(source_folder)
            if of_hub and not (top and name in followed):
                continue  # of other models that lie in the same repository
            if stat.S_ISREG(file.lstat().st_mode) or (top and name in followed):
                make_folder(folder / below)
                shutil.copyfile(file, folder / below / name)
            else:
                left_out.append(below / name)
    if left_out:
        names = ", ".join(map(str, left_out))
        print(f"Left out of the copy, as no regular files: {names}.", file=sys.stderr)
