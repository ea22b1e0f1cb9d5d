"""Compares models and procedures: writes metrics.json and a sheet."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.app.compared import Compared
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.entry import Entry, warn_of_equals
from styleprompter_jax.app.evaluate import EDITED, TIMED
from styleprompter_jax.app.judges import (
    check_judged,
    classifier_of,
    conditions,
    directions_of,
    hashes_of,
    load_networks,
    without_edits,
    without_networks,
)
from styleprompter_jax.app.pictures import SHOWN
from styleprompter_jax.app.stored import (
    check_not_given,
    described,
    stored_latents,
    with_latents,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import write_json
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.evaluation import classifier as classifiers
from styleprompter_jax.evaluation import codes, protocol
from styleprompter_jax.evaluation.comparison import (
    LEVEL,
    RESAMPLES,
    SHARES,
    Measured,
    edits_of_each,
    interval,
    measure,
)
from styleprompter_jax.evaluation.editability import judged
from styleprompter_jax.evaluation.evaluate import comparison_shape, comparison_size
from styleprompter_jax.images.files import write_image
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.passes import check_iterations
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.inversion.samples import sample_w

FILES = "metrics.json", "sheet.png"
TIMED_SLOWLY = 2  # number of images to measure the time of a slow procedure


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The results of `compare`, and its files.

    Attributes:
        results: the content of metrics.json without the protocol.
        values: float32 (m,), a value for each image, by entry and metric.
        metrics, sheet: the files metrics.json and sheet.png.
    """

    results: dict
    values: dict[str, dict[str, np.ndarray]]
    metrics: Path
    sheet: Path


