"""Finds directions, and keeps them with a model."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.atomic import atomic_folder, atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.paths import AnyPath, local_path, scheme
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.core.values import check_choice
from styleprompter_jax.data.pairs import draw_pairs, read_pairs
from styleprompter_jax.data.tables import is_table
from styleprompter_jax.editing.directions import Direction, directions_from_labels
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import sheet, write_image
from styleprompter_jax.inversion.pipeline import StylePrompter, load
from styleprompter_jax.inversion.samples import sample_w
from styleprompter_jax.search import unsupervised
from styleprompter_jax.search.labelled import encode_csv, encode_tfds, stored_codes
from styleprompter_jax.search.pairs import fit_direction
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.copies import check_copy, copy_model
from styleprompter_jax.store.places import pin

PICTURE = "directions.png"
# What it shows of each direction.
TITLES = ("from", "-strength", "0", "+strength", "to")
IMAGES, PAIRS, SAMPLES = 2000, 800, 20_000
MOST_SAMPLES = 1_000_000  # 2 GB
EXAMPLE_PSI = 0.7  # truncation of the face on the sheet where none is given
METHODS = "sefa", "pca", "labels", "pairs"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Found:
    """Directions that were found and are kept in a model folder.

    Attributes:
        folder: the model's.
        directions: by their names.
        replaced: names of directions that the model had before.
    """

    folder: Path
    directions: dict[str, Direction]
    replaced: list[str]


def find_directions(
    model: AnyPath,
    method: str,
    *,
    layers: Sequence[int] | None = None,
    orthogonal_to: Sequence[str] = (),
    components: int = 5,
    data: str = "avatars",
    data_dir: AnyPath | None = None,
    latents: AnyPath | None = None,
    attributes: Sequence[str] = (),
    rank: int = 16,
    refiner: Mapping[str, Any] | None = None,
    steps: int = 400,
    count: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    output: AnyPath | None = None,
    overwrite: bool = False,
) -> Found:
    """Finds directions, and keeps them with a model, with a picture of each.

    Args:
        model: which model, as `load` takes it.
        method: "sefa" and "pca" look at the generator alone, "labels" at codes of
            labelled images, "pairs" at images before and after an edit.
        layers: the codes that directions change, and sefa looks at; None for all.
        orthogonal_to: directions of the model that the new ones leave alone.
        components: how many directions sefa and pca find.
        data: for labels "avatars", another TFDS data set with labels, or a table of
            pictures and attributes; for pairs "avatars", or a table of direction,
            before and after.
        data_dir: where TFDS keeps its data sets.
        latents: for labels, the codes of the table's pictures, in place of encoding.
        attributes: which of the data's attributes or directions; all if there are none.
        rank: for pairs, of how an edit depends on the codes; 0: not at all.
        refiner: for pairs, options of the refiner for such edits, kept with each.
        steps: for pairs, of gradient descent for each direction.
        count: images, pairs of each direction, or codes to sample; None for 2000 images
            of TFDS or all of a table, 800 pairs, 20000 codes.
        seed: of sampled codes, or of the pairs' order.
        batch_size: images at once.
        output: a copy of the model to keep them with; None for the model itself.
        overwrite: replace the model at `output`, or a directions.png of others.

    Raises:
        StylePrompterError: if the model cannot be changed or the data not be read, or
            no direction can be found; nothing is changed then.
    """
    check_choice(method, "method", METHODS)
    source = pin(model)
    source_folder = model_folder.find_model(source)
    folder = local_path(output) if output else source_folder
    if not output and (scheme(source) or source_folder.parent == model_folder.BUNDLED):
        where = "on the Hub" if scheme(source) else "a bundled model"
        raise StylePrompterError(
            f"{model} is {where}: name a folder for a copy with --output."
        )
    if output:
        check_copy(source_folder, folder, overwrite)
    else:
        Results(folder, [folder / PICTURE], overwrite=overwrite)
    loaded = load(source)
    check_names(loaded.directions, str(source_folder))
    n = loaded.config.generator.num_codes
    if layers and max(layers) >= n:
        raise StylePrompterError(
            f"layers {layers} are not all codes: those are 0 to {n - 1}."
        )
    if unknown := set(orthogonal_to) - loaded.directions.keys():
        raise StylePrompterError(
            f"The loaded knows no direction {sorted(unknown)[0]!r}; it knows "
            f"{', '.join(sorted(loaded.directions)) or 'none'}."
            f"{another_spelling(sorted(unknown)[0], loaded.directions)}"
        )
    if method == "labels":
        if latents:
            known = stored_codes(os.fspath(latents), data, count, attributes)
        elif is_table(data):
            known = encode_csv(loaded, data, count, batch_size, attributes)
        else:
            place = None if data_dir is None else os.fspath(data_dir)
            known = encode_tfds(
                loaded, data, place, count or IMAGES, batch_size, attributes
            )
        origin = f"labels of {len(known[0])} images of {data}"
        found, example = _from_labels(known, attributes, layers, origin)
    elif method == "pairs":
        options: dict[str, Any] = dict(rank=rank, steps=steps, layers=layers, seed=seed)
        options |= refiner or {}
        pairs = _pairs(data, attributes, count, loaded.image_size)
        found, example = _from_pairs(loaded, pairs, data, options)
    else:
        count = count or SAMPLES
        found, example = _from_generator(
            loaded, method, components, layers, count, seed
        )
    if orthogonal_to:
        others = {name: loaded.directions[name] for name in orthogonal_to}
        found = {
            name: unsupervised.orthogonalize(direction, others, n)
            for name, direction in found.items()
            if name not in others
        }
    with folder_lock(folder), _unchanged(folder):
        # Read again: another program may have added some while this one worked.
        before = model_folder.load_directions(source_folder)
        directions = before | found
        table = _sheet(loaded, directions, example)
        if output:
            model_folder.check_place(folder, overwrite)
            with atomic_folder(folder, (*model_folder.PARTS, PICTURE)) as partial:
                copy_model(source_folder, partial, of_hub=bool(scheme(source)))
                _write(partial, table, directions, overwrite=True)
        else:
            _write(folder, table, directions, overwrite)
    return Found(folder, found, [name for name in found if name in before])


def _write(
    folder: Path, table: np.ndarray, directions: dict[str, Direction], overwrite: bool
) -> None:
    """Directions and their picture: both, or on a full disk none."""
    picture = folder / PICTURE
    place = Results(folder, [picture], overwrite=overwrite)
    # The picture gets its name when the directions are there.
    with atomic_path(picture) as partial:
        write_image(table, partial)
        place.record(picture, partial)
        model_folder.save_directions(folder, directions)


@contextlib.contextmanager
def _unchanged(folder: Path) -> Iterator[None]:
    """Says with each error, of a full disk say, that nothing was changed."""
    try:
        yield
    except StylePrompterError as error:
        raise StylePrompterError(f"{error} Nothing is changed in {folder}.") from error


def _from_labels(
    known: tuple[np.ndarray, dict, Latents],
    wanted: Sequence[str],
    layers: Sequence[int] | None,
    origin: str,
) -> tuple[dict[str, Direction], Latents]:
    """Directions of attributes, and the latents of a labelled picture.

    ``known`` are codes, attributes and an example; see `search.labelled`.
    """
    codes, attributes, example = known
    if wanted:
        attributes = {name: attributes[name] for name in wanted}
    found = directions_from_labels(codes, attributes, origin)
    if layers:
        found = {
            name: dataclasses.replace(direction, layers=tuple(layers))
            for name, direction in found.items()
        }
    return found, example


def _pairs(data: str, names: Sequence[str], count: int | None, size: int):
    """Pairs of a table or of the avatars; see `data.pairs`."""
    if is_table(data):
        return read_pairs(data, names, count, size)
    if data == "avatars":
        return draw_pairs(names, count or PAIRS, size)
    raise StylePrompterError(
        f'--data is {data!r}: for pairs it is "avatars", or a .csv with the '
        "columns direction,before,after."
    )


def _from_pairs(
    model: StylePrompter, pairs: Iterable[tuple], data: str, options: dict
) -> tuple[dict[str, Direction], Latents]:
    """Directions of edits that are given as pairs, and the latents of a first image."""
    found: dict[str, Direction] = {}
    examples: list[Latents] = []
    for name, before, after, both_ways in pairs:
        origin = f"{len(before)} pairs of {data}, seed {options['seed']}"
        found[name] = fit_direction(
            model, before, after, both_ways=both_ways, origin=origin, **options
        )
        examples = examples or [model.encode(before[:1])]
        log.info("%s: fitted to %d pairs.", name, len(before))
    return found, examples[0]


def _from_generator(
    model: StylePrompter,
    method: str,
    components: int,
    chosen: Sequence[int] | None,
    count: int,
    seed: int,
) -> tuple[dict[str, Direction], Latents]:
    """Directions of SeFa or PCA, in standard deviations of w, and a sampled image's."""
    if count > MOST_SAMPLES:
        raise StylePrompterError(
            f"--count is {count}: {MOST_SAMPLES} samples of codes are the most."
        )
    w = sample_w(model, count, seed)
    layers = chosen or range(model.config.generator.num_codes)
    if method == "sefa":
        generator = model.config.generator
        affine = generator.affine_kernels(model.params["generator"])
        kernels = [np.asarray(kernel) for kernel in affine]
        vectors = unsupervised.sefa([kernels[k] for k in layers], components)
        origin = f"SeFa of the affine layers of codes {_spans(layers)}"
    else:
        vectors = unsupervised.pca(w, components)
        origin = f"PCA of {count} sampled codes, seed {seed}"
    # The codes are part of the name: the same method finds others for other codes.
    name = f"{method}_{_spans(layers)}" if chosen else method
    found = {
        f"{name}_{k}": Direction(
            vector,
            tuple(chosen) if chosen else None,
            strength=2.0,
            origin=f"{origin}, number {k}",
        )
        for k, vector in enumerate(unsupervised.in_deviations(w, vectors))
    }
    mean = np.asarray(model.const["latent_avg"])
    example = mean + EXAMPLE_PSI * (w[:1, None] - mean)
    n = model.config.generator.num_codes
    return found, Latents(np.broadcast_to(example, (1, n, example.shape[-1])))


def _spans(layers: Sequence[int]) -> str:
    """Writes 0, 1, 2, 3, 7 as "0-3,7"."""
    spans: list[list[int]] = []
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
