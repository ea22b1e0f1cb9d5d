"""Finds directions, and stores them with a model."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.app.judges import classifier_of
from styleprompter_jax.core.atomic import atomic_folder, atomic_path
from styleprompter_jax.core.buckets import in_bucket
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path, scheme
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.core.values import check_choice, real
from styleprompter_jax.data.pairs import draw_pairs, read_pairs
from styleprompter_jax.data.tables import is_table
from styleprompter_jax.editing.directions import (
    Direction,
    check_layers,
    directions_from_labels,
)
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.evaluation.classifier import load_classifier
from styleprompter_jax.images.files import Size, write_image
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter, load
from styleprompter_jax.inversion.samples import sample_w
from styleprompter_jax.search import unsupervised
from styleprompter_jax.search.judged import fit_to_classifier
from styleprompter_jax.search.labelled import (
    encode_csv,
    encode_tfds,
    read_data,
    stored_codes,
)
from styleprompter_jax.search.pairs import fit_direction
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.copies import check_copy, copy_model
from styleprompter_jax.store.overwriting import check_place
from styleprompter_jax.store.places import data_name, pin

PICTURE = "directions.png"
# The columns of directions.png.
TITLES = ("from", "-strength", "0", "+strength", "to")
IMAGES, PAIRS, JUDGED, SAMPLES = 2000, 800, 800, 20_000
MOST_SAMPLES = 1_000_000  # these samples need 2 GB of memory
EXAMPLE_PSI = 0.7  # truncation of the sampled face on the sheet
METHODS = "sefa", "pca", "labels", "pairs", "classifier"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Found:
    """The new directions in a model folder.

    Attributes:
        folder: the model folder.
        directions: the new directions by name.
        replaced: names of new directions that replaced a direction of the model.
    """

    folder: Path
    directions: dict[str, Direction]
    replaced: list[str]


@to_bucket("output")
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
    strength: float | None = None,
    steps: int | None = None,
    classifier: AnyPath | None = None,
    count: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    output: AnyPath | None = None,
    overwrite: bool = False,
) -> Found:
    """Finds directions, stores them with a model, and draws a sheet that shows each.

    Args:
        model: name or path of the model, as `load` takes it.
        method: "sefa" and "pca" analyse only the generator, "labels" the codes of
            labelled images, "pairs" images before and after an edit, "classifier" the
            outputs of a classifier for edited images.
        layers: indices of the codes that the directions change and that sefa analyses;
            None for all.
        orthogonal_to: directions of the model; the new directions are orthogonal to
            them.
        components: number of directions that sefa and pca find.
        data: for labels: "avatars", another TFDS dataset with labels, or a table of
            images and attributes; for a classifier: the same, but the function reads
            only the images; for pairs: "avatars", or a table of direction, before and
            after.
        data_dir: folder of the TFDS datasets.
        latents: for labels, a file with the codes of the images in the table; the
            function then encodes nothing.
        attributes: attributes or directions of the data, or attributes of the
            classifier; () for all.
        rank: for pairs and a classifier, rank of the map that adapts an edit to the
            codes; 0 gives the same edit for all codes.
        refiner: options of the refiner for the edits; each direction stores them. None
            means the options of `fit_direction` with pairs and a classifier, and the
            refiner's own options otherwise.
        strength: default strength of the edits. Each direction stores it, and a range
            that is scaled in the same ratio. None means 2 for sefa and pca, else 1.
        steps: for pairs and a classifier, steps of gradient descent for each direction;
            None for 400 with pairs and 100 with a classifier.
        classifier: for a classifier, its file; None for the bundled classifier of
            `data`, which the avatars and the cells have.
        count: number of images, of pairs for each direction, or of sampled codes. None
            means 2000 images of TFDS, all images of a table, 800 pairs, 800 images with
            a classifier, or 20000 codes.
        seed: seed of the sampled codes, or of the order of the images or pairs.
        batch_size: images in a batch. Steps of a fit have at most 8 images; fewer need
            less memory, but give noisier directions.
        output: folder for a copy of the model that gets the directions; None to change
            the model itself.
        overwrite: replace the model at `output`, or a directions.png that this program
            did not write.

    Raises:
        StylePrompterError: if the model cannot be changed, the data cannot be read, or
            no direction can be found; the model is then unchanged.
    """
    check_choice(method, "method", METHODS)
    if strength is not None and not real(strength, "strength (--strength)") > 0:
        raise StylePrompterError(f"--strength is {strength}: give a number above 0.")
    source_folder = model_folder.find_model(source := pin(model))
    folder = local_path(output) if output else source_folder
    if not output and (scheme(source) or source_folder.parent == model_folder.BUNDLED):
        where = "in a bucket" if in_bucket(source) else "on the Hub"
        where = where if scheme(source) else "a bundled model"
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
    layers = check_layers(layers, n)
    # Edits pass over options of a direction that the refiner does not have.
    calls.check_edit_options(loaded.config, refiner or {})
    if unknown := set(orthogonal_to) - loaded.directions.keys():
        raise StylePrompterError(
            f"The model has no direction {sorted(unknown)[0]!r}; its directions are: "
            f"{', '.join(sorted(loaded.directions)) or 'none'}."
            f"{another_spelling(sorted(unknown)[0], loaded.directions)}"
        )
    # Larger steps than the default would only find other directions.
    fit: dict[str, Any] = dict(
        rank=rank, layers=layers, seed=seed, batch_size=min(batch_size, 8)
    )
    fit |= ({} if steps is None else {"steps": steps}) | dict(refiner or {})
    place = None if data_dir is None else os.fspath(data_dir)
    if method == "labels":
        if latents:
            known = stored_codes(os.fspath(latents), data, count, attributes)
        elif is_table(data):
            known = encode_csv(loaded, data, count, batch_size, attributes)
        else:
            known = encode_tfds(
                loaded, data, place, count or IMAGES, batch_size, attributes
            )
        origin = f"labels of {len(known[0])} images of {data_name(data)}"
        found, example = _from_labels(known, attributes, layers, origin)
    elif method == "pairs":
        pairs = _pairs(data, attributes, count, loaded.image_size)
        found, example = _from_pairs(loaded, pairs, data, fit)
    elif method == "classifier":
        judge = load_classifier(_classifier(classifier, data))
        shape = loaded.config.input_shape
        images = read_data(data, place, count or JUDGED, shape)
        told = f"{len(images)} images of {data_name(data)}, seed {seed}"
        found = fit_to_classifier(
            loaded, images, judge, attributes, origin=f"a classifier of {told}", **fit
        )
        example = loaded.encode(images[:1])
    else:
        count = count or SAMPLES
        found, example = _from_generator(
            loaded, method, components, layers, count, seed
        )
    found = {k: _with(d, refiner, strength) for k, d in found.items()}
    if orthogonal_to:
        others = {name: loaded.directions[name] for name in orthogonal_to}
        found = unsupervised.orthogonalize_all(found, others, n)
    with folder_lock(folder), _unchanged(folder):
        # Read the directions again, because another program may have added some.
        before = model_folder.load_directions(source_folder)
        directions = before | found
        table = _sheet(loaded, directions, example)
        if output:
            check_place(folder, overwrite)
            with atomic_folder(folder, (*model_folder.PARTS, PICTURE)) as partial:
                copy_model(source_folder, partial, of_hub=bool(scheme(source)))
                _write(partial, table, directions, overwrite=True)
        else:
            _write(folder, table, directions, overwrite)
    return Found(folder, found, [name for name in found if name in before])


def _with(
    direction: Direction, refiner: Mapping[str, Any] | None, strength: float | None
) -> Direction:
    """Returns a direction with the options and the strength, if they are given."""
    ratio = (strength or direction.strength) / direction.strength
    low, high = direction.range
    return dataclasses.replace(
        direction,
        beta=None,  # `options` contain it
        options=refiner or direction.options,
        strength=ratio * direction.strength,
        range=(ratio * low, ratio * high),
    )


def _write(
    folder: Path, table: np.ndarray, directions: dict[str, Direction], overwrite: bool
) -> None:
    """Writes the directions and their sheet: both, or neither on a full disk."""
    picture = folder / PICTURE
    place = Results(folder, [picture], sheets=[picture], overwrite=overwrite)
    # The sheet gets its final name only after the directions are written.
    with atomic_path(picture) as partial:
        write_image(table, partial)
        place.record(picture, partial)
        model_folder.save_directions(folder, directions)


@contextlib.contextmanager
def _unchanged(folder: Path) -> Iterator[None]:
    """Adds to each error, for example of a full disk, that nothing changed."""
    try:
        yield
    except StylePrompterError as error:
        raise StylePrompterError(f"{error} Nothing changed in {folder}.") from error


def _from_labels(
    known: tuple[np.ndarray, dict, Latents],
    wanted: Sequence[str],
    layers: Sequence[int] | None,
    origin: str,
) -> tuple[dict[str, Direction], Latents]:
    """Finds directions of attributes; also returns the latents of a labelled image.

    ``known`` holds codes, attributes and an example; see `search.labelled`.
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