@to_bucket("output")
def compare(
    models: Sequence[str],
    output: AnyPath = "comparison",
    *,
    inputs: Sequence[AnyPath] | None = None,
    data: str | None = None,
    split: str = "test",
    data_dir: AnyPath | None = None,
    count: int | None = None,
    size: int | None = None,
    networks: Sequence[AnyPath] = (),
    directions: Sequence[str] | None = None,
    classifier: AnyPath | None = None,
    decoding: Decoding = Decoding(),
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Comparison:
    """Measures several models or procedures on the same images.

    Args:
        models: names or paths as `load` takes them, optionally with options:
            "M,tune=350", "M,beta=0.5:1,optimize=50", "M,latents=FILE". Differences
            are relative to the first one.
        output: folder of the results.
        inputs: files, folders and globs of images.
        data: "avatars", "cells", or a TFDS dataset, instead of images.
        split: split of `data`.
        data_dir: folder of the TFDS datasets.
        count: use only the first `count` images; None for all.
        size: width of the compared images; None for the smallest width of the models,
            at most 256.
        networks: folders of perceptual networks, one for each kind.
        directions: directions to measure; None for those that all models have, or all
            of each model if there are none in common.
        classifier: file of the classifier that judges edits; None for the bundled
            classifier of `data`, which the avatars and the cells have.
        decoding: options for rendering.
        skip_bad: skip images that cannot be read, with a warning for each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if a given file or folder cannot be read or does not fit,
            two entries are equal, or a result cannot be written.
    """
    if bool(inputs) == bool(data):
        raise StylePrompterError("Give compare either inputs or data.")
    if decoding.noise_mode == "random":
        raise StylePrompterError(
            "compare cannot use random noise, because fits need the same noise for "
            'every step: set noise_mode (--noise-mode) to "const" or "none".'
        )
    entries = [Entry.parse(text, decoding.iterations) for text in models]
    if len({entry.title for entry in entries}) < max(len(entries), 2):
        raise StylePrompterError(
            "compare needs two or more different entries: give several models, or one "
            "model with different options."
        )
    folder = local_path(output)
    places, found = load_networks(networks)
    loaded = {entry.name: decoding.loaded(entry.name) for entry in entries}
    if size is None:
        size = min(comparison_size(model) for model in loaded.values())
    shapes = {comparison_shape(m, comparison_size(m, size)) for m in loaded.values()}
    if len(shapes) > 1:
        raise StylePrompterError(
            "The models read images of different proportions: compare models of square "
            "images, or models of oblong images."
        )
    (shape,) = shapes
    encoded = []  # whether the encoder reads the images, by entry
    for entry in entries:
        config, rendering = loaded[entry.name].config, entry.decoding(decoding)
        if entry.beta and rendering.refine is False:
            raise StylePrompterError(
                f"{entry.title!r} has a beta, but --no-refine skips the refiner: "
                "remove one of them."
            )
        with entry.naming():
            check_iterations(config, entry.procedure.iterations)
            refined = calls.refines(config, rendering.refine, rendering.refiner)
            calls.check_options(config, rendering.refiner, 1)
        encoded.append(refined or not entry.latents)
    entries = [
        entry if reads else entry.without_passes()
        for entry, reads in zip(entries, encoded, strict=True)
    ]
    if not any(encoded):
        check_not_given(decoding.iterations)
    known, files_of = {}, {}
    for name, model in loaded.items():
        known[name], files_of[name] = directions_of(directions, model)
    judge_file = classifier_of(classifier, data)
    judge = classifiers.load_classifier(judge_file) if judge_file else None
    has_any, asked = any(known.values()), directions is not None
    known = _comparable(judge, known)
    if directions:
        check_judged(directions, files_of, judge, known)
    warn_of_equals(entries, loaded, decoding, known)
    images_of = {
        name: Compared(
            inputs,
            folder,
            InputReader(model.config.input_shape),
            shape,
            tuning=_tuning_reader(model, name, entries),
            data=data or "",
            split=split,
            data_dir=data_dir,
            count=count,
            skip_bad=skip_bad,
        )
        for name, model in loaded.items()
    }
    stored = {
        entry: stored_latents(
            entry.latents,
            loaded[entry.name],
            images_of[entry.name],
            entry.decoding(decoding),
        )
        for entry in entries
        if entry.latents
    }
    numbers, table = files = [folder / file for file in FILES]
    first = images_of[entries[0].name]
    read: list = [*first.paths, *(directions or ())]
    read += [entry.latents for entry in stored]
    read += [judge_file] if judge_file else []
    place = Results(folder, files, inputs=read, sheets=[table], overwrite=overwrite)

    values: dict[str, dict[str, np.ndarray]] = {}
    columns: dict[str, np.ndarray] = {}
    rows: list[dict] = []
    for entry in entries:
        model, images = loaded[entry.name], images_of[entry.name]
        how = entry.decoding(decoding).fitting()
        batch_size = decoding.batch(model, len(images))
        batches = _batches(entry, images, batch_size)
        edits_of = None
        if judge and known[entry.name]:
            edits_of = functools.partial(
                edits_of_each,
                model,
                judge,
                directions=known[entry.name],
                batch_size=decoding.batch_size,
                **how,
            )
        with batches:
            measured = measure(
                model,
                entry.procedure,
                with_latents(batches, stored.get(entry)),
                batch_size=batch_size,
                shape=shape,
                networks=found,
                edits_of=edits_of,
                edited=EDITED,
                show=SHOWN,
                **how,
            )
        if not np.isfinite(measured.values["mse"]).all():
            raise StylePrompterError(
                f"{entry.title} gives images with NaN or infinity: choose other "
                "options, or another model."
            )
        own = measured.values | _codes(model, measured, decoding.seed) | measured.edits
        values[entry.title], columns[entry.title] = own, measured.shown
        rows.append({
            "title": entry.title,
            "metrics": {k: interval(v, decoding.seed) for k, v in own.items()},
            "seconds": None if entry in stored else _seconds(entry, model, images, how),
        })  # fmt: skip
    results = {
        "models": rows,
        "differences": _differences(entries, values, known, decoding.seed),
        "skipped": without_networks(found)
        | ({} if asked or any(known.values()) else without_edits(has_any, judge)),
    }
    drawn = _sheet(first, columns)
    settings = {
        "models": {
            entry.title: {
                "name": entry.name,
                "source": loaded[entry.name].source,
                "sha256": hashes_of(loaded[entry.name]),
                **dataclasses.asdict(entry.procedure),
                "refine": entry.refine,
                "beta": entry.beta,
                "latents": described(entry.latents),
                "directions": {n: files_of[entry.name][n] for n in known[entry.name]},
            }
            for entry in entries
        },
        "images": first.description,
        "edited": min(EDITED, len(first)),
        "compared_with": entries[0].title,
        "intervals": {
            "level": LEVEL, "resamples": RESAMPLES, "over": "images",
            "differences": "paired by image",
        },
        "decoding": decoding.options() | {"rng": decoding.seed},
        **conditions(size, shape, places, judge_file, decoding),
    }  # fmt: skip
    with place.writing(numbers):
        write_json(numbers, {"protocol": settings} | results)
    with place.writing(table):
        write_image(drawn, table)
    return Comparison(results, values, numbers, table)


def _comparable(
    judge: classifiers.Classifier | None, known: Mapping[str, dict[str, Direction]]
) -> dict[str, dict[str, Direction]]:
    """Returns for each model the directions whose edits are judged.

    These are the directions that all models have, or each model's own if there are none
    in common. Models without any direction have no edits, and do not count.
    """
    if judge is None:
        return {name: {} for name in known}
    found = {name: judged(judge, own) for name, own in known.items()}
    common = set[str]().union(*found.values())
    for own in filter(None, found.values()):
        common &= own.keys()
    if not common:
        return found
    return {
        name: {key: own[key] for key in own if key in common}
        for name, own in found.items()
    }


def _differences(
    entries: Sequence[Entry],
    values: Mapping[str, Mapping[str, np.ndarray]],
    known: Mapping[str, Mapping],
    seed: int,
) -> dict[str, dict[str, dict]]:
    """Returns for each later entry the intervals of the differences from the first.

    Shares of edits have no difference between models with other directions.
    """
    base, *others = entries
    found = {}
    for entry in others:
        pairs = {
            metric: (value, values[base.title][metric])
            for metric, value in values[entry.title].items()
            if metric in values[base.title]
        }
        if known[entry.name].keys() != known[base.name].keys():
            pairs = {k: pair for k, pair in pairs.items() if k not in SHARES}
        found[entry.title] = {k: interval(a - b, seed) for k, (a, b) in pairs.items()}
    return found


def _tuning_reader(
    model: StylePrompter, name: str, entries: Sequence[Entry]
) -> InputReader | None:
    """Returns the reader of the images to which `invert` would tune a generator.

    It is None if no entry of the model tunes, or if the encoder reads such images.
    """
    shape = *calls.target_size(model.config), 3
    tunes = any(entry.procedure.tune for entry in entries if entry.name == name)
    return InputReader(shape) if tunes and shape != model.config.input_shape else None


def _batches(entry: Entry, images: Compared, batch_size: int) -> Progress:
    """Returns the batches, with a progress bar."""
    bar: dict[str, Any] = dict(desc=entry.title, unit="batch")
    bar["total"] = -(-len(images) // batch_size)
    return Progress(images.batches(batch_size), **bar)


def _codes(model: StylePrompter, measured: Measured, seed: int) -> dict:
    """Measures the distance of the codes of each image from the codes of w."""
    w = sample_w(model, codes.SAMPLES, seed)
    return {"codes": codes.distances_from_w(measured.w_plus, w)}


def _seconds(entry: Entry, model: StylePrompter, images: Compared, how: dict) -> dict:
    """Measures the seconds for one image, from pixels to the inversion."""
    count = TIMED_SLOWLY if entry.procedure.is_slow else TIMED
    inputs = [*images.batches(1, count)]

    def invert(batch: dict) -> jax.Array:
        latents = entry.procedure(model, batch, 1, **how)
        return model.shown(model.decode(latents, **how))

    return protocol.seconds(invert, inputs)


def _sheet(images: Compared, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Draws a sheet of the first images and their inversions."""
    targets = [images.read(k)["target"] for k in range(min(SHOWN, len(images)))]
    rows = zip(targets, *columns.values(), strict=True)
    return sheet([*rows], ["input", *columns])