def _pairs(data: str, names: Sequence[str], count: int | None, size: Size):
    """Reads the pairs of a table, or draws the avatars' pairs; see `data.pairs`."""
    if is_table(data):
        return read_pairs(data, names, count, size)
    if data == "avatars":
        return draw_pairs(names, count or PAIRS, size)
    raise StylePrompterError(
        f'--data is {data!r}: for pairs, give "avatars", or a .csv with the columns '
        "direction,before,after."
    )


def _classifier(given: AnyPath | None, data: str) -> Path:
    """Returns the file of the classifier to fit to."""
    if file := classifier_of(given, None if is_table(data) else data):
        return file
    raise StylePrompterError(
        f"There is no bundled classifier of {data}: name one with --classifier."
    )


def _from_pairs(
    model: StylePrompter, pairs: Iterable[tuple], data: str, options: dict
) -> tuple[dict[str, Direction], Latents]:
    """Fits directions to pairs; also returns the latents of the first image."""
    found: dict[str, Direction] = {}
    examples: list[Latents] = []
    for name, before, after, both_ways in pairs:
        origin = f"{len(before)} pairs of {data_name(data)}, seed {options['seed']}"
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
    """Finds directions with SeFa or PCA, in standard deviations of w.

    It also returns the latents of a sampled image.
    """
    if count > MOST_SAMPLES:
        raise StylePrompterError(
            f"--count is {count}: give at most {MOST_SAMPLES} samples of codes."
        )
    w = sample_w(model, count, seed)
    layers = chosen or range(model.config.generator.num_codes)
    if method == "sefa":
        generator = model.config.generator
        affine = generator.affine_kernels(model.params["generator"])
        vectors = unsupervised.sefa([np.asarray(affine[k]) for k in layers], components)
        origin = f"SeFa of the affine layers of codes {_spans(layers)}"
    else:
        vectors = unsupervised.pca(w, components)
        origin = f"PCA of {count} sampled codes, seed {seed}"
    # The name includes the codes, because other codes give other directions.
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
    """Draws a row per direction: the example at its strength and the ends of its range.

    Each direction is applied with both signs of its strength.
    """
    refine = model.config.refiner is not None and bool(example.features)
    same = jax.tree.map(lambda array: np.repeat(array, len(TITLES), axis=0), example)
    rows, row_titles = [], []
    for name, direction in directions.items():
        (low, high), there = direction.range, direction.strength
        strengths = np.array([low, -there, 0, there, high], np.float32)
        edited = same.edit(direction, strengths)
        made = model.decode(edited, refine=refine, **model.options_of(direction))
        rows.append(np.asarray(model.shown(made)))
        row_titles.append(f"{name}: {low:g}, ±{there:g}, {high:g}")
    return sheet(rows, TITLES, row_titles)
